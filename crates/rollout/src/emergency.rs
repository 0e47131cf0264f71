//! Going back by what the platform says alone, when nothing else can be asked.

use async_trait::async_trait;
use liftlock_model::{ImageDigest, ReleaseId};
use serde::Serialize;

use crate::{Colour, Live, TargetError, TaskDefinition};

/// A revision that a service was given once, as the platform remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Revision {
    /// What tasks are made from.
    pub task_definition: TaskDefinition,
    /// What it runs.
    pub digest: ImageDigest,
    /// Of which release it is.
    pub release: ReleaseId,
    /// That release's version, for people.
    pub version: String,
}

/// Remembers what a service was given.
#[async_trait]
pub trait Revisions: Send + Sync {
    /// The newest revisions of releases, and these beside them; newest first. What is of no release is left out.
    async fn revisions(&self, also: &[TaskDefinition]) -> Result<Vec<Revision>, TargetError>;
}

/// How a service gets back to a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// It has all traffic.
    Stays(Colour),
    /// It stands by on this colour, healthy: only weights move.
    Shift(Colour),
    /// It has to be raised on this colour first, from this revision.
    Raise(Colour, TaskDefinition),
}

/// Pure: the shortest way of a service to the release of these revisions, newest first. `None` when there are none.
pub fn way(live: &Live, revisions: &[Revision]) -> Option<Way> {
    let of = |colour: Colour| {
        let set = live.colour(colour).task_definition.as_ref()?;
        revisions.iter().find(|revision| revision.task_definition == *set)
    };
    // Tasks of another release may still run while the colour is set to this one.
    let carries = |colour: &Colour| {
        let state = live.colour(*colour);
        of(*colour).is_some_and(|revision| {
            state.healthy_targets > 0 && state.runs_exactly(&revision.digest, state.running)
        })
    };
    let ready = Colour::BOTH.into_iter().filter(carries);
    if let Some(colour) = ready.max_by_key(|colour| live.weights.share(*colour)) {
        return Some(match live.weights.share(colour) {
            100 => Way::Stays(colour),
            _ => Way::Shift(colour),
        });
    }
    let idle = live.idle();
    let revision = of(idle).or_else(|| revisions.first())?;
    Some(Way::Raise(idle, revision.task_definition.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::digest;
    use crate::{ColourState, Weights};

    fn release(digit: char) -> ReleaseId {
        format!("rel-{}", digit.to_string().repeat(12)).parse().unwrap()
    }

    fn revision(name: &str) -> Revision {
        Revision {
            task_definition: TaskDefinition::new(name),
            digest: digest(name),
            release: release(name.chars().next().unwrap()),
            version: name.to_owned(),
        }
    }

    fn state(name: &str, running: u32, healthy: u32) -> ColourState {
        ColourState {
            task_definition: Some(TaskDefinition::new(name)),
            desired: running,
            running,
            digests: [(digest(name), running)].into(),
            healthy_targets: healthy,
            ..ColourState::default()
        }
    }

    /// Green is new; blue is what it replaces, with so many tasks, of which so many are healthy.
    fn live(green_share: u8, blue: (u32, u32)) -> Live {
        Live {
            blue: state("1:old", blue.0, blue.1),
            green: state("2:new", 2, 2),
            weights: Weights::giving(Colour::Green, green_share).unwrap(),
            test: Colour::Green,
        }
    }

    /// Shows E-RB-1: the previous task definition comes back the shortest way.
    #[test]
    fn weights_move_at_once_where_the_old_version_stands_by() {
        let old = [revision("1:old")];
        assert_eq!(way(&live(10, (2, 2)), &old), Some(Way::Shift(Colour::Blue)));
        assert_eq!(way(&live(100, (2, 1)), &old), Some(Way::Shift(Colour::Blue)));
        assert_eq!(way(&live(0, (2, 2)), &old), Some(Way::Stays(Colour::Blue)));
        let raise = |name| Some(Way::Raise(Colour::Blue, TaskDefinition::new(name)));
        // It was lowered, or is not healthy: nobody is moved there yet.
        assert_eq!(way(&live(100, (0, 0)), &old), raise("1:old"));
        assert_eq!(way(&live(100, (2, 0)), &old), raise("1:old"));
        // Another release than either colour's.
        let older = [revision("3:older"), revision("3:older still")];
        assert_eq!(way(&live(100, (0, 0)), &older), raise("3:older"));
        assert_eq!(way(&live(100, (0, 0)), &[]), None);
        // The colour is set to it and runs something else.
        let mut other = live(100, (2, 2));
        other.blue.digests = [(digest("f"), 2)].into();
        assert_eq!(way(&other, &old), raise("1:old"));
    }
}
