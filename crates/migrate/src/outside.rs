//! Scripts that run outside of a transaction, statement by statement, each on record before and after it runs.

mod engine;
pub(crate) mod half;
mod journal;
mod remains;
mod resolve;
pub(crate) mod rule;
pub(crate) mod run;
mod trace;

pub use half::{Direction, HalfDone};
pub(crate) use journal::{forget, halves};
pub use resolve::Resolution;
