//! `rollout resume` and `rollout abort`: a word to a run on whatever machine, through the ledger.

use jiff::Timestamp;
use liftlock_ledger::{Draft, Ledger, projection};
use liftlock_model::{Entry, EnvName, Event, Exit, RunId};

use crate::commands::Top;
use crate::connect;
use crate::console::Console;
use crate::failure::Failure;

/// Lets a rollout that has paused go on.
pub(crate) async fn resume(
    top: &Top,
    env: &EnvName,
    reason: Option<&str>,
    console: &Console,
) -> Result<Exit, Failure> {
    let (ledger, entries, run) = at_work(top, env).await?;
    let Some(paused) = projection::paused(&entries, &run) else {
        let why = match projection::aborted(&entries, &run) {
            Some(abort) => format!("{} said that it turns back: {}", abort.actor, abort.reason),
            None => "it has not paused".into(),
        };
        return Err(Failure::usage(format!(
            "{run} does not wait for anybody in {env}: {why}\n  next: liftlock status --env {env}"
        )));
    };
    let reason = reason.map(str::trim).filter(|reason| !reason.is_empty()).map(str::to_owned);
    let event = Event::RolloutResumed { step: paused.step, reason };
    let entry = write(top, &ledger, env, &run, event).await?;
    told(&ledger, env, &entry, &format!("{run} goes on from {} %", paused.share), console).await
}

/// Has the run that is at work turn back.
pub(crate) async fn abort(
    top: &Top,
    env: &EnvName,
    reason: &str,
    console: &Console,
) -> Result<Exit, Failure> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(Failure::usage("--reason is empty\n  next: say why the run turns back"));
    }
    let (ledger, entries, run) = at_work(top, env).await?;
    if let Some(abort) = projection::aborted(&entries, &run) {
        return Err(Failure::usage(format!(
            "{run} turns back already: {} said so ({})\n  next: liftlock status --env {env}",
            abort.actor, abort.reason
        )));
    }
    let event = Event::RunAborted { reason: reason.to_owned() };
    let entry = write(top, &ledger, env, &run, event).await?;
    told(&ledger, env, &entry, &format!("{run} turns back"), console).await
}

async fn at_work(top: &Top, env: &EnvName) -> Result<(Ledger, Vec<Entry>, RunId), Failure> {
    let environment = top.environment(env)?;
    let idle = || {
        Failure::usage(format!("nothing is going on in {env}\n  next: liftlock status --env {env}"))
    };
    let ledger = connect::existing_ledger(top, &environment).await?.ok_or_else(idle)?;
    ledger.verify().await.map_err(|error| Failure::of(Exit::Usage, &error))?;
    let entries = liftlock_promote::history(&ledger)
        .await
        .map_err(|error| Failure::of(Exit::Usage, &error))?;
    let run = projection::unfinished(&entries, env).ok_or_else(idle)?;
    Ok((ledger, entries, run))
}

async fn write(
    top: &Top,
    ledger: &Ledger,
    env: &EnvName,
    run: &RunId,
    event: Event,
) -> Result<Entry, Failure> {
    let draft = Draft {
        environment: Some(env.clone()),
        run: Some(run.clone()),
        actor: top.actor.clone(),
        event,
        fence: None,
    };
    ledger.append(draft).await.map_err(|error| Failure::of(Exit::Failed, &error))
}

/// Whoever is at work reads it within a second or so; if nobody is, it waits for whoever goes on.
async fn told(
    ledger: &Ledger,
    env: &EnvName,
    entry: &Entry,
    what: &str,
    console: &Console,
) -> Result<Exit, Failure> {
    let holder = ledger.holder(env).await.map_err(|error| Failure::of(Exit::Usage, &error))?;
    let is_alive = holder.is_some_and(|lease| lease.expires > Timestamp::now());
    console.result("entry", entry, || {
        let next = match is_alive {
            true => format!("liftlock status --env {env}"),
            false => format!("nobody is at work on it: liftlock promote --env {env} --resume"),
        };
        format!(
            "{} said that {what} (ledger entry {})\n  next: {next}",
            entry.actor, entry.sequence
        )
    });
    Ok(Exit::Done)
}
