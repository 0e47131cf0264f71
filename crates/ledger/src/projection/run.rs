//! Runs: what a resume reads.

use jiff::Timestamp;
use liftlock_model::{
    Actor, Entry, EnvName, Event, Left, Outcome, Record, ReleaseId, RunId, RunKind, StepName,
};

/// A run as its entries tell it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunView {
    /// What it is for.
    pub kind: RunKind,
    /// The release that it raises or brings back.
    pub release: Option<ReleaseId>,
    /// Where.
    pub environment: Option<EnvName>,
    /// When it began.
    pub started: Timestamp,
    /// Who began it.
    pub actor: Actor,
    /// Why, where that person said so.
    pub reason: Option<String>,
    /// What the person who started it chose, which a resume must know.
    pub options: Vec<String>,
    /// Its journal.
    pub records: Vec<Record>,
    /// How it ended, and what is left; none while it goes on or is interrupted.
    pub finished: Option<(Outcome, Vec<Left>)>,
}

/// A run by its id; none when it never began.
pub fn run(entries: &[Entry], id: &RunId) -> Option<RunView> {
    let own = || entries.iter().filter(|entry| entry.run.as_ref() == Some(id));
    let mut view = own().find_map(began)?;
    view.records = own().filter_map(record).cloned().collect();
    view.finished = view.records.iter().rev().find_map(|record| match record {
        Record::Finished { outcome, left } => Some((*outcome, left.clone())),
        _ => None,
    });
    Some(view)
}

fn began(entry: &Entry) -> Option<RunView> {
    let Event::RunStarted { kind, release, reason, options } = &entry.event else { return None };
    Some(RunView {
        kind: *kind,
        release: release.clone(),
        environment: entry.environment.clone(),
        started: entry.at,
        actor: entry.actor.clone(),
        reason: reason.clone(),
        options: options.clone(),
        records: Vec::new(),
        finished: None,
    })
}

fn record(entry: &Entry) -> Option<&Record> {
    match &entry.event {
        Event::Journal { record } => Some(record),
        _ => None,
    }
}

/// The last promotion or rollback that began in an environment. Infrastructure and migrations alone are no sagas: they
/// neither leave anything to resume, nor hide what does.
pub fn last(entries: &[Entry], environment: &EnvName) -> Option<RunId> {
    let begins = |entry: &&Entry| {
        entry.environment.as_ref() == Some(environment)
            && matches!(
                entry.event,
                Event::RunStarted { kind: RunKind::Promotion | RunKind::Rollback, .. }
            )
    };
    entries.iter().rev().find(begins).and_then(|entry| entry.run.clone())
}

/// The last promotion or rollback of an environment, when it did not end: the one to resume.
pub fn unfinished(entries: &[Entry], environment: &EnvName) -> Option<RunId> {
    let id = last(entries, environment)?;
    let ended = run(entries, &id)?.finished.is_some();
    (!ended).then_some(id)
}

/// A rollout that waits for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// At which step.
    pub step: StepName,
    /// The share of traffic that the new version has, in percent.
    pub share: u8,
    /// Since when.
    pub since: Timestamp,
    /// Until when at most; then it turns back.
    pub until: Option<Timestamp>,
}

/// What a run waits for, if it waits for somebody: a pause that nobody has ended, and after which the run did nothing else.
pub fn paused(entries: &[Entry], id: &RunId) -> Option<Paused> {
    let own = entries.iter().filter(|entry| entry.run.as_ref() == Some(id));
    own.fold(None, |open, entry| match &entry.event {
        // A run that was resumed pauses again where it was: it is still the same pause.
        Event::RolloutPaused { step, share, at_most } => Some(Paused {
            step: step.clone(),
            share: *share,
            since: entry.at,
            until: at_most.and_then(|seconds| {
                let length = jiff::SignedDuration::from_secs(i64::try_from(seconds).ok()?);
                entry.at.checked_add(length).ok()
            }),
        }),
        Event::RolloutResumed { .. } | Event::RunAborted { .. } | Event::Journal { .. } => None,
        _ => open,
    })
}

/// Somebody said that a run turns back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abort {
    /// Who.
    pub actor: Actor,
    /// Why.
    pub reason: String,
}

/// Who said first that a run turns back, if anybody did.
pub fn aborted(entries: &[Entry], id: &RunId) -> Option<Abort> {
    let mut own = entries.iter().filter(|entry| entry.run.as_ref() == Some(id));
    own.find_map(|entry| match &entry.event {
        Event::RunAborted { reason } => {
            Some(Abort { actor: entry.actor.clone(), reason: reason.clone() })
        }
        _ => None,
    })
}
