//! Replacing a service's tasks where they are: the platform does it, and is watched.

use liftlock_environment::config::{Rollout, Strategy};
use liftlock_model::ImageDigest;
use serde::Serialize;

use crate::capacity::{Patient, post_mortem};
use crate::{Colour, Raised, RolloutError, Target, TaskDefinition, Wait};

/// How the platform replaces tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Replacement {
    /// Some at a time.
    Rolling {
        /// How many percent of the tasks stay healthy at any time, at least.
        minimum_healthy: u8,
        /// How many percent of the tasks run at any time, at most.
        maximum: u8,
    },
}

impl Replacement {
    /// As the environment's file says; none where traffic is moved from one colour to the other instead.
    pub fn of(rollout: &Rollout) -> Option<Self> {
        match rollout.strategy {
            Strategy::Canary | Strategy::Linear | Strategy::AllAtOnce => None,
            Strategy::Rolling => Some(Self::Rolling {
                minimum_healthy: rollout.minimum_healthy.unwrap_or(100),
                maximum: rollout.maximum.unwrap_or(200),
            }),
        }
    }
}

/// What a colour's tasks are replaced by.
#[derive(Debug, Clone, Copy)]
pub struct Replacing<'a> {
    /// Which colour.
    pub colour: Colour,
    /// The revision that comes.
    pub task_definition: &'a TaskDefinition,
    /// What it runs.
    pub digest: &'a ImageDigest,
    /// How many tasks there are to be in the end.
    pub count: u32,
    /// How.
    pub how: &'a Replacement,
}

impl Replacing<'_> {
    fn doing(&self) -> String {
        format!(
            "replacing the tasks of {} by {} × {}",
            self.colour, self.count, self.task_definition
        )
    }
}

/// A replacement that was begun.
pub struct Replaced<'a> {
    asked: Replacing<'a>,
    patient: Patient<'a>,
}

impl std::fmt::Debug for Replaced<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replaced").field("asked", &self.asked).finish_non_exhaustive()
    }
}

/// Tells the platform to replace a colour's tasks, which users are on. Returns once that is accepted.
pub async fn replace<'a>(
    target: &dyn Target,
    asked: Replacing<'a>,
    wait: &Wait<'_>,
) -> Result<Replaced<'a>, RolloutError> {
    let Replacing { colour, task_definition, digest, count, how } = asked;
    let doing = asked.doing();
    let before = wait.see(target, &doing).await?;
    let before = before.colour(colour);
    let patient = Patient::new(before, colour, task_definition, digest, count);
    wait.go_on(&doing)?;
    if !patient.set_already(before) {
        target.replace(colour, task_definition, count, how).await?;
    }
    Ok(Replaced { asked, patient })
}

impl Replaced<'_> {
    /// Waits until none but the new tasks are there, all of them healthy and known to run the digest. Fails early when the new ones do
    /// not stay alive, or the platform gave them up.
    pub async fn is_whole(
        mut self,
        target: &dyn Target,
        wait: &Wait<'_>,
    ) -> Result<Raised, RolloutError> {
        let asked = self.asked;
        match wait.until(target, &asked.doing(), |live| self.patient.judge(live)).await {
            Ok((healthy, waited)) => Ok(Raised { healthy, waited }),
            Err(error) => {
                Err(post_mortem(target, asked.colour, asked.task_definition, error, wait).await)
            }
        }
    }
}
