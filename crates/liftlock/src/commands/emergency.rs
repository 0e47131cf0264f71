//! `rollback --emergency`: without the ledger.

use std::time::Instant;

use liftlock_environment::Environment;
use liftlock_environment::config::Engine;
use liftlock_model::{EnvName, Exit};
use liftlock_promote::Site;
use liftlock_promote::emergency::{Choice, Returned, Standing, choices, emergency, stand, unknown};
use liftlock_rollout::Colour;

use super::promote::stop_on_signals;
use crate::cli::Rollback;
use crate::commands::Top;
use crate::connect;
use crate::console::{Console, seconds};
use crate::failure::Failure;

/// Points at the way that needs no ledger.
pub(crate) fn offer(failure: Failure, env: &EnvName, console: &Console) -> Failure {
    let next = format!(
        "next: {} rollback --env {env} --emergency shows what can be brought back without it",
        console.program()
    );
    Failure { message: format!("{}\n  {next}", failure.message), ..failure }
}

/// Gives traffic back by what the cloud says alone; without a target, says which there are.
pub(crate) async fn run(
    top: &Top,
    ask: &Rollback,
    environment: Environment,
    console: &Console,
) -> Result<Exit, Failure> {
    let began = Instant::now();
    let (env, program) = (&ask.env, console.program());
    let why = without_ledger(top, &environment, console).await?;
    console.say(&format!("WITHOUT THE LEDGER: {why}"));
    is_there(top, &environment).await?;
    let (site, memories) = connect::site_without_ledger(top, environment, console).await?;
    let standings = stand(&site, &memories).await?;
    let all = choices(&standings);
    let (Some(to), Some(reason)) =
        (&ask.to, ask.reason.as_deref().map(str::trim).filter(|text| !text.is_empty()))
    else {
        console.result("standing", &told(env, &standings, &all), || describe(&standings, &all));
        let example =
            all.iter().find(|one| one.stands.iter().any(|text| !text.contains("has all traffic")));
        let example = ask.to.as_ref().or(example.map(|one| &one.release));
        let to = example.map_or_else(|| "RELEASE".to_owned(), ToString::to_string);
        return Err(Failure::usage(format!(
            "nothing was touched: without the ledger, say which release is to come back, and why\n  next: {program} rollback --env {env} \
             --emergency --to {to} --reason TEXT"
        )));
    };
    if !all.iter().any(|one| one.release == *to) {
        let text = unknown(&standings, to, env);
        return Err(Failure::usage(format!("{text}\n  nothing was touched")));
    }
    if site.environment.config.rollback.approvals.is_some() {
        console.say("approvals are in the ledger, and cannot be looked at: whoever runs this answers for it");
    }
    let cancel = stop_on_signals(console);
    let tell = console.voice();
    let tell = std::sync::Mutex::new(tell);
    let tell = |text: &str| {
        if let Ok(tell) = tell.lock() {
            tell(text);
        }
    };
    // What is on record are few entries of this machine's own; what people see is told as it is seen.
    let report: liftlock_promote::Report = std::sync::Arc::new(|_| {});
    let returned = emergency(&site, &memories, to, reason, (&report, &tell), &cancel).await?;
    Ok(show(&site, to, &returned, console, began))
}

/// Why the ledger cannot be used. Where it can, it is: what is not on record there did not happen for whoever comes next.
async fn without_ledger(
    top: &Top,
    environment: &Environment,
    console: &Console,
) -> Result<String, Failure> {
    match connect::existing_ledger(top, environment).await {
        Err(failure) => Ok(failure.message),
        Ok(None) => Ok(format!("this machine has no ledger of {}", environment.name)),
        Ok(Some(ledger)) => match ledger.verify().await {
            Err(error) => Ok(error.to_string()),
            Ok(_) => Err(Failure::usage(format!(
                "the ledger answers, so that nothing has to be done without it; nothing was touched\n  next: {} rollback --env {}",
                console.program(),
                environment.name
            ))),
        },
    }
}

/// An emergency starts nothing that does not run.
async fn is_there(top: &Top, environment: &Environment) -> Result<(), Failure> {
    if environment.config.infrastructure.engine != Engine::Stage {
        return Ok(());
    }
    let directory = connect::stage_directory(top, environment);
    let status = liftlock_stage::status(&directory)
        .await
        .map_err(|error| Failure::of(Exit::Failed, &error))?;
    match status {
        Some(_) => Ok(()),
        None => Err(Failure::usage(format!("{} does not run", environment.name))),
    }
}

fn told(env: &EnvName, standings: &[Standing], choices: &[Choice]) -> serde_json::Value {
    let services = standings.iter().map(|one| {
        serde_json::json!({ "service": one.service, "live": one.live, "revisions": one.revisions })
    });
    serde_json::json!({ "environment": env, "services": services.collect::<Vec<_>>(), "choices": choices })
}

fn describe(standings: &[Standing], choices: &[Choice]) -> String {
    let mut lines = vec!["what serves, as the cloud says".to_owned()];
    for one in standings {
        for colour in Colour::BOTH {
            let state = one.live.colour(colour);
            let set = state.task_definition.as_ref();
            let known =
                one.revisions.iter().find(|revision| Some(&revision.task_definition) == set);
            let version = known.map_or("of no release", |known| known.version.as_str());
            let share = one.live.weights.share(colour);
            lines.push(format!(
                "  {} {colour}: {share} %, {version}; {}",
                one.service,
                state.summary()
            ));
        }
    }
    lines.push("what can be brought back".into());
    if choices.is_empty() {
        lines.push("  no release that all services remember".into());
    }
    for choice in choices {
        lines.push(format!("  {} ({})", choice.release, choice.version));
        lines.extend(choice.stands.iter().map(|text| format!("      {text}")));
    }
    lines.join("\n")
}

fn show(
    site: &Site,
    to: &liftlock_model::ReleaseId,
    returned: &Returned,
    console: &Console,
    began: Instant,
) -> Exit {
    let Returned { run, version, seen, left } = returned;
    let exit = if left.is_empty() { Exit::Done } else { Exit::Stuck };
    let (env, program) = (&site.environment.name, console.program());
    let value = serde_json::json!({
        "environment": env, "release": to, "release_version": version, "run": run, "seen": seen, "left": left,
        "exit": exit.code(),
    });
    console.result("emergency", &value, || {
        let took = seconds(began.elapsed());
        let mut lines = vec![match left.is_empty() {
            true => format!("{version} ({to}) serves in {env} again, after {took}"),
            false => format!("{version} ({to}) is NOT whole in {env}, after {took}"),
        }];
        for one in left {
            lines.push(format!("  left      {}", one.what));
            lines.push(format!("  next      {}", one.command.replace("liftlock ", &format!("{program} "))));
        }
        lines.push("  schema    as it was: the older release runs on the newer schema".into());
        lines.push(format!(
            "  record    {run} in {}, and NOT in the ledger: once it answers, {program} rollback --env {env} --to {to} --reason TEXT \
             puts it there",
            site.ledger.place()
        ));
        lines.join("\n")
    });
    exit
}
