//! Plans the release's infrastructure and applies exactly that plan; going back means to apply what was there before.

use async_trait::async_trait;
use liftlock_model::{ArtifactHash, Left, Reversal, StepPlan};
use liftlock_saga::{Context, Done, Handle, Probe, Step, StepError, StepErrorKind, Undone};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{Frame, life, step_plan};
use crate::archive;
use crate::infrastructure::InfrastructurePlan;

/// The name of the step whose output is what infrastructure is there.
pub(crate) const APPLY: &str = "infrastructure/apply";

/// What was planned, from which files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Planned {
    pub bundle: ArtifactHash,
    pub plan: InfrastructurePlan,
}

/// Plans, and refuses what would destroy something stateful.
pub(crate) struct PlanInfrastructure<'a>(pub Frame<'a>);

#[async_trait]
impl Step for PlanInfrastructure<'_> {
    type Before = ();
    type Output = Planned;

    fn plan(&self) -> StepPlan {
        let maker = self.0.site.infrastructure.maker();
        step_plan(
            "infrastructure/plan",
            format!("{maker}: plan the release's infrastructure"),
            Reversal::ReadOnly,
        )
    }

    async fn observe(&self, _: &Context<'_>) -> Result<(), StepError> {
        Ok(())
    }

    async fn apply(&self, cx: &Context<'_>, (): &()) -> Result<Done<Planned>, StepError> {
        let site = self.0.site;
        let code = self.0.files(&self.0.release.content.infrastructure_archive).await?;
        let files = site.infrastructure.bundle(self.0.release, code)?;
        let plan = site.infrastructure.plan(&files, &life(cx)).await?;
        refuse_violations(&plan)?;
        let packed = archive::pack(&files).map_err(|error| StepError::from_error(&error))?;
        let bundle = site
            .ledger
            .put_artifact(&packed)
            .await
            .map_err(|error| StepError::from_error(&error))?;
        let note = plan.headline.clone();
        Ok(Done::new(Planned { bundle, plan }, note))
    }

    async fn probe(&self, _: &Context<'_>, (): &()) -> Result<Probe<Planned>, StepError> {
        Ok(Probe::Repeatable)
    }

    async fn undo(
        &self,
        _: &Context<'_>,
        (): &(),
        _: Option<&Planned>,
    ) -> Result<Undone, StepError> {
        Ok(Undone::whole("only planned"))
    }
}

fn refuse_violations(plan: &InfrastructurePlan) -> Result<(), StepError> {
    if plan.violations.is_empty() {
        return Ok(());
    }
    let list = plan.violations.join("\n  ");
    Err(StepError::new(StepErrorKind::Failed, format!("the plan would destroy what holds data:\n  {list}"))
        .hint("look at it with `liftlock infra plan`; if it is meant, `liftlock infra apply --allow ADDRESS`"))
}

/// Applies what was planned.
pub(crate) struct ApplyInfrastructure<'a> {
    pub frame: Frame<'a>,
    pub planned: Handle<Planned>,
    /// Made by the probe of a resumed run: a saved plan does not outlive what interrupted it.
    pub again: Mutex<Option<InfrastructurePlan>>,
}

#[async_trait]
impl Step for ApplyInfrastructure<'_> {
    type Before = ();
    type Output = ArtifactHash;

    fn plan(&self) -> StepPlan {
        let undo = match self.frame.previous_bundle {
            Some(_) => Reversal::Undo("apply the infrastructure of the last good run again".into()),
            None => Reversal::Kept("there is no earlier infrastructure to go back to".into()),
        };
        step_plan(APPLY, "apply exactly that plan", undo)
    }

    async fn observe(&self, _: &Context<'_>) -> Result<(), StepError> {
        Ok(())
    }

    async fn apply(&self, cx: &Context<'_>, (): &()) -> Result<Done<ArtifactHash>, StepError> {
        let planned = cx.output(&self.planned)?;
        let again = self.again.lock().await.take();
        let plan = again.unwrap_or(planned.plan);
        if plan.changes == 0 {
            return Ok(Done::new(planned.bundle, "nothing to change"));
        }
        let files = self.frame.files(&planned.bundle).await?;
        let note =
            self.frame.site.infrastructure.apply(&files, &plan, &life(cx), cx.cancelled()).await?;
        Ok(Done::new(planned.bundle, note))
    }

    /// `terraform apply` may have gone on after we died: plan again, and compare with what was approved.
    async fn probe(&self, cx: &Context<'_>, (): &()) -> Result<Probe<ArtifactHash>, StepError> {
        let planned = cx.output(&self.planned)?;
        let files = self.frame.files(&planned.bundle).await?;
        let now = self.frame.site.infrastructure.plan(&files, &life(cx)).await?;
        if now.changes == 0 {
            return Ok(Probe::Done(Done::new(
                planned.bundle,
                "was applied: nothing is left to change",
            )));
        }
        refuse_violations(&now)?;
        if now.details.iter().all(|line| planned.plan.details.contains(line)) {
            *self.again.lock().await = Some(now);
            return Ok(Probe::NotDone);
        }
        Ok(Probe::InDoubt(format!(
            "what is left to change is not a part of what was planned: {}",
            now.headline
        )))
    }

    async fn undo(
        &self,
        cx: &Context<'_>,
        (): &(),
        _: Option<&ArtifactHash>,
    ) -> Result<Undone, StepError> {
        let Some(bundle) = self.frame.previous_bundle else {
            return Ok(Undone::whole("there is no earlier infrastructure to go back to"));
        };
        // What this run did not change is not this run's to put back: drift since the last good run may be meant.
        if cx.output(&self.planned)?.plan.changes == 0 {
            return Ok(Undone::whole("nothing had been changed"));
        }
        let files = self.frame.files(bundle).await?;
        let maker = &self.frame.site.infrastructure;
        let plan = maker.plan(&files, &life(cx)).await?;
        if plan.changes == 0 {
            return Ok(Undone::whole("the infrastructure is as before"));
        }
        if let Err(error) = refuse_violations(&plan) {
            let left = Left {
                what: format!("the infrastructure of the failed run: {error}"),
                command: format!("liftlock infra plan --env {}", self.frame.site.environment.name),
            };
            return Ok(Undone {
                left: vec![left],
                note: "left as it is: going back would destroy data".into(),
            });
        }
        maker.apply(&files, &plan, &life(cx), cx.cancelled()).await.map(Undone::whole)
    }
}
