//! How traffic moves: pure.

use std::time::Duration;

use liftlock_environment::Period;
use liftlock_environment::config::{Pause, Rollout};
use serde::Serialize;

/// One step of a rollout's traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shift {
    /// The share of traffic that the new version gets, in percent.
    pub share: u8,
    /// How long that is watched.
    pub bake: Duration,
    /// Whether a person is then waited for, and for how long at most.
    pub pause: Option<Pause>,
    /// True for the last: all traffic is on the new version, and the old one is still there while this is watched.
    pub last: bool,
}

/// The steps by which traffic moves. The first rollout of a service (nothing serves yet) goes straight to 100 %: there is
/// no old version that could carry the rest. The last step is always 100 %.
pub fn schedule(rollout: &Rollout, first: bool) -> Vec<Shift> {
    let steps = rollout.steps().into_iter().filter(|step| !first || step.share >= 100);
    steps
        .map(|step| {
            let last = step.share >= 100;
            let usual = match last {
                // The platform keeps the old version for this long by itself, and what it does is watched.
                true if rollout.strategy.is_shifted_by_ecs() => Period::from_secs(0),
                true => rollout.bake,
                false => rollout.step_bake,
            };
            Shift {
                share: step.share,
                bake: step.bake.unwrap_or(usual).duration(),
                pause: step.pause.filter(|pause| *pause != Pause::No),
                last,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use liftlock_environment::config::{Step, Strategy};

    use super::*;

    /// Shows D-DEP-1: 10 → 50 → 100 %, watched for 2 minutes before each next step; and C-OBS-1's 15 minutes with all
    /// traffic on the new version. Both are data, and these are the defaults.
    #[test]
    fn the_default_steps_are_10_50_100() {
        let steps: Vec<_> = schedule(&Rollout::default(), false)
            .into_iter()
            .map(|s| (s.share, s.bake.as_secs(), s.last))
            .collect();
        assert_eq!(steps, [(10, 120, false), (50, 120, false), (100, 900, true)]);
    }

    #[test]
    fn the_first_rollout_goes_straight_to_100() {
        let steps = schedule(&Rollout::default(), true);
        assert_eq!(steps.len(), 1);
        assert!(steps[0].last && steps[0].share == 100);
    }

    #[test]
    fn all_at_once_is_data_too() {
        let rollout = Rollout { strategy: Strategy::AllAtOnce, ..Rollout::default() };
        assert_eq!(schedule(&rollout, false).len(), 1);
        assert_eq!(schedule(&rollout, false), schedule(&rollout, true));
    }

    /// Shows D-DEP-1: by the same share more at each step, too.
    #[test]
    fn linear_adds_the_same_at_each_step() {
        let rollout = Rollout {
            strategy: Strategy::Linear,
            increment: Some(40),
            step_bake: Period::from_secs(60),
            ..Rollout::default()
        };
        let steps: Vec<_> =
            schedule(&rollout, false).into_iter().map(|s| (s.share, s.bake.as_secs())).collect();
        assert_eq!(steps, [(40, 60), (80, 60), (100, 900)]);
    }

    #[test]
    fn what_a_step_says_goes_before_what_all_say() {
        let step =
            Step { share: 10, bake: Some(Period::from_secs(5)), pause: Some(Pause::UntilResumed) };
        let last = Step { pause: Some(Pause::No), ..Step::of(100) };
        let rollout = Rollout { steps: Some(vec![step, last]), ..Rollout::default() };
        let steps = schedule(&rollout, false);
        assert_eq!((steps[0].bake.as_secs(), steps[0].pause), (5, Some(Pause::UntilResumed)));
        assert_eq!((steps[1].bake.as_secs(), steps[1].pause), (900, None));
    }
}
