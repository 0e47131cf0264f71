//! The stage's world: what is kept, and what runs.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use liftlock_postgres::Cluster;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::fault::{Board, Subject};
use crate::metrics::Metrics;
use crate::recorder::Recorder;
use crate::state::{Ports, State};
use crate::topology::{Colour, Topology};

/// Times of the stage's behaviour. The defaults are shorter than a cloud's, so that a rehearsal takes seconds.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How often a target's health is asked.
    pub health_interval: Duration,
    /// How long a target may take to answer.
    pub health_timeout: Duration,
    /// How many checks in a row must fail until a healthy target is unhealthy.
    pub unhealthy_after: u32,
    /// How long a new task may be unhealthy until it is replaced (`healthCheckGracePeriodSeconds`).
    pub grace: Duration,
    /// How long a target that is taken away may keep its open requests (`deregistration_delay`).
    pub deregistration: Duration,
    /// How long a task may take from SIGTERM to its end (`stopTimeout`).
    pub stop: Duration,
    /// The first pause before a failed task is tried again; doubled each time, up to 30 s.
    pub back_off: Duration,
    /// How often the tasks' use of memory and processors is put into CloudWatch.
    pub usage_interval: Duration,
    /// How long a minute of a deployment's bake times is.
    pub minute: Duration,
    /// How long each lifecycle stage of a deployment that shifts traffic takes at least.
    pub lifecycle_stage: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            health_interval: Duration::from_secs(1),
            health_timeout: Duration::from_secs(2),
            unhealthy_after: 2,
            grace: Duration::from_secs(10),
            deregistration: Duration::from_secs(30),
            stop: Duration::from_secs(30),
            back_off: Duration::from_millis(200),
            usage_interval: Duration::from_secs(5),
            minute: Duration::from_secs(60),
            lifecycle_stage: Duration::from_millis(200),
        }
    }
}

/// Everything, shared by the endpoint, the scheduler and the load balancer.
pub(crate) struct World {
    pub(crate) directory: PathBuf,
    pub(crate) timing: Timing,
    /// Something changed that the scheduler should look at.
    pub(crate) changed: Notify,
    /// Faults were added or taken away.
    pub(crate) faults_changed: watch::Sender<()>,
    /// Where calls are written, if they are.
    pub(crate) recorder: Option<Recorder>,
    inner: Mutex<Inner>,
    pub(crate) cluster: tokio::sync::Mutex<Option<Cluster>>,
}

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) state: State,
    /// By id.
    pub(crate) tasks: BTreeMap<String, Task>,
    /// Target groups' targets, by the group's name.
    pub(crate) groups: HashMap<String, VecDeque<Target>>,
    /// When the next task of a deployment may be started, by the deployment's id.
    pub(crate) not_before: HashMap<String, Instant>,
    /// The load balancer's place in its rounds, by rule and group.
    pub(crate) rounds: HashMap<(String, String), i64>,
    pub(crate) metrics: Metrics,
    pub(crate) faults: Board,
    /// How often each AWS operation was called.
    pub(crate) calls: BTreeMap<String, u64>,
    /// What was kept before each change, and when it changed: kept while a fault makes describes lag.
    past: VecDeque<(Instant, State)>,
    pub(crate) database_up: bool,
    /// Set when the stage ends: nothing is started any more.
    pub(crate) ending: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TaskStatus {
    Provisioning,
    Pending,
    Running,
    Deactivating,
    Stopping,
    Stopped,
}

impl TaskStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// A task: one process.
#[derive(Debug)]
pub(crate) struct Task {
    /// The ECS service.
    pub(crate) service: String,
    /// The target group.
    pub(crate) group: String,
    pub(crate) of: Of,
    pub(crate) deployment: String,
    pub(crate) definition: String,
    pub(crate) image: String,
    pub(crate) digest: Option<String>,
    pub(crate) container: String,
    pub(crate) port: Option<u16>,
    pub(crate) pid: Option<u32>,
    pub(crate) status: TaskStatus,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) stopped_at: Option<Timestamp>,
    pub(crate) stop_code: Option<&'static str>,
    pub(crate) stopped_reason: Option<String>,
    pub(crate) container_reason: Option<String>,
    pub(crate) exit_code: Option<i32>,
    /// Whether it has ever been healthy.
    pub(crate) was_healthy: bool,
    pub(crate) stop: watch::Sender<Option<Stop>>,
    /// Whether its connections to the database are cut.
    pub(crate) cut: watch::Sender<bool>,
    /// A fault runs in the place of its program.
    pub(crate) crashing: bool,
    /// It was killed for its memory.
    pub(crate) out_of_memory: bool,
}

/// What a task is a task of.
#[derive(Debug, Clone)]
pub(crate) struct Of {
    /// The service's name in the topology.
    pub(crate) service: String,
    /// The colour of its target group.
    pub(crate) colour: Colour,
    /// The revision of its task definition.
    pub(crate) revision: u32,
    /// The release's version in it.
    pub(crate) version: Option<String>,
}

impl Task {
    /// The task as faults are aimed at it.
    pub(crate) fn subject<'a>(&'a self, id: &'a str) -> Subject<'a> {
        Subject {
            task: id,
            service: &self.of.service,
            colour: self.of.colour,
            revision: self.of.revision,
            digest: self.digest.as_deref(),
            version: self.of.version.as_deref(),
        }
    }
}

/// Why a task is stopped.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    pub(crate) code: &'static str,
    pub(crate) reason: String,
    /// Whether open requests are waited for.
    pub(crate) drain: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Initial,
    Healthy,
    Unhealthy,
    Draining,
}

impl Health {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
        }
    }
}

/// A target of a target group.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) task: String,
    pub(crate) port: u16,
    pub(crate) health: Health,
    /// What the last failed check saw.
    pub(crate) seen: String,
    pub(crate) registered: Instant,
    /// Requests that are under way.
    pub(crate) open: Arc<AtomicUsize>,
}

impl World {
    pub(crate) fn new(
        directory: &Path,
        timing: Timing,
        state: State,
        recorder: Option<Recorder>,
    ) -> Self {
        Self {
            directory: directory.to_owned(),
            timing,
            changed: Notify::new(),
            faults_changed: watch::Sender::new(()),
            recorder,
            inner: Mutex::new(Inner { state, ..Inner::default() }),
            cluster: tokio::sync::Mutex::new(None),
        }
    }

    /// The world, held for a moment: never across an await.
    pub(crate) fn look(&self) -> MutexGuard<'_, Inner> {
        // Each change is a few assignments: a panic between them would be a bug to see, not one to spread.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is kept, writes it, and wakes the scheduler. What could not be written has not happened.
    pub(crate) fn change<T, E: From<NotKept>>(
        &self,
        act: impl FnOnce(&mut Inner) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut inner = self.look();
        let before = inner.state.clone();
        let result = act(&mut inner).and_then(|value| {
            let saved = inner.state.save(&self.directory);
            saved.map(|()| value).map_err(|error| E::from(NotKept(error.to_string())))
        });
        if result.is_err() {
            inner.state = before;
        } else if let Some(longest) = inner.faults.longest_lag() {
            inner.remember(before, longest);
        }
        drop(inner);
        // What failed is tried again at the scheduler's next look, not at once and without end.
        if result.is_ok() {
            self.changed.notify_one();
        }
        result
    }

    /// The world as it was `lag` ago, as far as what is kept goes.
    pub(crate) fn look_back(&self, lag: Duration) -> Past<'_> {
        let mut inner = self.look();
        let now = inner.state_before(lag).map(|then| std::mem::replace(&mut inner.state, then));
        Past { inner, now }
    }

    pub(crate) fn ports(&self) -> Ports {
        self.look().state.ports
    }
}

/// `stage.json` could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the stage could not write its state: {0}")]
pub(crate) struct NotKept(pub(crate) String);

/// The world as it was a while ago; it is as it is again when this is dropped.
pub(crate) struct Past<'a> {
    inner: MutexGuard<'a, Inner>,
    now: Option<State>,
}

impl Deref for Past<'_> {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl Drop for Past<'_> {
    fn drop(&mut self) {
        if let Some(now) = self.now.take() {
            self.inner.state = now;
        }
    }
}

impl Inner {
    fn remember(&mut self, before: State, longest: Duration) {
        self.past.push_back((Instant::now(), before));
        while self.past.front().is_some_and(|(changed, _)| changed.elapsed() > longest * 2) {
            self.past.pop_front();
        }
    }

    /// What was kept `lag` ago; none if it has not changed since.
    fn state_before(&self, lag: Duration) -> Option<State> {
        if lag.is_zero() {
            return None;
        }
        let changed_since = |(changed, _): &&(Instant, State)| changed.elapsed() < lag;
        self.past.iter().find(changed_since).map(|(_, before)| before.clone())
    }

    /// A time as AWS's clock has it, in seconds since 1970 with milliseconds, as AWS JSON writes times.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
    pub(crate) fn seconds(&self, time: Timestamp) -> f64 {
        let told = time.checked_add(self.faults.skew()).unwrap_or(time);
        told.as_millisecond() as f64 / 1000.0
    }

    pub(crate) fn topology(&self) -> Option<&Topology> {
        self.state.topology.as_ref()
    }

    /// The database's URL, with the name of the parameter that has it.
    pub(crate) fn database_url(&self) -> Option<(String, &str)> {
        let topology = self.topology().filter(|topology| topology.database.is_some())?;
        let name = topology.parameter("database-url");
        let parameter = self.state.parameters.get(&name)?;
        Some((name, &parameter.value))
    }

    /// The tasks of a service, with their ids.
    pub(crate) fn tasks_of<'a>(
        &'a self,
        service: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a Task)> {
        self.tasks.iter().filter(move |(_, task)| task.service == service)
    }

    pub(crate) fn target(&self, group: &str, task: &str) -> Option<&Target> {
        self.groups.get(group)?.iter().find(|target| target.task == task)
    }

    pub(crate) fn target_mut(&mut self, group: &str, task: &str) -> Option<&mut Target> {
        self.groups.get_mut(group)?.iter_mut().find(|target| target.task == task)
    }

    pub(crate) fn is_healthy(&self, group: &str, task: &str) -> bool {
        self.target(group, task).is_some_and(|target| target.health == Health::Healthy)
    }
}
