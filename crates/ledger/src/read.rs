//! Reading entries and exporting them.

use liftlock_model::{Entry, EntryHash, EnvName, RunId};

use crate::entry::{Content, canonical};
use crate::store::{Tx, Value};
use crate::{Ledger, StoreError};

/// Which entries to read. The default is all of them.
#[derive(Debug, Clone, Default)]
pub struct Query {
    environment: Option<EnvName>,
    run: Option<RunId>,
    after: Option<i64>,
    limit: Option<u32>,
}

impl Query {
    /// All entries.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only entries about this environment.
    #[must_use]
    pub fn environment(mut self, environment: &EnvName) -> Self {
        self.environment = Some(environment.clone());
        self
    }

    /// Only entries of this run.
    #[must_use]
    pub fn run(mut self, run: &RunId) -> Self {
        self.run = Some(run.clone());
        self
    }

    /// Only entries after this place.
    #[must_use]
    pub fn after(mut self, sequence: i64) -> Self {
        self.after = Some(sequence);
        self
    }

    /// The first so many of them.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// Why entries or artifacts could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// This program does not know that kind of event, or the entry was tampered with.
    #[error(
        "entry {sequence} of the ledger {place} (kind {kind:?}) cannot be read by this Liftlock: `liftlock audit verify` tells \
         whether it was changed; if not, a newer Liftlock wrote it, so install that"
    )]
    Entry {
        /// Where.
        place: String,
        /// Which entry.
        sequence: i64,
        /// What the index calls it.
        kind: String,
        /// What the reader says.
        source: serde_json::Error,
    },
    /// An artifact's content is not what it was.
    #[error(
        "the artifact {expected} in the ledger {place} was changed: its content now has the hash {found}. Restore it from a backup, \
         and look with `liftlock audit verify` for what else was changed"
    )]
    Tampered {
        /// Where.
        place: String,
        /// Its name, which is the hash that it had.
        expected: liftlock_model::ArtifactHash,
        /// The hash that it has.
        found: liftlock_model::ArtifactHash,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Ledger {
    /// Reads entries in their order.
    ///
    /// # Errors
    /// The database failed, or an entry is of a kind that this program does not know.
    pub async fn entries(&self, query: &Query) -> Result<Vec<Entry>, ReadError> {
        let mut tx = self.store.read().await?;
        let rows = rows(&mut tx, query).await?;
        tx.commit().await?;
        rows.into_iter()
            .map(|(sequence, hash, kind, body)| {
                let content: Content = serde_json::from_str(&body).map_err(|source| {
                    ReadError::Entry { place: self.place().to_owned(), sequence, kind, source }
                })?;
                Ok(content.into_entry(EntryHash::new(hash)))
            })
            .collect()
    }

    /// The entries as lines of canonical JSON (RFC 8785), each with its `hash`, which is the SHA-256 of the line without that
    /// field. The README says how to verify them with no more than `jq` and `sha256sum`.
    ///
    /// # Errors
    /// As [`Ledger::entries`].
    pub async fn export(&self, query: &Query) -> Result<Vec<String>, ReadError> {
        let entries = self.entries(query).await?;
        entries
            .iter()
            .map(|entry| {
                canonical(entry).map_err(|source| ReadError::Entry {
                    place: self.place().to_owned(),
                    sequence: entry.sequence,
                    kind: String::new(),
                    source,
                })
            })
            .collect()
    }
}

async fn rows(
    tx: &mut Tx,
    query: &Query,
) -> Result<Vec<(i64, String, String, String)>, StoreError> {
    let mut sql =
        String::from("SELECT sequence, hash, kind, body FROM liftlock_entries WHERE sequence > $1");
    let mut values: Vec<Value> = vec![query.after.unwrap_or(0).into()];
    if let Some(environment) = &query.environment {
        values.push(environment.as_str().into());
        sql += &format!(" AND environment = ${}", values.len());
    }
    if let Some(run) = &query.run {
        values.push(run.as_str().into());
        sql += &format!(" AND run = ${}", values.len());
    }
    values.push(query.limit.map_or(i64::MAX, i64::from).into());
    sql += &format!(" ORDER BY sequence LIMIT ${}", values.len());
    tx.rows(sql, &values).await
}
