//! Why a call was refused, as AWS tells it.

use std::borrow::Cow;

use crate::world::NotKept;

/// An error that a caller gets: AWS's code, message and HTTP status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct Refusal {
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
    pub(crate) status: u16,
}

impl Refusal {
    pub(crate) fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), status: 400 }
    }

    pub(crate) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

impl From<NotKept> for Refusal {
    fn from(error: NotKept) -> Self {
        Self::new("InternalFailure", error.to_string()).with_status(500)
    }
}
