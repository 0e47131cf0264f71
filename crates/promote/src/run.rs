//! Runs: from the lease through the gates and the saga to the record.

use jiff::Timestamp;
use liftlock_environment::config::Occasion;
use liftlock_gate::{Decision, Evaluation};
use liftlock_ledger::{Ledger, Query, ReadError, projection};
use liftlock_model::{
    ArtifactHash, Deployment, Entry, EnvName, Event, Exit, Left, Outcome, Record, Release,
    ReleaseId, RunId, RunKind,
};
use liftlock_saga::{Control, End, Failure};
use tokio_util::sync::CancellationToken;

use crate::abort;
use crate::conclude::conclude;
use crate::error::PromoteError;
use crate::gate::{self, evaluate_gates};
use crate::hold::Hold;
use crate::report::Report;
use crate::scribe::Scribe;
use crate::site::Site;
use crate::steps::Frame;
use crate::steps::switch::ARM;
use crate::{announce, choose, contract, plan, preflight, switch, tidy};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// A promotion or a rollback.
    pub kind: RunKind,
    /// Which release; chosen by the chain of environments, or by the history, if left out.
    pub release: Option<ReleaseId>,
    /// Why.
    pub reason: Option<String>,
    /// Of a rollback: leave the newer schema as it is.
    pub keep_schema: bool,
    /// Of a rollback: go on where that loses data.
    pub accept_data_loss: bool,
    /// Of a promotion: move all traffic at once, without the shares below. It needs a reason.
    pub skip_canary: bool,
}

impl Ask {
    /// An ordinary promotion.
    pub fn promotion(release: Option<ReleaseId>) -> Self {
        Self {
            kind: RunKind::Promotion,
            release,
            reason: None,
            keep_schema: false,
            accept_data_loss: false,
            skip_canary: false,
        }
    }

    pub(crate) fn options(&self) -> Vec<String> {
        let options = [
            (self.keep_schema, plan::KEEP_SCHEMA),
            (self.accept_data_loss, plan::ACCEPT_DATA_LOSS),
            (self.skip_canary, plan::SKIP_CANARY),
        ];
        options
            .into_iter()
            .filter(|(asked, _)| *asked)
            .map(|(_, option)| option.to_owned())
            .collect()
    }
}

/// How it ended.
#[derive(Debug, Clone)]
pub struct Conclusion {
    /// The run; none when there was nothing to do.
    pub run: Option<RunId>,
    /// The release that was asked for.
    pub release: Release,
    /// How it ended.
    pub outcome: Outcome,
    /// What made it fail, if it failed.
    pub failure: Option<Failure>,
    /// What could not be put back.
    pub left: Vec<Left>,
    /// The line in the history.
    pub deployment: Option<Deployment>,
}

impl Conclusion {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self.outcome {
            // The release serves; what has to follow did not.
            Outcome::Succeeded if !self.left.is_empty() => Exit::Stuck,
            Outcome::Succeeded => Exit::Done,
            Outcome::RolledBack => Exit::Failed,
            Outcome::Stuck => Exit::Stuck,
        }
    }
}

/// All entries of a ledger.
pub async fn history(ledger: &Ledger) -> Result<Vec<Entry>, ReadError> {
    ledger.entries(&Query::all()).await
}

pub(crate) async fn read_history(ledger: &Ledger) -> Result<Vec<Entry>, PromoteError> {
    history(ledger)
        .await
        .map_err(|error| PromoteError::Ledger { message: error.to_string(), authentication: false })
}

/// Nothing is built on a history that was tampered with: whether a release is proven and approved is read from it.
pub(crate) async fn verify(ledger: &Ledger) -> Result<(), PromoteError> {
    match ledger.verify().await {
        Ok(_) => Ok(()),
        Err(error) => Err(PromoteError::Ledger {
            message: format!("{error}\n  next: liftlock audit verify"),
            authentication: false,
        }),
    }
}

/// What a run is about, as it was when the run began: a resumed run must see the same.
pub(crate) struct Matter {
    pub kind: RunKind,
    pub options: Vec<String>,
    pub release: Release,
    pub previous: Option<Release>,
    pub previous_bundle: Option<ArtifactHash>,
    pub started: Timestamp,
    pub reason: Option<String>,
}

impl Matter {
    pub(crate) fn of(
        ask: &Ask,
        release: Release,
        entries: &[Entry],
        environment: &EnvName,
    ) -> Self {
        Self {
            kind: ask.kind,
            options: ask.options(),
            release,
            previous: serving(entries, environment),
            previous_bundle: choose::last_bundle(entries, environment),
            started: Timestamp::now(),
            reason: ask.reason.clone(),
        }
    }

    /// Why the shares below all traffic are skipped, where they are.
    pub(crate) fn skipped_canary(&self) -> Option<String> {
        let skips = self.options.iter().any(|option| option == plan::SKIP_CANARY);
        skips.then(|| self.reason.clone().unwrap_or_default())
    }

    pub(crate) fn frame<'a>(&'a self, site: &'a Site, scribe: &'a Scribe) -> Frame<'a> {
        Frame {
            site,
            scribe,
            release: &self.release,
            previous: self.previous.as_ref(),
            previous_bundle: self.previous_bundle.as_ref(),
            reason: self.reason.as_deref(),
        }
    }
}

/// The release that serves in an environment.
pub(crate) fn serving(entries: &[Entry], environment: &EnvName) -> Option<Release> {
    let current = projection::current(entries, environment)?;
    projection::release(entries, &current.release)
}

/// Raises a release into the site's environment, or brings an earlier one back.
///
/// # Errors
///
/// [`PromoteError`] when nothing was touched, or when the run could not come to an orderly end. A run that failed and
/// was rolled back is no error here but a [`Conclusion`].
pub async fn start(
    site: &Site,
    ask: &Ask,
    report: &Report,
    cancel: &CancellationToken,
) -> Result<Conclusion, PromoteError> {
    let run = RunId::generate();
    let hold = Hold::take(&site.place(), &run).await?;
    let watcher = hold.stop_when_lost(cancel);
    let ear = abort::stop_when_aborted(&site.ledger, &run, cancel);
    let result = start_held(site, ask, report, cancel, &run, &hold).await;
    ear.abort();
    watcher.abort();
    hold.give_back().await;
    result
}

async fn start_held(
    site: &Site,
    ask: &Ask,
    report: &Report,
    cancel: &CancellationToken,
    run: &RunId,
    hold: &Hold,
) -> Result<Conclusion, PromoteError> {
    let environment = &site.environment.name;
    verify(&site.ledger).await?;
    settle(site, report, hold).await?;
    let entries = read_history(&site.ledger).await?;
    if let Some(interrupted) = projection::unfinished(&entries, environment) {
        return Err(PromoteError::Interrupted {
            environment: environment.clone(),
            run: interrupted,
        });
    }
    let release = choose::release(site, ask, &entries)?;
    let scribe = scribe(site, run, report, hold);
    if ask.kind == RunKind::Promotion {
        if choose::already_serves(site, &release, &entries).await {
            let left = contract::catch_up(site, &scribe, &release, cancel).await;
            return Ok(Conclusion {
                run: None,
                release,
                outcome: Outcome::Succeeded,
                failure: None,
                left: left.into_iter().collect(),
                deployment: None,
            });
        }
        let mut evaluations = evaluate_gates(site, &release.id, &entries);
        evaluations.extend(gate::skip_canary(&site.environment, ask));
        pass_gates(site, &scribe, &release, evaluations).await?;
    } else {
        let evaluations = gate::evaluate_way_back(site, ask, &release.id, &entries);
        pass_gates(site, &scribe, &release, evaluations).await?;
    }
    let matter = Matter::of(ask, release, &entries, environment);
    preflight::check(site, &matter).await?;
    if let Some(why) = preflight::refuses_way_back(site, &matter).await {
        return Err(PromoteError::WayBack(why));
    }
    if let Some(why) = preflight::drifted(site, &matter).await? {
        return Err(PromoteError::Drifted(why));
    }
    let event = Event::RunStarted {
        kind: ask.kind,
        release: Some(matter.release.id.clone()),
        reason: ask.reason.clone(),
        options: matter.options.clone(),
    };
    scribe.write(event).await.map_err(|error| PromoteError::Ledger {
        message: error.to_string(),
        authentication: false,
    })?;
    let occasion = match ask.kind {
        RunKind::Rollback => Occasion::RollbackStarted,
        _ => Occasion::Started,
    };
    announce::begin(site, &scribe, occasion, &matter).await;
    drive(site, &scribe, &matter, &[], cancel).await
}

/// Goes on with a run that was interrupted, to its end or back to its beginning.
pub async fn resume(
    site: &Site,
    run: Option<&RunId>,
    report: &Report,
    cancel: &CancellationToken,
) -> Result<Conclusion, PromoteError> {
    let entries = read_history(&site.ledger).await?;
    let environment = &site.environment.name;
    let run = match run {
        Some(run) => run.clone(),
        None => to_resume(&entries, environment).ok_or_else(|| {
            PromoteError::NothingToResume(format!(
                "no run was interrupted in {environment}; there is nothing to resume\n  next: liftlock status --env {environment}"
            ))
        })?,
    };
    let hold = Hold::take(&site.place(), &run).await?;
    let watcher = hold.stop_when_lost(cancel);
    let ear = abort::stop_when_aborted(&site.ledger, &run, cancel);
    let result = resume_held(site, &run, report, cancel, &hold).await;
    ear.abort();
    watcher.abort();
    hold.give_back().await;
    result
}

async fn resume_held(
    site: &Site,
    run: &RunId,
    report: &Report,
    cancel: &CancellationToken,
    hold: &Hold,
) -> Result<Conclusion, PromoteError> {
    verify(&site.ledger).await?;
    // Read again now that nobody else writes: the run may have ended since.
    let entries = read_history(&site.ledger).await?;
    let environment = &site.environment.name;
    let nothing = |why: String| PromoteError::NothingToResume(why);
    let view = projection::run(&entries, run).ok_or_else(|| {
        nothing(format!(
            "there is no run {run}; `liftlock history --env {environment}` shows what there is"
        ))
    })?;
    if view.environment.as_ref() != Some(environment) {
        let place =
            view.environment.map_or_else(|| "no environment".to_owned(), |name| name.to_string());
        return Err(nothing(format!(
            "{run} is of {place}, not of {environment}; `liftlock history --run {run}` shows it"
        )));
    }
    // Its steps remember the world as it was then; what came after it would be overwritten.
    if let Some(later) = projection::last(&entries, environment).filter(|last| last != run) {
        return Err(nothing(format!(
            "{later} began in {environment} after {run}, which can no longer be gone on with\n  next: liftlock history --env {environment}"
        )));
    }
    let ended = matches!(view.finished, Some((Outcome::Succeeded | Outcome::RolledBack, _)));
    if ended && choose::is_recorded(&entries, run) {
        return Err(nothing(format!(
            "{run} ended already; `liftlock history --env {environment}` shows how"
        )));
    }
    let before = before_run(&entries, run);
    let release = view
        .release
        .as_ref()
        .and_then(|id| projection::release(&entries, id))
        .ok_or_else(|| nothing(format!("{run} is about no release that the ledger knows")))?;
    let matter = Matter {
        kind: view.kind,
        options: view.options.clone(),
        release,
        previous: serving(before, environment),
        previous_bundle: choose::last_bundle(before, environment),
        started: view.started,
        reason: view.reason.clone(),
    };
    preflight::check_resume(site).await?;
    let scribe = scribe(site, run, report, hold);
    scribe.write(Event::RunResumed { interrupted: view.actor.clone() }).await.map_err(|error| {
        PromoteError::Ledger { message: error.to_string(), authentication: false }
    })?;
    drive(site, &scribe, &matter, &view.records, cancel).await
}

/// The run that was interrupted, also between its end and its line in the history, or that got stuck: once what was in its
/// way is mended, its way back is tried again.
fn to_resume(entries: &[Entry], environment: &EnvName) -> Option<RunId> {
    let last = projection::last(entries, environment)?;
    let is_whole = match projection::run(entries, &last)?.finished {
        None | Some((Outcome::Stuck, _)) => false,
        Some((Outcome::Succeeded | Outcome::RolledBack, _)) => choose::is_recorded(entries, &last),
    };
    (!is_whole).then_some(last)
}

/// The entries from before the run began.
fn before_run<'a>(entries: &'a [Entry], run: &RunId) -> &'a [Entry] {
    let began = entries.iter().position(|entry| {
        entry.run.as_ref() == Some(run) && matches!(entry.event, Event::RunStarted { .. })
    });
    &entries[..began.unwrap_or(entries.len())]
}

fn scribe(site: &Site, run: &RunId, report: &Report, hold: &Hold) -> Scribe {
    let environment = site.environment.name.clone();
    Scribe::new(
        site.ledger.clone(),
        environment,
        run.clone(),
        site.actor.clone(),
        Some(hold.fence()),
        report.clone(),
    )
}

async fn drive(
    site: &Site,
    scribe: &Scribe,
    matter: &Matter,
    records: &[Record],
    cancel: &CancellationToken,
) -> Result<Conclusion, PromoteError> {
    let frame = matter.frame(site, scribe);
    let saga = plan::saga(matter.kind, &matter.options, frame);
    let fingerprint = plan::fingerprint(matter.kind, &matter.options, &frame, &saga);
    let life = |step: &liftlock_model::StepName, text: &str| scribe.life(step, text);
    // A switch that fired stops the run as a signal would.
    let stop = cancel.child_token();
    let control = Control { cancel: &stop, life: &life };
    let fired = switch::take_up(site, scribe, records, &stop).await;
    let run = Box::pin(liftlock_saga::run(&saga, &fingerprint, records, scribe, &control));
    let tell = |text: String| scribe.life(&liftlock_model::StepName::new(ARM), &text);
    let result = site.switches.beside(run, &stop, &tell).await;
    let mut end = switch::settle(site, scribe, fired, result).await?;
    abort::name_who_stopped(&site.ledger, scribe.run(), &mut end).await;
    if end.outcome == Outcome::Succeeded && matter.kind == RunKind::Promotion {
        end.left.extend(contract::apply(&frame, cancel).await);
        tidy::task_definitions(&frame).await;
    }
    Ok(finish(site, scribe, matter, end).await)
}

async fn finish(site: &Site, scribe: &Scribe, matter: &Matter, end: End) -> Conclusion {
    let concluded = conclude(site, scribe, matter, &end).await;
    announce::end(site, scribe, matter, &end, &concluded.deployment).await;
    Conclusion {
        run: Some(scribe.run().clone()),
        release: matter.release.clone(),
        outcome: concluded.outcome,
        failure: end.failure,
        left: concluded.left,
        deployment: Some(concluded.deployment),
    }
}

/// A run that ended and died before its line was written into the history: writes it.
async fn settle(site: &Site, report: &Report, hold: &Hold) -> Result<(), PromoteError> {
    let entries = read_history(&site.ledger).await?;
    let environment = &site.environment.name;
    let Some(run) = choose::last_run(&entries, environment) else { return Ok(()) };
    let Some(view) = projection::run(&entries, &run) else { return Ok(()) };
    let Some((outcome, left)) = view.finished.clone() else { return Ok(()) };
    if choose::is_recorded(&entries, &run)
        || !matches!(view.kind, RunKind::Promotion | RunKind::Rollback)
    {
        return Ok(());
    }
    let Some(release) = view.release.as_ref().and_then(|id| projection::release(&entries, id))
    else {
        return Ok(());
    };
    let before = before_run(&entries, &run);
    let matter = Matter {
        kind: view.kind,
        options: view.options.clone(),
        release,
        previous: serving(before, environment),
        previous_bundle: None,
        started: view.started,
        reason: view.reason.clone(),
    };
    let scribe = scribe(site, &run, report, hold);
    conclude(site, &scribe, &matter, &End { outcome, failure: None, left }).await;
    Ok(())
}

async fn pass_gates(
    site: &Site,
    scribe: &Scribe,
    release: &Release,
    evaluations: Vec<Evaluation>,
) -> Result<(), PromoteError> {
    for evaluation in &evaluations {
        let reason = evaluation.reason.clone();
        let event = Event::GateEvaluated {
            gate: evaluation.gate.clone(),
            verdict: evaluation.verdict(),
            reason,
        };
        scribe.write(event).await.map_err(|error| PromoteError::Ledger {
            message: error.to_string(),
            authentication: false,
        })?;
    }
    match liftlock_gate::decide(&evaluations) {
        Decision::Open => Ok(()),
        decision => {
            if decision == Decision::Waiting {
                announce::waiting(site, scribe, release, &evaluations).await;
            }
            Err(PromoteError::Gates(evaluations))
        }
    }
}
