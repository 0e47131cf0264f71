//! `migrate`: applies what is pending.

use liftlock_ledger::projection;
use liftlock_migrate::{Database, Migrations, Ran};
use liftlock_model::{Exit, MigrationId, RunId};
use liftlock_promote::proven;

use super::place::Place;
use super::{backup, lines};
use crate::cli::Migrate;
use crate::console::Console;
use crate::failure::Failure;

type Applied = (Vec<Ran>, Option<MigrationId>);

pub(super) async fn apply(
    place: &mut Place<'_>,
    ask: &Migrate,
    console: &Console,
) -> Result<Exit, Failure> {
    let migrations = place.desk().migrations()?;
    let held =
        place.held(async |place, run| apply_held(place, &migrations, run, ask, console).await);
    let (ran, waits) = Box::pin(held).await?;
    console.result("applied", &ran, || match ran.len() {
        0 => "nothing to apply".into(),
        _ => lines("applied", &ran),
    });
    if let Some(first) = waits {
        console.say(&format!(
            "{first} waits, and what is newer with it: it is `phase contract`, and a promotion applies it once no older version is \
             left\n  next: {} migrate --env {} --contract, if none is",
            console.program(),
            place.desk.environment.name
        ));
    }
    Ok(Exit::Done)
}

/// The newest migration that the release which serves knows, as far as the ledger knows; none if nothing serves.
pub(super) async fn known_to_what_serves(place: &Place<'_>) -> Result<Option<i32>, Failure> {
    let entries = liftlock_promote::history(&place.ledger)
        .await
        .map_err(|error| Failure::of(Exit::Failed, &error))?;
    let serving = projection::current(&entries, &place.desk.environment.name)
        .and_then(|current| projection::release(&entries, &current.release));
    let known = serving.iter().flat_map(|release| &release.content.migrations);
    Ok(known.map(|stamp| stamp.id.version).max())
}

async fn apply_held(
    place: &Place<'_>,
    migrations: &Migrations,
    run: &RunId,
    ask: &Migrate,
    console: &Console,
) -> Result<Applied, Failure> {
    let mut database = place.database(Some(run)).await?;
    let waits = match ask.contract {
        true => None,
        false => {
            let serving = known_to_what_serves(place).await?;
            let waits = database.waits_for(migrations, serving).await;
            waits.map_err(|error| Failure::of(Exit::Failed, &error))?
        }
    };
    let waits = waits.filter(|first| ask.to.is_none_or(|to| to >= first.version));
    let to = waits.as_ref().map(|first| first.version - 1).or(ask.to);
    let tried = proven(&place.desk.environment, &mut database, migrations).await;
    let tried =
        tried.map_err(|error| Failure { message: error.to_string(), exit: Exit::Failed })?;
    snapshot_first(place, &mut database, migrations, to, run, console).await?;
    let mut tell = place.desk().tell();
    let applied = database.apply(migrations, to, &mut tell).await;
    drop(tell);
    match applied {
        Ok(ran) => {
            place.record(run, place.desk.database(), &ran, false).await?;
            if let Some(tried) = tried.filter(|_| !ran.is_empty()) {
                let kept = database.keep_proofs(migrations, &tried).await;
                kept.map_err(|error| Failure::of(error.exit(), &error))?;
            }
            Ok((ran, waits))
        }
        Err(error) => {
            // What was applied before the one that failed stays, and is on record.
            place.record(run, place.desk.database(), &error.ran, false).await?;
            if !error.ran.is_empty() {
                console.say(&lines("applied", &error.ran));
            }
            Err(Failure::of(error.exit(), &error))
        }
    }
}

/// Takes the snapshot that the environment demands, if something is going to be applied. Without it, nothing is.
async fn snapshot_first(
    place: &Place<'_>,
    database: &mut Database,
    migrations: &Migrations,
    to: Option<i32>,
    run: &RunId,
    console: &Console,
) -> Result<(), Failure> {
    if place.desk.config.snapshot.is_none() {
        return Ok(());
    }
    let status = database.status(migrations).await;
    let status = status.map_err(|error| Failure::of(Exit::Failed, &error))?;
    let pending = status.pending.iter().any(|id| to.is_none_or(|to| id.version <= to));
    // What does not fit is refused by apply, with nothing touched.
    if !pending || !status.problems.is_empty() {
        return Ok(());
    }
    if let Some(id) = demanded_snapshot(place, run, console).await? {
        database.note_snapshot(&id);
    }
    Ok(())
}

/// Takes the snapshot that the environment demands, and gives its id. Without it, nothing may be applied, unless the environment does
/// not require it.
pub(super) async fn demanded_snapshot(
    place: &Place<'_>,
    run: &RunId,
    console: &Console,
) -> Result<Option<String>, Failure> {
    let Some(config) = &place.desk.config.snapshot else { return Ok(None) };
    match backup::take_held(place, config, run, console).await {
        Ok(taken) => {
            console.life(&format!("snapshot {} is available", taken.id));
            Ok(Some(taken.id))
        }
        Err(Failure { message, exit }) if config.required => Err(Failure {
            message: format!("no snapshot, so nothing was applied: {message}"),
            exit,
        }),
        Err(Failure { message, .. }) => {
            console.say(&format!(
                "NO SNAPSHOT: {message}; the environment does not require one, so this goes on"
            ));
            Ok(None)
        }
    }
}
