//! `migrate snapshot` and `migrate restore`: the database's snapshots, by the method that the environment names.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use liftlock_aws::{RdsInstances, RdsSnapshots};
use liftlock_environment::config::{Engine, Snapshot, SnapshotMethod};
use liftlock_migrate::commands::archives;
use liftlock_migrate::snapshot::{self, Origin, Owners, Replace, Restored, ReviveRequest, Revived};
use liftlock_model::{Event, Exit, RunId};
use liftlock_promote::{BackUp, BackedUp};
use liftlock_saga::{StepError, StepErrorKind};

use super::desk::EnvDesk;
use super::place::Place;
use crate::cli::{MigrateRestore, MigrateSnapshot, Where};
use crate::commands::Top;
use crate::commands::promote::stop_on_signals;
use crate::connect;
use crate::console::{Console, seconds};
use crate::failure::Failure;

/// How often AWS is asked how far something is.
const POLL: Duration = Duration::from_secs(5);
/// How long restoring an archive to compare it may take.
const VERIFY_WITHIN: Duration = Duration::from_secs(4 * 3600);

/// Takes a snapshot now, and puts it on record.
async fn take(place: &mut Place<'_>, console: &Console) -> Result<Exit, Failure> {
    let config = demanded(place)?.clone();
    let held = place.held(async |place, run| take_held(place, &config, run, console).await);
    let BackedUp { id, place: at, keep_until, marker } = Box::pin(held).await?;
    let keep = keep_until.map_or_else(|| "for ever".to_owned(), |day| format!("until {day}"));
    let log = marker.as_ref().map(|marker| format!("\n  at {marker}")).unwrap_or_default();
    let json =
        serde_json::json!({ "id": id, "place": at, "keep_until": keep_until, "marker": marker });
    console.result("snapshot", &json, || {
        format!("snapshot {id} is available as {at}, kept {keep}{log}")
    });
    Ok(Exit::Done)
}

/// `migrate snapshot` and what belongs to it.
pub(super) async fn snapshot(
    top: &Top,
    which: &Where,
    command: Option<&MigrateSnapshot>,
    console: &Console,
) -> Result<Exit, Failure> {
    let Some(command) = command else {
        return take(&mut Place::of(top, which, console).await?, console).await;
    };
    let (MigrateSnapshot::List { which }
    | MigrateSnapshot::Verify { which, .. }
    | MigrateSnapshot::Prune { which }) = command;
    let desk = EnvDesk::of(top, which, console)?;
    let archives = archives_of(&desk)?;
    let (kind, end) = match command {
        MigrateSnapshot::List { .. } => ("snapshots", archives::list(&archives)?),
        MigrateSnapshot::Verify { snapshot, .. } => {
            ("verified", archives::check(&archives, snapshot, VERIFY_WITHIN).await?)
        }
        MigrateSnapshot::Prune { .. } => ("pruned", archives::prune(&archives)?),
    };
    Ok(desk.show(kind, end))
}

fn archives_of(desk: &EnvDesk<'_>) -> Result<snapshot::Archives, Failure> {
    let name = &desk.environment.name;
    let config = desk.config.snapshot.as_ref();
    match config.map(|config| (config.method, &config.directory)) {
        Some((SnapshotMethod::PgDump, Some(directory))) => {
            Ok(snapshot::Archives::new(desk.environment.path(directory)))
        }
        Some((SnapshotMethod::Rds, _)) => Err(Failure::usage(format!(
            "the snapshots of {name} are made by RDS, which lists, keeps and removes them: aws rds describe-db-snapshots"
        ))),
        _ => Err(Failure::usage(format!(
            "environment {name} makes no archives; add [database.snapshot] with `method = \"pg_dump\"` to environments/{name}.toml"
        ))),
    }
}

fn demanded<'p>(place: &'p Place<'_>) -> Result<&'p Snapshot, Failure> {
    place.desk.config.snapshot.as_ref().ok_or_else(|| {
        let name = &place.desk.environment.name;
        Failure::usage(format!(
            "environment {name} says nothing of snapshots; add [database.snapshot] to environments/{name}.toml"
        ))
    })
}

/// Takes the snapshot that the environment demands; the caller holds the environment. The ledger has it before anything else
/// happens.
pub(super) async fn take_held(
    place: &Place<'_>,
    config: &Snapshot,
    run: &RunId,
    console: &Console,
) -> Result<BackedUp, Failure> {
    let ask = BackUp {
        environment: &place.desk.environment,
        config,
        run,
        purpose: None,
        release: None,
        poll: POLL,
    };
    let snapshots = match config.method {
        SnapshotMethod::PgDump => None,
        SnapshotMethod::Rds => Some(RdsSnapshots::new(&clients(place, console).await?)),
    };
    let snapshots = snapshots.as_ref().map(|snapshots| snapshots as &dyn snapshot::Snapshots);
    let database = place.database(Some(run)).await;
    let database =
        database.map_err(|failure| StepError::new(StepErrorKind::Failed, failure.message));
    let cancel = stop_on_signals(console);
    let taken = ask.take(snapshots, database, &|text| console.life(&text), &cancel).await?;
    place.write(run, taken.event()).await?;
    Ok(taken)
}

async fn clients(place: &Place<'_>, console: &Console) -> Result<liftlock_aws::Clients, Failure> {
    connect::clients(&place.desk.environment, &place.desk.stage_directory, console).await
}

/// Brings a snapshot back, beside what is live or in its place.
pub(super) async fn restore(
    place: &mut Place<'_>,
    ask: &MigrateRestore,
    console: &Console,
) -> Result<Exit, Failure> {
    let config = demanded(place)?.clone();
    match config.method {
        SnapshotMethod::Rds => revive(place, &config, ask, &RunId::generate(), console).await,
        SnapshotMethod::PgDump => {
            let held = place
                .held(async |place, run| restore_archive(place, &config, ask, run, console).await);
            let restored = Box::pin(held).await?;
            let verified = restored.verified.as_ref();
            let good = verified.is_none_or(|verified| verified.differences.is_empty());
            console.result("restored", &restored, || describe(&restored));
            Ok(if good { Exit::Done } else { Exit::Failed })
        }
    }
}

async fn restore_archive(
    place: &Place<'_>,
    config: &Snapshot,
    ask: &MigrateRestore,
    run: &RunId,
    console: &Console,
) -> Result<Restored, Failure> {
    let failed = |error: snapshot::ArchiveError| Failure::of(error.exit(), &error);
    let Some(id) = &ask.snapshot else {
        return Err(Failure::usage(
            "archives of pg_dump come back as they were saved: name one; for a point in time, the server's own log is needed",
        ));
    };
    let backup = BackUp {
        environment: &place.desk.environment,
        config,
        run,
        purpose: None,
        release: None,
        poll: POLL,
    };
    let kept = backup.archives().find(id).map_err(failed)?;
    let url = place.url().await?;
    let how = snapshot::Restore {
        into: ask.into.clone(),
        owners: if ask.no_owner { Owners::Dropped } else { Owners::Kept },
        ..snapshot::Restore::default()
    };
    let mut tell = |text: String| console.life(&text);
    let restored = if ask.replace {
        let replace = Replace {
            confirmed: ask.yes_replace.clone().unwrap_or_default(),
            terminate: ask.terminate_sessions,
            again: ask.again,
        };
        snapshot::replace(&url, &place.desk.settings, &kept, &how, &replace, &mut tell).await
    } else {
        snapshot::restore(&url, &place.desk.settings, &kept, &how, &mut tell).await
    };
    let restored = restored.map_err(failed)?;
    let (id, at) = (id.clone(), format!("{}/{}", restored.server, restored.database));
    let event = Event::SnapshotRestored { id, place: at, before: restored.before.clone() };
    place.write(run, event).await?;
    Ok(restored)
}

fn describe(restored: &Restored) -> String {
    let Restored { server, database, verified, before, notes } = restored;
    let mut lines = vec![match before {
        Some(before) => format!(
            "database {database} on {server} has what the snapshot had; before, it was {before}"
        ),
        None => format!("it is in database {database} on {server}"),
    }];
    let differences = verified.iter().flat_map(|verified| &verified.differences);
    lines.extend(differences.map(|one| format!("  DIFFERS  {one}")));
    lines.extend(notes.iter().map(|note| format!("  note: {note}")));
    lines.join("\n")
}

async fn revive(
    place: &Place<'_>,
    config: &Snapshot,
    ask: &MigrateRestore,
    run: &RunId,
    console: &Console,
) -> Result<Exit, Failure> {
    let name = &place.desk.environment.name;
    if place.desk.environment.config.infrastructure.engine == Engine::Stage {
        return Err(Failure::usage(format!(
            "the stage makes no instances; in environments/{name}.toml, `method = \"pg_dump\"` makes snapshots that come back here"
        )));
    }
    if ask.replace {
        return Err(Failure::usage(
            "RDS brings a snapshot back as a new instance: leave --replace out, and lead the database's URL to the new one",
        ));
    }
    let like = config.instance.clone().unwrap_or_else(|| place.desk.environment.prefix());
    let origin = match (&ask.snapshot, ask.at) {
        (Some(id), _) => Origin::Snapshot { id: id.clone() },
        (None, Some(at)) => Origin::Time { at },
        (None, None) => return Err(Failure::usage("name a snapshot, or a time with --at")),
    };
    let now = Timestamp::now().strftime("%Y%m%d-%H%M%S");
    let instance = ask.into.clone().unwrap_or_else(|| format!("{like}-restored-{now}"));
    let tags = BTreeMap::from([("liftlock:run".to_owned(), run.to_string())]);
    let request = ReviveRequest { instance, like: like.clone(), origin, tags };
    let instances = RdsInstances::new(&clients(place, console).await?);
    let (timeout, cancel) = (config.timeout.duration(), stop_on_signals(console));
    let on = |text: String| console.life(&text);
    let revived = snapshot::revive(&instances, &request, timeout, POLL, &on, &cancel).await;
    let Revived { instance, endpoint, waited } =
        revived.map_err(|error| Failure::of(Exit::Failed, &error))?;
    let id = match &request.origin {
        Origin::Snapshot { id } => id.clone(),
        Origin::Time { at } => at.to_string(),
    };
    let event = Event::SnapshotRestored { id: id.clone(), place: instance.clone(), before: None };
    place.write(run, event).await?;
    let json = serde_json::json!({ "instance": instance, "endpoint": endpoint });
    console.result("restored", &json, || {
        format!(
            "{id} is back as instance {instance} at {endpoint} after {}; {like} was not touched\n  to use it: lead {} to it",
            seconds(waited),
            place.desk.config.url
        )
    });
    Ok(Exit::Done)
}
