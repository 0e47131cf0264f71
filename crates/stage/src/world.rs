//! The stage's world: what is kept, and what runs.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use liftlock_postgres::Cluster;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::state::{Ports, State};
use crate::topology::Topology;

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
        }
    }
}

/// Everything, shared by the endpoint, the scheduler and the load balancer.
pub(crate) struct World {
    pub(crate) directory: PathBuf,
    pub(crate) timing: Timing,
    /// Something changed that the scheduler should look at.
    pub(crate) changed: Notify,
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
    pub(crate) database_up: bool,
    /// Set when the stage ends: nothing is started any more.
    pub(crate) ending: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TaskStatus {
    Pending,
    Running,
    Deactivating,
    Stopping,
    Stopped,
}

impl TaskStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
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
    pub(crate) service: String,
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
    pub(crate) fn new(directory: &Path, timing: Timing, state: State) -> Self {
        Self {
            directory: directory.to_owned(),
            timing,
            changed: Notify::new(),
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
        }
        drop(inner);
        self.changed.notify_one();
        result
    }

    pub(crate) fn ports(&self) -> Ports {
        self.look().state.ports
    }
}

/// `stage.json` could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the stage could not write its state: {0}")]
pub(crate) struct NotKept(pub(crate) String);

impl Inner {
    pub(crate) fn topology(&self) -> Option<&Topology> {
        self.state.topology.as_ref()
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
