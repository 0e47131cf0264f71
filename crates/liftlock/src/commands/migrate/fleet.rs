//! `migrate fleet`: all databases of the environment's fleet.

use liftlock_migrate::commands::{End, fleet_status, over_fleet};
use liftlock_migrate::fleet::{FleetReport, Work, each};
use liftlock_migrate::{Database, Settings};
use liftlock_model::{Exit, RunId};
use liftlock_promote::{Members, proven};
use serde_json::json;

use super::apply::demanded_snapshot;
use super::desk::EnvDesk;
use super::place::Place;
use super::rollback::demand_reason;
use crate::cli::MigrateFleet;
use crate::failure::Failure;

pub(super) async fn run(place: &mut Place<'_>, ask: &MigrateFleet) -> Result<Exit, Failure> {
    let members = members(&place.desk).await?;
    let back = ask.back.work();
    if back.is_some() {
        demand_reason(place, ask.back.reason()).await?;
    }
    let held = place.held(async |place, run| match back {
        Some(work) => roll_back(place, members, work, ask, run).await,
        None => apply(place, members, ask, run).await,
    });
    let report = Box::pin(held).await?;
    let end = End { text: report.to_string(), exit: report.exit(), json: json!(report) };
    Ok(place.desk.show("fleet", end))
}

/// How each database stands; nothing is held, written or recorded.
pub(super) async fn status(desk: &EnvDesk<'_>) -> Result<End, Failure> {
    let Members { targets, options } = members(desk).await?;
    Ok(fleet_status(desk, targets, &desk.settings, options.concurrency).await?)
}

async fn members(desk: &EnvDesk<'_>) -> Result<Members, Failure> {
    desk.members().await?.ok_or_else(|| {
        let name = &desk.environment.name;
        Failure::usage(format!(
            "environment {name} has no fleet: add [database.fleet] to environments/{name}.toml\n  next: liftlock migrate --env {name}"
        ))
    })
}

/// Rolls all databases back. That it was done by hand, and why, is on record.
async fn roll_back(
    place: &Place<'_>,
    members: Members,
    work: Work<'_>,
    ask: &MigrateFleet,
    run: &RunId,
) -> Result<FleetReport, Failure> {
    let Members { targets, options } = members;
    let settings = ask.back.settings(place.desk.settings.clone());
    let report = over_fleet(place.desk(), targets, work, &settings, &options).await?;
    record(place, run, &report, true).await?;
    let end = End { text: report.to_string(), exit: report.exit(), json: json!(report) };
    place.note(run, "fleet rollback", &end, ask.back.reason()).await?;
    Ok(report)
}

async fn record(
    place: &Place<'_>,
    run: &RunId,
    report: &FleetReport,
    rollback: bool,
) -> Result<(), Failure> {
    for result in &report.results {
        place.record(run, Some(&result.name), result.outcome.ran(), rollback).await?;
    }
    Ok(())
}

async fn apply(
    place: &Place<'_>,
    members: Members,
    ask: &MigrateFleet,
    run: &RunId,
) -> Result<FleetReport, Failure> {
    let mut settings = place.desk.settings.clone();
    if is_pending(place, &members, ask).await? {
        prove(place, &members).await?;
        settings.taken = demanded_snapshot(place, run, place.desk.console).await?;
    }
    let Members { targets, options } = members;
    let migrations = place.desk().migrations()?;
    let work = Work::Apply { migrations: &migrations, to: ask.to, contract: ask.contract };
    let report = over_fleet(place.desk(), targets, work, &settings, &options).await?;
    record(place, run, &report, false).await?;
    Ok(report)
}

/// Whether there is anything to apply to any of the databases; one that does not answer may have something.
async fn is_pending(
    place: &Place<'_>,
    members: &Members,
    ask: &MigrateFleet,
) -> Result<bool, Failure> {
    let latest = place.desk().migrations()?.latest().unwrap_or(0);
    let wanted = ask.to.unwrap_or(latest).min(latest);
    let settings = &place.desk.settings;
    let at_once = members.options.concurrency;
    let newest = each(members.targets.clone(), settings, at_once, |_, mut database| async move {
        let applied = database.applied().await.map_err(|error| error.to_string())?;
        Ok(applied.iter().map(|one| one.version).max().unwrap_or(0))
    })
    .await;
    Ok(newest.into_iter().any(|(_, newest)| newest.map_or(true, |newest| newest < wanted)))
}

/// Tries what is pending on a copy of the canary's schema, where the environment wants that first.
async fn prove(place: &Place<'_>, members: &Members) -> Result<(), Failure> {
    let settings: Settings = place.desk.settings.clone();
    let canary = members.canary()?;
    let connected = Database::connect(&canary.url, settings).await;
    let mut database = connected.map_err(|error| Failure::of(Exit::Failed, &error))?;
    let migrations = place.desk().migrations()?;
    let tried = proven(&place.desk.environment, &mut database, &migrations).await;
    tried.map(drop).map_err(|error| Failure { message: error.to_string(), exit: Exit::Failed })
}
