//! What outlives the stage's process: kept in `stage.json`, written whole at each change.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::arn::ListenerName;
use crate::deployments::{Configuration, Undo};
use crate::native::{Balancing, Shift};
use crate::schedules::Schedule;
use crate::topology::Topology;

/// How many events of a service are kept, as in ECS.
const EVENTS: usize = 100;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) topology: Option<Topology>,
    #[serde(default)]
    pub(crate) ports: Ports,
    #[serde(default)]
    pub(crate) definitions: Vec<Definition>,
    /// By name.
    #[serde(default)]
    pub(crate) services: BTreeMap<String, Service>,
    #[serde(default)]
    pub(crate) rules: Vec<Rule>,
    /// By name.
    #[serde(default)]
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
    /// By name.
    #[serde(default)]
    pub(crate) schedules: BTreeMap<String, Schedule>,
    /// By name.
    #[serde(default)]
    pub(crate) parameters: BTreeMap<String, Parameter>,
}

/// Ports are asked for again at the next start: people have them in their browsers.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) endpoint: Option<u16>,
    pub(crate) production: Option<u16>,
    pub(crate) test: Option<u16>,
    pub(crate) database: Option<u16>,
}

/// A revision of a task definition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Definition {
    pub(crate) family: String,
    pub(crate) revision: u32,
    pub(crate) active: bool,
    pub(crate) registered_at: Timestamp,
    pub(crate) deregistered_at: Option<Timestamp>,
    /// What was registered, as `RegisterTaskDefinition` takes it, without `tags`.
    pub(crate) body: Json,
    pub(crate) tags: Json,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Service {
    pub(crate) desired: u32,
    pub(crate) created_at: Timestamp,
    /// The newest (primary) first.
    pub(crate) deployments: Vec<Deployment>,
    /// The newest first.
    pub(crate) events: Vec<Event>,
    #[serde(default)]
    pub(crate) configuration: Configuration,
    /// Deployments whose tasks are gone, the newest first.
    #[serde(default)]
    pub(crate) past: Vec<Deployment>,
    /// The task definition of the last deployment that was completed.
    #[serde(default)]
    pub(crate) last_good: Option<String>,
    /// Where its tasks are registered; the target group of its own name if left out.
    #[serde(default)]
    pub(crate) balancing: Option<Balancing>,
}

impl Service {
    /// A service without tasks.
    pub(crate) fn new(definition: &str) -> Self {
        Self {
            desired: 0,
            created_at: Timestamp::now(),
            deployments: vec![Deployment::new(definition.to_owned())],
            events: Vec::new(),
            configuration: Configuration::default(),
            past: Vec::new(),
            last_good: None,
            balancing: None,
        }
    }

    pub(crate) fn primary(&self) -> &Deployment {
        self.deployments.first().expect("a service is made with a deployment and keeps its newest")
    }

    pub(crate) fn primary_mut(&mut self) -> &mut Deployment {
        self.deployments.first_mut().expect("a service is made with a deployment")
    }

    pub(crate) fn event(&mut self, message: String) {
        let event = Event { id: random_id(16), created_at: Timestamp::now(), message };
        self.events.insert(0, event);
        self.events.truncate(EVENTS);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RolloutState {
    #[serde(rename = "IN_PROGRESS")]
    InProgress,
    #[serde(rename = "COMPLETED")]
    Completed,
    #[serde(rename = "FAILED")]
    Failed,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Deployment {
    pub(crate) id: String,
    /// The task definition's ARN.
    pub(crate) definition: String,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) rollout: RolloutState,
    pub(crate) reason: String,
    /// Tasks that failed since one was healthy.
    pub(crate) failed_tasks: u32,
    #[serde(default)]
    pub(crate) finished_at: Option<Timestamp>,
    /// The task definitions that it replaces.
    #[serde(default)]
    pub(crate) sources: Vec<String>,
    /// How it is taken back, if it is.
    #[serde(default)]
    pub(crate) undo: Option<Undo>,
    /// The deployment that this one takes back just now.
    #[serde(default)]
    pub(crate) undoes: Option<String>,
    /// Whether nobody asked for it: it was made to take another one back.
    #[serde(default)]
    pub(crate) made_to_undo: bool,
    /// The target group of its tasks; the one of the service's name if left out.
    #[serde(default)]
    pub(crate) group: Option<String>,
    /// How it shifts traffic, or did, if it does.
    #[serde(default)]
    pub(crate) shift: Option<Shift>,
}

impl Deployment {
    pub(crate) fn new(definition: String) -> Self {
        let (id, now) = (format!("ecs-svc/{}", random_digits(19)), Timestamp::now());
        let reason = format!("ECS deployment {id} in progress.");
        let rollout = RolloutState::InProgress;
        Self {
            id,
            definition,
            created_at: now,
            updated_at: now,
            rollout,
            reason,
            failed_tasks: 0,
            finished_at: None,
            sources: Vec::new(),
            undo: None,
            undoes: None,
            made_to_undo: false,
            group: None,
            shift: None,
        }
    }

    pub(crate) fn turn(&mut self, rollout: RolloutState, reason: String) {
        (self.rollout, self.reason, self.updated_at) = (rollout, reason, Timestamp::now());
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) created_at: Timestamp,
    pub(crate) message: String,
}

/// A listener's rule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) arn: String,
    pub(crate) listener: ListenerName,
    /// The service that the topology made it for.
    pub(crate) service: String,
    pub(crate) priority: u32,
    pub(crate) paths: Vec<String>,
    /// Target groups by name, with weights.
    pub(crate) targets: Vec<(String, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SnapshotStatus {
    Creating,
    Available,
    Failed,
}

impl SnapshotStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Available => "available",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) instance: String,
    pub(crate) created_at: Timestamp,
    pub(crate) status: SnapshotStatus,
    pub(crate) tags: BTreeMap<String, String>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Parameter {
    pub(crate) value: String,
    pub(crate) secure: bool,
    pub(crate) version: u32,
    pub(crate) modified_at: Timestamp,
}

impl std::fmt::Debug for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parameter").field("version", &self.version).finish_non_exhaustive()
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join("stage.json")
}

impl State {
    /// Reads the state; a new one if there is none.
    pub(crate) fn load(directory: &Path) -> io::Result<Self> {
        match fs::read(path(directory)) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the state beside its place and moves it there; readable by its owner only, since it holds parameters.
    pub(crate) fn save(&self, directory: &Path) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        serde_json::to_writer(io::BufWriter::new(&mut file), self)?;
        file.flush()?;
        file.persist(path(directory)).map(drop).map_err(|error| error.error)
    }
}

/// `bytes` random bytes in hexadecimal.
pub(crate) fn random_id(bytes: usize) -> String {
    hex::encode((0..bytes).map(|_| rand::random::<u8>()).collect::<Vec<_>>())
}

fn random_digits(count: usize) -> String {
    (0..count).map(|_| char::from(b'0' + rand::random_range(0..10))).collect()
}
