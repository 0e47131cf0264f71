//! Why a promotion or rollback did not begin, or could not come to an end.

use jiff::Timestamp;
use liftlock_gate::Evaluation;
use liftlock_model::{Actor, EnvName, Exit, ReleaseId, RunId};
use liftlock_saga::{ProgressError, SagaError, StepError, StepErrorKind};

use crate::release::ReleaseError;

/// Why a promotion or rollback did not begin, or could not come to an end.
#[derive(Debug, thiserror::Error)]
pub enum PromoteError {
    /// No release was named, and none can be found.
    #[error("{0}")]
    NoRelease(String),
    /// The release is not in the ledger.
    #[error("there is no release {0}; `liftlock release list` shows what there is")]
    UnknownRelease(ReleaseId),
    /// The release does not fit the environment.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// An earlier run was interrupted.
    #[error(
        "{run} was interrupted in {environment} and left it half way\n  next: liftlock promote --env {environment} \
         --resume"
    )]
    Interrupted {
        /// Where.
        environment: EnvName,
        /// Which.
        run: RunId,
    },
    /// Another run is at work.
    #[error(
        "{run}, started by {actor} at {since}, holds {environment} (its lease ends at {expires} unless it is renewed)\n  next: wait for it; `liftlock status --env {environment}` shows how far it is"
    )]
    Held {
        /// Where.
        environment: EnvName,
        /// Which.
        run: RunId,
        /// Whose.
        actor: Actor,
        /// Since when.
        since: Timestamp,
        /// Until when, unless renewed.
        expires: Timestamp,
    },
    /// Another process on this machine begins or ends a run just now.
    #[error(
        "another process on this machine is at work in {environment}\n  next: wait for it; `liftlock status --env {environment}` shows how far it is"
    )]
    Busy {
        /// Where.
        environment: EnvName,
    },
    /// There is nothing to resume.
    #[error("{0}")]
    NothingToResume(String),
    /// A gate is shut.
    #[error("{}", shut(.0))]
    Gates(Vec<Evaluation>),
    /// A rollback would lose what nobody gave up, or cannot be one.
    #[error("nothing was touched: {0}")]
    WayBack(StepError),
    /// Others have changed the schema, and the environment wants that settled first.
    #[error("nothing was touched: {0}")]
    Drifted(StepError),
    /// What the run would act on could not be reached or is not in order; nothing was touched.
    #[error("{0}\n  nothing was touched")]
    Preflight(#[from] StepError),
    /// Infrastructure was applied by hand, and not to its end.
    #[error(
        "{error}\n  some of the plan's changes may have been made\n  next: liftlock infra plan --env {environment}"
    )]
    HalfApplied {
        /// Where.
        environment: EnvName,
        /// Why.
        error: StepError,
    },
    /// The ledger could not be used; nothing was touched.
    #[error("{message}")]
    Ledger {
        /// What is wrong, and what to do.
        message: String,
        /// Whether it was our credentials that it refused.
        authentication: bool,
    },
    /// The run stopped without an orderly end.
    #[error("{0}")]
    Saga(#[from] SagaError),
}

fn shut(evaluations: &[Evaluation]) -> String {
    let mut lines = vec!["the gates are not open; nothing was touched".to_owned()];
    for evaluation in
        evaluations.iter().filter(|evaluation| evaluation.decision != liftlock_gate::Decision::Open)
    {
        lines.push(format!("  {}: {}", evaluation.gate, evaluation.reason));
        if let Some(next) = &evaluation.next {
            lines.push(format!("    next: {next}"));
        }
    }
    lines.join("\n")
}

impl PromoteError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NoRelease(_)
            | Self::UnknownRelease(_)
            | Self::Release(_)
            | Self::NothingToResume(_) => Exit::Usage,
            Self::Interrupted { .. } | Self::Held { .. } | Self::Busy { .. } => Exit::Held,
            Self::Gates(evaluations) => match liftlock_gate::decide(evaluations) {
                liftlock_gate::Decision::Waiting => Exit::Waiting,
                _ => Exit::Refused,
            },
            Self::WayBack(_) | Self::Drifted(_) => Exit::Refused,
            Self::Preflight(error) => match error.kind() {
                StepErrorKind::Authentication => Exit::Authentication,
                StepErrorKind::Configuration => Exit::Usage,
                StepErrorKind::Failed | StepErrorKind::Cancelled => Exit::Failed,
            },
            Self::HalfApplied { .. } => Exit::Stuck,
            Self::Ledger { authentication: true, .. } => Exit::Authentication,
            Self::Ledger { .. } => Exit::Usage,
            Self::Saga(SagaError::TakenOver { .. }) => Exit::Held,
            Self::Saga(SagaError::Progress(
                ProgressError::OtherPlan { .. } | ProgressError::Disorder { .. },
            )) => Exit::Usage,
            Self::Saga(SagaError::Unwritable { unwound: true, .. }) => Exit::Failed,
            Self::Saga(SagaError::Unwritable { .. }) => Exit::Stuck,
        }
    }
}
