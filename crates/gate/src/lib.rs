#![doc = include_str!("../README.md")]

mod approval;
mod describe;
mod evaluation;
mod facts;
mod freeze;
mod moment;
mod predecessor;
mod rate;
mod window;

pub use describe::describe;
pub use evaluation::{Decision, Evaluation, decide, evaluate};
pub use facts::{Approval, ApprovalDecision, Facts, Proof};
