//! Raising and lowering a colour's tasks.

use std::time::Duration;

use liftlock_model::ImageDigest;
use serde::Serialize;

use crate::wait::Step;
use crate::{Colour, ColourState, Live, RolloutError, Target, TaskDefinition, Wait};

/// So many tasks that died since a raise began say that the next will die too. Three, as for the smallest service in
/// ECS's own deployment circuit breaker, which does not run when the service is new to it or has none.
const DEATHS: usize = 3;

/// How long may be spent on learning why tasks died.
const POST_MORTEM: Duration = Duration::from_secs(30);

/// A colour was raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Raised {
    /// How many of its targets are healthy.
    pub healthy: u32,
    /// How long it took.
    pub waited: Duration,
}

/// Gives a colour `count` tasks of a revision, and waits until it is in steady state with all of them healthy and known
/// to run `digest`. Fails early when the tasks do not stay alive. The colour must be where a listener points (the test
/// listener will do): the load balancer checks no others.
pub async fn raise(
    target: &dyn Target,
    colour: Colour,
    task_definition: &TaskDefinition,
    digest: &ImageDigest,
    count: u32,
    wait: &Wait<'_>,
) -> Result<Raised, RolloutError> {
    let doing = format!("raising {colour} to {count} × {task_definition}");
    let before = wait.see(|| target.live(), &doing).await?;
    let mut patient = Patient::new(before.colour(colour), colour, task_definition, digest, count);
    wait.go_on(&doing)?;
    if !patient.set_already(before.colour(colour)) {
        target.set_capacity(colour, Some(task_definition), count).await?;
    }
    match wait.until(|| target.live(), &doing, |live| patient.judge(live)).await {
        Ok((healthy, waited)) => Ok(Raised { healthy, waited }),
        Err(error) => Err(post_mortem(target, colour, task_definition, error, wait).await),
    }
}

/// Adds how the revision's tasks ended, where that may be why. That it cannot be learned changes nothing of the error.
pub(crate) async fn post_mortem(
    target: &dyn Target,
    colour: Colour,
    task_definition: &TaskDefinition,
    error: RolloutError,
    wait: &Wait<'_>,
) -> RolloutError {
    if !matches!(error, RolloutError::TasksDie { .. } | RolloutError::TimedOut { .. }) {
        return error;
    }
    let deaths = target.deaths(colour, task_definition);
    let deaths = tokio::select! {
        biased;
        () = wait.cancel.cancelled() => return error,
        deaths = tokio::time::timeout(POST_MORTEM, deaths) => deaths,
    };
    match deaths {
        Ok(Ok(deaths)) => error.telling(deaths),
        Ok(Err(_)) | Err(_) => error,
    }
}

/// What a raise waits for, and what it remembers between two looks.
pub(crate) struct Patient<'a> {
    colour: Colour,
    task_definition: &'a TaskDefinition,
    digest: &'a ImageDigest,
    count: u32,
    /// Tasks of this revision that had died before.
    dead_before: usize,
    /// The revision was seen in place: should another follow, the target went back by itself.
    accepted: bool,
}

impl<'a> Patient<'a> {
    pub(crate) fn new(
        before: &ColourState,
        colour: Colour,
        task_definition: &'a TaskDefinition,
        digest: &'a ImageDigest,
        count: u32,
    ) -> Self {
        let same = before.task_definition.as_ref() == Some(task_definition);
        let dead_before = if same { before.stopped.len() } else { 0 };
        Self { colour, task_definition, digest, count, dead_before, accepted: false }
    }

    pub(crate) fn set_already(&self, before: &ColourState) -> bool {
        before.task_definition.as_ref() == Some(self.task_definition)
            && before.desired == self.count
            && !before.failed
    }

    pub(crate) fn judge(&mut self, live: &Live) -> Step<u32> {
        let state = live.colour(self.colour);
        let ours = state.task_definition.as_ref() == Some(self.task_definition);
        let gone_back = self.accepted && !ours;
        self.accepted |= ours;
        if ours && state.steady && state.runs_exactly(self.digest, self.count) {
            if state.healthy_targets >= self.count {
                return Step::Done(state.healthy_targets);
            }
            if state.unused_targets >= self.count {
                return Step::Failed(RolloutError::Unused { colour: self.colour });
            }
        }
        let dead = state.stopped.len().saturating_sub(self.dead_before);
        if gone_back || (ours && (state.failed || dead >= DEATHS)) {
            let back = gone_back.then(|| match &state.task_definition {
                Some(now) => format!("the deployment was taken back to {now}"),
                None => "the deployment was taken back".to_owned(),
            });
            return Step::Failed(RolloutError::TasksDie {
                colour: self.colour,
                task_definition: self.task_definition.clone(),
                reasons: back.into_iter().chain(reasons(state)).collect(),
                deaths: Vec::new(),
            });
        }
        Step::NotYet(state.summary())
    }
}

/// Why tasks died: their own stop reasons, or, where there are none, what the target said last.
fn reasons(state: &ColourState) -> Vec<String> {
    if state.stopped.is_empty() {
        state.events.iter().take(3).cloned().collect()
    } else {
        state.stopped.clone()
    }
}

/// Lowers a colour that carries no traffic to `count` tasks (never raises it), and waits until the others are gone and
/// have finished their requests.
pub async fn lower(
    target: &dyn Target,
    colour: Colour,
    count: u32,
    wait: &Wait<'_>,
) -> Result<(), RolloutError> {
    let doing = format!("lowering {colour} to {count}");
    let before = wait.see(|| target.outline(), &doing).await?;
    let share = before.weights.share(colour);
    if share > 0 {
        return Err(RolloutError::CarriesTraffic { colour, share });
    }
    wait.go_on(&doing)?;
    if before.colour(colour).desired > count {
        target.set_capacity(colour, None, count).await?;
    }
    let drained = |live: &Live| {
        let state = live.colour(colour);
        let gone = state.desired <= count
            && state.running <= count
            && state.pending == 0
            && state.draining_targets == 0;
        if gone { Step::Done(()) } else { Step::NotYet(state.summary()) }
    };
    wait.until(|| target.outline(), &doing, drained).await.map(|((), _)| ())
}
