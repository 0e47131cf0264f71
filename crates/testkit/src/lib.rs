#![doc = include_str!("../README.md")]

pub mod closed_port;
pub mod fault_proxy;
pub mod moto;
pub mod postgres;
pub mod requirement;
pub mod terraform;
pub mod venv;
pub mod webhook;

pub use closed_port::ClosedPort;
pub use fault_proxy::{Fault, FaultProxy, Way};
pub use moto::{Aws, Moto, MotoOptions};
pub use postgres::TestDatabase;
pub use terraform::TerraformHome;
pub use venv::Venv;
pub use webhook::webhook;
