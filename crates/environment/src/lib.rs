#![doc = include_str!("../README.md")]

pub mod config;
mod period;

pub use config::Config;
pub use period::{Period, PeriodError};
