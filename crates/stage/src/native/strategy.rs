//! The strategies of ECS, and how traffic goes step by step: decisions only.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::deployments::Configuration;

/// A share of traffic in tenths of a percent, the finest that ECS takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Share(pub(crate) u32);

impl Share {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const WHOLE: Self = Self(1000);

    pub(crate) fn percent(self) -> f64 {
        f64::from(self.0) / 10.0
    }

    pub(crate) fn rest(self) -> Self {
        Self(Self::WHOLE.0 - self.0)
    }

    /// The weights of the rest and of this share. They sum to 100, or to 1,000 where the share has a tenth.
    pub(crate) fn weights(self) -> (u32, u32) {
        let unit = if self.0.is_multiple_of(10) { 10 } else { 1 };
        (self.rest().0 / unit, self.0 / unit)
    }
}

/// `deploymentConfiguration.strategy`, with what belongs to it. Bakes are in minutes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Strategy {
    #[default]
    Rolling,
    BlueGreen,
    Linear {
        step: Share,
        bake: u32,
    },
    Canary {
        share: Share,
        bake: u32,
    },
}

impl Strategy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rolling => "ROLLING",
            Self::BlueGreen => "BLUE_GREEN",
            Self::Linear { .. } => "LINEAR",
            Self::Canary { .. } => "CANARY",
        }
    }

    /// Whether it shifts traffic between two target groups.
    pub(crate) fn shifts(self) -> bool {
        self != Self::Rolling
    }

    /// The share of production traffic that the new revision gets after this one.
    fn after(self, share: Share) -> Share {
        match self {
            Self::Linear { step, .. } => Share(share.0 + step.0).min(Share::WHOLE),
            Self::Canary { share: first, .. } if share < first => first,
            _ => Share::WHOLE,
        }
    }

    /// How many minutes a share below the whole is kept.
    fn step_bake(self) -> u32 {
        match self {
            Self::Linear { bake, .. } | Self::Canary { bake, .. } => bake,
            Self::Rolling | Self::BlueGreen => 0,
        }
    }
}

/// `ServiceDeployment.lifecycleStage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Lifecycle {
    ReconcileService,
    PreScaleUp,
    ScaleUp,
    PostScaleUp,
    TestTrafficShift,
    PostTestTrafficShift,
    ProductionTrafficShift,
    PostProductionTrafficShift,
    BakeTime,
    CleanUp,
}

/// How traffic goes from one deployment's tasks to another's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shift {
    /// As it was when the deployment began.
    pub(crate) configuration: Configuration,
    /// The deployment that it takes over from, and how many tasks are wanted of it.
    pub(crate) source: String,
    pub(crate) source_tasks: u32,
    /// The target group with production traffic before, and the one after.
    pub(crate) from: String,
    pub(crate) to: String,
    /// The listener rules' ARNs.
    pub(crate) production_rule: String,
    pub(crate) test_rule: Option<String>,
    /// None while the deployment is pending.
    pub(crate) stage: Option<Lifecycle>,
    /// When the stage, or the last step within it, began.
    pub(crate) since: Timestamp,
    /// What the new revision was given.
    pub(crate) production: Share,
    pub(crate) test: Share,
    /// Why it cannot begin.
    pub(crate) invalid: Option<String>,
}

/// What there is to see of a deployment under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// There are tasks of deployments that are neither the new one nor its source.
    pub(crate) others: bool,
    /// All tasks of the new deployment that are wanted are healthy.
    pub(crate) ready: bool,
    /// Since the stage, or the last step within it, began.
    pub(crate) elapsed: Duration,
}

/// How fast it goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// How long a minute of a bake is.
    pub(crate) minute: Duration,
    /// How long each stage takes at least.
    pub(crate) stage: Duration,
}

/// What is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Enter(Lifecycle),
    /// A further share of production traffic, within the same stage.
    Give(Share),
}

impl Shift {
    /// Decides. Nothing goes on while tasks of the new revision are missing or not healthy.
    pub(crate) fn next(&self, seen: Seen, pace: Pace) -> Option<Step> {
        use Lifecycle as L;
        if seen.elapsed < pace.stage {
            return None;
        }
        let baked = |minutes: u32| seen.ready && seen.elapsed >= pace.minute * minutes;
        let enter = |may: bool, stage| may.then_some(Step::Enter(stage));
        match self.stage {
            // Only where there is something to reconcile.
            None if seen.others => Some(Step::Enter(L::ReconcileService)),
            None => Some(Step::Enter(L::PreScaleUp)),
            Some(L::ReconcileService) => enter(!seen.others, L::PreScaleUp),
            Some(L::PreScaleUp) => Some(Step::Enter(L::ScaleUp)),
            Some(L::ScaleUp) => enter(seen.ready, L::PostScaleUp),
            Some(L::PostScaleUp) => enter(seen.ready, L::TestTrafficShift),
            Some(L::TestTrafficShift) => enter(seen.ready, L::PostTestTrafficShift),
            Some(L::PostTestTrafficShift) => enter(seen.ready, L::ProductionTrafficShift),
            Some(L::ProductionTrafficShift) if self.production < Share::WHOLE => {
                baked(self.configuration.strategy.step_bake()).then(|| Step::Give(self.share()))
            }
            Some(L::ProductionTrafficShift) => enter(seen.ready, L::PostProductionTrafficShift),
            Some(L::PostProductionTrafficShift) => enter(seen.ready, L::BakeTime),
            Some(L::BakeTime) => enter(baked(self.configuration.bake), L::CleanUp),
            Some(L::CleanUp) => None,
        }
    }

    /// The next share of production traffic.
    fn share(&self) -> Share {
        self.configuration.strategy.after(self.production)
    }

    /// Takes note of a step.
    pub(crate) fn take(&mut self, step: Step, now: Timestamp) {
        self.since = now;
        match step {
            Step::Give(share) => self.production = share,
            Step::Enter(stage) => {
                self.stage = Some(stage);
                match stage {
                    Lifecycle::TestTrafficShift if self.test_rule.is_some() => {
                        self.test = Share::WHOLE;
                    }
                    Lifecycle::ProductionTrafficShift => self.production = self.share(),
                    _ => {}
                }
            }
        }
    }

    /// Whether it can still be taken back: the old tasks are there.
    pub(crate) fn can_return(&self) -> bool {
        self.stage != Some(Lifecycle::CleanUp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { minute: Duration::from_secs(60), stage: Duration::from_millis(100) };

    fn shift(strategy: Strategy) -> Shift {
        Shift {
            configuration: Configuration { strategy, bake: 3, ..Configuration::default() },
            source: "ecs-svc/1".into(),
            source_tasks: 2,
            from: "blue".into(),
            to: "green".into(),
            production_rule: "production".into(),
            test_rule: Some("test".into()),
            stage: None,
            since: Timestamp::UNIX_EPOCH,
            production: Share::NONE,
            test: Share::NONE,
            invalid: None,
        }
    }

    fn seen(seconds: u64) -> Seen {
        Seen { others: false, ready: true, elapsed: Duration::from_secs(seconds) }
    }

    /// Every step of a whole deployment, with the second at which it comes after the last one.
    fn steps(strategy: Strategy) -> Vec<(u64, Step)> {
        let (mut shift, mut all, mut waited) = (shift(strategy), Vec::new(), 1);
        while shift.stage != Some(Lifecycle::CleanUp) {
            match shift.next(seen(waited), PACE) {
                None => waited += 1,
                Some(step) => {
                    shift.take(step, Timestamp::UNIX_EPOCH);
                    all.push((waited, step));
                    waited = 1;
                }
            }
        }
        assert_eq!((shift.production, shift.test), (Share::WHOLE, Share::WHOLE));
        all
    }

    fn given(strategy: Strategy) -> Vec<(u64, u32)> {
        let shares = steps(strategy).into_iter().filter_map(|(waited, step)| match step {
            Step::Give(share) => Some((waited, share.0)),
            Step::Enter(_) => None,
        });
        shares.collect()
    }

    #[test]
    fn stages_come_in_the_order_of_ecs() {
        use Lifecycle as L;
        let entered = [
            (1, L::PreScaleUp),
            (1, L::ScaleUp),
            (1, L::PostScaleUp),
            (1, L::TestTrafficShift),
            (1, L::PostTestTrafficShift),
            (1, L::ProductionTrafficShift),
            (1, L::PostProductionTrafficShift),
            (1, L::BakeTime),
            (180, L::CleanUp),
        ];
        assert_eq!(steps(Strategy::BlueGreen), entered.map(|(at, stage)| (at, Step::Enter(stage))));
    }

    #[test]
    fn production_traffic_goes_by_steps_with_their_bakes() {
        let linear = Strategy::Linear { step: Share(300), bake: 2 };
        assert_eq!(given(linear), [(120, 600), (120, 900), (120, 1000)]);
        let canary = Strategy::Canary { share: Share(25), bake: 5 };
        assert_eq!(given(canary), [(300, 1000)]);
        assert_eq!(given(Strategy::Canary { share: Share::WHOLE, bake: 5 }), []);
        assert_eq!(given(Strategy::BlueGreen), []);
    }

    #[test]
    fn nothing_goes_on_without_the_new_tasks() {
        let mut shift = shift(Strategy::BlueGreen);
        let away = Seen { ready: false, ..seen(100_000) };
        for (_, step) in steps(Strategy::BlueGreen).into_iter().skip(2) {
            shift.take(Step::Enter(Lifecycle::ScaleUp), Timestamp::UNIX_EPOCH);
            assert_eq!(shift.next(away, PACE), None);
            shift.take(step, Timestamp::UNIX_EPOCH);
            assert_eq!(shift.next(away, PACE), None, "{step:?}");
        }
    }

    #[test]
    fn what_is_neither_old_nor_new_goes_first() {
        let mut shift = shift(Strategy::BlueGreen);
        let others = Seen { others: true, ..seen(1) };
        let reconcile = Step::Enter(Lifecycle::ReconcileService);
        assert_eq!(shift.next(others, PACE), Some(reconcile));
        shift.take(reconcile, Timestamp::UNIX_EPOCH);
        assert_eq!(shift.next(others, PACE), None);
        assert_eq!(shift.next(seen(1), PACE), Some(Step::Enter(Lifecycle::PreScaleUp)));
    }

    #[test]
    fn weights_are_whole_numbers_that_a_rule_takes() {
        for share in 0..=1000 {
            let (rest, own) = Share(share).weights();
            let sum = if share % 10 == 0 { 100 } else { 1000 };
            assert_eq!(rest + own, sum);
            assert!(rest <= 999 && own <= 999 && own * 1000 == share * sum, "{share}");
        }
    }
}
