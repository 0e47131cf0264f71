//! Before traffic moves: is the world as the rollout left it?

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use liftlock_model::ImageDigest;

use crate::wait::Step;
use crate::{Colour, Live, RolloutError, Target, TaskDefinition, Wait, Weights};

/// What a rollout remembers of a service, and expects to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// How traffic is split.
    pub weights: Weights,
    /// Where the test listener points.
    pub test: Colour,
    /// The colours that are to carry traffic next.
    pub colours: Vec<ExpectedColour>,
}

/// What is expected of one colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedColour {
    /// Which.
    pub colour: Colour,
    /// What its tasks are made from, where that is known.
    pub task_definition: Option<TaskDefinition>,
    /// What its tasks may run; none where that is not known.
    pub digests: BTreeSet<ImageDigest>,
    /// How many healthy targets it needs.
    pub healthy: u32,
}

/// Something is not as the rollout left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What.
    pub what: String,
    /// As the rollout left it.
    pub expected: String,
    /// As it is.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.what, self.expected, self.found)
    }
}

/// For how long a difference may last that is none in the end: a target tells late, or a task is being replaced.
const SETTLE: Duration = Duration::from_secs(5);

/// How long one answer may take: it is some ten calls, and AWS may let through one a second.
const ANSWER: Duration = Duration::from_secs(60);

/// Looks whether the service is as expected, and says how it is. What differs is looked at for a few seconds more before it counts.
pub async fn reconcile(
    target: &dyn Target,
    expected: &Expected,
    wait: &Wait<'_>,
) -> Result<Live, RolloutError> {
    let mut last = Vec::new();
    let decide = |live: &Live| {
        last = differences(expected, live);
        match last.as_slice() {
            [] => Step::Done(live.clone()),
            found => Step::NotYet(list(found)),
        }
    };
    let settle = Wait { timeout: SETTLE.max(wait.poll * 3).min(wait.timeout), ..*wait };
    let looked =
        settle.until_answered(ANSWER, || target.live(), "comparing with what the run left", decide);
    match looked.await {
        Ok((live, _)) => Ok(live),
        Err(RolloutError::TimedOut { .. }) if !last.is_empty() => {
            Err(RolloutError::Differs { differences: last })
        }
        Err(error) => Err(error),
    }
}

pub(crate) fn list(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Pure: what is not as expected.
pub fn differences(expected: &Expected, live: &Live) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut differs = |what: String, expected: String, seen: String| {
        if expected != seen {
            found.push(Difference { what, expected, found: seen });
        }
    };
    differs("weights".into(), expected.weights.to_string(), live.weights.to_string());
    differs("test listener".into(), expected.test.to_string(), live.test.to_string());
    for one in &expected.colours {
        let (colour, state) = (one.colour, live.colour(one.colour));
        if let Some(wanted) = &one.task_definition {
            let seen = state.task_definition.as_ref();
            let seen = seen.map_or_else(|| "none".to_owned(), ToString::to_string);
            differs(format!("task definition of {colour}"), wanted.to_string(), seen);
        }
        let foreign: Vec<_> =
            state.digests.keys().filter(|digest| !one.digests.contains(digest)).collect();
        if !one.digests.is_empty() && !foreign.is_empty() {
            let text = |digests: Vec<&ImageDigest>| {
                digests
                    .iter()
                    .map(|digest| digest.short().to_owned())
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let seen = text(state.digests.keys().collect());
            differs(
                format!("running digests of {colour}"),
                text(one.digests.iter().collect()),
                seen,
            );
        }
        if state.healthy_targets < one.healthy {
            differs(
                format!("healthy targets of {colour}"),
                format!("at least {}", one.healthy),
                format!("{} ({})", state.healthy_targets, state.summary()),
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::ColourState;
    use crate::fake::{Fake, digest};

    fn state(revision: &str) -> ColourState {
        ColourState {
            task_definition: Some(TaskDefinition::new(revision)),
            desired: 2,
            running: 2,
            steady: true,
            digests: [(digest(revision), 2)].into(),
            healthy_targets: 2,
            ..ColourState::default()
        }
    }

    fn colour(colour: Colour, revision: &str, healthy: u32) -> ExpectedColour {
        ExpectedColour {
            colour,
            task_definition: Some(TaskDefinition::new(revision)),
            digests: [digest(revision)].into(),
            healthy,
        }
    }

    fn scene() -> (Expected, Live) {
        let weights = Weights::giving(Colour::Green, 10).unwrap();
        let colours = vec![colour(Colour::Blue, "1:old", 1), colour(Colour::Green, "2:new", 2)];
        let live =
            Live { blue: state("1:old"), green: state("2:new"), weights, test: Colour::Green };
        (Expected { weights, test: Colour::Green, colours }, live)
    }

    fn told(change: impl Fn(&mut Live)) -> String {
        let (expected, mut live) = scene();
        change(&mut live);
        list(&differences(&expected, &live))
    }

    #[test]
    fn whatever_somebody_else_changed_is_named_with_what_was_expected_and_what_was_found() {
        assert_eq!(told(|_| {}), "");
        assert_eq!(
            told(|live| live.weights = Weights::all(Colour::Green)),
            "weights: expected blue 90 % / green 10 %, found blue 0 % / green 100 %"
        );
        assert_eq!(
            told(|live| live.test = Colour::Blue),
            "test listener: expected green, found blue"
        );
        let other = told(|live| live.green = state("3:other"));
        assert!(
            other.contains("task definition of green: expected 2:new, found 3:other"),
            "{other}"
        );
        assert!(other.contains("running digests of green: expected 2222"), "{other}");
        assert!(told(|live| live.blue = state("3:other")).contains("definition of blue"));
        let sick = told(|live| live.green.healthy_targets = 1);
        assert!(sick.contains("healthy targets of green: expected at least 2, found 1"), "{sick}");
        // The colour that only keeps its share may miss a task.
        assert_eq!(told(|live| live.blue.healthy_targets = 1), "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_difference_that_lasts_is_an_error_and_nothing_is_changed() {
        let (fake, cancel) = (Fake::serving(), CancellationToken::new());
        let quiet = |_: String| {};
        let wait = Wait {
            poll: Duration::from_secs(1),
            timeout: Duration::from_secs(60),
            cancel: &cancel,
            on: &quiet,
        };
        let mut expected = Expected {
            weights: Weights::all(Colour::Blue),
            test: Colour::Green,
            colours: vec![colour(Colour::Blue, "1:old", 1)],
        };
        reconcile(&fake, &expected, &wait).await.unwrap();
        expected.weights = Weights::giving(Colour::Green, 10).unwrap();
        let error = reconcile(&fake, &expected, &wait).await.unwrap_err();
        assert!(error.to_string().contains("no traffic was moved"), "{error}");
        assert!(error.to_string().contains("found blue 100 % / green 0 %"), "{error}");
        assert!(fake.changes().is_empty());
    }
}
