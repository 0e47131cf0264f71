#![doc = include_str!("../README.md")]

pub mod moto;
pub mod postgres;
pub mod requirement;
pub mod terraform;
pub mod venv;

pub use moto::{Aws, Moto, MotoOptions};
pub use postgres::TestDatabase;
pub use terraform::TerraformHome;
pub use venv::Venv;
