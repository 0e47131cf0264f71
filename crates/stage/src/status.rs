//! What a stage shows of itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::arn::ListenerName;
use crate::fault::FaultStatus;
use crate::home::Record;
use crate::launch;
use crate::schedules::Schedule;
use crate::state::Deployment;
use crate::topology::{Colour, ServiceTopology, Topology};
use crate::world::{Health, Inner, TaskStatus};

/// What a stage shows of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The stage's process.
    pub pid: u32,
    /// Where AWS clients call.
    pub endpoint: Url,
    /// Where users reach the application.
    pub url: Url,
    /// The test listener.
    pub test_url: Url,
    /// The services.
    pub services: Vec<ServiceStatus>,
    /// The database, if there is one.
    pub database: Option<DatabaseStatus>,
    /// The schedules of EventBridge.
    pub schedules: Vec<ScheduleStatus>,
    /// The faults.
    pub faults: Vec<FaultStatus>,
    /// How often each AWS operation was called since the stage started, such as `ecs:UpdateService`.
    pub calls: BTreeMap<String, u64>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Blue, then green.
    pub colours: Vec<ColourStatus>,
}

/// One colour of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColourStatus {
    /// Which.
    pub colour: Colour,
    /// How many tasks are wanted.
    pub desired: u32,
    /// How many run.
    pub running: u32,
    /// How many of them get requests.
    pub healthy: u32,
    /// Its weight on the production listener.
    pub weight: u32,
    /// Its weight on the test listener.
    pub test_weight: u32,
    /// The release version in its task definition.
    pub version: Option<String>,
}

/// A schedule of EventBridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleStatus {
    /// Its name.
    pub name: String,
    /// When it fires, such as `at(2026-11-21T13:00:00)`.
    pub expression: String,
    /// Whether it will.
    pub enabled: bool,
    /// When it fired last.
    pub fired_at: Option<Timestamp>,
    /// What came of it.
    pub outcome: Option<String>,
}

/// The database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseStatus {
    /// The RDS instance's name.
    pub instance: String,
    /// Whether it takes connections.
    pub available: bool,
    /// Its port on 127.0.0.1.
    pub port: Option<u16>,
}

pub(crate) fn status(inner: &Inner, record: &Record) -> Status {
    let topology = inner.topology();
    let services = topology.map(|topology| {
        topology.services.iter().map(|service| service_status(inner, topology, service)).collect()
    });
    let database = topology.and_then(Topology::instance).map(|instance| DatabaseStatus {
        instance,
        available: inner.database_up,
        port: inner.state.ports.database,
    });
    Status {
        pid: record.pid,
        endpoint: record.endpoint.clone(),
        url: record.url.clone(),
        test_url: record.test_url.clone(),
        services: services.unwrap_or_default(),
        database,
        schedules: inner.state.schedules.iter().map(schedule_status).collect(),
        faults: inner.faults.list(),
        calls: inner.calls.clone(),
    }
}

fn schedule_status((name, schedule): (&String, &Schedule)) -> ScheduleStatus {
    ScheduleStatus {
        name: name.clone(),
        expression: schedule.body["ScheduleExpression"].as_str().unwrap_or_default().to_owned(),
        enabled: schedule.enabled,
        fired_at: schedule.fired_at,
        outcome: schedule.outcome.clone(),
    }
}

fn service_status(inner: &Inner, topology: &Topology, service: &ServiceTopology) -> ServiceStatus {
    let colours = Colour::BOTH.map(|colour| {
        let name = topology.coloured(service, colour);
        let weight = |listener: ListenerName| {
            let mut rules = inner.state.rules.iter();
            let rule = rules.find(|r| r.listener == listener && r.service == service.name.as_str());
            let targets = rule.map(|rule| rule.targets.as_slice()).unwrap_or_default();
            targets.iter().find(|(group, _)| *group == name).map_or(0, |(_, weight)| *weight)
        };
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let running =
            |status: TaskStatus| matches!(status, TaskStatus::Running | TaskStatus::Deactivating);
        let targets = inner.groups.get(&name);
        let healthy = targets.map_or(0, |targets| {
            targets.iter().filter(|target| target.health == Health::Healthy).count()
        });
        ColourStatus {
            colour,
            desired: desired(inner, &name),
            running: count(
                inner.tasks.values().filter(|t| t.group == name && running(t.status)).count(),
            ),
            healthy: count(healthy),
            weight: weight(ListenerName::Production),
            test_weight: weight(ListenerName::Test),
            version: version(inner, &name),
        }
    });
    ServiceStatus { name: service.name.as_str().to_owned(), colours: colours.into() }
}

/// The deployments whose tasks are in a target group, with how many are wanted.
fn deployments_in<'a>(
    inner: &'a Inner,
    group: &'a str,
) -> impl Iterator<Item = (&'a Deployment, u32)> {
    let all = inner.state.services.iter().flat_map(|(name, service)| {
        service.deployments.iter().map(move |deployment| (name, service, deployment))
    });
    all.filter(move |(name, _, deployment)| deployment.group(name) == group)
        .map(|(_, service, deployment)| (deployment, service.wanted_of(&deployment.id)))
}

fn desired(inner: &Inner, group: &str) -> u32 {
    deployments_in(inner, group).map(|(_, wanted)| wanted).sum()
}

/// The version of the newest deployment with tasks in the group; without tasks, of the newest at all.
fn version(inner: &Inner, group: &str) -> Option<String> {
    let newest = deployments_in(inner, group).max_by_key(|(d, wanted)| (*wanted > 0, d.created_at));
    launch::version(inner, &newest?.0.definition)
}
