#![doc = include_str!("../README.md")]

mod append;
mod artifact;
mod entry;
mod error;
mod heart;
mod lease;
mod ledger;
mod location;
pub mod projection;
mod read;
mod schema;
mod store;
mod verify;

pub use append::AppendError;
pub use entry::Draft;
pub use error::{OpenError, OpenErrorKind, StoreError, Trouble};
pub use heart::{Heart, Pulse};
pub use lease::{AcquireError, Fence, Lease, LeaseError};
pub use ledger::Ledger;
pub use location::Location;
pub use read::{Query, ReadError};
pub use verify::{Verified, VerifyError, verify_export};
