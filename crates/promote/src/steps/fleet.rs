//! Migrations over all databases of a fleet: what each step of the database does where there are many.
//!
//! A database that a run has not seen before it acted is none of its business: it was made meanwhile. And what a run takes back is
//! what it applied: each database goes back to where it was, and not further.

use std::collections::BTreeMap;

use liftlock_migrate::fleet::{
    FleetOutcome, FleetProgress, FleetReport, FleetTarget, Work, each, go,
};
use liftlock_migrate::{Migrations, Progress, Ran, RolledBack, Settings};
use liftlock_model::{Exit, Left};
use liftlock_saga::{StepError, StepErrorKind, Undone};

use super::Frame;
use super::database::{audience, loses, loss, record};
use crate::fleet::Members;
use crate::long::watched;
use crate::site::Site;

type Life<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// What came of one database, by its name.
type Each<T> = Vec<(String, Result<T, String>)>;

fn failed(errors: &[String], of: usize) -> StepError {
    let lines: String = errors.iter().map(|error| format!("\n  {error}")).collect();
    StepError::new(
        StepErrorKind::Failed,
        format!("{} of the fleet's {of} databases failed:{lines}", errors.len()),
    )
}

/// All results, or an error that names each database that failed.
fn all<T>(results: Each<T>) -> Result<BTreeMap<String, T>, StepError> {
    let of = results.len();
    let (mut done, mut errors) = (BTreeMap::new(), Vec::new());
    for (name, result) in results {
        match result {
            Ok(value) => drop(done.insert(name, value)),
            Err(error) => errors.push(format!("{name}: {error}")),
        }
    }
    errors.sort();
    if errors.is_empty() { Ok(done) } else { Err(failed(&errors, of)) }
}

/// The newest migration of each database.
pub(crate) async fn newest(
    site: &Site,
    members: Members,
) -> Result<BTreeMap<String, i32>, StepError> {
    let settings = site.migration_settings(None)?;
    all(each(
        members.targets,
        &settings,
        members.options.concurrency,
        |_, mut database| async move {
            let applied = database.applied().await.map_err(|error| error.to_string())?;
            Ok(applied.iter().map(|one| one.version).max().unwrap_or(0))
        },
    )
    .await)
}

/// What others have changed in the schemas of the fleet; none if nothing.
pub(crate) async fn drifted(site: &Site, members: Members) -> Result<Option<String>, StepError> {
    let settings = site.migration_settings(None)?;
    let drifts = each(
        members.targets,
        &settings,
        members.options.concurrency,
        |_, mut database| async move { database.drift().await.map_err(|error| error.to_string()) },
    )
    .await;
    let seen: Vec<String> =
        all(drifts)?.values().filter(|drift| drift.is_seen()).map(ToString::to_string).collect();
    Ok((!seen.is_empty()).then(|| seen.join("\n")))
}

/// Applies the migrations: the canary, then waves. Those databases that were not seen before are left alone.
pub(super) async fn apply(
    frame: &Frame<'_>,
    members: Members,
    migrations: &Migrations,
    to: Option<i32>,
    seen: &BTreeMap<String, i32>,
    snapshot: Option<&str>,
    life: Life<'_>,
) -> Result<Vec<Ran>, StepError> {
    let Members { mut targets, options } = members;
    targets.retain(|target| {
        let known = seen.is_empty() || seen.contains_key(&target.name);
        if !known {
            life(&format!("{} is new in the fleet, and is left to the next run", target.name));
        }
        known
    });
    // How far it goes was decided from what serves.
    let work = Work::Apply { migrations, to, contract: true };
    let settings = Settings {
        taken: snapshot.map(str::to_owned),
        ..frame.site.migration_settings(Some(frame.scribe.run()))?
    };
    let (settings, options) = (&settings, &options);
    let report = watched(audience(frame), |alarm| async move {
        let on = |progress: &FleetProgress<'_>| {
            if let FleetProgress::Database { name, progress } = progress {
                alarm.hear(Some(name), progress);
            }
            life(&progress.to_string());
        };
        go(targets, work, settings, options, &on).await
    });
    let report =
        report.await.map_err(|error| StepError::of_kind(StepErrorKind::Configuration, &error))?;
    conclude(frame, report).await
}

/// Puts on record what came of each database.
async fn conclude(frame: &Frame<'_>, report: FleetReport) -> Result<Vec<Ran>, StepError> {
    let (exit, of) = (report.exit(), report.results.len());
    let (mut all, mut errors) = (Vec::new(), Vec::new());
    for result in report.results {
        let name = result.name;
        if let FleetOutcome::Failed { error, .. } = &result.outcome {
            errors.push(format!("{name}: {error}"));
        }
        let ran = result.outcome.ran();
        record(frame, Some(&name), ran, false).await?;
        all.extend_from_slice(ran);
    }
    if exit == Exit::Done { Ok(all) } else { Err(failed(&errors, of)) }
}

/// Rolls each database back to where `to` says, newest migration first. Those that are there already are not touched.
async fn roll_back(
    frame: &Frame<'_>,
    to: &BTreeMap<String, i32>,
    accept_data_loss: bool,
    life: Life<'_>,
) -> Result<Each<RolledBack>, StepError> {
    let Some(members) = frame.site.members().await? else { return Ok(Vec::new()) };
    let (targets, mut gone) = of_these(members.targets, to);
    let settings = frame.site.way_back_settings(Some(frame.scribe.run()), frame.reason)?;
    let at_once = members.options.concurrency;
    let settings = &settings;
    let back = watched(audience(frame), |alarm| async move {
        let alarm = &alarm;
        each(targets, settings, at_once, |name, mut database| async move {
            let mut tell = |progress: &Progress| {
                alarm.hear(Some(&name), progress);
                life(&format!("{name}: {progress}"));
            };
            let wanted = to.get(&name).copied().unwrap_or(0);
            Ok(database.rollback(wanted, accept_data_loss, &mut tell).await)
        })
        .await
    });
    let mut results = Vec::new();
    for (name, back) in back.await {
        let back = match back {
            Ok(Ok(back)) => {
                record(frame, Some(&name), &back.ran, true).await?;
                Ok(back)
            }
            Ok(Err(error)) => {
                record(frame, Some(&name), &error.ran, true).await?;
                Err(StepError::from_error(&error).to_string())
            }
            Err(error) => Err(error),
        };
        results.push((name, back));
    }
    results.append(&mut gone);
    Ok(results)
}

/// The targets that are wanted, and those wanted ones that the fleet has no more.
fn of_these<T>(
    targets: Vec<FleetTarget>,
    wanted: &BTreeMap<String, i32>,
) -> (Vec<FleetTarget>, Each<T>) {
    let targets: Vec<_> =
        targets.into_iter().filter(|target| wanted.contains_key(&target.name)).collect();
    let gone = wanted.keys().filter(|name| targets.iter().all(|target| target.name != **name));
    let gone = gone.map(|name| (name.clone(), Err("the fleet has it no more".to_owned())));
    let gone = gone.collect();
    (targets, gone)
}

/// Takes back what this run applied, and no more. What stays in some databases bars no other's way back.
pub(super) async fn undo(
    frame: &Frame<'_>,
    before: &BTreeMap<String, i32>,
    life: Life<'_>,
) -> Result<Undone, StepError> {
    let results = roll_back(frame, before, false, life).await?;
    let environment = &frame.site.environment.name;
    let (mut left, mut count) = (Vec::new(), 0);
    for (name, result) in results {
        let version = before.get(&name).copied().unwrap_or(0);
        let why = match result {
            Ok(back) => {
                count += usize::from(!back.ran.is_empty());
                let Some(refused) = &back.refused else { continue };
                format!("{} stays applied in {name}: {}", refused.id, loss(refused))
            }
            Err(error) => format!("{name} could not be rolled back: {error}"),
        };
        let command = format!(
            "liftlock migrate rollback --env {environment} --database {name} --to V{version:04} --accept-data-loss"
        );
        left.push(Left { what: why, command });
    }
    let note = match (count, left.len()) {
        (0, 0) => "no migration had been applied to any database".to_owned(),
        (count, 0) => format!("rolled back in {count} databases: each is where it was"),
        (count, kept) => {
            format!("rolled back in {count} databases; {kept} are not where they were")
        }
    };
    Ok(Undone { left, note })
}

/// Takes the schema of each database back to what an earlier release needs.
pub(super) async fn take_back(
    frame: &Frame<'_>,
    before: &BTreeMap<String, i32>,
    to: i32,
    accept_data_loss: bool,
    life: Life<'_>,
) -> Result<(), StepError> {
    let wanted: BTreeMap<String, i32> = before
        .iter()
        .filter(|(_, newest)| **newest > to)
        .map(|(name, _)| (name.clone(), to))
        .collect();
    let back = all(roll_back(frame, &wanted, accept_data_loss, life).await?)?;
    let refused = back.iter().filter_map(|(name, back)| Some((name, back.refused.as_ref()?)));
    let refused: Vec<String> =
        refused.map(|(name, refused)| format!("{name}: {}", loss(refused))).collect();
    if refused.is_empty() { Ok(()) } else { Err(loses(&refused.join("\n"))) }
}

/// Applies again what [`take_back`] took back: each database goes to where it was. Gives how many migrations ran.
pub(super) async fn apply_again(
    frame: &Frame<'_>,
    before: &BTreeMap<String, i32>,
    migrations: &Migrations,
    life: Life<'_>,
) -> Result<usize, StepError> {
    let Some(members) = frame.site.members().await? else { return Ok(0) };
    let (targets, _) = of_these::<()>(members.targets, before);
    let settings = frame.site.way_back_settings(Some(frame.scribe.run()), frame.reason)?;
    let ran =
        each(targets, &settings, members.options.concurrency, |name, mut database| async move {
            let to = before.get(&name).copied().filter(|to| *to > 0);
            let Some(to) = to else { return Ok(Vec::new()) };
            let mut tell = |progress: &Progress| life(&format!("{name}: {progress}"));
            let ran = database.apply(migrations, Some(to), &mut tell).await;
            ran.map_err(|error| StepError::from_error(&error).to_string())
        })
        .await;
    let mut count = 0;
    for (name, ran) in all(ran)? {
        record(frame, Some(&name), &ran, false).await?;
        count += ran.len();
    }
    Ok(count)
}

/// Why the fleet cannot go back to `wanted`. None when it can, or when it does not say.
pub(super) async fn refuses_way_back(
    site: &Site,
    members: Members,
    wanted: i32,
    accept_data_loss: bool,
) -> Option<StepError> {
    let settings = site.way_back_settings(None, None).ok()?;
    let tried = each(members.targets, &settings, members.options.concurrency, |_, mut database| async move {
        let applied = database.applied().await.map_err(|error| error.to_string())?;
        let now = applied.iter().map(|one| one.version).max().unwrap_or(0);
        if now < wanted {
            return Ok(Some(format!("it is at V{now:04}, and the release needs V{wanted:04}: a rollback applies none")));
        }
        if now == wanted || accept_data_loss {
            return Ok(None);
        }
        match database.would_lose(wanted).await {
            Ok(refused) => Ok(refused.as_ref().map(loss)),
            Err(error) => Ok(Some(StepError::from_error(&error).to_string())),
        }
    })
    .await;
    let why: Vec<String> = tried
        .into_iter()
        .filter_map(|(name, why)| Some(format!("{name}: {}", why.ok()??)))
        .collect();
    (!why.is_empty()).then(|| loses(&why.join("\n")))
}
