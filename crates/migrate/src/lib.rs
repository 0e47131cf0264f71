#![doc = include_str!("../README.md")]

mod apply;
mod catalog;
mod check;
mod connect;
mod database;
mod failure;
mod files;
mod history;
mod lock;
mod loss;
mod progress;
mod refinery;
mod rollback;
mod script;
mod session;
mod settings;
pub mod snapshot;
mod text;
mod transaction;

pub use check::Problem;
pub use connect::{ConnectError, ConnectErrorKind};
pub use database::{Database, Status, StatusError};
pub use failure::{ApplyError, Failure, RollbackError, ScriptError};
pub use files::{FileProblem, FilesError, Migration, Migrations, Script};
pub use history::Applied;
pub use lock::LockError;
pub use progress::{Progress, Ran};
pub use rollback::{Refused, RolledBack};
pub use session::Session;
pub use settings::Settings;
