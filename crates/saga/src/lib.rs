#![doc = include_str!("../README.md")]

mod engine;
mod error;
mod progress;
mod step;
mod unwind;

pub use engine::{Control, End, Failure, Journal, JournalError, SagaError, run};
pub use error::{StepError, StepErrorKind};
pub use progress::{Progress, ProgressError, StepState};
pub use step::{Context, Done, Handle, Life, Outputs, Probe, Saga, Step, Undone};
