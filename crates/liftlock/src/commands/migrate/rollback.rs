//! `migrate rollback`.

use liftlock_migrate::commands::{End, Rollback};
use liftlock_migrate::{Refused, RolledBack};
use liftlock_model::{Event, Exit, RunId};
use liftlock_promote::reason_gate;
use serde_json::json;

use super::lines;
use super::place::Place;
use crate::console::Console;
use crate::failure::Failure;

pub(super) async fn run(
    place: &mut Place<'_>,
    ask: &Rollback,
    console: &Console,
) -> Result<Exit, Failure> {
    demand_reason(place, ask.reason()).await?;
    let back = place.held(async |place, run| roll_back(place, ask, run).await).await?;
    console.result("rolled_back", &back, || text(&back));
    match &back.refused {
        None => Ok(Exit::Done),
        Some(refused) => Err(would_lose(refused)),
    }
}

/// Refuses what the environment takes back only with a reason (C-RB-3). That it was refused is on record.
pub(super) async fn demand_reason(place: &Place<'_>, reason: Option<&str>) -> Result<(), Failure> {
    let Some(gate) = reason_gate(&place.desk.environment, reason) else { return Ok(()) };
    let (verdict, reason) = (gate.verdict(), gate.reason.clone());
    let event = Event::GateEvaluated { gate: gate.gate.clone(), verdict, reason };
    place.write(&RunId::generate(), event).await?;
    match gate.next {
        None => Ok(()),
        Some(next) => Err(Failure {
            message: format!("{}; nothing was touched\n  next: {next}", gate.reason),
            exit: Exit::Refused,
        }),
    }
}

async fn roll_back(place: &Place<'_>, ask: &Rollback, run: &RunId) -> Result<RolledBack, Failure> {
    let (done, _) = ask.roll_back(place.desk()).await?;
    let ran = done.as_ref().map_or_else(|error| &error.ran, |back| &back.ran);
    place.record(run, place.desk.database(), ran, true).await?;
    let back = done.map_err(|error| Failure::of(error.exit(), &error))?;
    let end = End { text: text(&back), json: json!(back), exit: Exit::Done };
    place.note(run, "rollback", &end, ask.reason()).await?;
    Ok(back)
}

fn text(back: &RolledBack) -> String {
    match back.ran.len() {
        0 => "nothing was rolled back".into(),
        _ => lines("rolled back", &back.ran),
    }
}

fn would_lose(refused: &Refused) -> Failure {
    let instead =
        refused.instead().map(|instead| format!("\n  instead: {instead}")).unwrap_or_default();
    Failure {
        message: format!(
            "{} was not rolled back: that would lose {}\n  next: add --accept-data-loss if that is meant{instead}",
            refused.id,
            refused.losses.join(", "),
        ),
        exit: Exit::Refused,
    }
}
