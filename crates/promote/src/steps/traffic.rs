//! Moves traffic: the test listener first, then users, share by share. Going back goes straight back.
//!
//! The test listener is pointed at the idle colour before that colour has tasks: a load balancer checks the health of
//! targets only where some listener leads to them.

use std::collections::BTreeSet;

use async_trait::async_trait;
use liftlock_model::{EnvName, ImageDigest, Reversal, ServiceName, StepPlan};
use liftlock_rollout::{
    Colour, Expected, ExpectedColour, Live, TaskDefinition, Wait, Weights, reconcile, shift,
    shift_from,
};
use liftlock_saga::{Context, Done, Handle, Probe, Step, StepError, StepErrorKind, Undone};
use serde::{Deserialize, Serialize};

use super::replace::chosen_in_place;
use super::switch::hold;
use super::{Frame, step_plan};
use crate::failure;

/// Which colour the release goes to, and what it will replace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Chosen {
    pub colour: Colour,
    /// The colour that carries traffic; none before the first rollout.
    pub replaces: Option<Colour>,
    /// The weights before the rollout: where traffic goes back to.
    pub weights: Weights,
    /// What the colour that it replaces is made from.
    pub old_task_definition: Option<TaskDefinition>,
    /// What that colour runs.
    pub old_digests: BTreeSet<ImageDigest>,
}

impl Chosen {
    /// What came before, where that is one thing: the tasks of two versions have no single one to go back to.
    pub(super) fn old(&self) -> Option<(&TaskDefinition, &ImageDigest)> {
        let mut digests = self.old_digests.iter();
        let (digest, None) = (digests.next()?, digests.next()) else { return None };
        Some((self.old_task_definition.as_ref()?, digest))
    }

    fn of(live: &Live) -> Self {
        let replaces = live.live_colour();
        let old = replaces.map(|colour| live.colour(colour));
        Self {
            colour: live.idle(),
            replaces,
            weights: live.weights,
            old_task_definition: old.and_then(|old| old.task_definition.clone()),
            old_digests: old.into_iter().flat_map(|old| old.digests.keys().cloned()).collect(),
        }
    }
}

/// How the listeners stood.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Listeners {
    pub chosen: Chosen,
    pub test: Colour,
}

/// Chooses the idle colour and points the test listener at it; where tasks are replaced in place, the colour that serves.
pub(crate) struct PointTest<'a> {
    pub frame: Frame<'a>,
    pub service: ServiceName,
    pub in_place: bool,
}

#[async_trait]
impl Step for PointTest<'_> {
    type Before = Listeners;
    type Output = Chosen;

    fn plan(&self) -> StepPlan {
        let does = match self.in_place {
            false => "choose the colour that carries no traffic, and point the test listener at it",
            true => {
                "point the test listener at the colour that serves: its tasks are replaced where they are"
            }
        };
        step_plan(
            format!("rollout/{}/test-listener", self.service),
            does,
            Reversal::Undo("point it back".into()),
        )
    }

    async fn observe(&self, _: &Context<'_>) -> Result<Listeners, StepError> {
        let live = self.frame.target(&self.service)?.live().await.map_err(failure::target)?;
        let chosen = if self.in_place { chosen_in_place(&live) } else { Chosen::of(&live) };
        refuse_half_way(&self.frame.site.environment.name, &self.service, &live)?;
        Ok(Listeners { chosen, test: live.test })
    }

    async fn apply(&self, _: &Context<'_>, before: &Listeners) -> Result<Done<Chosen>, StepError> {
        let chosen = &before.chosen;
        self.frame
            .target(&self.service)?
            .point_test(chosen.colour)
            .await
            .map_err(failure::target)?;
        let note = match chosen.replaces {
            Some(live) if live == chosen.colour => format!("users are on {live}"),
            Some(live) => format!("the test listener shows {}; users are on {live}", chosen.colour),
            None => format!("the test listener shows {}; nothing serves users yet", chosen.colour),
        };
        Ok(Done::new(chosen.clone(), note))
    }

    async fn probe(&self, _: &Context<'_>, before: &Listeners) -> Result<Probe<Chosen>, StepError> {
        let target = self.frame.target(&self.service)?;
        let (_, test) = target.splits().await.map_err(failure::target)?;
        if test == before.chosen.colour {
            return Ok(Probe::Done(Done::new(before.chosen.clone(), "was pointed there")));
        }
        Ok(Probe::NotDone)
    }

    async fn undo(
        &self,
        _: &Context<'_>,
        before: &Listeners,
        _: Option<&Chosen>,
    ) -> Result<Undone, StepError> {
        self.frame.target(&self.service)?.point_test(before.test).await.map_err(failure::target)?;
        Ok(Undone::whole(format!("the test listener shows {} again", before.test)))
    }
}

/// The colour to raise must carry no traffic: its tasks are replaced before anybody tested the new ones, and the weights
/// of now are those that traffic would go back to.
pub(crate) fn refuse_half_way(
    environment: &EnvName,
    service: &ServiceName,
    live: &Live,
) -> Result<(), StepError> {
    let (idle, weights) = (live.idle(), live.weights);
    let Some(live) = live.live_colour().filter(|_| weights.share(idle) > 0) else { return Ok(()) };
    let text = format!(
        "the traffic of {service} is split ({weights}): an earlier run left it half way, and raising {idle} would replace \
         tasks that users are on"
    );
    let hint = format!(
        "go back with that run: liftlock promote --env {environment} --resume (or give all weight to {live})"
    );
    Err(StepError::new(StepErrorKind::Configuration, text).hint(hint))
}

/// Gives the raised colour a share of the users' traffic.
pub(crate) struct Shift<'a> {
    pub frame: Frame<'a>,
    pub service: ServiceName,
    pub chosen: Handle<Chosen>,
    pub registered: Handle<TaskDefinition>,
    /// In percent.
    pub share: u8,
    /// The share that it has by then; none before the first step.
    pub after: Option<u8>,
}

fn giving(chosen: &Chosen, share: u8) -> Result<Weights, StepError> {
    Weights::giving(chosen.colour, share)
        .map_err(|error| StepError::of_kind(StepErrorKind::Configuration, &error))
}

impl Shift<'_> {
    fn wanted(&self, chosen: &Chosen) -> Result<Weights, StepError> {
        giving(chosen, self.share)
    }

    /// The weights that this run left: nobody else moves them while it holds the environment.
    fn left(&self, chosen: &Chosen) -> Result<Weights, StepError> {
        match self.after.filter(|_| chosen.replaces.is_some()) {
            Some(share) => giving(chosen, share),
            None => Ok(chosen.weights),
        }
    }

    /// That the lease is still this run's was seen when the intent was written: the ledger refuses it otherwise.
    async fn reconcile(
        &self,
        cx: &Context<'_>,
        chosen: &Chosen,
        wait: &Wait<'_>,
    ) -> Result<Live, StepError> {
        let new = ExpectedColour {
            colour: chosen.colour,
            task_definition: Some(cx.output(&self.registered)?),
            digests: [self.frame.digest(&self.service)?.clone()].into(),
            healthy: self.frame.service(&self.service)?.tasks,
        };
        let old = chosen.replaces.filter(|_| self.share < 100).map(|colour| ExpectedColour {
            colour,
            task_definition: chosen.old_task_definition.clone(),
            digests: chosen.old_digests.clone(),
            healthy: 1,
        });
        let expected = Expected {
            weights: self.left(chosen)?,
            test: chosen.colour,
            colours: [new].into_iter().chain(old).collect(),
        };
        let target = self.frame.target(&self.service)?;
        reconcile(target, &expected, wait).await.map_err(|error| {
            let environment = &self.frame.site.environment.name;
            let next = format!(
                "find out who else changes {} (`liftlock rollout status --env {environment}` shows how it is), then \
                 promote again",
                self.service
            );
            let differs = matches!(error, liftlock_rollout::RolloutError::Differs { .. });
            let error = failure::rollout(error);
            if differs { error.hint(next) } else { error }
        })
    }

    /// What to say of weights that this run did not set and that it now sets back.
    fn overwrites(&self, chosen: &Chosen, found: Weights) -> Result<String, StepError> {
        let mine = [chosen.weights, self.wanted(chosen)?, self.left(chosen)?];
        Ok(match mine.contains(&found) {
            true => String::new(),
            false => format!("; somebody else had set them to {found} meanwhile"),
        })
    }

    /// Nothing serves yet: there is nobody to share traffic with, so all of it moves with the last step.
    fn is_skipped(&self, chosen: &Chosen) -> bool {
        chosen.replaces.is_none() && self.share < 100
    }
}

#[async_trait]
impl Step for Shift<'_> {
    type Before = Weights;
    type Output = ();

    fn plan(&self) -> StepPlan {
        step_plan(
            format!("rollout/{}/shift-{}", self.service, self.share),
            format!("give it {} % of the traffic", self.share),
            Reversal::Undo("put all traffic back at once".into()),
        )
    }

    async fn observe(&self, _: &Context<'_>) -> Result<Weights, StepError> {
        Ok(self.frame.target(&self.service)?.splits().await.map_err(failure::target)?.0)
    }

    async fn apply(&self, cx: &Context<'_>, _: &Weights) -> Result<Done<()>, StepError> {
        let chosen = cx.output(&self.chosen)?;
        if self.is_skipped(&chosen) {
            return Ok(Done::new((), "skipped: nothing serves yet that could be compared with"));
        }
        let on = |text: String| cx.life(&text);
        let wait = self.frame.wait(&self.service, cx, &on)?;
        let wanted = self.wanted(&chosen)?;
        tokio::select! {
            biased;
            () = cx.cancelled().cancelled() => {}
            held = hold(&self.frame) => held?,
        }
        let live = self.reconcile(cx, &chosen, &wait).await?;
        let target = self.frame.target(&self.service)?;
        shift_from(target, &live, wanted, self.frame.service(&self.service)?.tasks, &wait)
            .await
            .map_err(failure::rollout)?;
        Ok(Done::new((), format!("weights are {wanted}")))
    }

    async fn probe(&self, cx: &Context<'_>, before: &Weights) -> Result<Probe<()>, StepError> {
        let chosen = cx.output(&self.chosen)?;
        if self.is_skipped(&chosen) {
            return Ok(Probe::Done(Done::new((), "skipped")));
        }
        let target = self.frame.target(&self.service)?;
        let (now, _) = target.splits().await.map_err(failure::target)?;
        let wanted = self.wanted(&chosen)?;
        Ok(match now {
            now if now == wanted => Probe::Done(Done::new((), format!("weights are {now}"))),
            now if now == *before => Probe::NotDone,
            now => Probe::InDoubt(format!("weights are {now}: somebody else moved them")),
        })
    }

    async fn undo(
        &self,
        cx: &Context<'_>,
        _: &Weights,
        _: Option<&()>,
    ) -> Result<Undone, StepError> {
        let chosen = cx.output(&self.chosen)?;
        let target = self.frame.target(&self.service)?;
        let (found, _) = target.splits().await.map_err(failure::target)?;
        if found == chosen.weights {
            return Ok(Undone::whole(format!("weights are {} already", chosen.weights)));
        }
        if chosen.replaces.is_none() {
            // There is nobody to give the traffic back to; the weights alone go back.
            target.set_weights(chosen.weights).await.map_err(failure::target)?;
            return Ok(Undone::whole("nothing served before, and nothing does now"));
        }
        let on = |text: String| cx.life(&text);
        let wait = self.frame.wait(&self.service, cx, &on)?;
        // One healthy task of the old version is better than any number of a broken one.
        shift(target, chosen.weights, 1, &wait).await.map_err(failure::rollout)?;
        let overwritten = self.overwrites(&chosen, found)?;
        Ok(Undone::whole(format!("weights are {} again{overwritten}", chosen.weights)))
    }
}

/// No colour of a service serves.
pub(crate) fn nothing_serves(service: &ServiceName) -> StepError {
    StepError::new(StepErrorKind::Failed, format!("no colour of {service} carries traffic"))
}

#[cfg(test)]
mod tests {
    use liftlock_rollout::ColourState;

    use super::*;

    #[test]
    fn a_colour_that_carries_traffic_is_not_raised() {
        let (dev, service) = ("dev".parse().unwrap(), "backend".parse().unwrap());
        let live = |healthy_targets, blue| Live {
            blue: ColourState { healthy_targets, ..ColourState::default() },
            green: ColourState { healthy_targets, ..ColourState::default() },
            weights: Weights::new(blue, 100 - blue).unwrap(),
            test: Colour::Green,
        };
        assert!(refuse_half_way(&dev, &service, &live(2, 100)).is_ok());
        // Nobody is served: there is nothing to lose.
        assert!(refuse_half_way(&dev, &service, &live(0, 50)).is_ok());
        let error = refuse_half_way(&dev, &service, &live(2, 50)).unwrap_err();
        assert!(error.to_string().contains("give all weight to blue"), "{error}");
    }
}
