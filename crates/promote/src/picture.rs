//! A picture of an environment while something is going on in it: what the ledger says of the run, and what each service looks
//! like. Anybody who reaches the ledger and the services can draw it; it asks nothing of the run.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use liftlock_ledger::projection;
use liftlock_model::{
    Actor, Entry, EnvName, Event, Outcome, Record, ReleaseId, RunId, RunKind, Sample, ServiceName,
    StepName, Verdict,
};
use liftlock_rollout::{Colour, Death, Live, Target};
use serde::Serialize;

/// How many verdicts a picture shows: the newest.
const VERDICTS: usize = 6;
/// How long one look at a service may take.
const LOOK: Duration = Duration::from_secs(20);

/// What is going on in an environment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Picture {
    /// Where.
    pub environment: EnvName,
    /// The last promotion or rollback; none before the first.
    pub run: Option<RunPicture>,
    /// Each service, in the order of rollout.
    pub services: Vec<ServicePicture>,
}

/// A run, as its entries tell it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunPicture {
    /// Which.
    pub run: RunId,
    /// What it is for.
    pub kind: RunKind,
    /// The release that it raises or brings back.
    pub release: Option<ReleaseId>,
    /// The version that people know the release by.
    pub release_version: Option<String>,
    /// Who began it.
    pub actor: Actor,
    /// When.
    pub started: Timestamp,
    /// Whether somebody is at work on it.
    pub is_at_work: bool,
    /// The step that it is at, or ended at.
    pub step: Option<StepName>,
    /// How many steps are done.
    pub done: usize,
    /// How many there are.
    pub steps: usize,
    /// Whether it goes back.
    pub goes_back: bool,
    /// What it waits for, if it waits for somebody.
    pub paused: Option<PausePicture>,
    /// What checks concluded, oldest first.
    pub verdicts: Vec<VerdictPicture>,
    /// Why it failed, with what tasks said at their end, if it failed.
    pub failure: Option<String>,
    /// How it ended; none while it goes on or is interrupted.
    pub outcome: Option<Outcome>,
}

/// What a run waits for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PausePicture {
    /// The share of traffic that the new version has, in percent.
    pub share: u8,
    /// Since when.
    pub since: Timestamp,
    /// Until when at most.
    pub until: Option<Timestamp>,
}

/// What a check concluded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerdictPicture {
    /// Which check, of which step.
    pub check: String,
    /// What it concluded.
    pub verdict: Verdict,
    /// What that rests on.
    pub sample: Sample,
    /// For people, in one line.
    pub detail: String,
}

/// A service, or why it cannot be seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServicePicture {
    /// Which.
    pub service: ServiceName,
    /// How it looks.
    pub live: Option<Live>,
    /// Why it could not be seen.
    pub error: Option<String>,
    /// How the newest tasks of a colour ended that should have run, with what they said last.
    pub deaths: BTreeMap<Colour, Vec<Death>>,
}

impl Picture {
    /// Whether a run is under way, so that there is something to wait for.
    pub fn is_under_way(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.outcome.is_none() && run.is_at_work)
    }
}

/// Looks at all services. What was learned `before` of tasks that died is not asked again while no other has died since.
pub async fn look(
    services: &[ServiceName],
    targets: &BTreeMap<ServiceName, Box<dyn Target>>,
    before: &[ServicePicture],
) -> Vec<ServicePicture> {
    let mut seen = Vec::new();
    for service in services {
        let Some(target) = targets.get(service) else { continue };
        let (live, error) = match tokio::time::timeout(LOOK, target.live()).await {
            Ok(Ok(live)) => (Some(live), None),
            Ok(Err(error)) => (None, Some(error.to_string())),
            Err(_) => (None, Some(format!("no answer within {} s", LOOK.as_secs()))),
        };
        let known = before.iter().find(|picture| picture.service == *service);
        let mut deaths = BTreeMap::new();
        for colour in Colour::BOTH {
            let dead = match &live {
                Some(live) => dead(target.as_ref(), live, colour, known).await,
                None => Vec::new(),
            };
            if !dead.is_empty() {
                deaths.insert(colour, dead);
            }
        }
        seen.push(ServicePicture { service: service.clone(), live, error, deaths });
    }
    seen
}

/// How a colour's tasks ended. That it cannot be learned is no error: that they ended is in `live`.
async fn dead(
    target: &dyn Target,
    live: &Live,
    colour: Colour,
    known: Option<&ServicePicture>,
) -> Vec<Death> {
    let state = live.colour(colour);
    let Some(task_definition) =
        state.task_definition.as_ref().filter(|_| !state.stopped.is_empty())
    else {
        return Vec::new();
    };
    let same = known.filter(|known| {
        let before = known.live.as_ref().map(|live| live.colour(colour));
        before.is_some_and(|before| {
            (&before.task_definition, &before.stopped) == (&state.task_definition, &state.stopped)
        })
    });
    if let Some(deaths) = same.and_then(|known| known.deaths.get(&colour)) {
        return deaths.clone();
    }
    match tokio::time::timeout(LOOK, target.deaths(colour, task_definition)).await {
        Ok(Ok(deaths)) => deaths,
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

/// Pure: what the entries tell of the last run of an environment. `holder` is the run that holds its lease, if one does.
pub fn picture_run(
    entries: &[Entry],
    environment: &EnvName,
    holder: Option<&RunId>,
) -> Option<RunPicture> {
    let run = projection::last(entries, environment)?;
    let view = projection::run(entries, &run)?;
    let release = view.release.as_ref().and_then(|id| projection::release(entries, id));
    let planned = view.records.iter().find_map(|record| match record {
        Record::Planned { steps, .. } => Some(steps.len()),
        _ => None,
    });
    let done = view.records.iter().filter(|record| matches!(record, Record::Done { .. }));
    let failure = view.records.iter().rev().find_map(|record| match record {
        Record::Failed { step, error } | Record::UndoFailed { step, error } => {
            Some(format!("{step}: {error}"))
        }
        _ => None,
    });
    let paused = projection::paused(entries, &run).map(|paused| PausePicture {
        share: paused.share,
        since: paused.since,
        until: paused.until,
    });
    Some(RunPicture {
        kind: view.kind,
        release: view.release.clone(),
        release_version: release.map(|release| release.content.version),
        actor: view.actor.clone(),
        started: view.started,
        is_at_work: holder == Some(&run),
        step: view.records.iter().rev().find_map(Record::step).cloned(),
        done: done.count(),
        steps: planned.unwrap_or(0),
        goes_back: failure.is_some(),
        paused,
        verdicts: verdicts(entries, &run),
        failure,
        outcome: view.finished.map(|(outcome, _)| outcome),
        run,
    })
}

fn verdicts(entries: &[Entry], run: &RunId) -> Vec<VerdictPicture> {
    let own = entries.iter().filter(|entry| entry.run.as_ref() == Some(run));
    let mut all: Vec<_> = own
        .filter_map(|entry| match &entry.event {
            Event::Observed { check, verdict, sample, detail } => Some(VerdictPicture {
                check: check.clone(),
                verdict: *verdict,
                sample: sample.clone(),
                detail: detail.clone(),
            }),
            _ => None,
        })
        .collect();
    let old = all.len().saturating_sub(VERDICTS);
    all.split_off(old)
}
