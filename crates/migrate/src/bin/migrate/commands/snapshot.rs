//! `migrate snapshot`: archives of the whole database.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::{Timestamp, tz::TimeZone};
use liftlock_migrate::snapshot::{
    Archives, Dump, Kept, Listing, Manifest, Snapshot as Taken, State, Verified, verify,
};
use liftlock_model::Exit;
use serde_json::json;

use crate::arguments::{Options, duration};
use crate::command::{End, Failed, connect};

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
        Some(Command::List(place)) => list(&place.archives()),
        Some(Command::Verify(ask)) => check(ask).await,
        Some(Command::Prune(ask)) => prune(&ask.place.archives()),
    }
}

async fn create(options: &Options, ask: &Create) -> Result<End, Failed> {
    let mut database = connect(options).await?;
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

fn list(archives: &Archives) -> Result<End, Failed> {
    let listing = archives.list().map_err(|error| Failed::ended(&error, error.exit()))?;
    let whole = listing.problems.is_empty()
        && listing.snapshots.iter().all(|kept| kept.state == State::There);
    let exit = if whole { Exit::Done } else { Exit::Failed };
    Ok(End { text: table(&listing, archives), json: json!(listing), exit })
}

fn table(listing: &Listing, archives: &Archives) -> String {
    let mut lines: Vec<String> = listing.snapshots.iter().map(line).collect();
    lines.extend(listing.problems.iter().map(|problem| format!("PROBLEM  {problem}")));
    if lines.is_empty() {
        lines.push(format!("no snapshots in {}", archives.directory().display()));
    }
    lines.join("\n")
}

fn line(Kept { snapshot: Taken { manifest, .. }, state }: &Kept) -> String {
    let Manifest { id, server, database, taken_at, taken_by, keep_until, dump, .. } = manifest;
    let keep = keep_until.map_or_else(|| "for ever".to_owned(), |until| format!("until {until}"));
    let newest = manifest.newest_migration.as_ref();
    let newest = newest.map_or_else(|| "no migrations".to_owned(), ToString::to_string);
    let at = taken_at.strftime("%Y-%m-%d %H:%M:%S UTC");
    let problem = match state {
        State::There => "",
        State::Missing => "  PROBLEM: its archive is missing",
        State::OtherSize => "  PROBLEM: its archive has another size",
    };
    format!(
        "{id}  {server}/{database} at {newest}, {at} by {taken_by}, {} bytes, kept {keep}{problem}",
        dump.bytes
    )
}

async fn check(ask: &Verify) -> Result<End, Failed> {
    let unknown = |error: &dyn std::fmt::Display| Failed::ended(error, Exit::Usage);
    let snapshot = ask.place.archives().find(&ask.snapshot).map_err(|error| unknown(&error))?;
    let verified = verify(&snapshot, ask.time_limit).await.map_err(|error| unknown(&error))?;
    let exit = if verified.differences.is_empty() { Exit::Done } else { Exit::Failed };
    Ok(End { text: outcome(&verified), json: json!(verified), exit })
}

/// What came of comparing, for people.
pub(crate) fn outcome(verified: &Verified) -> String {
    let Verified { id, tables, rows, differences, notes, milliseconds } = verified;
    let notes: String = notes.iter().map(|note| format!("\n  note: {note}")).collect();
    if differences.is_empty() {
        return format!(
            "snapshot {id} is good: restored and compared in {milliseconds} ms, {rows} rows of {tables} tables{notes}"
        );
    }
    let differences: String = differences.iter().map(|one| format!("\n  {one}")).collect();
    format!("snapshot {id} is NOT what was saved:{differences}{notes}")
}

fn prune(archives: &Archives) -> Result<End, Failed> {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let removed = archives.prune(today).map_err(|error| Failed::ended(&error, error.exit()))?;
    let ids: Vec<&str> = removed.iter().map(|manifest| manifest.id.as_str()).collect();
    let text = match ids.as_slice() {
        [] => "no snapshot's time is over".to_owned(),
        ids => format!("removed {}", ids.join(", ")),
    };
    Ok(End { text, json: json!({ "removed": ids }), exit: Exit::Done })
}
