#![doc = include_str!("../README.md")]

mod exchange;
mod health;
mod load;
mod measure;
mod prober;
mod smoke;
mod sql;
mod text;

pub use health::{DatabaseState, DeepHealth, Health};
pub use load::{LoadError, LoadPlan, Loaded, load, load_generator};
pub use measure::{Headers, NoReading, Reading};
pub use prober::{Prober, ProberError};
pub use smoke::{SmokeReport, SmokeResult};
