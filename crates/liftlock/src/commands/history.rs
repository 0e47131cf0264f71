//! `history`.

use std::time::Duration;

use liftlock_ledger::{Query, projection};
use liftlock_model::{Entry, Event, Exit, Record, RunId};

use crate::cli::History;
use crate::commands::Top;
use crate::connect;
use crate::console::{Console, seconds};
use crate::failure::Failure;

/// Prints the deployment history, or everything that one run wrote.
pub(crate) async fn run(top: &Top, ask: &History, console: &Console) -> Result<Exit, Failure> {
    let ledgers = match &ask.env {
        Some(name) => {
            connect::existing_ledger(top, &top.environment(name)?).await?.into_iter().collect()
        }
        None => connect::all_ledgers(top).await?,
    };
    let mut entries = Vec::new();
    for ledger in &ledgers {
        entries.extend(
            ledger
                .entries(&Query::all())
                .await
                .map_err(|error| Failure::of(Exit::Usage, &error))?,
        );
    }
    entries.sort_by_key(|entry| entry.at);
    match &ask.run {
        Some(run) => one_run(&entries, run, console),
        None => {
            deployments(&entries, ask, console);
            Ok(Exit::Done)
        }
    }
}

fn deployments(entries: &[Entry], ask: &History, console: &Console) {
    let mut all = projection::deployments(entries, ask.env.as_ref());
    all.reverse();
    if all.is_empty() {
        console.say("nothing has been deployed yet");
    }
    for deployed in all.into_iter().take(ask.limit) {
        let one = &deployed.deployment;
        let value = serde_json::json!({ "run": deployed.run, "deployment": one });
        console.result("deployment", &value, || {
            let took =
                Duration::try_from(one.finished.duration_since(one.started)).unwrap_or_default();
            let schema = match (one.schema_before, one.schema_after) {
                (Some(before), Some(after)) if before != after => {
                    format!("  schema V{before:04} → V{after:04}")
                }
                (_, Some(after)) => format!("  schema V{after:04}"),
                _ => String::new(),
            };
            let back = match (&one.previous, one.status) {
                (Some(previous), liftlock_model::DeploymentStatus::RolledBack) => {
                    format!("  back to {previous}")
                }
                _ => String::new(),
            };
            let skipped = one.skipped_canary.as_ref();
            let skipped = skipped.map(|why| format!("  without canary: {why}")).unwrap_or_default();
            let run = deployed.run.as_ref().map(ToString::to_string).unwrap_or_default();
            format!(
                "{}  {:<8} {:<9} {:<11} {:<14} {}  by {}  {}{schema}{back}{skipped}  {run}",
                one.started.strftime("%Y-%m-%d %H:%M:%S UTC"),
                one.environment,
                one.kind,
                one.status,
                one.version,
                one.release,
                one.actor,
                seconds(took),
            )
        });
    }
}

fn one_run(entries: &[Entry], run: &RunId, console: &Console) -> Result<Exit, Failure> {
    let of_run: Vec<_> = entries.iter().filter(|entry| entry.run.as_ref() == Some(run)).collect();
    if of_run.is_empty() {
        return Err(Failure::usage(format!(
            "there is no run {run}; `liftlock history` shows what there is"
        )));
    }
    for entry in of_run {
        console.result("entry", entry, || {
            format!(
                "{:>6}  {}  {}",
                entry.sequence,
                entry.at.strftime("%H:%M:%S%.3f"),
                line(&entry.event)
            )
        });
    }
    Ok(Exit::Done)
}

/// In which database of a fleet.
fn inside(database: Option<&str>) -> String {
    database.map(|name| format!(" in {name}")).unwrap_or_default()
}

/// One event in one line.
fn line(event: &Event) -> String {
    match event {
        Event::ReleaseCreated { release } => format!("made {}", release.id),
        Event::RunStarted { kind, reason, options, .. } => {
            let with = match options.as_slice() {
                [] => String::new(),
                options => format!(" with {}", options.join(", ")),
            };
            format!(
                "{kind} started{with}{}",
                reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
            )
        }
        Event::RunResumed { interrupted } => format!("resumed; interrupted was {interrupted}"),
        Event::Journal { record } => journal(record),
        Event::GateEvaluated { gate, verdict, reason } => {
            format!("gate {gate}: {verdict}: {reason}")
        }
        Event::Observed { check, verdict, sample, detail } => {
            format!("{check}: {verdict} ({} of {} bad): {detail}", sample.bad, sample.size)
        }
        Event::Approved { release, .. } => format!("approved {release}"),
        Event::Rejected { release, .. } => format!("rejected {release}"),
        Event::MigrationRan { id, database, rollback, milliseconds } => {
            let verb = if *rollback { "rolled back" } else { "applied" };
            format!("{verb} {id}{} in {milliseconds} ms", inside(database.as_deref()))
        }
        Event::MigrationLong { id, database, seconds, blocked_by } => {
            let blocked = match blocked_by.as_slice() {
                [] => String::new(),
                by => format!("; it waited for {}", by.join(", ")),
            };
            format!(
                "{id}{} was still running after {seconds} s{blocked}",
                inside(database.as_deref())
            )
        }
        Event::MigrationsByHand { command, detail, reason } => {
            let reason = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            let detail = detail.lines().next().unwrap_or_default();
            format!("migrate {command}{reason}: {detail}")
        }
        Event::SnapshotTaken { id, marker, .. } => {
            let marker = marker.as_ref().map(|marker| format!(" at {marker}")).unwrap_or_default();
            format!("took snapshot {id}{marker}")
        }
        Event::SnapshotRestored { id, place, before } => {
            let before = before.as_ref().map(|before| format!("; before, it was {before}"));
            format!("brought {id} back as {place}{}", before.unwrap_or_default())
        }
        Event::RolloutPaused { step, share, at_most } => {
            let most = at_most.map(|seconds| format!(", for {seconds} s at most"));
            format!("{step}: waits with {share} % of the traffic{}", most.unwrap_or_default())
        }
        Event::RolloutResumed { step, reason } => {
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{step}: told to go on{reason}")
        }
        Event::RunAborted { reason } => format!("told to turn back: {reason}"),
        Event::TaskDefinitionsRetired { service, retired, kept } => {
            format!("{service}: took {} out of use; {kept} are kept", retired.join(", "))
        }
        Event::DeploymentRecorded { deployment } => format!("recorded as {}", deployment.status),
        Event::IncidentOpened { summary } => format!("incident: {summary}"),
        Event::Notified { channel, error: None } => format!("told {channel}"),
        Event::Notified { channel, error: Some(error) } => {
            format!("could not tell {channel}: {error}")
        }
        Event::LeaseTakenOver { from, token } => format!("took over from {from} (token {token})"),
    }
}

fn journal(record: &Record) -> String {
    match record {
        Record::Planned { fingerprint, steps } => {
            format!("planned {} steps, {}", steps.len(), fingerprint.short())
        }
        Record::Intended { step, .. } => format!("{step}: begins"),
        Record::Done { step, note, .. } => format!("{step}: done: {note}"),
        Record::Failed { step, error } => format!("{step}: FAILED: {error}"),
        Record::UndoIntended { step } => format!("{step}: undo begins"),
        Record::Undone { step, note, .. } => format!("{step}: undone: {note}"),
        Record::UndoFailed { step, error } => format!("{step}: UNDO FAILED: {error}"),
        Record::Finished { outcome, .. } => format!("{outcome}"),
    }
}
