//! The dead-man's switch: armed before the first user meets the new version, taken away before the old version is.

use std::collections::BTreeMap;

use async_trait::async_trait;
use liftlock_model::{Left, Reversal, ServiceName, StepPlan};
use liftlock_rollout::{Back, Backs, Kept, TargetErrorKind, Wait};
use liftlock_saga::{Context, Done, Handle, Probe, Step, StepError, StepErrorKind, Undone};

use super::traffic::Chosen;
use super::{Frame, step_plan};
use crate::failure;

/// The name of the step that arms it.
pub(crate) const ARM: &str = "rollout/arm-switch";
/// The name of the step that takes it away.
pub(crate) const DISARM: &str = "rollout/disarm-switch";

/// Arms a switch for each service that serves. Without it no user meets the new version.
pub(crate) struct ArmSwitch<'a> {
    pub frame: Frame<'a>,
    pub chosen: BTreeMap<ServiceName, Handle<Chosen>>,
}

#[async_trait]
impl Step for ArmSwitch<'_> {
    /// What comes back. A resumed run arms again with this.
    type Before = Backs;
    type Output = ();

    fn plan(&self) -> StepPlan {
        let after = self.frame.site.environment.config.switch.after;
        let does = format!(
            "arm the dead-man's switch: outside of this process, it gives users the old version back when nothing was heard \
             from here for {after}"
        );
        step_plan(ARM, does, Reversal::Undo("take it away".into()))
    }

    async fn observe(&self, cx: &Context<'_>) -> Result<Backs, StepError> {
        let mut backs = Backs::new();
        for (service, chosen) in &self.chosen {
            let chosen = cx.output(chosen)?;
            let is_in_place = self.frame.service(service)?.rollout.strategy.is_in_place();
            backs.extend(back(&chosen, is_in_place).map(|back| (service.clone(), back)));
        }
        Ok(backs)
    }

    async fn apply(&self, _: &Context<'_>, before: &Backs) -> Result<Done<()>, StepError> {
        if before.is_empty() {
            return Ok(Done::new((), "skipped: nothing serves yet that users could go back to"));
        }
        let switches = &self.frame.site.switches;
        let until = switches.arm(before.clone()).await.map_err(|error| {
            let error = failure::target(error);
            let text = format!(
                "the dead-man's switch cannot be armed, and no traffic moves without it: {error}"
            );
            StepError::new(error.kind(), text)
        })?;
        let note = format!(
            "{} armed; without a sign of life, {} back at {until:.0}",
            before.len(),
            if tasks(before) { "the old version comes" } else { "traffic is" }
        );
        Ok(Done::new((), note))
    }

    async fn probe(&self, _: &Context<'_>, _: &Backs) -> Result<Probe<()>, StepError> {
        // Arming what is armed puts it off.
        Ok(Probe::Repeatable)
    }

    async fn undo(&self, _: &Context<'_>, _: &Backs, _: Option<&()>) -> Result<Undone, StepError> {
        Ok(match self.frame.site.switches.disarm().await {
            Ok(_) => Undone::whole("the dead-man's switch is taken away"),
            // It fires once, and sets what is there by then. It must not keep everything else from being undone.
            Err(error) => Undone {
                left: vec![Left {
                    what: format!(
                        "the dead-man's switch could not be taken away: it fires within {} and sets what is set now ({error})",
                        self.frame.site.environment.config.switch.after
                    ),
                    command: format!(
                        "liftlock rollout status --env {}",
                        self.frame.site.environment.name
                    ),
                }],
                note: "the dead-man's switch could not be taken away".into(),
            },
        })
    }
}

/// Takes the switches away: in a promotion before the old version goes, since they must not give it traffic after that, and in
/// a rollback by hand before traffic moves, where an earlier run may have left one.
pub(crate) struct DisarmSwitch<'a> {
    pub frame: Frame<'a>,
    /// Of a rollback by hand: one that cannot be reached must not bar the way back.
    pub leniently: bool,
    /// Where what comes back is known from, if it has to be armed again.
    pub chosen: BTreeMap<ServiceName, Handle<Chosen>>,
}

#[async_trait]
impl Step for DisarmSwitch<'_> {
    type Before = ();
    type Output = ();

    fn plan(&self) -> StepPlan {
        let (does, reversal) = match self.leniently {
            false => (
                "take the dead-man's switch away: the new version has all traffic, and the old one goes",
                Reversal::Undo("arm it again".into()),
            ),
            true => (
                "take away the dead-man's switch that an earlier run may have left",
                Reversal::Kept("a rollback by hand has none".into()),
            ),
        };
        step_plan(DISARM, does, reversal)
    }

    async fn observe(&self, _: &Context<'_>) -> Result<(), StepError> {
        Ok(())
    }

    async fn apply(&self, _: &Context<'_>, (): &()) -> Result<Done<()>, StepError> {
        let switches = &self.frame.site.switches;
        if !self.leniently {
            // With its whole time before it, it cannot fire while it is being taken away.
            hold(&self.frame).await?;
        }
        match switches.disarm().await {
            Ok(0) => Ok(Done::new((), "there was none")),
            Ok(count) => Ok(Done::new((), format!("{count} taken away"))),
            Err(error) if self.leniently && error.kind() != TargetErrorKind::Authentication => {
                Ok(Done::new((), format!("not known whether there is one: {error}")))
            }
            Err(error) => Err(failure::target(error)),
        }
    }

    async fn probe(&self, _: &Context<'_>, (): &()) -> Result<Probe<()>, StepError> {
        Ok(Probe::Repeatable)
    }

    async fn undo(&self, cx: &Context<'_>, (): &(), _: Option<&()>) -> Result<Undone, StepError> {
        let arm = ArmSwitch { frame: self.frame, chosen: self.chosen.clone() };
        let back = arm.observe(cx).await?;
        // Users go back next. That must not wait for a switch that cannot be armed.
        Ok(Undone::whole(match self.frame.site.switches.arm(back).await {
            Ok(_) => "armed until the old version is back".to_owned(),
            Err(error) => format!("not armed again: {error}"),
        }))
    }
}

/// What comes back of a service. Of tasks that are replaced where they are, the revision before, if that is one thing.
fn back(chosen: &Chosen, is_in_place: bool) -> Option<Back> {
    chosen.replaces?;
    if !is_in_place {
        return Some(Back::Weights(chosen.weights));
    }
    let (task_definition, _) = chosen.old()?;
    Some(Back::Tasks { colour: chosen.colour, task_definition: task_definition.clone() })
}

fn tasks(backs: &Backs) -> bool {
    backs.values().any(|back| matches!(back, Back::Tasks { .. }))
}

/// Aims the switch of a service at what the platform is doing by now, and puts it off.
pub(crate) async fn aim(
    frame: &Frame<'_>,
    service: &ServiceName,
    wait: &Wait<'_>,
) -> Result<(), StepError> {
    frame.site.switches.aim(service, wait).await.map_err(|error| {
        let error = failure::rollout(error);
        let text = format!("the dead-man's switch of {service} cannot be armed: {error}");
        StepError::new(error.kind(), text)
    })?;
    hold(frame).await
}

/// Puts the switches off now. Before each shift: one that fired means that this run was taken for dead, and traffic went back.
pub(crate) async fn hold(frame: &Frame<'_>) -> Result<(), StepError> {
    match frame.site.switches.put_off().await {
        Kept::Lost(why) => Err(StepError::new(StepErrorKind::Failed, why)),
        Kept::Off | Kept::Until(_) | Kept::NotYet { .. } => Ok(()),
    }
}
