//! Bringing a whole database instance back from a snapshot, or to a point in time, as a new instance beside the old one.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::instance::{SnapshotError, SnapshotErrorKind};

/// What an instance is brought back from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// A snapshot.
    Snapshot {
        /// Its id.
        id: String,
    },
    /// The log of the instance that it is to be like.
    Time {
        /// Up to when.
        at: Timestamp,
    },
}

/// Which instance to make of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReviveRequest {
    /// The new instance's name.
    pub instance: String,
    /// The instance whose network, class and parameters it gets.
    pub like: String,
    /// What is in it.
    pub origin: Origin,
    /// What is written on it.
    pub tags: BTreeMap<String, String>,
}

/// How far an instance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum InstanceState {
    /// It is on the way; in the vendor's word.
    Working {
        /// The word.
        status: String,
    },
    /// It takes connections.
    Available {
        /// Host and port.
        endpoint: String,
    },
    /// It will never be.
    Failed {
        /// What was said.
        reason: String,
    },
}

/// Somebody who brings instances back.
#[async_trait]
pub trait Instances: Send + Sync {
    /// Begins. Asked again for the same instance from the same origin, it changes nothing.
    async fn revive(&self, request: &ReviveRequest) -> Result<(), SnapshotError>;

    /// How far the instance is; `None` when there is none.
    async fn instance(&self, name: &str) -> Result<Option<InstanceState>, SnapshotError>;
}

/// Why there is no instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReviveError {
    /// It could not be asked for or looked at.
    #[error(transparent)]
    Instances(#[from] SnapshotError),
    /// It failed.
    #[error("instance {instance} failed: {reason}")]
    Failed {
        /// Which.
        instance: String,
        /// What was said.
        reason: String,
    },
    /// It was not there in time. It may still come to be.
    #[error(
        "instance {instance} is not available after {} s; last seen: {seen}. It may still come: the same command goes on waiting",
        waited.as_secs()
    )]
    TimedOut {
        /// Which.
        instance: String,
        /// How long it was waited for.
        waited: Duration,
        /// What was seen at the end.
        seen: String,
    },
    /// Somebody asked to stop. The instance, once begun, is still being made.
    #[error("cancelled while waiting for instance {instance}, which is still being made")]
    Cancelled {
        /// Which.
        instance: String,
    },
}

/// An instance that takes connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Revived {
    /// Its name.
    pub instance: String,
    /// Host and port.
    pub endpoint: String,
    /// How long it took.
    pub waited: Duration,
}

/// Brings an instance back, and waits until it takes connections. Looks each `poll`; what fails for a moment is repeated until
/// `timeout`. `on` is told what is seen when it changes.
pub async fn revive(
    instances: &dyn Instances,
    request: &ReviveRequest,
    timeout: Duration,
    poll: Duration,
    on: &(dyn Fn(String) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<Revived, ReviveError> {
    let start = Instant::now();
    let instance = request.instance.clone();
    let (mut begun, mut said) = (false, None);
    loop {
        // Never cut short: whether it was asked for must be known.
        let asked = if begun { Ok(()) } else { instances.revive(request).await };
        begun |= asked.is_ok();
        let state = match asked {
            Ok(()) => instances.instance(&instance).await,
            Err(error) => Err(error),
        };
        let seen = match state {
            Err(error) if error.kind() == SnapshotErrorKind::Transient => error.to_string(),
            Err(error) => return Err(error.into()),
            Ok(Some(InstanceState::Available { endpoint })) => {
                return Ok(Revived { instance, endpoint, waited: start.elapsed() });
            }
            Ok(Some(InstanceState::Failed { reason })) => {
                return Err(ReviveError::Failed { instance, reason });
            }
            Ok(Some(InstanceState::Working { status })) => status,
            Ok(None) => "not there yet".to_owned(),
        };
        if said.as_ref() != Some(&seen) {
            on(format!("instance {instance}: {seen}"));
            said = Some(seen.clone());
        }
        if start.elapsed() + poll >= timeout {
            return Err(ReviveError::TimedOut { instance, waited: start.elapsed(), seen });
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(ReviveError::Cancelled { instance }),
            () = tokio::time::sleep(poll) => {}
        }
    }
}
