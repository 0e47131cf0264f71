//! Moves traffic: the test listener first, then users, share by share. Going back goes straight back.
//!
//! The test listener is pointed at the idle colour before that colour has tasks: a load balancer checks the health of
//! targets only where some listener leads to them.

use async_trait::async_trait;
use liftlock_model::{EnvName, Reversal, ServiceName, StepPlan};
use liftlock_rollout::{Colour, Live, Weights, shift};
use liftlock_saga::{Context, Done, Handle, Probe, Step, StepError, StepErrorKind, Undone};
use serde::{Deserialize, Serialize};

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
}

/// How the listeners stood.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Listeners {
    pub chosen: Chosen,
    pub test: Colour,
}

/// Chooses the idle colour and points the test listener at it.
pub(crate) struct PointTest<'a> {
    pub frame: Frame<'a>,
    pub service: ServiceName,
}

#[async_trait]
impl Step for PointTest<'_> {
    type Before = Listeners;
    type Output = Chosen;

    fn plan(&self) -> StepPlan {
        step_plan(
            format!("rollout/{}/test-listener", self.service),
            "choose the colour that carries no traffic, and point the test listener at it",
            Reversal::Undo("point it back".into()),
        )
    }

    async fn observe(&self, _: &Context<'_>) -> Result<Listeners, StepError> {
        let live = self.frame.target(&self.service)?.live().await.map_err(failure::target)?;
        let chosen =
            Chosen { colour: live.idle(), replaces: live.live_colour(), weights: live.weights };
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
            Some(live) => format!("the test listener shows {}; users are on {live}", chosen.colour),
            None => format!("the test listener shows {}; nothing serves users yet", chosen.colour),
        };
        Ok(Done::new(chosen.clone(), note))
    }

    async fn probe(&self, _: &Context<'_>, before: &Listeners) -> Result<Probe<Chosen>, StepError> {
        let live = self.frame.target(&self.service)?.live().await.map_err(failure::target)?;
        if live.test == before.chosen.colour {
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
    /// In percent.
    pub share: u8,
}

impl Shift<'_> {
    fn wanted(&self, chosen: &Chosen) -> Result<Weights, StepError> {
        Weights::giving(chosen.colour, self.share)
            .map_err(|error| StepError::of_kind(StepErrorKind::Configuration, &error))
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
        Ok(self.frame.target(&self.service)?.live().await.map_err(failure::target)?.weights)
    }

    async fn apply(&self, cx: &Context<'_>, _: &Weights) -> Result<Done<()>, StepError> {
        let chosen = cx.output(&self.chosen)?;
        if self.is_skipped(&chosen) {
            return Ok(Done::new((), "skipped: nothing serves yet that could be compared with"));
        }
        let on = |text: String| cx.life(&text);
        let wait = self.frame.wait(&self.service, cx, &on)?;
        let wanted = self.wanted(&chosen)?;
        let target = self.frame.target(&self.service)?;
        shift(target, wanted, self.frame.service(&self.service)?.tasks, &wait)
            .await
            .map_err(failure::rollout)?;
        Ok(Done::new((), format!("weights are {wanted}")))
    }

    async fn probe(&self, cx: &Context<'_>, before: &Weights) -> Result<Probe<()>, StepError> {
        let chosen = cx.output(&self.chosen)?;
        if self.is_skipped(&chosen) {
            return Ok(Probe::Done(Done::new((), "skipped")));
        }
        let live = self.frame.target(&self.service)?.live().await.map_err(failure::target)?;
        let wanted = self.wanted(&chosen)?;
        Ok(match live.weights {
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
        if target.live().await.map_err(failure::target)?.weights == chosen.weights {
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
        Ok(Undone::whole(format!("weights are {} again", chosen.weights)))
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
