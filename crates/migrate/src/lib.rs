#![doc = include_str!("../README.md")]

mod adopt;
mod apply;
mod ask;
mod baseline;
mod catalog;
mod check;
pub mod commands;
mod connect;
mod current;
mod database;
mod directive;
mod drift;
mod dry_run;
mod failure;
mod files;
mod finding;
pub mod fleet;
mod history;
mod in_two;
mod lint;
mod lock;
mod loss;
mod memo;
mod new;
mod outside;
mod parts;
mod pooler;
mod progress;
mod prove;
mod refinery;
mod retry;
mod rollback;
pub mod schema;
mod script;
mod session;
mod settings;
mod shadow;
pub mod snapshot;
mod squash;
mod text;
mod transaction;
mod watch;

pub use adopt::{AdoptError, Adoption, Conversion, Mapped, Standing, TakenOver, Tool};
pub use baseline::{BaselineError, Baselined, FirstMade, FromDatabase};
pub use check::Problem;
pub use connect::{ConnectError, ConnectErrorKind};
pub use database::{Database, Pending, Status, StatusError};
pub use directive::{Allow, Directives};
pub use drift::{Baseline, Drift, DriftPolicy, Drifted};
pub use dry_run::{
    Again, Blocks, COMMENT, Copied, DryRun, DryRunError, Lock, Loss, ReportError, RowsTouched,
    StatementTrial, Trial, Verdict, append_step_summary, markdown, sarif, write_markdown,
    write_sarif,
};
pub use failure::{ApplyError, Failure, RollbackError, ScriptError};
pub use files::{FileProblem, FilesError, Migration, Migrations, Script};
pub use finding::{Finding, Severity};
pub use history::{Action, Applied, Execution, RollbackProof};
pub use lint::{Allowed, Known, Level, Lint, LintSettings, lint};
pub use lock::LockError;
pub use new::{NewError, NewMigration};
pub use outside::{Direction, HalfDone, Resolution};
pub use progress::{Progress, Ran};
pub use prove::{Proof, ProveError, Proving};
pub use rollback::{Refused, RolledBack, To};
pub use session::Session;
pub use settings::Settings;
pub use shadow::TrialError;
pub use shadow::sizes::TableSize;
pub use squash::{Seal, Squash, SquashError, Squashed, WayBack};
