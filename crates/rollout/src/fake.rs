//! A small model of ECS behind a load balancer, for tests: it runs on tokio's clock, and its faults are data.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use liftlock_model::{ImageDigest, ImageRef};
use tokio::time::Instant;

use crate::analysis::Traffic;
use crate::{
    Colour, ColourState, Death, Live, Replacement, Target, TargetError, TargetErrorKind,
    TaskDefinition, Urls, Usage, Weights,
};

/// How long a task takes until it is healthy, and how long a target drains.
pub(crate) const START: Duration = Duration::from_secs(40);
pub(crate) const DRAIN: Duration = Duration::from_secs(30);

/// What becomes of a revision's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They become healthy.
    Healthy,
    /// They run, and never become healthy.
    Unhealthy,
    /// They stop again and again.
    Dies,
    /// ECS's breaker goes back to the revision before.
    GoesBack,
    /// They run something else than was asked for.
    OtherDigest,
    /// What they run is not told.
    UnknownDigest,
}

#[derive(Debug, Clone, Default)]
struct Side {
    revision: Option<String>,
    before: Option<String>,
    desired: u32,
    /// When that became so.
    since: Option<Instant>,
    /// How many there were before.
    from: u32,
}

#[derive(Debug)]
struct World {
    sides: BTreeMap<Colour, Side>,
    weights: Weights,
    test: Colour,
    fates: BTreeMap<String, Fate>,
    /// So many looks fail for a moment.
    blind: u32,
    /// How tasks ended cannot be learned.
    mute: bool,
    /// Weights that somebody else sets at once.
    meddler: Option<Weights>,
    /// What was changed, in order.
    changes: Vec<String>,
}

/// The model.
#[derive(Debug)]
pub(crate) struct Fake(Mutex<World>);

/// The digest that revisions called `digit:…` run.
pub(crate) fn digest(revision: &str) -> ImageDigest {
    let digit = revision.chars().next().unwrap();
    format!("sha256:{}", digit.to_string().repeat(64)).parse().unwrap()
}

impl Fake {
    /// Blue serves two tasks of `1:old`; green is empty, and the test listener points at it.
    pub(crate) fn serving() -> Self {
        let old = Side { revision: Some("1:old".into()), desired: 2, from: 2, ..Side::default() };
        Self(Mutex::new(World {
            sides: [(Colour::Blue, old), (Colour::Green, Side::default())].into(),
            weights: Weights::all(Colour::Blue),
            test: Colour::Green,
            fates: BTreeMap::new(),
            blind: 0,
            mute: false,
            meddler: None,
            changes: Vec::new(),
        }))
    }

    /// Nothing was ever rolled out.
    pub(crate) fn empty() -> Self {
        let fake = Self::serving();
        fake.0.lock().unwrap().sides.insert(Colour::Blue, Side::default());
        fake
    }

    pub(crate) fn fate(self, revision: &str, fate: Fate) -> Self {
        self.0.lock().unwrap().fates.insert(revision.into(), fate);
        self
    }

    pub(crate) fn blind(self, looks: u32) -> Self {
        self.0.lock().unwrap().blind = looks;
        self
    }

    pub(crate) fn mute(self) -> Self {
        self.0.lock().unwrap().mute = true;
        self
    }

    pub(crate) fn meddler(self, weights: Weights) -> Self {
        self.0.lock().unwrap().meddler = Some(weights);
        self
    }

    pub(crate) fn pointing_test_at(self, colour: Colour) -> Self {
        self.0.lock().unwrap().test = colour;
        self
    }

    pub(crate) fn changes(&self) -> Vec<String> {
        self.0.lock().unwrap().changes.clone()
    }
}

impl World {
    fn state(&self, colour: Colour) -> ColourState {
        let side = &self.sides[&colour];
        let age = side.since.map_or(Duration::MAX, |since| since.elapsed());
        let (grown, drained) = (age >= START, age >= DRAIN);
        let revision = side.revision.clone().unwrap_or_default();
        let fate = self.fates.get(&revision).copied().unwrap_or(Fate::Healthy);
        let used = self.weights.share(colour) > 0 || self.test == colour;
        let mut state = ColourState {
            task_definition: side.revision.clone().map(TaskDefinition::new),
            desired: side.desired,
            ..ColourState::default()
        };
        let lowered = side.desired < side.from;
        state.draining_targets = if lowered && !drained { side.from - side.desired } else { 0 };
        if grown && fate == Fate::GoesBack {
            state.task_definition = side.before.clone().map(TaskDefinition::new);
            state.events = vec!["rolling back".into()];
            return state;
        }
        if fate == Fate::Dies {
            let deaths = usize::try_from(age.as_secs() / 20).unwrap_or(0).min(10);
            state.stopped = vec!["container exited with 1".into(); deaths];
            state.pending = side.desired;
            return state;
        }
        let up = if grown || lowered { side.desired } else { side.from.min(side.desired) };
        state.running = up;
        state.pending = side.desired - up;
        match fate {
            Fate::UnknownDigest => {}
            Fate::OtherDigest => _ = state.digests.insert(digest("f"), up),
            _ if up > 0 => _ = state.digests.insert(digest(&revision), up),
            _ => {}
        }
        match (used, fate) {
            (false, _) => state.unused_targets = up,
            (true, Fate::Unhealthy) => state.unhealthy_targets = up,
            (true, _) => state.healthy_targets = up,
        }
        state.steady = state.pending == 0;
        state
    }
}

#[async_trait]
impl Target for Fake {
    async fn live(&self) -> Result<Live, TargetError> {
        let mut world = self.0.lock().unwrap();
        if world.blind > 0 {
            world.blind -= 1;
            return Err(TargetError::new(TargetErrorKind::Transient, "throttled"));
        }
        Ok(Live {
            blue: world.state(Colour::Blue),
            green: world.state(Colour::Green),
            weights: world.weights,
            test: world.test,
        })
    }

    async fn outline(&self) -> Result<Live, TargetError> {
        let mut live = self.live().await?;
        for state in [&mut live.blue, &mut live.green] {
            state.digests.clear();
            state.stopped.clear();
        }
        Ok(live)
    }

    async fn splits(&self) -> Result<(Weights, Colour), TargetError> {
        let live = self.live().await?;
        Ok((live.weights, live.test))
    }

    async fn revisions(&self) -> Result<Vec<TaskDefinition>, TargetError> {
        Ok(Vec::new())
    }

    async fn register(
        &self,
        _: &ImageRef,
        _: &BTreeMap<String, String>,
    ) -> Result<TaskDefinition, TargetError> {
        Err(TargetError::new(TargetErrorKind::Other, "the model registers nothing"))
    }

    async fn deregister(&self, _: &TaskDefinition) -> Result<(), TargetError> {
        Ok(())
    }

    async fn set_capacity(
        &self,
        colour: Colour,
        task_definition: Option<&TaskDefinition>,
        desired: u32,
    ) -> Result<(), TargetError> {
        let mut world = self.0.lock().unwrap();
        world.changes.push(format!("{colour} {desired}"));
        let from = world.state(colour).running;
        let side = world.sides.get_mut(&colour).unwrap();
        if let Some(revision) = task_definition.map(|revision| revision.as_str().to_owned()) {
            side.before = side.revision.replace(revision);
        }
        side.from = if task_definition.is_some() { 0 } else { from };
        side.desired = desired;
        side.since = Some(Instant::now());
        Ok(())
    }

    async fn replace(
        &self,
        colour: Colour,
        task_definition: &TaskDefinition,
        desired: u32,
        _: &Replacement,
    ) -> Result<(), TargetError> {
        let mut world = self.0.lock().unwrap();
        world.changes.push(format!("{colour} replaced by {desired} of {task_definition}"));
        let side = world.sides.get_mut(&colour).unwrap();
        side.before = side.revision.replace(task_definition.as_str().to_owned());
        (side.from, side.desired, side.since) = (0, desired, Some(Instant::now()));
        Ok(())
    }

    async fn take_back(&self, _: Colour) -> Result<bool, TargetError> {
        Ok(false)
    }

    async fn set_weights(&self, weights: Weights) -> Result<(), TargetError> {
        let mut world = self.0.lock().unwrap();
        world.changes.push(weights.to_string());
        world.weights = world.meddler.unwrap_or(weights);
        Ok(())
    }

    async fn point_test(&self, colour: Colour) -> Result<(), TargetError> {
        self.0.lock().unwrap().test = colour;
        Ok(())
    }

    async fn traffic(
        &self,
        _: Colour,
        _: (Timestamp, Timestamp),
        _: Duration,
    ) -> Result<Traffic, TargetError> {
        Err(TargetError::new(TargetErrorKind::Other, "the model counts nothing"))
    }

    async fn deaths(
        &self,
        colour: Colour,
        task_definition: &TaskDefinition,
    ) -> Result<Vec<Death>, TargetError> {
        let world = self.0.lock().unwrap();
        if world.mute {
            return Err(TargetError::new(TargetErrorKind::Transient, "throttled"));
        }
        let fate = world.fates.get(task_definition.as_str());
        let dies = matches!(fate, Some(Fate::Dies | Fate::Unhealthy));
        let dead = world.state(colour).stopped.into_iter().take(usize::from(dies));
        Ok(dead
            .map(|why| Death {
                task: "t1".into(),
                why,
                log: vec!["no such table".into()],
                no_log: None,
            })
            .collect())
    }

    async fn died(
        &self,
        colour: Colour,
        task_definition: &TaskDefinition,
    ) -> Result<Vec<Death>, TargetError> {
        self.deaths(colour, task_definition).await
    }

    async fn usage(&self, _: Colour, _: (Timestamp, Timestamp)) -> Result<Usage, TargetError> {
        Ok(Usage::default())
    }

    async fn urls(&self) -> Result<Urls, TargetError> {
        Err(TargetError::new(TargetErrorKind::Other, "the model has no address"))
    }
}
