//! Where tasks run and traffic flows: the boundary to a platform.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use liftlock_model::ImageRef;
use serde::Serialize;
use url::Url;

use crate::analysis::Traffic;
use crate::{Colour, Death, Live, Replacement, TargetError, TaskDefinition, Weights};

/// Where a service is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Urls {
    /// Where users reach it.
    pub production: Url,
    /// Where its new version is seen before users see it.
    pub test: Url,
}

/// How much of what they have a colour's tasks use, in percent, at most on average of a minute. None: it is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Of processors.
    pub cpu: Option<f64>,
    /// Of memory.
    pub memory: Option<f64>,
}

/// One service in one environment. Each method is one thing that can be asked again without harm: the second time
/// changes nothing.
#[async_trait]
pub trait Target: Send + Sync {
    /// Looks.
    async fn live(&self) -> Result<Live, TargetError>;

    /// The same without what single tasks must be looked at for, for half of the calls: `digests` and `stopped` are empty.
    async fn outline(&self) -> Result<Live, TargetError>;

    /// How production traffic is split and where the test listener points, and nothing else, for one call.
    async fn splits(&self) -> Result<(Weights, Colour), TargetError>;

    /// Makes a revision that runs `image` with these environment variables set, or finds the one that was made before
    /// from the same.
    async fn register(
        &self,
        image: &ImageRef,
        environment: &BTreeMap<String, String>,
    ) -> Result<TaskDefinition, TargetError>;

    /// The revisions that are in use, made by this target, newest first.
    async fn revisions(&self) -> Result<Vec<TaskDefinition>, TargetError>;

    /// Takes a revision out of use. One that a colour still uses is refused.
    async fn deregister(&self, task_definition: &TaskDefinition) -> Result<(), TargetError>;

    /// Says how many tasks a colour should have, and of which revision (`None`: as it is). Returns once that is accepted;
    /// tasks come and go later.
    async fn set_capacity(
        &self,
        colour: Colour,
        task_definition: Option<&TaskDefinition>,
        desired: u32,
    ) -> Result<(), TargetError>;

    /// Replaces a colour's tasks, which users are on, by `desired` tasks of a revision. Returns once that is accepted; the platform does it
    /// later, and may give it up.
    async fn replace(
        &self,
        colour: Colour,
        task_definition: &TaskDefinition,
        desired: u32,
        how: &Replacement,
    ) -> Result<(), TargetError>;

    /// Has the platform take the replacement of a colour's tasks back that is under way, where it can do that sooner than by replacing
    /// them again. False if there is none, or it cannot.
    async fn take_back(&self, colour: Colour) -> Result<bool, TargetError>;

    /// Splits production traffic.
    async fn set_weights(&self, weights: Weights) -> Result<(), TargetError>;

    /// Points the test listener at one colour.
    async fn point_test(&self, colour: Colour) -> Result<(), TargetError>;

    /// What a colour answered in this time, as the load balancer counted it. `resolution` is the finest that it counts by; what it
    /// has not counted yet is not in the answer.
    async fn traffic(
        &self,
        colour: Colour,
        span: (Timestamp, Timestamp),
        resolution: Duration,
    ) -> Result<Traffic, TargetError>;

    /// How the newest tasks of a revision ended that should have run, newest first, with what they said last: at most
    /// [`DEATHS_TOLD`](crate::DEATHS_TOLD) tasks and [`LAST_LINES`](crate::LAST_LINES) lines of each, without secrets. That their
    /// logs cannot be read is part of the answer.
    async fn deaths(
        &self,
        colour: Colour,
        task_definition: &TaskDefinition,
    ) -> Result<Vec<Death>, TargetError>;

    /// All tasks of a revision that ended though they should have run and that the platform still tells of, newest first, without what
    /// they wrote. Cheap, and asked again and again.
    async fn died(
        &self,
        colour: Colour,
        task_definition: &TaskDefinition,
    ) -> Result<Vec<Death>, TargetError>;

    /// What a colour's tasks used in this time, and in the minutes around it.
    async fn usage(
        &self,
        colour: Colour,
        span: (Timestamp, Timestamp),
    ) -> Result<Usage, TargetError>;

    /// Where the service is reached.
    async fn urls(&self) -> Result<Urls, TargetError>;
}
