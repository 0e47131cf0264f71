//! Replacing a service's tasks where they are: the platform does it, and is watched.

use std::fmt;
use std::time::Duration;

use liftlock_environment::Period;
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
    /// All of them beside the old ones; then the platform moves the traffic, and keeps the old ones for `bake` minutes.
    Shifted {
        /// How the traffic moves.
        by: Shifting,
        /// How long the old tasks stay with all traffic on the new ones, in minutes.
        bake: u32,
    },
}

/// How the platform moves traffic. Bakes are in minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Shifting {
    /// All of it.
    AtOnce,
    /// The same share more at each step.
    Linear {
        /// In percent.
        step: u8,
        /// How long each is watched.
        bake: u32,
    },
    /// A share, and then the rest.
    Canary {
        /// In percent.
        share: u8,
        /// How long it is watched.
        bake: u32,
    },
}

impl Replacement {
    /// As the environment's file says; none where Liftlock moves the traffic.
    pub fn of(rollout: &Rollout) -> Option<Self> {
        let minutes =
            |period: Period| u32::try_from(period.duration().as_secs() / 60).unwrap_or(u32::MAX);
        let (step_bake, bake) = (minutes(rollout.step_bake), minutes(rollout.bake));
        let by = match rollout.strategy {
            Strategy::Canary | Strategy::Linear | Strategy::AllAtOnce => return None,
            Strategy::Rolling => {
                return Some(Self::Rolling {
                    minimum_healthy: rollout.minimum_healthy.unwrap_or(100),
                    maximum: rollout.maximum.unwrap_or(200),
                });
            }
            Strategy::EcsBlueGreen => Shifting::AtOnce,
            Strategy::EcsLinear => {
                Shifting::Linear { step: rollout.increment.unwrap_or(100), bake: step_bake }
            }
            Strategy::EcsCanary => {
                let first = rollout.steps.as_ref().and_then(|steps| steps.first());
                Shifting::Canary { share: first.map_or(100, |step| step.share), bake: step_bake }
            }
        };
        Some(Self::Shifted { by, bake })
    }

    /// On the way back: nothing is tried out any more.
    pub fn back(&self) -> Self {
        match self {
            Self::Rolling { .. } => *self,
            Self::Shifted { .. } => Self::Shifted { by: Shifting::AtOnce, bake: 0 },
        }
    }

    /// How long the platform waits by itself, beside the time that the tasks take.
    pub fn bakes(&self) -> Duration {
        let minutes = match self {
            Self::Rolling { .. } => 0,
            Self::Shifted { by: Shifting::AtOnce, bake } => *bake,
            Self::Shifted { by: Shifting::Canary { bake: first, .. }, bake } => first + bake,
            Self::Shifted { by: Shifting::Linear { step, bake: each }, bake } => {
                each * 100_u32.div_ceil(u32::from(*step).max(1)) + bake
            }
        };
        Duration::from_secs(u64::from(minutes) * 60)
    }
}

impl fmt::Display for Replacement {
    /// For people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rolling { minimum_healthy, maximum } => write!(
                f,
                "some at a time: at least {minimum_healthy} % of the tasks stay healthy, and at most {maximum} % run"
            ),
            Self::Shifted { by, bake } => {
                match by {
                    Shifting::AtOnce => f.write_str("ECS moves all traffic at once")?,
                    Shifting::Linear { step, bake } => {
                        write!(f, "ECS moves {step} % of the traffic more every {bake} min")?;
                    }
                    Shifting::Canary { share, bake } => {
                        write!(
                            f,
                            "ECS moves {share} % of the traffic, and the rest after {bake} min"
                        )?;
                    }
                }
                write!(f, "; the old tasks stay for {bake} min more")
            }
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

impl fmt::Debug for Replaced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
    let before = wait.see(|| target.live(), &doing).await?;
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
        match wait.until(|| target.live(), &asked.doing(), |live| self.patient.judge(live)).await {
            Ok((healthy, waited)) => Ok(Raised { healthy, waited }),
            Err(error) => {
                Err(post_mortem(target, asked.colour, asked.task_definition, error, wait).await)
            }
        }
    }
}
