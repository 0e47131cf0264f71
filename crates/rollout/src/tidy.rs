//! Taking old revisions out of use.

use serde::Serialize;

use crate::{Colour, Live, Target, TargetError, TaskDefinition};

/// At most so many in one go: a platform throttles, and the next rollout goes on.
const AT_ONCE: usize = 50;

/// What was taken out of use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tidied {
    /// Which, newest first.
    pub retired: Vec<TaskDefinition>,
    /// How many are left.
    pub kept: usize,
}

/// Takes all but the newest `keep` revisions out of use, never one that a colour is set to. Where a colour is not in steady state, so that
/// others may run, it takes none.
pub async fn tidy(target: &dyn Target, keep: u32) -> Result<Tidied, TargetError> {
    let revisions = target.revisions().await?;
    let old = old(&revisions, keep, &target.outline().await?);
    let mut tidied = Tidied { retired: Vec::new(), kept: revisions.len() };
    for revision in old.into_iter().take(AT_ONCE) {
        target.deregister(&revision).await?;
        tidied.retired.push(revision);
        tidied.kept -= 1;
    }
    Ok(tidied)
}

/// Pure: which of these, newest first, nobody needs.
fn old(revisions: &[TaskDefinition], keep: u32, live: &Live) -> Vec<TaskDefinition> {
    if Colour::BOTH.iter().any(|colour| !live.colour(*colour).steady) {
        return Vec::new();
    }
    let is_set = |one: &TaskDefinition| {
        Colour::BOTH.iter().any(|c| live.colour(*c).task_definition.as_ref() == Some(one))
    };
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    revisions.iter().skip(keep).filter(|one| !is_set(one)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ColourState, Weights};

    fn colour(revision: &str) -> ColourState {
        ColourState {
            task_definition: Some(TaskDefinition::new(revision)),
            steady: true,
            ..ColourState::default()
        }
    }

    fn live() -> Live {
        Live {
            blue: colour("web:1"),
            green: colour("web:6"),
            weights: Weights::all(Colour::Green),
            test: Colour::Green,
        }
    }

    fn revisions() -> Vec<TaskDefinition> {
        (1..=6).rev().map(|number| TaskDefinition::new(format!("web:{number}"))).collect()
    }

    #[test]
    fn the_newest_are_kept_and_whatever_a_colour_is_set_to() {
        let named = |keep, live: &Live| -> Vec<String> {
            old(&revisions(), keep, live).iter().map(ToString::to_string).collect()
        };
        assert_eq!(named(3, &live()), ["web:3", "web:2"]);
        assert_eq!(named(6, &live()), [""; 0]);
        assert_eq!(named(0, &live()), ["web:5", "web:4", "web:3", "web:2"]);
        let mut moving = live();
        moving.blue.steady = false;
        assert_eq!(named(0, &moving), [""; 0], "something else may run still");
    }
}
