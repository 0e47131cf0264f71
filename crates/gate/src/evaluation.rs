//! What gates answer.

use liftlock_environment::config::Gates;
use liftlock_model::Verdict;
use serde::{Deserialize, Serialize};

use crate::facts::Facts;
use crate::{approval, freeze, predecessor, rate, window};

/// Whether a promotion may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It may.
    Open,
    /// Not yet: somebody still has to approve it (exit code 5).
    Waiting,
    /// It may not (exit code 4).
    Refused,
}

/// What one gate answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Which gate: `predecessor`, `window`, `freeze`, `rate` or `approval`; of a rollback by hand, `reason` or `approval`.
    pub gate: String,
    /// Its answer.
    pub decision: Decision,
    /// Why, in one line.
    pub reason: String,
    /// The next command, or the time at which it opens, where there is one.
    pub next: Option<String>,
}

impl Evaluation {
    /// The answer as the ledger keeps it: only an open gate passes.
    pub fn verdict(&self) -> Verdict {
        match self.decision {
            Decision::Open => Verdict::Pass,
            Decision::Waiting => Verdict::Inconclusive,
            Decision::Refused => Verdict::Fail,
        }
    }

    pub(crate) fn open(gate: &str, reason: String) -> Self {
        Self { gate: gate.to_owned(), decision: Decision::Open, reason, next: None }
    }

    pub(crate) fn waiting(gate: &str, reason: String, next: String) -> Self {
        Self { gate: gate.to_owned(), decision: Decision::Waiting, reason, next: Some(next) }
    }

    pub(crate) fn refused(gate: &str, reason: String, next: Option<String>) -> Self {
        Self { gate: gate.to_owned(), decision: Decision::Refused, reason, next }
    }

    /// A gate that cannot be read stays shut.
    pub(crate) fn unreadable(gate: &str, fault: &str, facts: &Facts<'_>) -> Self {
        let next = format!("mend `gates` in environments/{}.toml", facts.environment);
        Self::refused(gate, fault.to_owned(), Some(next))
    }
}

/// Asks every configured gate, also after one refused, so that a person sees at once all that stands in the way. The order is
/// always predecessor, window, freeze, rate, approval.
pub fn evaluate(gates: &Gates, facts: &Facts<'_>) -> Vec<Evaluation> {
    [
        predecessor::evaluate(gates, facts),
        window::evaluate(&gates.windows, facts),
        freeze::evaluate(&gates.freezes, facts),
        gates.rate.as_ref().map(|rate| rate::evaluate(rate, facts)),
        gates.approvals.as_ref().map(|approvals| approval::evaluate(approvals, facts)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What all gates say together: one refusal refuses, and it waits only when nothing but approvals is missing.
pub fn decide(evaluations: &[Evaluation]) -> Decision {
    evaluations.iter().map(|evaluation| evaluation.decision).max().unwrap_or(Decision::Open)
}
