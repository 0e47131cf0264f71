//! Views of the ledger: pure functions over its entries. Each takes the entries in their order, whole or as a query gave them.

mod gate;
mod history;
mod run;

pub use gate::{Approval, Decision, Proof, Started, approvals, promotions_started, proofs};
pub use history::{Deployed, Released, current, deployments, release, releases};
pub use run::{Abort, Paused, RunView, aborted, last, paused, run, unfinished};
