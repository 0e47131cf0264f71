//! `migrate`: the database's migrations alone, on an environment's database.

mod apply;
mod backup;
mod desk;
mod fleet;
mod place;
mod rollback;

use liftlock_migrate::Ran;
use liftlock_migrate::commands::{Desk, End, Failed};
use liftlock_model::Exit;
use serde_json::json;

use self::desk::EnvDesk;
use self::place::Place;
use crate::cli::{Migrate, MigrateCommand, MigrateFleet, Where};
use crate::commands::Top;
use crate::console::{Console, seconds};
use crate::failure::Failure;

/// Runs a `migrate` command.
pub(crate) async fn run(top: &Top, ask: Migrate, console: &Console) -> Result<Exit, Failure> {
    let Some(command) = &ask.command else {
        if ask.dry_run {
            return dry_run(&EnvDesk::of(top, &ask.which, console)?, &ask).await;
        }
        let mut place = Place::of(top, &ask.which, console).await?;
        return apply::apply(&mut place, &ask, console).await;
    };
    match command {
        MigrateCommand::Rollback { which, ask } => {
            let mut place = Place::of(top, which, console).await?;
            rollback::run(&mut place, ask, console).await
        }
        MigrateCommand::Fleet(ask) if !ask.status => {
            let mut place = Place::of(top, &whole_fleet(ask), console).await?;
            fleet::run(&mut place, ask).await
        }
        MigrateCommand::Snapshot { which, command } => {
            backup::snapshot(top, which, command.as_ref(), console).await
        }
        MigrateCommand::Restore(ask) => {
            backup::restore(&mut Place::of(top, &ask.which, console).await?, ask, console).await
        }
        reading => read(top, reading, console).await,
    }
}

fn whole_fleet(ask: &MigrateFleet) -> Where {
    Where { env: ask.env.clone(), database: None }
}

/// What reads, or changes what the history says without running anything.
async fn read(top: &Top, command: &MigrateCommand, console: &Console) -> Result<Exit, Failure> {
    let desk = |which| EnvDesk::of(top, which, console);
    let (desk, kind, end) = match command {
        MigrateCommand::New { which, ask } => {
            let desk = desk(which)?;
            let end = ask.run(&desk)?;
            (desk, "made", end)
        }
        MigrateCommand::Check { which, ask } => {
            let desk = desk(which)?;
            let end = ask.run(&desk).await?;
            (desk, "checked", end)
        }
        MigrateCommand::Squash { which, ask } => {
            let desk = desk(which)?;
            let end = ask.run(&desk).await?;
            (desk, "squashed", end)
        }
        MigrateCommand::Status { which, ask } => {
            let desk = desk(which)?;
            let end = ask.run(&desk).await?;
            (desk, "status", end)
        }
        MigrateCommand::Fleet(ask) => {
            let desk = desk(&whole_fleet(ask))?;
            let end = fleet::status(&desk).await?;
            (desk, "fleet_status", end)
        }
        MigrateCommand::Drift { which, ask } if ask.reason().is_none() => {
            let desk = desk(which)?;
            let end = ask.run(&desk).await?;
            (desk, "drift", end)
        }
        MigrateCommand::Adopt { which, ask } if !ask.writes_history() => {
            let desk = desk(which)?;
            let end = ask.run(&desk).await?;
            (desk, "adopted", end)
        }
        writing => return write(top, writing, console).await,
    };
    Ok(desk.show(kind, end))
}

/// What changes what the history says: it happens while the environment is held, and is on record.
async fn write(top: &Top, command: &MigrateCommand, console: &Console) -> Result<Exit, Failure> {
    match command {
        MigrateCommand::Drift { which, ask } => {
            let work = async |desk: &dyn Desk| ask.run(desk).await;
            recorded(top, which, console, ("drift", ask.reason()), work).await
        }
        MigrateCommand::Adopt { which, ask } => {
            let work = async |desk: &dyn Desk| ask.run(desk).await;
            recorded(top, which, console, ("adopt", None), work).await
        }
        MigrateCommand::Baseline { which, ask } => {
            let work = async |desk: &dyn Desk| ask.run(desk).await;
            recorded(top, which, console, ("baseline", ask.reason()), work).await
        }
        MigrateCommand::Prove { which, ask } => {
            let work = async |desk: &dyn Desk| ask.run(desk).await;
            recorded(top, which, console, ("prove", None), work).await
        }
        MigrateCommand::Resolve { which, ask } => {
            let work = async |desk: &dyn Desk| ask.run(desk).await;
            recorded(top, which, console, ("resolve", None), work).await
        }
        _ => Err(Failure::usage("this command changes nothing")),
    }
}

async fn recorded(
    top: &Top,
    which: &Where,
    console: &Console,
    (command, reason): (&str, Option<&str>),
    work: impl AsyncFnOnce(&dyn Desk) -> Result<End, Failed>,
) -> Result<Exit, Failure> {
    let mut place = Place::of(top, which, console).await?;
    let held = place.held(async |place, run| {
        let end = work(place.desk()).await?;
        place.note(run, command, &end, reason).await?;
        Ok(end)
    });
    let end = Box::pin(held).await?;
    Ok(place.desk.show(command, end))
}

async fn dry_run(desk: &EnvDesk<'_>, ask: &Migrate) -> Result<Exit, Failure> {
    let (tried, exit) = ask.reports.run(desk).await?;
    Ok(desk.show("dry_run", End { text: tried.to_string(), json: json!(tried), exit }))
}

fn lines(verb: &str, ran: &[Ran]) -> String {
    ran.iter()
        .map(|one| format!("{verb} {} in {}", one.id, seconds(one.duration)))
        .collect::<Vec<_>>()
        .join("\n")
}
