//! The peers' errors as the saga and the exit code see them.

use liftlock_environment::SecretError;
use liftlock_migrate::snapshot::{ArchiveError, SnapshotError, SnapshotErrorKind, TakeError};
use liftlock_migrate::{ApplyError, ConnectError, ConnectErrorKind, RollbackError};
use liftlock_model::Exit;
use liftlock_rollout::{RolloutError, TargetError, TargetErrorKind, Tripped};
use liftlock_saga::{StepError, StepErrorKind};

fn kind(kind: TargetErrorKind) -> StepErrorKind {
    match kind {
        TargetErrorKind::NotFound | TargetErrorKind::Conflict => StepErrorKind::Configuration,
        TargetErrorKind::Authentication => StepErrorKind::Authentication,
        TargetErrorKind::Transient | TargetErrorKind::Other => StepErrorKind::Failed,
    }
}

pub(crate) fn target(error: TargetError) -> StepError {
    StepError::of_kind(kind(error.kind()), &error)
}

pub(crate) fn rollout(error: RolloutError) -> StepError {
    let kind = match error.kind() {
        _ if error.is_cancelled() => StepErrorKind::Cancelled,
        Some(target) => kind(target),
        None => StepErrorKind::Failed,
    };
    StepError::of_kind(kind, &error)
}

pub(crate) fn tripped(error: Tripped) -> StepError {
    let kind = if error.is_cancelled() { StepErrorKind::Cancelled } else { StepErrorKind::Failed };
    StepError::of_kind(kind, &error)
}

pub(crate) fn secret(error: SecretError) -> StepError {
    let kind = if error.exit() == Exit::Authentication {
        StepErrorKind::Authentication
    } else {
        StepErrorKind::Configuration
    };
    StepError::of_kind(kind, &error)
}

pub(crate) fn connect(error: ConnectError) -> StepError {
    let kind = match error.kind() {
        ConnectErrorKind::Authentication => StepErrorKind::Authentication,
        ConnectErrorKind::Configuration => StepErrorKind::Configuration,
        ConnectErrorKind::Unreachable => StepErrorKind::Failed,
    };
    StepError::of_kind(kind, &error)
}

pub(crate) fn apply(error: ApplyError) -> StepError {
    StepError::from_error(&error)
}

pub(crate) fn rollback(error: RollbackError) -> StepError {
    StepError::from_error(&error)
}

pub(crate) fn snapshot(error: SnapshotError) -> StepError {
    StepError::of_kind(snapshot_kind(error.kind()), &error)
}

pub(crate) fn taking(error: TakeError) -> StepError {
    let kind = match &error {
        TakeError::Cancelled { .. } => StepErrorKind::Cancelled,
        TakeError::Snapshots(error) => snapshot_kind(error.kind()),
        TakeError::Failed { .. } | TakeError::TimedOut { .. } => StepErrorKind::Failed,
    };
    StepError::of_kind(kind, &error)
}

pub(crate) fn archive(error: &ArchiveError) -> StepError {
    let kind = match error.exit() {
        Exit::Authentication => StepErrorKind::Authentication,
        Exit::Usage => StepErrorKind::Configuration,
        _ => StepErrorKind::Failed,
    };
    StepError::of_kind(kind, error)
}

fn snapshot_kind(kind: SnapshotErrorKind) -> StepErrorKind {
    match kind {
        SnapshotErrorKind::Authentication => StepErrorKind::Authentication,
        SnapshotErrorKind::NotFound => StepErrorKind::Configuration,
        SnapshotErrorKind::Transient | SnapshotErrorKind::Other => StepErrorKind::Failed,
    }
}
