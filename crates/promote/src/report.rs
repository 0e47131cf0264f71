//! What a run tells while it runs. The console, JSON lines and whatever comes later are all made from it.

use std::sync::Arc;

use liftlock_model::{Entry, StepName};

/// Something to tell.
#[derive(Debug, Clone)]
pub enum Notice {
    /// An entry was written to the ledger.
    Entry(Box<Entry>),
    /// A step is at work: a sign of life, which is not recorded.
    Life {
        /// Which step.
        step: StepName,
        /// What it waits for.
        text: String,
    },
}

/// Hears notices, in order.
pub type Report = Arc<dyn Fn(Notice) + Send + Sync>;
