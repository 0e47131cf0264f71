//! The command line of `migrate`.

use clap::{ArgGroup, Args, Subcommand};
use liftlock_migrate::commands as ask;
use liftlock_model::EnvName;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Migrate {
    #[command(flatten)]
    pub which: Where,
    /// Try the pending migrations, their rollbacks, and the migrations again on a throw-away copy of the schema.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub reports: ask::Reports,
    /// Go no further than this migration, such as `V0041`.
    #[arg(long, value_name = "MIGRATION", value_parser = ask::version, conflicts_with = "dry_run")]
    pub to: Option<i32>,
    /// Apply also what is of the contract phase: no version that needs what it takes away is running any more.
    #[arg(long, conflicts_with = "dry_run")]
    pub contract: bool,
    #[command(subcommand)]
    pub command: Option<MigrateCommand>,
}

#[derive(Debug, Args)]
pub(crate) struct Where {
    /// The environment.
    #[arg(long, value_name = "ENVIRONMENT", default_value = "local")]
    pub env: EnvName,
    /// Which database, where the environment has a fleet.
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCommand {
    /// Make the files of a new migration, to be written; needs no database.
    New {
        #[command(flatten)]
        which: Where,
        #[command(flatten)]
        ask: ask::New,
    },
    /// Check the files, and what is wrong with their SQL by the environment's rules; needs no database.
    Check {
        #[command(flatten)]
        which: Where,
        #[command(flatten)]
        ask: ask::Check,
    },
    /// What is applied and what is pending.
    Status {
        #[command(flatten)]
        which: Where,
        #[command(flatten)]
        ask: ask::Status,
    },
    /// What others have changed in the schema since the last run.
    Drift {
        #[command(flatten)]
        which: Where,
        #[command(flatten)]
        ask: ask::Drift,
    },
    /// Try the rollback scripts of what is applied on a database of their own, and put on record which are right.
    Prove {
        #[command(flatten)]
        which: Where,
        #[command(flatten)]
        ask: ask::Prove,
    },
    /// Roll back the newest migrations.
    Rollback {
        #[command(flatten)]
        which: Where,
        #[command(flatten)]
        ask: ask::Rollback,
    },
    /// Make one migration of many, once a try on the environment's server has shown that it makes the same.
    Squash {
        #[command(flatten)]
        which: Where,
        #[command(flatten)]
        ask: ask::Squash,
    },
    /// Apply what is pending to all databases of the environment's fleet, or roll them back: a canary, then waves.
    Fleet(MigrateFleet),
    /// Take over the migrations of another tool: its files, and with `--database-too` its history.
    Adopt {
        #[command(flatten)]
        which: Where,
        #[command(flatten)]
        ask: ask::Adopt,
    },
    /// Record migrations as applied on a database that was there before them, once its schema is proven to be theirs.
    Baseline {
        #[command(flatten)]
        which: Where,
        #[command(flatten)]
        ask: ask::Baseline,
    },
    /// Say what became of a statement that ran outside of a transaction when its run died, and that nothing shows.
    Resolve {
        #[command(flatten)]
        which: Where,
        #[command(flatten)]
        ask: ask::Resolve,
    },
    /// Take a snapshot of the database now, as the environment says, or look after those that are there.
    #[command(args_conflicts_with_subcommands = true)]
    Snapshot {
        #[command(flatten)]
        which: Where,
        #[command(subcommand)]
        command: Option<MigrateSnapshot>,
    },
    /// Bring a snapshot back: beside the live database, or in its place.
    Restore(MigrateRestore),
}

#[derive(Debug, Args)]
pub(crate) struct MigrateFleet {
    /// The environment.
    #[arg(long, value_name = "ENVIRONMENT", default_value = "local")]
    pub env: EnvName,
    /// Go no further than this migration, such as `V0041`.
    #[arg(long, value_name = "MIGRATION", value_parser = ask::version)]
    pub to: Option<i32>,
    /// Apply also what is of the contract phase: no version that needs what it takes away is running any more.
    #[arg(long)]
    pub contract: bool,
    /// Only show how each stands: what is pending, what others have changed; nothing is applied.
    #[arg(long, conflicts_with_all = ["to", "contract"])]
    pub status: bool,
    #[command(flatten)]
    pub back: ask::FleetRollback,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MigrateSnapshot {
    /// Show those that are there (archives of `pg_dump`), newest first.
    List {
        #[command(flatten)]
        which: Where,
    },
    /// Restore one on a private server of this machine and compare: the file, the schema, each table's rows and values.
    Verify {
        #[command(flatten)]
        which: Where,
        /// Its id.
        snapshot: String,
    },
    /// Remove those whose time is over, never the newest good one of a database.
    Prune {
        #[command(flatten)]
        which: Where,
    },
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["snapshot", "at"]))]
pub(crate) struct MigrateRestore {
    #[command(flatten)]
    pub which: Where,
    /// The snapshot, as `history` and `migrate snapshot` name it.
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: Option<String>,
    /// A point in time instead (RDS), such as `2026-01-31T10:15:00Z`.
    #[arg(long, value_name = "TIME")]
    pub at: Option<jiff::Timestamp>,
    /// The new database's, or the new instance's, name.
    #[arg(long, value_name = "NAME", conflicts_with = "replace")]
    pub into: Option<String>,
    /// Put it in the live database's place (archives of `pg_dump`); that keeps everything under another name.
    #[arg(long, requires = "yes_replace")]
    pub replace: bool,
    /// The live database's name, typed by whoever means it.
    #[arg(long, value_name = "DATABASE", requires = "replace")]
    pub yes_replace: Option<String>,
    /// End the sessions of others that stand in the way.
    #[arg(long, requires = "replace")]
    pub terminate_sessions: bool,
    /// Also if this snapshot was put in place before.
    #[arg(long, requires = "replace")]
    pub again: bool,
    /// Give everything to the user who restores, and no rights to others (archives of `pg_dump`).
    #[arg(long)]
    pub no_owner: bool,
}
