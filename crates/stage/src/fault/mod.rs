//! Faults on demand.

mod board;
mod meddler;
mod model;
mod random;
mod scenario;

pub(crate) use board::{Board, CallFate, Instead, Meddling, Subject};
pub use board::{FaultState, FaultStatus};
pub(crate) use meddler::{kill, run as meddle};
pub use model::{Fault, Kind, Span};
pub use scenario::{Scenario, ScenarioError};
