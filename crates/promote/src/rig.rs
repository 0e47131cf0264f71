//! Steps that fail on demand, so that tests can show that the world is as before.

use async_trait::async_trait;
use liftlock_model::StepPlan;
use liftlock_saga::{Context, Done, Probe, Step, StepError, Undone};

use crate::fault::Fault;

/// Wraps steps so that the one that `LIFTLOCK_FAULT` names fails after it acted.
pub(crate) struct Rig(Fault);

impl Rig {
    pub(crate) fn from_environment() -> Self {
        Self(Fault::from_environment())
    }

    pub(crate) fn step<S: Step>(&self, step: S) -> Rigged<S> {
        Rigged { step, fault: self.0.clone() }
    }
}

/// A step that may be asked to fail.
pub(crate) struct Rigged<S> {
    step: S,
    fault: Fault,
}

#[async_trait]
impl<S: Step> Step for Rigged<S> {
    type Before = S::Before;
    type Output = S::Output;

    fn plan(&self) -> StepPlan {
        self.step.plan()
    }

    async fn observe(&self, cx: &Context<'_>) -> Result<S::Before, StepError> {
        self.step.observe(cx).await
    }

    async fn apply(
        &self,
        cx: &Context<'_>,
        before: &S::Before,
    ) -> Result<Done<S::Output>, StepError> {
        let done = self.step.apply(cx, before).await?;
        self.fault.after_step(&self.step.plan().step)?;
        Ok(done)
    }

    async fn probe(
        &self,
        cx: &Context<'_>,
        before: &S::Before,
    ) -> Result<Probe<S::Output>, StepError> {
        self.step.probe(cx, before).await
    }

    async fn undo(
        &self,
        cx: &Context<'_>,
        before: &S::Before,
        output: Option<&S::Output>,
    ) -> Result<Undone, StepError> {
        self.step.undo(cx, before, output).await
    }
}
