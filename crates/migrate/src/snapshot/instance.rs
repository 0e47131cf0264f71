//! Snapshots of a whole database instance: the boundary to whoever makes them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Which snapshot to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRequest {
    /// Its id: the same id is the same snapshot.
    pub id: String,
    /// Of which database instance.
    pub instance: String,
    /// What is written on it.
    pub tags: BTreeMap<String, String>,
}

/// How far a snapshot is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SnapshotState {
    /// It is being made.
    Creating {
        /// How much of it is there, where that is told.
        percent: Option<u8>,
    },
    /// It can be restored.
    Available {
        /// Its whole name.
        arn: String,
    },
    /// It will never be.
    Failed {
        /// What was said.
        reason: String,
    },
}

impl fmt::Display for SnapshotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Creating { percent: Some(percent) } => write!(f, "being made, {percent} %"),
            Self::Creating { percent: None } => f.write_str("being made"),
            Self::Available { arn } => write!(f, "available as {arn}"),
            Self::Failed { reason } => write!(f, "failed: {reason}"),
        }
    }
}

/// What sort of failure it was; it decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotErrorKind {
    /// The instance does not exist.
    NotFound,
    /// Nobody there knows us, or we may not do this.
    Authentication,
    /// It may well work a little later.
    Transient,
    /// Anything else.
    Other,
}

/// A snapshot could not be asked for or looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SnapshotError {
    kind: SnapshotErrorKind,
    message: String,
}

impl SnapshotError {
    /// An error whose message names the thing, the place and the next command. Control characters are replaced.
    pub fn new(kind: SnapshotErrorKind, message: impl AsRef<str>) -> Self {
        let printable = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
        Self { kind, message: message.as_ref().chars().map(printable).collect() }
    }

    /// What sort of failure it was.
    pub fn kind(&self) -> SnapshotErrorKind {
        self.kind
    }
}

/// Somebody who makes snapshots.
#[async_trait]
pub trait Snapshots: Send + Sync {
    /// Begins a snapshot. Asked again with the same id, it changes nothing.
    async fn begin(&self, request: &SnapshotRequest) -> Result<(), SnapshotError>;

    /// How far the snapshot with this id is; `None` when there is none.
    async fn state(&self, id: &str) -> Result<Option<SnapshotState>, SnapshotError>;
}

/// Why there is no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TakeError {
    /// It could not be asked for or looked at.
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
    /// It failed.
    #[error("snapshot {id} failed: {reason}")]
    Failed {
        /// Which.
        id: String,
        /// What was said.
        reason: String,
    },
    /// It was not there in time. It may still come to be.
    #[error(
        "snapshot {id} is not available after {} s; last seen: {seen}. Look again later, or raise \
         `database.snapshot.timeout`",
        waited.as_secs()
    )]
    TimedOut {
        /// Which.
        id: String,
        /// How long it was waited for.
        waited: Duration,
        /// What was seen at the end.
        seen: String,
    },
    /// Somebody asked to stop. The snapshot, once begun, is still being made.
    #[error("cancelled while waiting for snapshot {id}")]
    Cancelled {
        /// Which.
        id: String,
    },
}

/// A snapshot that can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Its id.
    pub id: String,
    /// Its whole name.
    pub arn: String,
    /// How long it took.
    pub waited: Duration,
}

/// The longest silence while waiting.
const SILENCE: Duration = Duration::from_secs(30);

/// Makes a snapshot, unless the one with this id is there already, and waits until it can be restored. Looks each `poll`; what
/// fails for a moment is repeated until `timeout`. `on` is told what is seen when it changes, and at least every 30
/// seconds. Cancellation cuts looks and sleeps short, never the asking for a snapshot.
pub async fn take(
    snapshots: &dyn Snapshots,
    request: &SnapshotRequest,
    timeout: Duration,
    poll: Duration,
    on: &(dyn Fn(String) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<Taken, TakeError> {
    let start = Instant::now();
    let id = &request.id;
    let cancelled = || TakeError::Cancelled { id: id.clone() };
    if cancel.is_cancelled() {
        return Err(cancelled());
    }
    let mut said: Option<(String, Instant)> = None;
    let mut begun = false;
    loop {
        // Refused for a moment is no end: while an automatic backup is made, for one.
        let asked = if begun { Ok(()) } else { snapshots.begin(request).await };
        begun |= asked.is_ok();
        let left = timeout.saturating_sub(start.elapsed());
        let look = async {
            asked?;
            snapshots.state(id).await
        };
        let seen = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(cancelled()),
            state = tokio::time::timeout(left, look) => match state {
                Err(_) => "no answer".to_owned(),
                Ok(Err(error)) if error.kind() == SnapshotErrorKind::Transient => error.to_string(),
                Ok(state) => match state? {
                    Some(SnapshotState::Available { arn }) => {
                        return Ok(Taken { id: id.clone(), arn, waited: start.elapsed() });
                    }
                    Some(SnapshotState::Failed { reason }) => {
                        return Err(TakeError::Failed { id: id.clone(), reason });
                    }
                    Some(state) => state.to_string(),
                    None => "not there yet".to_owned(),
                },
            },
        };
        if said.as_ref().is_none_or(|(last, at)| *last != seen || at.elapsed() >= SILENCE) {
            on(format!("snapshot {id}: {seen}"));
            said = Some((seen.clone(), Instant::now()));
        }
        if start.elapsed() + poll >= timeout {
            return Err(TakeError::TimedOut { id: id.clone(), waited: start.elapsed(), seen });
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(cancelled()),
            () = tokio::time::sleep(poll) => {}
        }
    }
}
