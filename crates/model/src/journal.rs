//! What a run writes down: each intent before the act, each result after it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Fingerprint, Outcome, StepName};

/// What undoing a step means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "text", rename_all = "snake_case")]
pub enum Reversal {
    /// The step only looks; there is nothing to undo.
    ReadOnly,
    /// The step is undone as the text says.
    Undo(String),
    /// The step's result stays, and harms nobody: the text says why.
    Kept(String),
    /// The step cannot be undone: the text says why.
    Irreversible(String),
}

impl fmt::Display for Reversal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadOnly => f.write_str("only looks; nothing to undo"),
            Self::Undo(text) => f.write_str(text),
            Self::Kept(why) => write!(f, "kept: {why}"),
            Self::Irreversible(why) => write!(f, "cannot be undone: {why}"),
        }
    }
}

/// One step of a plan, as people read it before they say yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPlan {
    /// Which step.
    pub step: StepName,
    /// What it will do, in one line.
    pub does: String,
    /// More lines, where one does not say it: the resources, the statements.
    pub details: Vec<String>,
    /// What undoing it means.
    pub reversal: Reversal,
}

/// Something that a run could not put back, and what a person can do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// What is left.
    pub what: String,
    /// The command that mends it.
    pub command: String,
}

/// A record of a run's journal. The order of variants is the order in which they are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The plan that everything after it follows.
    Planned {
        /// Of the whole plan.
        fingerprint: Fingerprint,
        /// The steps in order.
        steps: Vec<StepPlan>,
    },
    /// A step is about to act.
    Intended {
        /// Which step.
        step: StepName,
        /// How the world looked before, as far as the step's undo needs it.
        before: Value,
    },
    /// A step was done: the world was read back and says so.
    Done {
        /// Which step.
        step: StepName,
        /// What later steps need of it.
        output: Value,
        /// For people, in one line.
        note: String,
    },
    /// A step failed; unwinding starts.
    Failed {
        /// Which step.
        step: StepName,
        /// Why, with causes and hints.
        error: String,
    },
    /// A step is about to be undone.
    UndoIntended {
        /// Which step.
        step: StepName,
    },
    /// A step was undone, save for what is left.
    Undone {
        /// Which step.
        step: StepName,
        /// What could not be put back.
        left: Vec<Left>,
        /// For people, in one line.
        note: String,
    },
    /// A step could not be undone; unwinding stops, since earlier steps may rest on it.
    UndoFailed {
        /// Which step.
        step: StepName,
        /// Why.
        error: String,
    },
    /// The run's end.
    Finished {
        /// How it ended.
        outcome: Outcome,
        /// What could not be put back.
        left: Vec<Left>,
    },
}

impl Record {
    /// The step that the record is about, where it is about one.
    pub fn step(&self) -> Option<&StepName> {
        match self {
            Self::Planned { .. } | Self::Finished { .. } => None,
            Self::Intended { step, .. }
            | Self::Done { step, .. }
            | Self::Failed { step, .. }
            | Self::UndoIntended { step }
            | Self::Undone { step, .. }
            | Self::UndoFailed { step, .. } => Some(step),
        }
    }
}
