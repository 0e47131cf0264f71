//! A rollback without the ledger: by what the cloud says alone, to a release that somebody names.

use std::collections::{BTreeMap, BTreeSet};

use liftlock_environment::config::Rollout;
use liftlock_model::{
    Event, Left, Outcome, Record, ReleaseId, RunId, RunKind, Sample, ServiceName, Verdict,
};
use liftlock_rollout::{
    Colour, Live, Replacement, Replacing, Revision, Revisions, Wait, Way, Weights, raise, replace,
    shift, way,
};
use liftlock_saga::{StepError, StepErrorKind};
use tokio_util::sync::CancellationToken;

use crate::error::PromoteError;
use crate::failure;
use crate::hold::Hold;
use crate::report::Report;
use crate::scribe::Scribe;
use crate::serves;
use crate::site::Site;
use crate::steps::look::seen_serving_soon;

/// What each service remembers of its releases.
pub type Memories = BTreeMap<ServiceName, Box<dyn Revisions>>;

/// How a service stands, as the cloud says.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Which service.
    pub service: ServiceName,
    /// Its colours and weights.
    pub live: Live,
    /// What it was given, newest first.
    pub revisions: Vec<Revision>,
    /// How ECS replaces its tasks, where it moves their traffic by itself.
    pub by_ecs: Option<Replacement>,
}

impl Standing {
    /// The shortest way to the release of these revisions. Where ECS moves the traffic, nobody else puts tasks beside the others.
    fn way(&self, revisions: &[Revision]) -> Option<Way> {
        let found = way(&self.live, revisions)?;
        let serves = Colour::BOTH.into_iter().find(|one| self.live.weights.share(*one) == 100);
        Some(match (found, serves.filter(|_| self.by_ecs.is_some())) {
            (Way::Raise(_, revision), Some(serves)) => Way::Raise(serves, revision),
            (found, _) => found,
        })
    }
}

/// A release that all services could go back to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Choice {
    /// Which.
    pub release: ReleaseId,
    /// Its version.
    pub version: String,
    /// Where it stands, for people.
    pub stands: Vec<String>,
}

/// How it ended.
#[derive(Debug, Clone)]
pub struct Returned {
    /// Under which number it is on record on this machine.
    pub run: RunId,
    /// Its version.
    pub version: String,
    /// What was seen of it.
    pub seen: Vec<String>,
    /// What is not as it should be; nothing if all is well.
    pub left: Vec<Left>,
}

/// Reads how each service stands.
///
/// # Errors
/// The cloud does not say.
pub async fn stand(site: &Site, memories: &Memories) -> Result<Vec<Standing>, StepError> {
    let mut standings = Vec::new();
    for (service, settings) in site.environment.services_in_order() {
        let by_ecs = Replacement::of(&settings.rollout)
            .filter(|how| matches!(how, Replacement::Shifted { .. }));
        let live = site.target(service)?.live().await.map_err(failure::target)?;
        let set: Vec<_> = [&live.blue, &live.green]
            .into_iter()
            .filter_map(|state| state.task_definition.clone())
            .collect();
        let memory = memories.get(service).ok_or_else(|| {
            StepError::new(StepErrorKind::Configuration, format!("{service} has no memory"))
        })?;
        let revisions = memory.revisions(&set).await.map_err(failure::target)?;
        standings.push(Standing { service: service.clone(), live, revisions, by_ecs });
    }
    Ok(standings)
}

/// Pure: the releases that every service can be given again, the newest first.
pub fn choices(standings: &[Standing]) -> Vec<Choice> {
    let mut seen = BTreeSet::new();
    let all = standings.first().into_iter().flat_map(|first| &first.revisions);
    let mut found = Vec::new();
    for revision in all.filter(|revision| seen.insert(&revision.release)) {
        let stands: Option<Vec<_>> =
            standings.iter().map(|standing| place(standing, &revision.release)).collect();
        if let Some(stands) = stands {
            let (release, version) = (revision.release.clone(), revision.version.clone());
            found.push(Choice { release, version, stands });
        }
    }
    found
}

/// Where a release stands in a service; none if it cannot be given it.
fn place(standing: &Standing, release: &ReleaseId) -> Option<String> {
    let service = &standing.service;
    let revisions: Vec<_> =
        standing.revisions.iter().filter(|one| one.release == *release).cloned().collect();
    Some(match standing.way(&revisions)? {
        Way::Stays(colour) => format!("{service}: has all traffic, on {colour}"),
        Way::Shift(colour) => {
            let state = standing.live.colour(colour);
            let share = standing.live.weights.share(colour);
            format!(
                "{service}: healthy on {colour}, with {share} % of the traffic ({} targets)",
                state.healthy_targets
            )
        }
        Way::Raise(colour, revision) => {
            let state = standing.live.colour(colour);
            match state.task_definition.as_ref() == Some(&revision) && state.desired > 0 {
                true => format!("{service}: NOT healthy on {colour} ({})", state.summary()),
                false => format!("{service}: would be started on {colour} from {revision}"),
            }
        }
    })
}

/// Gives all traffic back to a release, weights first where it stands by, and sees it serve. The schema stays as it is.
///
/// # Errors
/// Nothing was touched: another process of this machine is at work here, the cloud does not answer, or it does not know the release.
pub async fn emergency(
    site: &Site,
    memories: &Memories,
    to: &ReleaseId,
    reason: &str,
    (report, tell): (&Report, &(dyn Fn(&str) + Send + Sync)),
    cancel: &CancellationToken,
) -> Result<Returned, PromoteError> {
    let run = RunId::generate();
    let hold = Hold::take(&site.place(), &run).await?;
    let result = held(site, memories, to, reason, (report, tell), (&run, &hold, cancel)).await;
    hold.give_back().await;
    result
}

type Told<'a> = (&'a Report, &'a (dyn Fn(&str) + Send + Sync));

async fn held(
    site: &Site,
    memories: &Memories,
    to: &ReleaseId,
    reason: &str,
    (report, tell): Told<'_>,
    (run, hold, cancel): (&RunId, &Hold, &CancellationToken),
) -> Result<Returned, PromoteError> {
    let standings = stand(site, memories).await?;
    let Some(choice) = choices(&standings).into_iter().find(|choice| choice.release == *to) else {
        return Err(PromoteError::NoRelease(format!(
            "{}\n  nothing was touched",
            unknown(&standings, to, &site.environment.name)
        )));
    };
    let scribe = Scribe::new(
        site.ledger.clone(),
        site.environment.name.clone(),
        run.clone(),
        site.actor.clone(),
        Some(hold.fence()),
        report.clone(),
    );
    let began = Event::RunStarted {
        kind: RunKind::Rollback,
        release: Some(to.clone()),
        reason: Some(reason.to_owned()),
        options: vec!["emergency".into()],
    };
    // This machine's own record; users come first.
    scribe.write(began).await.ok();
    let mut way_back = WayBack { site, to, tell, cancel, seen: Vec::new(), left: Vec::new() };
    way_back.disarm().await;
    way_back.go(&standings).await;
    way_back.answers().await;
    let WayBack { seen, left, .. } = way_back;
    let verdict = if left.is_empty() { Verdict::Pass } else { Verdict::Fail };
    let detail =
        seen.iter().chain(left.iter().map(|one| &one.what)).cloned().collect::<Vec<_>>().join("; ");
    let sample = Sample { size: 1, bad: u64::from(!left.is_empty()) };
    let check = format!("after the rollback: {to} serves");
    scribe.write(Event::Observed { check, verdict, sample, detail }).await.ok();
    let outcome = if left.is_empty() { Outcome::Succeeded } else { Outcome::Stuck };
    let record = Record::Finished { outcome, left: left.clone() };
    scribe.write(Event::Journal { record }).await.ok();
    Ok(Returned { run: run.clone(), version: choice.version, seen, left })
}

/// What to say when a release cannot be gone back to.
pub fn unknown(
    standings: &[Standing],
    to: &ReleaseId,
    environment: &liftlock_model::EnvName,
) -> String {
    let names: Vec<_> = choices(standings)
        .into_iter()
        .map(|one| format!("{} ({})", one.release, one.version))
        .collect();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    format!(
        "the cloud does not remember {to} for every service of {environment}; it remembers: {known}"
    )
}

struct WayBack<'a> {
    site: &'a Site,
    to: &'a ReleaseId,
    tell: &'a (dyn Fn(&str) + Send + Sync),
    cancel: &'a CancellationToken,
    seen: Vec<String>,
    left: Vec<Left>,
}

/// One service on its way.
struct Leg<'s> {
    standing: &'s Standing,
    revisions: Vec<Revision>,
    way: Way,
}

impl WayBack<'_> {
    /// A promotion that is under way elsewhere finds its switch gone, and turns back.
    async fn disarm(&mut self) {
        match self.site.switches.disarm().await {
            Ok(0) => {}
            Ok(_) => self.saw(
                "a dead-man's switch was armed: a promotion is, or was, under way; it is taken away".into(),
            ),
            Err(error) => {
                self.saw(format!("not known whether a dead-man's switch is armed: {error}"));
            }
        }
    }

    fn saw(&mut self, text: String) {
        (self.tell)(&text);
        self.seen.push(text);
    }

    /// Weights first, of all services that only need that; then those whose tasks have to be started, which move together or not at all.
    async fn go(&mut self, standings: &[Standing]) {
        let mut raised = Vec::new();
        for standing in standings {
            let revisions: Vec<_> =
                standing.revisions.iter().filter(|one| one.release == *self.to).cloned().collect();
            let Some(way) = standing.way(&revisions) else { continue };
            let leg = Leg { standing, revisions, way };
            match leg.way {
                Way::Raise(..) => raised.push(leg),
                Way::Stays(_) | Way::Shift(_) => {
                    let arrived = self.arrive(&leg, 1).await;
                    self.note(&leg, arrived);
                }
            }
        }
        let mut whole = true;
        for leg in &raised {
            if let Err(error) = self.raise(leg).await {
                whole = false;
                self.note(leg, Err(error));
            }
        }
        for leg in raised.iter().filter(|_| whole) {
            let arrived = match self.settings(leg) {
                Ok((tasks, _)) => self.arrive(leg, tasks).await,
                Err(error) => Err(error),
            };
            self.note(leg, arrived);
        }
    }

    fn note(&mut self, leg: &Leg<'_>, arrived: Result<String, StepError>) {
        let service = &leg.standing.service;
        match arrived {
            Ok(text) => self.saw(text),
            Err(error) => self.left.push(Left {
                what: format!("{service} does not serve {}: {error}", self.to),
                command: format!(
                    "liftlock rollback --env {} --emergency, which shows what else can be brought back",
                    self.site.environment.name
                ),
            }),
        }
    }

    fn settings(&self, leg: &Leg<'_>) -> Result<(u32, &Rollout), StepError> {
        let service = self.site.environment.config.services.get(&leg.standing.service);
        let service = service
            .ok_or_else(|| StepError::new(StepErrorKind::Configuration, "no such service"))?;
        Ok((service.tasks, &service.rollout))
    }

    /// Starts the release's tasks where no traffic is, and waits until they are healthy.
    async fn raise(&self, leg: &Leg<'_>) -> Result<(), StepError> {
        let (Standing { service, live, .. }, (tasks, rollout)) =
            (leg.standing, self.settings(leg)?);
        let on = |text: String| (self.tell)(&format!("{service}: {text}"));
        let (target, wait) = (self.site.target(service)?, self.wait(rollout, &on));
        let (colour, revision) = self.revision(leg)?;
        if let Some(how) = leg.standing.by_ecs {
            // What brings it back already is not to be stopped.
            if live.colour(colour).task_definition.as_ref() != Some(&revision.task_definition) {
                target.take_back(colour).await.map_err(failure::target)?;
            }
            let asked = Replacing {
                colour,
                task_definition: &revision.task_definition,
                digest: &revision.digest,
                count: tasks,
                how: &how.back(),
            };
            let replaced = replace(target, asked, &wait).await.map_err(failure::rollout)?;
            return replaced.is_whole(target, &wait).await.map(|_| ()).map_err(failure::rollout);
        }
        let other = colour.other();
        // Users who are on what is replaced go to the other colour, as far as that can take them.
        if live.weights.share(colour) > 0 && live.colour(other).healthy_targets > 0 {
            shift(target, Weights::all(other), 1, &wait).await.map_err(failure::rollout)?;
        }
        target.point_test(colour).await.map_err(failure::target)?;
        raise(target, colour, &revision.task_definition, &revision.digest, tasks, &wait)
            .await
            .map_err(failure::rollout)?;
        Ok(())
    }

    /// Moves all traffic to where the release stands, and sees it serve.
    async fn arrive(&self, leg: &Leg<'_>, needed: u32) -> Result<String, StepError> {
        let (Standing { service, .. }, (_, rollout)) = (leg.standing, self.settings(leg)?);
        let on = |text: String| (self.tell)(&format!("{service}: {text}"));
        let (target, wait) = (self.site.target(service)?, self.wait(rollout, &on));
        let (colour, revision) = self.revision(leg)?;
        shift(target, Weights::all(colour), needed, &wait).await.map_err(failure::rollout)?;
        let now = target.outline().await.map_err(failure::target)?.colour(colour).running.max(1);
        seen_serving_soon(target, colour, &revision.digest, now).await.map_err(failure::rollout)?;
        Ok(format!(
            "{service}: all traffic is on {colour}, where {now} tasks run {} ({}) and nothing else",
            revision.version,
            revision.digest.short()
        ))
    }

    fn wait<'w>(&'w self, rollout: &Rollout, on: &'w (dyn Fn(String) + Send + Sync)) -> Wait<'w> {
        let (poll, timeout) = (rollout.poll.duration(), rollout.start_timeout.duration());
        Wait { poll, timeout, cancel: self.cancel, on }
    }

    fn revision<'l>(&self, leg: &'l Leg<'_>) -> Result<(Colour, &'l Revision), StepError> {
        let (colour, wanted) = match &leg.way {
            Way::Raise(colour, revision) => (*colour, Some(revision)),
            Way::Stays(colour) | Way::Shift(colour) => {
                (*colour, leg.standing.live.colour(*colour).task_definition.as_ref())
            }
        };
        let found = leg.revisions.iter().find(|one| Some(&one.task_definition) == wanted);
        let found =
            found.ok_or_else(|| StepError::new(StepErrorKind::Failed, "its revision is gone"))?;
        Ok((colour, found))
    }

    /// Health and error rate, as users have them.
    async fn answers(&mut self) {
        let judged = match crate::steps::urls(self.site).await {
            Ok(urls) => {
                let answers = serves::answers(self.site, &urls.production).await;
                serves::judge(&answers, &urls.production)
            }
            Err(error) => Err(error),
        };
        match judged {
            Ok(text) => self.saw(text),
            Err(error) => self.left.push(Left {
                what: format!("users are not answered as they should be: {error}"),
                command: format!("liftlock rollout status --env {}", self.site.environment.name),
            }),
        }
    }
}
