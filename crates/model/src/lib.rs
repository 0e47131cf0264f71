#![doc = include_str!("../README.md")]

mod artifact;
mod digest;
mod event;
mod exit;
mod journal;
mod marker;
mod migration;
mod name;
mod release;
mod run;
mod verdict;

pub use artifact::ArtifactHash;
pub use digest::{DigestError, ImageDigest, ImageRef, ImageRefError};
pub use event::{Deployment, DeploymentStatus, Entry, EntryHash, Event};
pub use exit::Exit;
pub use journal::{Left, Record, Reversal, StepPlan};
pub use marker::Marker;
pub use migration::{MigrationChecksum, MigrationId, MigrationIdError, MigrationStamp, Phase};
pub use name::{Actor, ApplicationName, EnvName, NameError, ServiceName, StepName};
pub use release::{CommitSha, CommitShaError, Release, ReleaseContent, ReleaseId, ReleaseIdError};
pub use run::{Fingerprint, Outcome, RunId, RunIdError, RunKind};
pub use verdict::{Sample, Verdict};
