//! `migrate snapshot`: archives of the whole database.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use liftlock_migrate::commands::{Desk, End, Failed, archives};
use liftlock_migrate::snapshot::{Archives, Dump};
use liftlock_model::Exit;
use serde_json::json;

use crate::arguments::{Options, duration};

/// How many days a snapshot is kept: seven years.
pub(crate) const KEEP_DAYS: u32 = 2557;

/// Makes a snapshot (an archive of `pg_dump`, read back at once), or looks after those that are there.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Snapshot {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    create: Create,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes one
    Create(Create),
    /// Shows those that are there, newest first
    List(Where),
    /// Restores one on a private server of this machine and compares: the file, the schema, each table's rows and values
    Verify(Verify),
    /// Removes those whose time is over, never the newest good one of a database
    Prune(Prune),
}

#[derive(Debug, Args)]
pub(crate) struct Where {
    /// The directory of the snapshots
    #[arg(
        long,
        value_name = "DIRECTORY",
        default_value = ".liftlock/snapshots",
        env = "LIFTLOCK_SNAPSHOTS"
    )]
    snapshots: PathBuf,
}

impl Where {
    pub(crate) fn archives(&self) -> Archives {
        Archives::new(&self.snapshots)
    }
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    place: Where,
    /// Its id; made of database and time if left out
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// How many days it is kept; 0 for ever
    #[arg(long, value_name = "NUMBER", default_value_t = KEEP_DAYS)]
    keep_days: u32,
    /// Counts rows only: `verify` then cannot tell changed values
    #[arg(long)]
    no_checksums: bool,
    /// How long it may take
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = duration)]
    time_limit: Duration,
}

#[derive(Debug, Args)]
struct Verify {
    /// Its id, or the path of its file (with a `/` in it)
    #[arg(value_name = "ID|FILE")]
    snapshot: String,
    #[command(flatten)]
    place: Where,
    /// How long it may take
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = duration)]
    time_limit: Duration,
}

#[derive(Debug, Args)]
struct Prune {
    #[command(flatten)]
    place: Where,
}

pub(crate) async fn run(options: &Options, ask: &Snapshot) -> Result<End, Failed> {
    match &ask.command {
        None => create(options, &ask.create).await,
        Some(Command::Create(ask)) => create(options, ask).await,
        Some(Command::List(place)) => archives::list(&place.archives()),
        Some(Command::Verify(ask)) => {
            archives::check(&ask.place.archives(), &ask.snapshot, ask.time_limit).await
        }
        Some(Command::Prune(ask)) => archives::prune(&ask.place.archives()),
    }
}

async fn create(options: &Options, ask: &Create) -> Result<End, Failed> {
    let desk: &dyn Desk = options;
    let mut database = desk.connect().await?;
    let dump = Dump {
        id: ask.id.clone(),
        keep_days: Some(ask.keep_days).filter(|days| *days > 0),
        checksums: !ask.no_checksums,
        timeout: ask.time_limit,
        ..Dump::into(&ask.place.snapshots)
    };
    let made = database.dump(&dump).await.map_err(|error| Failed::ended(&error, error.exit()))?;
    let verb = if made.was_there { "was there already" } else { "made and read back" };
    let manifest = &made.snapshot.manifest;
    let text = format!(
        "snapshot {} {verb}: {} rows of {} tables, {} bytes in {}\n  at {}",
        manifest.id,
        manifest.rows(),
        manifest.contents.len(),
        manifest.dump.bytes,
        made.snapshot.dump().display(),
        manifest.marker
    );
    Ok(End { text, json: json!({ "snapshot": made.snapshot }), exit: Exit::Done })
}
