//! Replaces a service's tasks where users are: the platform does it, some at a time, and the run watches.

use std::collections::BTreeSet;

use async_trait::async_trait;
use liftlock_environment::config;
use liftlock_model::{Reversal, ServiceName, StepPlan};
use liftlock_rollout::{
    Breaker, Colour, Expected, ExpectedColour, Replaced, Replacement, Replacing, RolloutError,
    Target, TaskDefinition, Wait, Weights, lower, reconcile, replace, shift, watch_until,
};
use liftlock_saga::{Context, Done, Handle, Probe, Step, StepError, StepErrorKind, Undone};
use serde::{Deserialize, Serialize};

use super::bake::{limits, observed};
use super::checks::{self, NamedChecks};
use super::switch::{aim, hold};
use super::traffic::Chosen;
use super::{Frame, step_plan};
use crate::check::LiveCheck;
use crate::failure;

/// How the step's name ends.
pub(crate) const STEP: &str = "/replace";

/// The name of the step that replaces a service's tasks.
pub(crate) fn name(service: &ServiceName) -> String {
    format!("rollout/{service}{STEP}")
}

/// What users were on before.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Served {
    pub chosen: Chosen,
    pub desired: u32,
}

impl Served {
    fn colour(&self) -> Colour {
        self.chosen.colour
    }
}

/// Has the platform replace the tasks of the colour that serves.
pub(crate) struct Replace<'a> {
    pub frame: Frame<'a>,
    pub service: ServiceName,
    pub chosen: Handle<Chosen>,
    pub registered: Handle<TaskDefinition>,
    pub how: Replacement,
}

#[async_trait]
impl Step for Replace<'_> {
    type Before = Served;
    type Output = ();

    fn plan(&self) -> StepPlan {
        let tasks = self.frame.service(&self.service).map_or(0, |service| service.tasks);
        let mut plan = step_plan(
            self.name(),
            format!(
                "have ECS replace the tasks that serve by {tasks} new ones, and watch what users get meanwhile"
            ),
            Reversal::Undo("replace them by the old version again".into()),
        );
        plan.details = vec![self.how.to_string()];
        plan
    }

    async fn observe(&self, cx: &Context<'_>) -> Result<Served, StepError> {
        let chosen = cx.output(&self.chosen)?;
        let live = self.frame.target(&self.service)?.live().await.map_err(failure::target)?;
        let desired = live.colour(chosen.colour).desired;
        Ok(Served { chosen, desired })
    }

    async fn apply(&self, cx: &Context<'_>, before: &Served) -> Result<Done<()>, StepError> {
        let on = |text: String| cx.life(&text);
        let wait = self.frame.wait(&self.service, cx, &on)?;
        let wait = Wait { timeout: wait.timeout + self.how.bakes(), ..wait };
        let target = self.frame.target(&self.service)?;
        let tasks = self.frame.service(&self.service)?.tasks;
        let digest = self.frame.digest(&self.service)?;
        tokio::select! {
            biased;
            () = cx.cancelled().cancelled() => {}
            held = hold(&self.frame) => held?,
        }
        self.reconcile(target, before, &wait).await?;
        let registered = cx.output(&self.registered)?;
        let asked = Replacing {
            colour: before.colour(),
            task_definition: &registered,
            digest,
            count: tasks,
            how: &self.how,
        };
        if before.chosen.replaces.is_some() {
            self.watched(cx, asked, &wait).await?;
        } else {
            // Nobody is served yet, so that there is nothing to watch.
            let replaced = replace(target, asked, &wait).await.map_err(failure::rollout)?;
            replaced.is_whole(target, &wait).await.map_err(failure::rollout)?;
        }
        let weights = Weights::all(before.colour());
        shift(target, weights, tasks, &wait).await.map_err(failure::rollout)?;
        Ok(Done::new(
            (),
            format!("{} serves with {tasks} tasks of {}", before.colour(), digest.short()),
        ))
    }

    async fn probe(&self, cx: &Context<'_>, before: &Served) -> Result<Probe<()>, StepError> {
        let live = self.frame.target(&self.service)?.live().await.map_err(failure::target)?;
        let tasks = self.frame.service(&self.service)?.tasks;
        let state = live.colour(before.colour());
        let registered = cx.output(&self.registered)?;
        let is_whole = state.task_definition.as_ref() == Some(&registered)
            && state.steady
            && state.runs_exactly(self.frame.digest(&self.service)?, tasks)
            && live.weights == Weights::all(before.colour());
        // Asking for the same again changes nothing; only the waiting and the watching are to be done again.
        Ok(if is_whole { Probe::Done(Done::new((), "was replaced")) } else { Probe::NotDone })
    }

    async fn undo(
        &self,
        cx: &Context<'_>,
        before: &Served,
        _: Option<&()>,
    ) -> Result<Undone, StepError> {
        let on = |text: String| cx.life(&text);
        let wait = self.frame.wait(&self.service, cx, &on)?;
        let target = self.frame.target(&self.service)?;
        if before.chosen.replaces.is_none() {
            return self.empty(target, before, &wait).await;
        }
        let Some((task_definition, digest)) = before.chosen.old() else {
            let text = format!(
                "{} ran more than one version before, so that there is none to go back to",
                self.service
            );
            return Err(StepError::new(StepErrorKind::Failed, text));
        };
        self.stop(target, before.colour(), task_definition, &on).await?;
        let asked = Replacing {
            colour: before.colour(),
            task_definition,
            digest,
            count: before.desired,
            how: &self.how.back(),
        };
        let replaced = replace(target, asked, &wait).await.map_err(failure::rollout)?;
        replaced.is_whole(target, &wait).await.map_err(failure::rollout)?;
        Ok(Undone::whole(format!(
            "{} serves with {} tasks of {} again",
            before.colour(),
            before.desired,
            digest.short()
        )))
    }
}

impl Replace<'_> {
    fn name(&self) -> String {
        name(&self.service)
    }

    /// Before users meet anything new: is the service as this run found it?
    async fn reconcile(
        &self,
        target: &dyn Target,
        before: &Served,
        wait: &Wait<'_>,
    ) -> Result<(), StepError> {
        let chosen = &before.chosen;
        let live = target.live().await.map_err(failure::target)?;
        // A run that goes on may find the new revision set already, and then it is on its way to be whole.
        let is_begun = live.colour(chosen.colour).task_definition != chosen.old_task_definition;
        let old = chosen.replaces.filter(|_| !is_begun).map(|colour| ExpectedColour {
            colour,
            task_definition: chosen.old_task_definition.clone(),
            digests: chosen.old_digests.clone(),
            healthy: 1,
        });
        let expected = Expected {
            weights: chosen.weights,
            test: chosen.colour,
            colours: old.into_iter().collect(),
        };
        reconcile(target, &expected, wait).await.map(drop).map_err(|error| {
            let differs = matches!(error, RolloutError::Differs { .. });
            let error = failure::rollout(error);
            let next = format!(
                "find out who else changes {} (`liftlock rollout status --env {}` shows how it is), then promote again",
                self.service, self.frame.site.environment.name
            );
            if differs { error.hint(next) } else { error }
        })
    }

    /// Watches what users get for as long as it takes, with the circuit breaker and the named checks in hand.
    async fn watched(
        &self,
        cx: &Context<'_>,
        asked: Replacing<'_>,
        wait: &Wait<'_>,
    ) -> Result<(), StepError> {
        let target = self.frame.target(&self.service)?;
        let check = LiveCheck::new(self.frame.site, self.frame.urls().await?, 100).await?;
        let chosen = [(self.service.clone(), self.chosen.clone())].into();
        let named = NamedChecks::begin(&self.frame, cx, &chosen, 100, wait.on).await?;
        // Tasks that die are counted by who waits for them, which knows their last lines, too.
        let limits = config::Breaker { task_failures: u32::MAX, ..limits(&self.frame)? };
        let mut breaker = Breaker::new(&limits);
        // What was begun is never cut off half way: only the waiting is.
        let replaced = replace(target, asked, wait).await.map_err(failure::rollout)?;
        let whole = self.guarded(replaced, target, wait);
        let doing = format!("replacing the tasks of {}", self.service);
        let watched = tokio::select! {
            biased;
            () = named.until_bad(), if !named.is_empty() => None,
            watched = watch_until(&check, &mut breaker, whole, &doing, wait) => Some(watched),
        };
        let found = named.found().await;
        for event in found.iter().map(|found| found.event(&self.name())) {
            self.write(event).await?;
        }
        match watched {
            Some(Ok(whole)) => whole?,
            Some(Err(tripped)) => {
                self.write(observed(&self.name(), &Err(tripped.clone()))).await?;
                return Err(failure::tripped(tripped));
            }
            None => {
                checks::conclude(&found)?;
            }
        }
        Ok(())
    }

    /// Waits for what was begun. While it is under way the dead-man's switch stops it, where that is sooner than to replace the tasks again;
    /// when it is through, there is nothing left to be stopped.
    async fn guarded(
        &self,
        replaced: Replaced<'_>,
        target: &dyn Target,
        wait: &Wait<'_>,
    ) -> Result<(), StepError> {
        aim(&self.frame, &self.service, wait).await?;
        let whole = replaced.is_whole(target, wait).await;
        if matches!(whole, Err(RolloutError::TasksDie { .. })) {
            // What was taken back may have been so by the switch, and then it is not the tasks' fault.
            hold(&self.frame).await?;
        }
        whole.map_err(failure::rollout)?;
        aim(&self.frame, &self.service, wait).await
    }

    async fn write(&self, event: liftlock_model::Event) -> Result<(), StepError> {
        let written = self.frame.scribe.write(event).await;
        written.map(|_| ()).map_err(|error| StepError::from_error(&error))
    }

    /// Has what is under way taken back, which is sooner than replacing the tasks again where it can be had.
    async fn stop(
        &self,
        target: &dyn Target,
        colour: Colour,
        old: &TaskDefinition,
        on: &(dyn Fn(String) + Send + Sync),
    ) -> Result<(), StepError> {
        let live = target.outline().await.map_err(failure::target)?;
        // What brings it back already, since the dead-man's switch fired or this was begun before, is not to be stopped.
        if live.colour(colour).task_definition.as_ref() == Some(old) {
            return Ok(());
        }
        if let Err(error) = target.take_back(colour).await {
            on(format!("it cannot be stopped, so that the tasks are replaced once more: {error}"));
        }
        Ok(())
    }

    /// There is nothing to go back to: the tasks go, and the weights are as they were.
    async fn empty(
        &self,
        target: &dyn Target,
        before: &Served,
        wait: &Wait<'_>,
    ) -> Result<Undone, StepError> {
        let colour = before.colour();
        target.set_weights(Weights::all(colour.other())).await.map_err(failure::target)?;
        lower(target, colour, before.desired, wait).await.map_err(failure::rollout)?;
        target.set_weights(before.chosen.weights).await.map_err(failure::target)?;
        if let Some(old) = &before.chosen.old_task_definition {
            let set = target.set_capacity(colour, Some(old), before.desired).await;
            set.map_err(failure::target)?;
        }
        Ok(Undone::whole("nothing served before, and nothing does now"))
    }
}

/// What a service's colours say of a replacement in place: the one that serves, or that would.
pub(super) fn chosen_in_place(live: &liftlock_rollout::Live) -> Chosen {
    let replaces = live.live_colour();
    let heavier = match live.weights.blue() >= live.weights.green() {
        true => Colour::Blue,
        false => Colour::Green,
    };
    let colour = replaces.unwrap_or(heavier);
    let state = live.colour(colour);
    let old_digests: BTreeSet<_> = state.digests.keys().cloned().collect();
    Chosen {
        colour,
        replaces,
        weights: live.weights,
        old_task_definition: state.task_definition.clone(),
        old_digests,
    }
}
