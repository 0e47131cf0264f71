//! What the command line may say.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;
use liftlock_migrate::commands::{
    Adopt, Baseline, Check, Drift, Failed, Fleet, New, Prove, Resolve, Rollback, Squash, Status,
};
use liftlock_migrate::{DriftPolicy, Settings};
use liftlock_model::Actor;

use crate::commands::apply::Apply;
use crate::commands::restore::Restore;
use crate::commands::snapshot::Snapshot;
use crate::lint::LintOptions;

/// Applies database migrations: V0001__name.sql with V0001__name.rollback.sql beside it, each in one transaction.
///
/// Ends with 0: done; 1: failed and taken back, or something to mend was found; 2: wrong usage or files, nothing was touched; 3: the
/// database did not let us in; 6: a commit whose outcome is not known; 7: another run holds the database.
#[derive(Debug, Parser)]
#[command(name = "migrate", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) apply: Apply,
    #[command(flatten)]
    pub(crate) options: Options,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes the files of a new migration, to be written; needs no database
    New(New),
    /// Takes over the migrations of another tool: its files, and with --database-too its history
    Adopt(Adopt),
    /// Records migrations as applied on a database that was there before them, once its schema is proven to be theirs
    Baseline(Baseline),
    /// Shows what is applied and what is pending; changes nothing
    Status(Status),
    /// Shows what others have changed in the schema since the last run
    Drift(Drift),
    /// Checks the files, and says what is wrong with their SQL; needs no database
    Check(Check),
    /// Rolls back, newest first, with the rollback scripts that the database keeps
    Rollback(Rollback),
    /// Makes one migration of many, proven to make the same schema and rows, and puts it in their place
    Squash(Squash),
    Snapshot(Snapshot),
    Restore(Restore),
    /// Tries the rollback scripts of what is applied on a database of their own, and puts on record which are right
    Prove(Prove),
    /// Applies what is pending to many databases: a canary, then waves
    Fleet(Fleet),
    /// Says what became of a statement that ran outside of a transaction when its run died, and that nothing shows
    Resolve(Resolve),
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The directory of the migrations
    #[arg(long, global = true, default_value = "migrations", value_name = "DIRECTORY")]
    pub(crate) directory: PathBuf,
    /// The environment variable that holds the database's URL, postgres://user:password@host:port/database
    #[arg(long, global = true, default_value = "DATABASE_URL", value_name = "VARIABLE")]
    pub(crate) database_url_env: String,
    /// A file of NAME=VALUE lines to take that variable from
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
    /// How long a statement may wait for a lock
    #[arg(long, global = true, default_value = "2s", value_name = "TIME", value_parser = duration)]
    lock_timeout: Duration,
    /// For how long a migration is tried again that others' locks were in the way of; 0s: not at all
    #[arg(long, global = true, default_value = "10m", value_name = "TIME", value_parser = duration_or_none)]
    lock_retry_budget: Duration,
    /// How long a statement may run
    #[arg(long, global = true, default_value = "5m", value_name = "TIME", value_parser = duration)]
    statement_timeout: Duration,
    /// How long CREATE INDEX CONCURRENTLY and its kin may wait for other sessions in all
    #[arg(long, global = true, default_value = "30m", value_name = "TIME", value_parser = duration)]
    concurrent_budget: Duration,
    /// After how long to say, once, that a migration is still running
    #[arg(long, global = true, default_value = "5m", value_name = "TIME", value_parser = duration)]
    alert_after: Duration,
    /// How long to wait for another run on the same database
    #[arg(long, global = true, default_value = "1m", value_name = "TIME", value_parser = duration)]
    wait: Duration,
    /// What to do if others have changed the schema since the last run
    #[arg(long, global = true, value_enum, default_value_t = DriftChoice::Refuse, value_name = "WHAT")]
    drift: DriftChoice,
    /// Who runs this, for the history
    #[arg(long, global = true, env = "LIFTLOCK_ACTOR", value_name = "NAME")]
    actor: Option<String>,
    /// For people, or one line of JSON at the end (progress stays on standard error); Markdown for a dry-run alone
    #[arg(long, global = true, value_enum, default_value_t = Output::Human)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) lint: LintOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Human,
    Json,
    Markdown,
}

/// What to do about drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DriftChoice {
    /// Touch nothing
    Refuse,
    /// Show it and go on
    Warn,
    /// Do not look
    Ignore,
}

impl From<DriftChoice> for DriftPolicy {
    fn from(choice: DriftChoice) -> Self {
        match choice {
            DriftChoice::Refuse => Self::Refuse,
            DriftChoice::Warn => Self::Warn,
            DriftChoice::Ignore => Self::Ignore,
        }
    }
}

impl Options {
    pub(crate) fn settings(&self) -> Result<Settings, Failed> {
        let login = ["GITHUB_ACTOR", "USER", "LOGNAME"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok());
        let actor = self.actor.clone().or(login).unwrap_or_else(|| "unknown".into());
        Ok(Settings {
            lock_timeout: self.lock_timeout,
            lock_retry_budget: self.lock_retry_budget,
            statement_timeout: self.statement_timeout,
            wait: self.wait,
            concurrent_budget: self.concurrent_budget,
            alert_after: self.alert_after,
            lint: self.lint.settings()?,
            drift: self.drift.into(),
            ..Settings::new(Actor::new(&actor))
        })
    }
}

const EXPECTED: &str = "expected a time such as `500ms`, `2s` or `5m`";

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    // 0 would mean `for ever` to PostgreSQL.
    duration_or_none(text)
        .ok()
        .filter(|duration| duration.as_millis() > 0)
        .ok_or_else(|| EXPECTED.into())
}

fn duration_or_none(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration = text.parse().map_err(|_| EXPECTED)?;
    Duration::try_from(duration).map_err(|_| EXPECTED.into())
}
