//! Verdicts, and the sample they rest on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What was looked at: no verdict without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// How many observations were made.
    pub size: u64,
    /// How many of them were bad.
    pub bad: u64,
}

/// Pass, fail, or inconclusive. No data is never a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Seen to be good.
    Pass,
    /// Seen to be bad.
    Fail,
    /// Not enough was seen to say.
    Inconclusive,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        })
    }
}
