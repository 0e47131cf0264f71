//! Looking after the archives that snapshots are.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use liftlock_model::Exit;
use serde_json::json;

use super::{End, Failed};
use crate::snapshot::{
    Archives, Kept, Listing, Manifest, Snapshot as Taken, State, Verified, verify,
};

/// Shows the archives that are there, newest first.
///
/// # Errors
/// If their directory cannot be read.
pub fn list(archives: &Archives) -> Result<End, Failed> {
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

/// Restores an archive on a private server of this machine and compares.
///
/// # Errors
/// If there is no such archive, or it could not be tried.
pub async fn check(
    archives: &Archives,
    snapshot: &str,
    time_limit: Duration,
) -> Result<End, Failed> {
    let unknown = |error: &dyn std::fmt::Display| Failed::ended(error, Exit::Usage);
    let snapshot = archives.find(snapshot).map_err(|error| unknown(&error))?;
    let verified = verify(&snapshot, time_limit).await.map_err(|error| unknown(&error))?;
    let exit = if verified.differences.is_empty() { Exit::Done } else { Exit::Failed };
    Ok(End { text: outcome(&verified), json: json!(verified), exit })
}

/// What came of comparing, for people.
pub fn outcome(verified: &Verified) -> String {
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

/// Removes those whose time is over, never the newest good one of a database.
///
/// # Errors
/// If one cannot be removed.
pub fn prune(archives: &Archives) -> Result<End, Failed> {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let removed = archives.prune(today).map_err(|error| Failed::ended(&error, error.exit()))?;
    let ids: Vec<&str> = removed.iter().map(|manifest| manifest.id.as_str()).collect();
    let text = match ids.as_slice() {
        [] => "no snapshot's time is over".to_owned(),
        ids => format!("removed {}", ids.join(", ")),
    };
    Ok(End { text, json: json!({ "removed": ids }), exit: Exit::Done })
}
