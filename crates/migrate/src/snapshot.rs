//! Snapshots of the database, before migrations and by hand: of its whole instance by whoever runs it ([`Snapshots`], [`take`]), or
//! as an archive of `pg_dump` ([`Archives`]) that is read back at once, can be verified on a throw-away server, and restored.

mod archives;
pub(crate) mod census;
mod dump;
mod error;
mod instance;
mod manifest;
mod marker;
mod restore;
mod revive;
mod shape;
mod verify;

pub use liftlock_model::Marker;
pub use liftlock_postgres::Owners;

pub use archives::{Archives, Kept, Listing, Snapshot, State};
pub use dump::{Archive, Dump};
pub use error::{ArchiveError, SnapshotFailure};
pub use instance::{
    SnapshotError, SnapshotErrorKind, SnapshotRequest, SnapshotState, Snapshots, TakeError, Taken,
    take,
};
pub use manifest::{Contents, DumpFile, Locale, Manifest, Sequence};
pub use restore::{Replace, Restore, Restored, replace, restore};
pub use revive::{InstanceState, Instances, Origin, ReviveError, ReviveRequest, Revived, revive};
pub use verify::{Verified, verify};
