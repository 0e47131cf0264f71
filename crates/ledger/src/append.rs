//! Appending: one transaction that looks at the fence, the head and then writes.

use jiff::Timestamp;
use liftlock_model::{Actor, Entry, EntryHash, EnvName, RunId};
use serde_json::Value;

use crate::entry::{self, Content};
use crate::error::Trouble;
use crate::lease;
use crate::store::Tx;
use crate::{Draft, Fence, Ledger, StoreError};

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The writer's lease is no longer its own.
    #[error(
        "{run} no longer holds {environment} ({}), so it must not change anything: `liftlock status --env {environment}` shows \
         what happens there now",
        match by { Some((run, actor)) => format!("{run} of {actor} took it over"), None => "its lease was given back".into() }
    )]
    Fenced {
        /// The environment.
        environment: EnvName,
        /// The run that was fenced off.
        run: RunId,
        /// The run that took over, and whose it is; none when the lease was given back.
        by: Option<(RunId, Actor)>,
    },
    /// A number in the event would be read differently by different readers.
    #[error(
        "the event holds a number at {pointer} that is not whole or beyond 2^53, which the ledger cannot keep exactly: \
         write it as text"
    )]
    Number {
        /// Where in the event, as a JSON pointer.
        pointer: String,
    },
    /// The event is not representable as JSON.
    #[error("the event cannot be written as JSON")]
    Json(#[source] serde_json::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Ledger {
    /// Appends an entry, in one transaction with the check of its fence. When this returns, the entry survives a loss of
    /// power. Cancel-safe: a caller that stops waiting leaves it written whole or not at all.
    ///
    /// # Errors
    /// The fence is stale, the event holds numbers that JSON cannot keep, or the database failed.
    pub async fn append(&self, draft: Draft) -> Result<Entry, AppendError> {
        let ledger = self.clone();
        let change = async move {
            let _order = ledger.writing.lock().await;
            let mut tx = ledger.store.write().await?;
            let entry = append(&mut tx, draft).await?;
            tx.commit().await?;
            ledger.tell(&entry);
            Ok(entry)
        };
        self.whole(change).await
    }
}

/// Takes the lock under which all writers stand in line, and reads the head of the chain. SQLite's write transaction is
/// that lock already.
async fn head(tx: &mut Tx) -> Result<(i64, EntryHash), StoreError> {
    let sql = if tx.is_postgres() {
        "SELECT sequence, hash FROM liftlock_ledger FOR UPDATE"
    } else {
        "SELECT sequence, hash FROM liftlock_ledger"
    };
    let row: Option<(i64, String)> = tx.row(sql, &[]).await?;
    row.map(|(sequence, hash)| (sequence, EntryHash::new(hash)))
        .ok_or_else(|| tx.trouble(Trouble::Damaged, "the table liftlock_ledger has no row"))
}

/// Stands in line with the other writers, without writing an entry.
pub(crate) async fn queue(tx: &mut Tx) -> Result<(), StoreError> {
    head(tx).await.map(drop)
}

pub(crate) async fn append(tx: &mut Tx, draft: Draft) -> Result<Entry, AppendError> {
    let (last, previous) = head(tx).await?;
    if let Some(fence) = &draft.fence {
        check(tx, fence).await?;
    }
    let event = serde_json::to_value(&draft.event).map_err(AppendError::Json)?;
    if let Some(pointer) = entry::unsafe_number(&event) {
        return Err(AppendError::Number { pointer });
    }
    let kind = event.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let sequence = last + 1;
    let at = Timestamp::from_microsecond(tx.now().await?).unwrap_or_default();
    let Draft { environment, run, actor, event, .. } = draft;
    let content = Content { sequence, at, environment, run, actor, event, previous };
    let body = entry::canonical(&content).map_err(AppendError::Json)?;
    let hash = entry::hash(&body);
    tx.execute(
        "INSERT INTO liftlock_entries (sequence, hash, environment, run, kind, body) VALUES ($1, $2, $3, $4, $5, $6)",
        &[
            sequence.into(),
            hash.as_str().into(),
            content.environment.as_ref().map(EnvName::as_str).into(),
            content.run.as_ref().map(RunId::as_str).into(),
            kind.as_str().into(),
            body.as_str().into(),
        ],
    )
    .await?;
    tx.execute(
        "UPDATE liftlock_ledger SET sequence = $1, hash = $2",
        &[sequence.into(), hash.as_str().into()],
    )
    .await?;
    // The reader's form, so that what the writer holds is what everybody else will read.
    let content: Content = serde_json::from_str(&body).map_err(AppendError::Json)?;
    Ok(content.into_entry(hash))
}

async fn check(tx: &mut Tx, fence: &Fence) -> Result<(), AppendError> {
    let now = lease::row(tx, &fence.environment).await?;
    match now {
        Some(row) if row.token == fence.token && row.holder.is_some() => Ok(()),
        row => Err(AppendError::Fenced {
            environment: fence.environment.clone(),
            run: fence.run.clone(),
            by: row.and_then(|row| row.holder),
        }),
    }
}
