#![doc = include_str!("../README.md")]

mod exchange;
mod health;
mod prober;
mod smoke;
mod sql;
mod text;

pub use health::{DatabaseState, DeepHealth, Health};
pub use prober::{Prober, ProberError};
pub use smoke::{SmokeReport, SmokeResult};
