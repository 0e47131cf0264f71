//! Why a command ends early: what is printed, and the exit code.

use liftlock_environment::LoadError;
use liftlock_ledger::{OpenError, OpenErrorKind, Trouble};
use liftlock_model::Exit;
use liftlock_promote::PromoteError;
use liftlock_saga::{StepError, StepErrorKind};

/// A message and an exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub message: String,
    pub exit: Exit,
}

impl Failure {
    /// A configuration or usage error: nothing was touched.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit: Exit::Usage }
    }

    /// A failure of the command itself.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit: Exit::Failed }
    }

    /// An error with its causes.
    pub(crate) fn of(exit: Exit, error: &(dyn std::error::Error + 'static)) -> Self {
        Self { message: StepError::from_error(error).to_string(), exit }
    }
}

impl From<PromoteError> for Failure {
    fn from(error: PromoteError) -> Self {
        Self { exit: error.exit(), message: error.to_string() }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        let exit = match error.kind() {
            StepErrorKind::Authentication => Exit::Authentication,
            StepErrorKind::Configuration => Exit::Usage,
            StepErrorKind::Failed | StepErrorKind::Cancelled => Exit::Failed,
        };
        Self { message: error.to_string(), exit }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let exit = match error.kind() {
            OpenErrorKind::Store(Trouble::Credentials) => Exit::Authentication,
            _ => Exit::Usage,
        };
        Self::of(exit, &error)
    }
}
