//! `migrate fleet`: all databases of the environment's fleet.

use liftlock_migrate::commands::{End, over_fleet};
use liftlock_migrate::fleet::{FleetOptions, FleetOutcome, FleetReport};
use liftlock_model::{Exit, RunId};
use liftlock_promote::Members;
use serde_json::json;

use super::place::Place;
use crate::cli::MigrateFleet;
use crate::failure::Failure;

pub(super) async fn run(place: &mut Place<'_>, ask: &MigrateFleet) -> Result<Exit, Failure> {
    let members = place.desk.members().await?.ok_or_else(|| {
        let name = &place.desk.environment.name;
        Failure::usage(format!(
            "environment {name} has no fleet: add [database.fleet] to environments/{name}.toml\n  next: liftlock migrate --env {name}"
        ))
    })?;
    let report = place.held(async |place, run| go(place, members, ask, run).await).await?;
    let end = End { text: report.to_string(), exit: report.exit(), json: json!(report) };
    Ok(place.desk.show("fleet", end))
}

async fn go(
    place: &Place<'_>,
    Members { targets, options }: Members,
    ask: &MigrateFleet,
    run: &RunId,
) -> Result<FleetReport, Failure> {
    let how = FleetOptions { to: ask.to, contract: ask.contract, ..options };
    let report = over_fleet(place.desk(), targets, &how).await?;
    for result in &report.results {
        if let FleetOutcome::Applied { ran, .. } | FleetOutcome::Failed { ran, .. } =
            &result.outcome
        {
            place.record(run, Some(&result.name), ran, false).await?;
        }
    }
    Ok(report)
}
