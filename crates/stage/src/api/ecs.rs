//! ECS: clusters, services and tasks.

use serde_json::{Value as Json, json};

use super::At;
use super::ecs_configuration as configuration;
use super::ecs_definitions as definitions;
use super::ecs_deployments as deployments;
use super::ecs_describe as describe;
use super::input::{flag, list, number, page, size, text, texts};
use crate::native;
use crate::refusal::Refusal;
use crate::scheduler;
use crate::topology::Topology;
use crate::world::{Inner, TaskStatus, World};

pub(super) fn perform(world: &At<'_>, operation: &str, input: &Json) -> Result<Json, Refusal> {
    match operation {
        "DescribeClusters" => Ok(describe_clusters(&world.view(), input)),
        "ListClusters" => Ok(json!({
            "clusterArns": world.view().topology().map(Topology::cluster_arn).into_iter().collect::<Vec<_>>(),
        })),
        "DescribeServices" => describe_services(&world.view(), input),
        "ListServices" => list_services(&world.view(), input),
        "UpdateService" => update_service(world, input),
        "ListServiceDeployments" => deployments::list(&world.view(), input),
        "DescribeServiceDeployments" => deployments::describe(&world.view(), input),
        "DescribeServiceRevisions" => deployments::describe_revisions(&world.view(), input),
        "StopServiceDeployment" => deployments::stop(world, input),
        "StopTask" => stop_task(world, input),
        "ListTasks" => list_tasks(&world.view(), input),
        "DescribeTasks" => describe_tasks(&world.view(), input),
        "RegisterTaskDefinition" => definitions::register(world, input),
        "DescribeTaskDefinition" => definitions::describe(&world.view(), input),
        "ListTaskDefinitions" => definitions::list(&world.view(), input),
        "DeregisterTaskDefinition" => definitions::deregister(world, input),
        _ => Err(super::unknown(&format!("ecs:{operation}"), super::Protocol::Json)),
    }
}

pub(super) fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new("InvalidParameterException", message)
}

/// The last part of a name that may be an ARN.
pub(super) fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The topology, if the call means its cluster.
pub(super) fn cluster<'a>(inner: &'a Inner, input: &Json) -> Result<&'a Topology, Refusal> {
    let name = text(input, "cluster").unwrap_or("default");
    inner
        .topology()
        .filter(|topology| topology.prefix() == short(name))
        .ok_or_else(|| Refusal::new("ClusterNotFoundException", "Cluster not found."))
}

fn describe_clusters(inner: &Inner, input: &Json) -> Json {
    let mut names = texts(input, "clusters");
    if names.is_empty() {
        names.push("default");
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match inner.topology().filter(|topology| topology.prefix() == short(name)) {
            Some(topology) => found.push(describe::cluster(inner, topology)),
            None => failures.push(json!({ "arn": name, "reason": "MISSING" })),
        }
    }
    json!({ "clusters": found, "failures": failures })
}

fn describe_services(inner: &Inner, input: &Json) -> Result<Json, Refusal> {
    let topology = cluster(inner, input)?;
    let names = texts(input, "services");
    if names.is_empty() || names.len() > 10 {
        return Err(invalid("services: between 1 and 10 services can be described at a time"));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match describe::service(inner, topology, short(name)) {
            Some(service) => found.push(service),
            None => {
                let arn = topology.service_arn(short(name));
                failures.push(json!({ "arn": arn, "reason": "MISSING" }));
            }
        }
    }
    Ok(json!({ "services": found, "failures": failures }))
}

pub(super) fn bad_token() -> Refusal {
    invalid("Invalid token")
}

pub(super) fn with_next(mut answer: Json, next: Option<String>) -> Json {
    if let Some(next) = next {
        answer["nextToken"] = next.into();
    }
    answer
}

fn list_services(inner: &Inner, input: &Json) -> Result<Json, Refusal> {
    let topology = cluster(inner, input)?;
    let all = inner.state.services.keys().map(|name| topology.service_arn(name)).collect();
    let size = size(input, "maxResults", 100).min(100);
    let (arns, next) = page(all, text(input, "nextToken"), size, bad_token)?;
    Ok(with_next(json!({ "serviceArns": arns }), next))
}

pub(super) fn service_not_found() -> Refusal {
    Refusal::new("ServiceNotFoundException", "Service not found.")
}

fn update_service(world: &World, input: &Json) -> Result<Json, Refusal> {
    let name = text(input, "service").ok_or_else(|| invalid("Service cannot be empty."))?;
    let name = short(name).to_owned();
    world.change(|inner| {
        cluster(inner, input)?;
        if !inner.state.services.contains_key(&name) {
            return Err(service_not_found());
        }
        let definition = match text(input, "taskDefinition") {
            None => None,
            Some(wanted) => Some(definitions::active_arn(inner, wanted)?),
        };
        let desired = match number(input, "desiredCount") {
            None => None,
            Some(count) => Some(
                u32::try_from(count)
                    .ok()
                    .filter(|count| *count <= 5000)
                    .ok_or_else(|| invalid("desiredCount must be between 0 and 5000"))?,
            ),
        };
        let forced = flag(input, "forceNewDeployment");
        let balancing = configuration::balancing(inner, &name, input)?;
        let service = inner.state.services.get_mut(&name).ok_or_else(service_not_found)?;
        let configured = configuration::configuration(input, service.configuration)?;
        configuration::check(configured, balancing.as_ref())?;
        let moved = service.balancing != balancing;
        (service.configuration, service.balancing) = (configured, balancing);
        let before = service.desired;
        service.desired = desired.unwrap_or(before);
        let current = service.primary().definition.clone();
        let next = definition.unwrap_or_else(|| current.clone());
        if forced || moved || next != current {
            native::deploy(inner, &name, next, before);
        }
        let topology = cluster(inner, input)?;
        let described = describe::service(inner, topology, &name);
        described.map(|service| json!({ "service": service })).ok_or_else(service_not_found)
    })
}

fn list_tasks(inner: &Inner, input: &Json) -> Result<Json, Refusal> {
    let topology = cluster(inner, input)?;
    let service = text(input, "serviceName").map(short);
    if let Some(service) = service
        && !inner.state.services.contains_key(service)
    {
        return Err(service_not_found());
    }
    let stopped = match text(input, "desiredStatus") {
        None | Some("RUNNING") => false,
        Some("STOPPED") => true,
        Some(other) => {
            return Err(invalid(format!("desiredStatus {other} is neither RUNNING nor STOPPED")));
        }
    };
    let family = text(input, "family");
    let wanted = inner.tasks.iter().filter(|(_, task)| {
        let leaving = task.status == TaskStatus::Stopped || task.stop.borrow().is_some();
        leaving == stopped
            && service.is_none_or(|service| service == task.service)
            && family.is_none_or(|family| task.definition.contains(&format!("/{family}:")))
    });
    let all = wanted.map(|(id, _)| topology.task_arn(id)).collect();
    let size = size(input, "maxResults", 100);
    let (arns, next) = page(all, text(input, "nextToken"), size, bad_token)?;
    Ok(with_next(json!({ "taskArns": arns }), next))
}

fn stop_task(world: &World, input: &Json) -> Result<Json, Refusal> {
    let wanted = text(input, "task").ok_or_else(|| invalid("Task identifier is empty."))?;
    let id = short(wanted);
    let inner = world.look();
    let topology = cluster(&inner, input)?;
    let missing = || invalid("The referenced task was not found.");
    let task = inner.tasks.get(id).ok_or_else(missing)?;
    let reason = text(input, "reason").unwrap_or("Task stopped by user").to_owned();
    scheduler::ask_to_stop(&inner, id, "UserInitiated", reason, true);
    Ok(json!({ "task": describe::task(&inner, topology, id, task) }))
}

fn describe_tasks(inner: &Inner, input: &Json) -> Result<Json, Refusal> {
    let topology = cluster(inner, input)?;
    let names = list(input, "tasks");
    if names.is_empty() || names.len() > 100 {
        return Err(invalid("Tasks cannot be empty."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names.iter().filter_map(Json::as_str) {
        match inner.tasks.get(short(name)) {
            Some(task) => found.push(describe::task(inner, topology, short(name), task)),
            None => {
                let arn = topology.task_arn(short(name));
                failures.push(json!({ "arn": arn, "reason": "MISSING" }));
            }
        }
    }
    Ok(json!({ "tasks": found, "failures": failures }))
}
