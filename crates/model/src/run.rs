//! Runs: one promotion or rollback, from its plan to its end.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ArtifactHash;

/// Why a text is not a run's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a run id: expected `run-` and 26 letters and digits (`liftlock history` shows them)"
)]
pub struct RunIdError {
    text: String,
}

/// A run's id: `run-` and a ULID in lower case, so that ids sort by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    /// A new id.
    pub fn generate() -> Self {
        Self(format!("run-{}", ulid::Ulid::generate().to_string().to_ascii_lowercase()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = RunIdError;
    fn from_str(text: &str) -> Result<Self, RunIdError> {
        let fine = text
            .strip_prefix("run-")
            .is_some_and(|ulid| ulid::Ulid::from_string(&ulid.to_ascii_uppercase()).is_ok());
        if fine {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(RunIdError { text: text.to_owned() })
        }
    }
}

impl TryFrom<String> for RunId {
    type Error = RunIdError;
    fn try_from(text: String) -> Result<Self, RunIdError> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> String {
        id.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// Raises a release into an environment.
    Promotion,
    /// Brings an earlier release back.
    Rollback,
    /// Applies infrastructure alone.
    Infrastructure,
    /// Applies or rolls back migrations alone.
    Migration,
}

impl fmt::Display for RunKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Promotion => "promotion",
            Self::Rollback => "rollback",
            Self::Infrastructure => "infrastructure",
            Self::Migration => "migration",
        })
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every step was done, and the requested digests were seen serving.
    Succeeded,
    /// A step failed, and everything that the run had done was undone.
    RolledBack,
    /// A step failed, and something is left: the world is neither as before nor as requested.
    Stuck,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolled back",
            Self::Stuck => "not fully rolled back",
        })
    }
}

/// The fingerprint of a plan: what was reviewed is what runs. A run whose plan has another fingerprint than its journal
/// is refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(ArtifactHash);

impl Fingerprint {
    /// The fingerprint of what `value` serialises to.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        Self(ArtifactHash::of(&serde_json::to_vec(value).expect("a plan is plain data")))
    }

    /// The first 12 hexadecimal digits, for people.
    pub fn short(&self) -> &str {
        &self.0.as_str()[..12]
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip() {
        let id = RunId::generate();
        assert_eq!(id.as_str().parse::<RunId>().unwrap(), id);
        assert!("run-x".parse::<RunId>().is_err());
    }
}
