//! Raises the idle colour of a service to the release, and lowers the old one at the end.

use async_trait::async_trait;
use liftlock_model::{ImageDigest, Reversal, ServiceName, StepPlan};
use liftlock_rollout::{Colour, ColourState, TaskDefinition, lower, raise};
use liftlock_saga::{Context, Done, Handle, Probe, Step, StepError, Undone};
use serde::{Deserialize, Serialize};

use super::traffic::Chosen;
use super::{Frame, step_plan};
use crate::failure;

/// Registers a task definition that runs the release's image.
pub(crate) struct Register<'a> {
    pub frame: Frame<'a>,
    pub service: ServiceName,
}

#[async_trait]
impl Step for Register<'_> {
    type Before = ();
    type Output = TaskDefinition;

    fn plan(&self) -> StepPlan {
        let image =
            self.frame.image(&self.service).map_or_else(|_| "no image".into(), ToString::to_string);
        step_plan(
            format!("rollout/{}/register", self.service),
            format!("register a task definition that runs {image}"),
            Reversal::Undo("deregister it".into()),
        )
    }

    async fn observe(&self, _: &Context<'_>) -> Result<(), StepError> {
        Ok(())
    }

    async fn apply(&self, _: &Context<'_>, (): &()) -> Result<Done<TaskDefinition>, StepError> {
        let target = self.frame.target(&self.service)?;
        let image = self.frame.image(&self.service)?;
        let registered = target
            .register(image, &self.frame.task_environment())
            .await
            .map_err(failure::target)?;
        let note = registered.to_string();
        Ok(Done::new(registered, note))
    }

    async fn probe(&self, _: &Context<'_>, (): &()) -> Result<Probe<TaskDefinition>, StepError> {
        // Registering finds what it registered before.
        Ok(Probe::Repeatable)
    }

    async fn undo(
        &self,
        _: &Context<'_>,
        (): &(),
        output: Option<&TaskDefinition>,
    ) -> Result<Undone, StepError> {
        // A revision that nothing uses changes nothing. That it cannot be found or removed must not keep the migrations and
        // the infrastructure from being undone: ECS refuses while the last tasks of it go.
        Ok(Undone::whole(match self.deregister(output).await {
            Ok(note) => note,
            Err(error) => format!("kept, which harms nothing: {error}"),
        }))
    }
}

impl Register<'_> {
    async fn deregister(&self, output: Option<&TaskDefinition>) -> Result<String, StepError> {
        let target = self.frame.target(&self.service)?;
        let registered = match output {
            Some(registered) => registered.clone(),
            None => {
                let image = self.frame.image(&self.service)?;
                target
                    .register(image, &self.frame.task_environment())
                    .await
                    .map_err(failure::target)?
            }
        };
        let live = target.outline().await.map_err(failure::target)?;
        let is_set = |state: &ColourState| state.task_definition.as_ref() == Some(&registered);
        if [&live.blue, &live.green].into_iter().any(is_set) {
            return Ok(format!("{registered} is still what a colour is set to: kept"));
        }
        target.deregister(&registered).await.map_err(failure::target)?;
        Ok(format!("deregistered {registered}"))
    }
}

/// What the idle colour was before it was raised.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Capacity {
    pub colour: Colour,
    pub task_definition: Option<TaskDefinition>,
    pub desired: u32,
}

/// Raises the idle colour to the new task definition.
pub(crate) struct RaiseIdle<'a> {
    pub frame: Frame<'a>,
    pub service: ServiceName,
    pub registered: Handle<TaskDefinition>,
    pub chosen: Handle<Chosen>,
}

#[async_trait]
impl Step for RaiseIdle<'_> {
    type Before = Capacity;
    type Output = ();

    fn plan(&self) -> StepPlan {
        let tasks = self.frame.service(&self.service).map_or(0, |service| service.tasks);
        step_plan(
            format!("rollout/{}/raise", self.service),
            format!("raise that colour to {tasks} tasks of it and wait until all are healthy"),
            Reversal::Undo("lower it again".into()),
        )
    }

    async fn observe(&self, cx: &Context<'_>) -> Result<Capacity, StepError> {
        let colour = cx.output(&self.chosen)?.colour;
        let live = self.frame.target(&self.service)?.outline().await.map_err(failure::target)?;
        let state = live.colour(colour);
        Ok(Capacity {
            colour,
            task_definition: state.task_definition.clone(),
            desired: state.desired,
        })
    }

    async fn apply(&self, cx: &Context<'_>, before: &Capacity) -> Result<Done<()>, StepError> {
        let tasks = self.frame.service(&self.service)?.tasks;
        let registered = cx.output(&self.registered)?;
        let on = |text: String| cx.life(&text);
        let wait = self.frame.wait(&self.service, cx, &on)?;
        let digest = self.frame.digest(&self.service)?;
        let target = self.frame.target(&self.service)?;
        raise(target, before.colour, &registered, digest, tasks, &wait)
            .await
            .map_err(failure::rollout)?;
        Ok(Done::new(
            (),
            format!("{} runs {tasks} healthy tasks of {}", before.colour, digest.short()),
        ))
    }

    async fn probe(&self, _: &Context<'_>, before: &Capacity) -> Result<Probe<()>, StepError> {
        // Setting the same capacity again does nothing twice; only the waiting has to be done again.
        let live = self.frame.target(&self.service)?.live().await.map_err(failure::target)?;
        let tasks = self.frame.service(&self.service)?.tasks;
        let state = live.colour(before.colour);
        if state.steady
            && state.desired == tasks
            && state.runs_exactly(self.frame.digest(&self.service)?, tasks)
        {
            return Ok(Probe::Done(Done::new((), "was raised")));
        }
        Ok(Probe::NotDone)
    }

    async fn undo(
        &self,
        cx: &Context<'_>,
        before: &Capacity,
        _: Option<&()>,
    ) -> Result<Undone, StepError> {
        let target = self.frame.target(&self.service)?;
        let on = |text: String| cx.life(&text);
        let wait = self.frame.wait(&self.service, cx, &on)?;
        lower(target, before.colour, before.desired, &wait).await.map_err(failure::rollout)?;
        if before.task_definition.is_some() {
            target
                .set_capacity(before.colour, before.task_definition.as_ref(), before.desired)
                .await
                .map_err(failure::target)?;
        }
        Ok(Undone::whole(format!("{} is back at {} tasks", before.colour, before.desired)))
    }
}

/// What the old colour ran before it was lowered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OldColour {
    task_definition: Option<TaskDefinition>,
    desired: u32,
    digest: Option<ImageDigest>,
}

/// Lowers the colour that the release replaced.
pub(crate) struct LowerOld<'a> {
    pub frame: Frame<'a>,
    pub service: ServiceName,
    pub chosen: Handle<Chosen>,
}

#[async_trait]
impl Step for LowerOld<'_> {
    type Before = OldColour;
    type Output = ();

    fn plan(&self) -> StepPlan {
        step_plan(
            format!("rollout/{}/lower", self.service),
            "lower the old colour, which carries no traffic any more",
            Reversal::Undo("raise it again and wait until it is healthy".into()),
        )
    }

    async fn observe(&self, cx: &Context<'_>) -> Result<OldColour, StepError> {
        let chosen = cx.output(&self.chosen)?;
        let live = self.frame.target(&self.service)?.outline().await.map_err(failure::target)?;
        let old = live.colour(chosen.colour.other());
        Ok(OldColour {
            task_definition: old.task_definition.clone(),
            desired: old.desired,
            digest: chosen.old_digests.first().cloned(),
        })
    }

    async fn apply(&self, cx: &Context<'_>, before: &OldColour) -> Result<Done<()>, StepError> {
        let chosen = cx.output(&self.chosen)?;
        if before.desired == 0 {
            return Ok(Done::new((), "there was none"));
        }
        let on = |text: String| cx.life(&text);
        let wait = self.frame.wait(&self.service, cx, &on)?;
        lower(self.frame.target(&self.service)?, chosen.colour.other(), 0, &wait)
            .await
            .map_err(failure::rollout)?;
        Ok(Done::new((), format!("{} is lowered", chosen.colour.other())))
    }

    async fn probe(&self, cx: &Context<'_>, _: &OldColour) -> Result<Probe<()>, StepError> {
        let old = cx.output(&self.chosen)?.colour.other();
        let live = self.frame.target(&self.service)?.outline().await.map_err(failure::target)?;
        let state = live.colour(old);
        let gone = state.desired == 0 && state.running == 0 && state.draining_targets == 0;
        Ok(match gone {
            true => Probe::Done(Done::new((), format!("{old} was lowered"))),
            false => Probe::NotDone,
        })
    }

    async fn undo(
        &self,
        cx: &Context<'_>,
        before: &OldColour,
        _: Option<&()>,
    ) -> Result<Undone, StepError> {
        let chosen = cx.output(&self.chosen)?;
        let Some(task_definition) = before.task_definition.as_ref().filter(|_| before.desired > 0)
        else {
            return Ok(Undone::whole("there was no old colour"));
        };
        let on = |text: String| cx.life(&text);
        let wait = self.frame.wait(&self.service, cx, &on)?;
        let target = self.frame.target(&self.service)?;
        let (old, desired) = (chosen.colour.other(), before.desired);
        let Some(digest) = &before.digest else {
            // None of its tasks was seen running before: there is no health to wait for.
            target
                .set_capacity(old, Some(task_definition), desired)
                .await
                .map_err(failure::target)?;
            return Ok(Undone::whole(format!("{old} is set to {desired} tasks again")));
        };
        raise(target, old, task_definition, digest, desired, &wait)
            .await
            .map_err(failure::rollout)?;
        Ok(Undone::whole(format!("{old} is raised again")))
    }
}
