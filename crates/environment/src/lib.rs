#![doc = include_str!("../README.md")]

mod analysis;
mod chain;
mod check;
pub mod config;
mod diff;
mod gates;
mod load;
mod mask;
mod named;
mod nearest;
mod performance;
mod period;
mod problem;
mod redact;
mod schema;
mod secret;
mod services;
mod source;
mod strategy;
mod switch;
mod tree;
mod walk;

pub use config::Config;
pub use diff::{Diff, Difference, diff};
pub use load::{Environment, RootError, find_root};
pub use mask::{EnvironmentSecrets, KnownSecrets, Mask};
pub use named::is_loopback;
pub use period::{Period, PeriodError};
pub use problem::{LoadError, Problem};
pub use schema::{file_schema, schema};
pub use secret::{SecretError, SecretStore, secret};
