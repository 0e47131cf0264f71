//! The commands of one database, for the program `migrate` and for everybody else who offers them: what may be asked, what is done,
//! and what is said at the end. Where they work is a [`Desk`].
//!
//! The arguments make no group of their struct's name (`group(skip)`): whoever flattens them into a subcommand of the same name has one.

mod adopt;
pub mod archives;
mod baseline;
mod check;
mod desk;
mod drift;
mod dry_run;
mod fleet;
mod new;
mod prove;
mod resolve;
mod rollback;
mod squash;
mod status;

pub use adopt::Adopt;
pub use baseline::Baseline;
pub use check::Check;
pub use desk::{Desk, End, Failed, Need};
pub use drift::Drift;
pub use dry_run::Reports;
pub use fleet::{Fleet, FleetRollback, fleet_status, over_fleet};
pub use new::New;
pub use prove::Prove;
pub use resolve::Resolve;
pub use rollback::Rollback;
pub use squash::Squash;
pub use status::Status;

/// Reads a migration's number, such as `V0041` or `41`.
///
/// # Errors
/// What is wrong with it.
pub fn version(text: &str) -> Result<i32, String> {
    liftlock_model::MigrationId::parse_version(text).map_err(|error| error.to_string())
}
