//! Something about a migration that people should know, at its place.

use std::fmt;

use serde::Serialize;

/// How much a [`Finding`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Probably not meant; it stops nothing.
    Warning,
    /// It must be mended.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Something about a migration that people should know, at its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule's name, as `-- migrate: allow` takes it.
    pub rule: String,
    /// How much it matters.
    pub severity: Severity,
    /// The file's name.
    pub file: String,
    /// The line. The first line is 1.
    pub line: usize,
    /// The column, in characters. The first is 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do instead.
    pub help: Option<String>,
}

impl fmt::Display for Finding {
    /// `V0002__x.sql:3:1: warning[rule]: what (help)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, severity, file, line, column, message, help } = self;
        write!(f, "{file}:{line}:{column}: {severity}[{rule}]: {message}")?;
        help.iter().try_for_each(|help| write!(f, " ({help})"))
    }
}
