//! Why a step could not be done or undone.

use std::error::Error;
use std::fmt;

/// What kind of failure it was, as far as the exit code and the unwinding care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepErrorKind {
    /// The act failed.
    Failed,
    /// Somebody asked the run to stop, and the step stopped where that was safe.
    Cancelled,
    /// The other side refused our credentials.
    Authentication,
    /// What the configuration names is not there or makes no sense.
    Configuration,
}

/// Why a step could not be done or undone: a message, its causes, and what to do next.
#[derive(Debug)]
pub struct StepError {
    kind: StepErrorKind,
    message: String,
    hint: Option<String>,
}

impl StepError {
    /// A failure with a message of its own.
    pub fn new(kind: StepErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// A failure of the kind `Failed`, from an error and all its causes.
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        Self::of_kind(StepErrorKind::Failed, error)
    }

    /// A failure from an error and all its causes.
    pub fn of_kind(kind: StepErrorKind, error: &(dyn Error + 'static)) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Some libraries repeat their cause in their own message.
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = cause.source();
        }
        Self { kind, message, hint: None }
    }

    /// The run was asked to stop.
    pub fn cancelled(during: &str) -> Self {
        Self::new(StepErrorKind::Cancelled, format!("stopped by request during {during}"))
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> StepErrorKind {
        self.kind
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  next: {hint}"),
            None => Ok(()),
        }
    }
}

impl Error for StepError {}
