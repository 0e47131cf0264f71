//! `status`.

use jiff::{SignedDuration, Timestamp};
use liftlock_environment::Environment;
use liftlock_environment::config::Engine;
use liftlock_ledger::projection;
use liftlock_model::{EnvName, Exit, Record};

use crate::cli::Status;
use crate::commands::Top;
use crate::connect;
use crate::console::Console;
use crate::failure::Failure;

/// Prints, from the ledger, what serves where and what is going on. It asks nothing else: it works when all else is down.
pub(crate) async fn run(top: &Top, ask: &Status, console: &Console) -> Result<Exit, Failure> {
    let names = match &ask.env {
        Some(name) => vec![name.clone()],
        None => Environment::list(&top.root)?,
    };
    for name in names {
        one(top, &name, console).await?;
    }
    Ok(Exit::Done)
}

async fn one(top: &Top, name: &EnvName, console: &Console) -> Result<(), Failure> {
    let environment = top.environment(name)?;
    let Some(ledger) = connect::existing_ledger(top, &environment).await? else {
        console.result("status", &serde_json::json!({ "environment": name }), || {
            format!("{name:<12} nothing has been deployed yet")
        });
        return Ok(());
    };
    let entries = liftlock_promote::history(&ledger)
        .await
        .map_err(|error| Failure::of(Exit::Usage, &error))?;
    let current = projection::current(&entries, name);
    // One that ran out is nobody's: its run died, or its machine did.
    let lease = ledger.holder(name).await.map_err(|error| Failure::of(Exit::Usage, &error))?;
    let unfinished = projection::unfinished(&entries, name);
    let paused = unfinished.as_ref().and_then(|run| projection::paused(&entries, run));
    let switch = unfinished.as_ref().and_then(|run| {
        let records = projection::run(&entries, run)?.records;
        let last = lease.as_ref().filter(|lease| lease.run == *run).map(|lease| lease.expires);
        liftlock_promote::switch_of(&records)?;
        switch_by(&environment, last?)
    });
    let holder = lease.filter(|lease| lease.expires > Timestamp::now());
    let last = projection::deployments(&entries, Some(name)).pop();
    let value = serde_json::json!({
        "environment": name,
        "current": current,
        "last": last.as_ref().map(|last| &last.deployment),
        "holder": holder.as_ref().map(|lease| serde_json::json!({
            "run": lease.run, "actor": lease.actor, "since": lease.since, "expires": lease.expires })),
        "unfinished": unfinished,
        "paused": paused.as_ref().map(|paused| serde_json::json!({
            "step": paused.step, "share": paused.share, "since": paused.since, "until": paused.until })),
        "switch": switch.map(|by| serde_json::json!({ "by": by })),
    });
    console.result("status", &value, || {
        let mut lines = vec![match &current {
            Some(one) => format!(
                "{name:<12} {} ({}) since {} by {}",
                one.version,
                one.release,
                one.finished.strftime("%Y-%m-%d %H:%M:%S UTC"),
                one.actor
            ),
            None => format!("{name:<12} nothing has been deployed yet"),
        }];
        if let Some(why) = current.as_ref().and_then(|one| one.skipped_canary.as_ref()) {
            lines.push(format!("{:<12} without canary: {why}", ""));
        }
        if let Some(last) = last
            .filter(|last| last.deployment.status != liftlock_model::DeploymentStatus::Succeeded)
        {
            lines.push(format!(
                "{:<12} last: {} {}",
                "", last.deployment.version, last.deployment.status
            ));
        }
        match (&unfinished, &holder) {
            (Some(run), Some(lease)) => {
                let at = projection::run(&entries, run)
                    .and_then(|view| view.records.iter().rev().find_map(Record::step).cloned())
                    .map(|step| format!(" at {step}"))
                    .unwrap_or_default();
                lines.push(format!(
                    "{:<12} {run} by {}{at}; lease until {}",
                    "", lease.actor, lease.expires
                ));
            }
            (Some(run), None) => {
                lines.push(format!("{:<12} {run} was interrupted", ""));
                lines.push(format!("{:<12} next: {} promote --env {name} --resume", "", console.program()));
            }
            _ => {}
        }
        if let Some(by) = switch {
            let when = if by > Timestamp::now() { "gives" } else { "was to give" };
            lines.push(format!(
                "{:<12} its dead-man's switch {when} users the old version back by {by:.0}, unless it goes on: \
                 {} rollout status --env {name} shows what they are on",
                "",
                console.program()
            ));
        }
        if let Some(paused) = &paused {
            let until = paused.until.map(|until| format!(", turns back at {until}"));
            lines.push(format!(
                "{:<12} paused with {} % of the traffic since {}{}\n{:<12} next: {program} rollout resume --env {name}, or {program} \
                 rollout abort --env {name} --reason TEXT",
                "",
                paused.share,
                paused.since,
                until.unwrap_or_default(),
                "",
                program = console.program(),
            ));
        }
        lines.join("\n")
    });
    Ok(())
}

/// By when the switch of a run has fired whose lease ends then: it was put off last before that, and EventBridge goes by the minute.
fn switch_by(environment: &Environment, lease: Timestamp) -> Option<Timestamp> {
    let grain = match environment.config.infrastructure.engine {
        Engine::Stage => SignedDuration::from_secs(1),
        Engine::Terraform | Engine::Tofu => SignedDuration::from_mins(1),
    };
    let after = SignedDuration::try_from(environment.config.switch.after.duration()).ok()?;
    lease.checked_add(after).ok()?.checked_add(grain).ok()
}
