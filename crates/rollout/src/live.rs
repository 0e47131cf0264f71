//! What a service looks like right now.

use std::collections::BTreeMap;
use std::fmt;

use liftlock_model::ImageDigest;
use serde::{Deserialize, Serialize};

use crate::{Colour, Weights};

/// A revision of a task definition, by ARN or by `name:revision`, as the target knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskDefinition(String);

impl TaskDefinition {
    /// A revision that the target named.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As the target knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskDefinition {
    /// For people: `family:revision`, without the rest of an ARN.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.rsplit_once('/').map_or(self.0.as_str(), |(_, name)| name))
    }
}

/// One colour of a service, as it was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ColourState {
    /// What new tasks are made from.
    pub task_definition: Option<TaskDefinition>,
    /// How many tasks there should be.
    pub desired: u32,
    /// How many tasks run.
    pub running: u32,
    /// How many tasks are being started.
    pub pending: u32,
    /// Steady state: one deployment, completed; as many tasks run as should, and none is being started.
    pub steady: bool,
    /// The deployment circuit breaker of the target gave the newest deployment up.
    pub failed: bool,
    /// What the running tasks run, by count. Tasks whose digest the target did not tell are not in it.
    pub digests: BTreeMap<ImageDigest, u32>,
    /// Targets behind the load balancer that its health check finds healthy.
    pub healthy_targets: u32,
    /// Targets that it finds unhealthy, or has not decided about yet.
    pub unhealthy_targets: u32,
    /// Targets that it does not check, since no listener uses their group.
    pub unused_targets: u32,
    /// Targets that still finish requests before they go.
    pub draining_targets: u32,
    /// What the target itself says about the service, newest first.
    pub events: Vec<String>,
    /// Why tasks of the newest deployment stopped that should have run, newest first.
    pub stopped: Vec<String>,
}

impl ColourState {
    /// True when exactly `count` tasks run, all of them known to run this digest.
    pub fn runs_exactly(&self, digest: &ImageDigest, count: u32) -> bool {
        self.running == count
            && self.digests.get(digest).copied().unwrap_or(0) == count
            && self.digests.values().sum::<u32>() == count
    }

    /// What was seen, in one line for people.
    pub fn summary(&self) -> String {
        let mut text = format!("{} of {} tasks running", self.running, self.desired);
        for (count, what) in [
            (self.pending, "pending"),
            (self.healthy_targets, "targets healthy"),
            (self.unhealthy_targets, "targets not healthy"),
            (self.unused_targets, "targets that no listener uses"),
            (self.draining_targets, "targets draining"),
        ] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        if self.healthy_targets == 0 {
            text.push_str(", no target healthy");
        }
        for (digest, count) in &self.digests {
            text.push_str(&format!(", {count} on {}", digest.short()));
        }
        let known = self.digests.values().sum::<u32>();
        if known < self.running {
            text.push_str(&format!(", {} on an unknown digest", self.running - known));
        }
        if !self.steady {
            text.push_str(", not in steady state");
        }
        text
    }
}

/// A service, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Live {
    /// The blue tasks.
    pub blue: ColourState,
    /// The green tasks.
    pub green: ColourState,
    /// How production traffic is split.
    pub weights: Weights,
    /// Where the test listener points.
    pub test: Colour,
}

impl Live {
    /// One colour's state.
    pub fn colour(&self, colour: Colour) -> &ColourState {
        match colour {
            Colour::Blue => &self.blue,
            Colour::Green => &self.green,
        }
    }

    /// The colour that serves users: it has weight, and healthy targets. When both have (in the middle of a rollout), the
    /// one that the test listener does not point at, since that shows what is new. `None` when nothing serves: before
    /// the first rollout, or with everything down.
    pub fn live_colour(&self) -> Option<Colour> {
        let serves = |c: Colour| self.weights.share(c) > 0 && self.colour(c).healthy_targets > 0;
        match (serves(Colour::Blue), serves(Colour::Green)) {
            (true, true) => Some(self.test.other()),
            (true, false) => Some(Colour::Blue),
            (false, true) => Some(Colour::Green),
            (false, false) => None,
        }
    }

    /// The colour that a rollout raises: the one that is not live; when nothing serves, the one with less weight, so
    /// that new tasks are tested before the first user meets them.
    pub fn idle(&self) -> Colour {
        match self.live_colour() {
            Some(live) => live.other(),
            None if self.weights.blue() == self.weights.green() => self.test,
            None if self.weights.blue() > self.weights.green() => Colour::Green,
            None => Colour::Blue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up() -> ColourState {
        ColourState { healthy_targets: 1, ..ColourState::default() }
    }

    #[test]
    fn the_live_colour_is_the_one_that_serves() {
        let down = ColourState::default;
        let first = Live {
            blue: down(),
            green: down(),
            weights: Weights::all(Colour::Blue),
            test: Colour::Green,
        };
        assert_eq!((first.live_colour(), first.idle()), (None, Colour::Green));
        let blue = Live { blue: up(), ..first.clone() };
        assert_eq!((blue.live_colour(), blue.idle()), (Some(Colour::Blue), Colour::Green));
        // Half way: both have half, and the test listener still shows what is new.
        let half = Live { green: up(), weights: Weights::new(50, 50).unwrap(), ..blue };
        assert_eq!(half.live_colour(), Some(Colour::Blue));
        let dead = Live { blue: down(), ..half };
        assert_eq!((dead.live_colour(), dead.idle()), (Some(Colour::Green), Colour::Blue));
    }

    #[test]
    fn a_task_of_unknown_digest_proves_nothing() {
        let digest: ImageDigest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        let mut state = ColourState { running: 2, ..ColourState::default() };
        state.digests.insert(digest.clone(), 1);
        assert!(!state.runs_exactly(&digest, 2) && !state.runs_exactly(&digest, 1));
        assert!(state.summary().contains("1 on an unknown digest"), "{}", state.summary());
        state.digests.insert(digest.clone(), 2);
        assert!(state.runs_exactly(&digest, 2));
    }

    #[test]
    fn people_see_the_short_name_of_a_revision() {
        let arn = "arn:aws:ecs:eu-central-1:123456789012:task-definition/shop-dev-backend:7";
        assert_eq!(TaskDefinition::new(arn).to_string(), "shop-dev-backend:7");
        assert_eq!(TaskDefinition::new("shop-dev-backend:7").to_string(), "shop-dev-backend:7");
    }
}
