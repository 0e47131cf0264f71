//! What is written beside an archive.

use std::path::Path;

use jiff::{Timestamp, civil::Date};
use liftlock_model::{Actor, Marker, MigrationId, RunId};
use serde::{Deserialize, Serialize};

use super::error::ArchiveError;
use crate::schema::Fingerprint;

/// The format of manifests that this version writes and reads.
const FORMAT: u32 = 1;

/// What is written beside an archive: what it is of, when and by whom it was made, and what must be in it. No secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The format of this text; 1.
    pub format: u32,
    /// The snapshot's id.
    pub id: String,
    /// The database's name.
    pub database: String,
    /// Host and port of its server.
    pub server: String,
    /// The server's version, such as `15.18`.
    pub server_version: String,
    /// When it was taken: everything that was committed before is in it.
    pub taken_at: Timestamp,
    /// By whom.
    pub taken_by: Actor,
    /// As which user of the database.
    pub database_user: String,
    /// In which run.
    pub run: Option<RunId>,
    /// The last day on which it is kept (UTC); without end if left out.
    pub keep_until: Option<Date>,
    /// The newest migration that the database had.
    pub newest_migration: Option<MigrationId>,
    /// The fingerprint of its schema, which is kept beside the archive.
    pub schema_fingerprint: Fingerprint,
    /// The place in the server's log, for a recovery to that point.
    pub marker: Marker,
    /// How the database orders text.
    pub locale: Locale,
    /// The roles that own something in it or have rights on it.
    pub roles: Vec<String>,
    /// What each table holds, large objects last.
    pub contents: Vec<Contents>,
    /// Where each sequence is.
    pub sequences: Vec<Sequence>,
    /// The archive.
    pub dump: DumpFile,
}

/// How a database orders text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locale {
    /// The encoding, such as `UTF8`.
    pub encoding: String,
    /// `lc_collate`.
    pub collate: String,
    /// `lc_ctype`.
    pub ctype: String,
    /// The locale of ICU, where that is the provider.
    pub icu: Option<String>,
}

/// What a table holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    /// The table's qualified name, quoted where it must be; `large objects` for these.
    pub table: String,
    /// How many rows.
    pub rows: u64,
    /// The sum of the SHA-256 of the rows' texts, 64 bits of each: the same rows in any order have the same sum. None if only
    /// rows were counted.
    pub checksum: Option<String>,
}

/// Where a sequence is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    /// Its qualified name.
    pub name: String,
    /// The last value that it gave, just before the archive was made. The archive may have a later one.
    pub last: i64,
    /// Whether it counts down.
    pub down: bool,
}

/// An archive's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DumpFile {
    /// Its name, in the manifest's directory.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// How long `pg_dump` took, in milliseconds.
    pub milliseconds: u64,
}

impl Manifest {
    pub(super) const FORMAT: u32 = FORMAT;

    /// Reads a manifest. Its id and the name of its archive are safe to make paths of.
    pub(super) fn read(path: &Path) -> Result<Self, ArchiveError> {
        let wrong = |reason: String| ArchiveError::Manifest { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| ArchiveError::io(path, &error))?;
        let raw: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        match raw.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) => {
                return Err(wrong(format!("it has format {format}; this version reads {FORMAT}")));
            }
            None => {
                return Err(wrong("it has no `format`: it is no manifest of a snapshot".into()));
            }
        }
        let manifest: Self =
            serde_json::from_value(raw).map_err(|error| wrong(error.to_string()))?;
        check_id(&manifest.id).map_err(&wrong)?;
        if manifest.dump.file.contains(['/', '\\', '\0']) || manifest.dump.file.starts_with('.') {
            return Err(wrong(format!("{:?} is not the name of an archive", manifest.dump.file)));
        }
        Ok(manifest)
    }

    /// The sum of all rows.
    pub fn rows(&self) -> u64 {
        self.contents.iter().map(|one| one.rows).sum()
    }
}

/// Ids become names of files.
pub(super) fn check_id(id: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !id.is_empty() && id.len() <= 128 && !id.starts_with('.') && id.chars().all(fine) {
        return Ok(());
    }
    Err(format!(
        "{id:?} is not a snapshot's id: use letters, digits, `-`, `_` and `.`, at most 128"
    ))
}
