//! What can go wrong.

use std::time::Duration;

use liftlock_model::ImageDigest;

use crate::death::below;
use crate::{Colour, Death, Difference, TaskDefinition, Weights};

/// What sort of failure a target met; it decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetErrorKind {
    /// Something that the configuration names does not exist: a cluster, a service, a listener.
    NotFound,
    /// Nobody there knows us, or we may not do this.
    Authentication,
    /// It may well work a little later: throttled, timed out, not reached, or broken on their side.
    Transient,
    /// It stands as another strategy than the environment's left it: that one has to put it right first.
    Conflict,
    /// Anything else.
    Other,
}

/// A target could not be asked, or refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TargetError {
    kind: TargetErrorKind,
    message: String,
}

impl TargetError {
    /// An error whose message names the thing, the place and the next command. Control characters are replaced, since
    /// parts of the message come from outside.
    pub fn new(kind: TargetErrorKind, message: impl AsRef<str>) -> Self {
        Self { kind, message: printable(message.as_ref()) }
    }

    /// What sort of failure it was.
    pub fn kind(&self) -> TargetErrorKind {
        self.kind
    }
}

/// Text from outside, with control characters replaced: it goes to terminals and logs.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Why a rollout's step did not end as it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RolloutError {
    /// The target could not be asked, or refused.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Somebody asked to stop. What had been begun was finished or is named.
    #[error("cancelled while {doing}")]
    Cancelled {
        /// What was being done.
        doing: String,
    },
    /// It did not come to pass in time.
    #[error("{doing}: not after {} s; seen at the end: {seen}{}", waited.as_secs(), below(deaths))]
    TimedOut {
        /// What was waited for.
        doing: String,
        /// How long.
        waited: Duration,
        /// What was seen at the end.
        seen: String,
        /// Tasks that stopped meanwhile, where that may be why.
        deaths: Vec<Death>,
    },
    /// New tasks do not stay alive.
    #[error(
        "the tasks of {task_definition} on {colour} do not stay alive: {}{}",
        list(reasons),
        below(deaths)
    )]
    TasksDie {
        /// On which colour.
        colour: Colour,
        /// Of which revision.
        task_definition: TaskDefinition,
        /// Why they stopped, newest first.
        reasons: Vec<String>,
        /// How the newest ended, and what they said last.
        deaths: Vec<Death>,
    },
    /// The load balancer does not check the new tasks, so that nothing is known about their health.
    #[error(
        "the load balancer does not check the tasks of {colour}, since no listener's rule gives it weight: \
         point the test listener at {colour} first"
    )]
    Unused {
        /// Which colour.
        colour: Colour,
    },
    /// A colour that cannot carry traffic was to get some.
    #[error(
        "{colour} cannot take {share} % of the traffic: {healthy} of the {needed} healthy targets that it needs \
         are there; the weights were left alone"
    )]
    NoCapacity {
        /// Which colour.
        colour: Colour,
        /// What it was to get, in percent.
        share: u8,
        /// How many healthy targets it has.
        healthy: u32,
        /// How many it needs.
        needed: u32,
    },
    /// A colour that carries traffic was to be lowered.
    #[error(
        "{colour} carries {share} % of the traffic and is not lowered; shift the traffic away first"
    )]
    CarriesTraffic {
        /// Which colour.
        colour: Colour,
        /// What it has, in percent.
        share: u8,
    },
    /// The weights were set, and other weights were read back.
    #[error(
        "the weights were set to {wanted}, but {seen} was read back: does somebody else change them?"
    )]
    NotReadBack {
        /// What was set.
        wanted: Weights,
        /// What was read.
        seen: Weights,
    },
    /// The service is not as the rollout left it.
    #[error(
        "the service is not as this run left it, so no traffic was moved: {}",
        crate::reconcile::list(differences)
    )]
    Differs {
        /// What differs.
        differences: Vec<Difference>,
    },
    /// The requested digest was not seen serving.
    #[error("{} is not what serves on {colour}: {seen}", digest.short())]
    NotServing {
        /// Which colour.
        colour: Colour,
        /// Which digest should serve.
        digest: ImageDigest,
        /// What was seen.
        seen: String,
    },
}

impl RolloutError {
    /// What sort of failure the target met, where it met one.
    pub fn kind(&self) -> Option<TargetErrorKind> {
        match self {
            Self::Target(error) => Some(error.kind()),
            _ => None,
        }
    }

    /// The same, telling of these tasks' ends too, where that may be why.
    pub(crate) fn telling(mut self, ends: Vec<Death>) -> Self {
        if let Self::TimedOut { deaths, .. } | Self::TasksDie { deaths, .. } = &mut self {
            *deaths = ends;
        }
        self
    }

    /// True when somebody asked to stop, and nothing went wrong.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled { .. })
    }
}

/// At most five different reasons; more help nobody.
fn list(reasons: &[String]) -> String {
    let mut distinct: Vec<&str> = Vec::new();
    for reason in reasons {
        if !distinct.contains(&reason.as_str()) {
            distinct.push(reason);
        }
    }
    if distinct.is_empty() {
        return "the target gave no reason; look at the service's log group".to_owned();
    }
    printable(&distinct.into_iter().take(5).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_text_cannot_move_the_cursor() {
        let error = TargetError::new(TargetErrorKind::Other, "no\u{1b}[2J way");
        assert_eq!(error.to_string(), "no\u{fffd}[2J way");
        let error = RolloutError::TasksDie {
            colour: Colour::Green,
            task_definition: TaskDefinition::new("a:1"),
            reasons: vec!["exit 1\u{7}".into(), "exit 1\u{7}".into(), "out of memory".into()],
            deaths: Vec::new(),
        };
        assert_eq!(
            error.to_string(),
            "the tasks of a:1 on green do not stay alive: exit 1\u{fffd}; out of memory"
        );
    }
}
