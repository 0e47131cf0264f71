//! How traffic moves: pure.

use std::time::Duration;

use liftlock_environment::config::Rollout;
use serde::Serialize;

/// One step of a rollout's traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shift {
    /// The share of traffic that the new version gets, in percent.
    pub share: u8,
    /// How long that is watched.
    pub bake: Duration,
    /// True for the last: all traffic is on the new version, and the old one is still there while this is watched.
    pub last: bool,
}

/// The steps by which traffic moves. The first rollout of a service (nothing serves yet) goes straight to 100 %: there is
/// no old version that could carry the rest. The last step is always 100 %.
pub fn schedule(rollout: &Rollout, first: bool) -> Vec<Shift> {
    let before = rollout.steps.iter().copied().filter(|share| !first && *share < 100);
    before
        .map(|share| Shift { share, bake: rollout.step_bake.duration(), last: false })
        .chain([Shift { share: 100, bake: rollout.bake.duration(), last: true }])
        .collect()
}

#[cfg(test)]
mod tests {
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
        let rollout = Rollout { steps: vec![100], ..Rollout::default() };
        assert_eq!(schedule(&rollout, false), schedule(&rollout, true));
    }
}
