//! What ECS says of its clusters, services and tasks.

use serde_json::{Value as Json, json};

use crate::state::Deployment;
use crate::topology::Topology;
use crate::world::{Health, Inner, Task, TaskStatus};

/// How many tasks run, and how many are about to.
fn counts<'a>(tasks: impl Iterator<Item = &'a Task>) -> (u32, u32) {
    tasks.fold((0, 0), |(running, pending), task| match task.status {
        TaskStatus::Running | TaskStatus::Deactivating => (running + 1, pending),
        TaskStatus::Provisioning | TaskStatus::Pending => (running, pending + 1),
        TaskStatus::Stopping | TaskStatus::Stopped => (running, pending),
    })
}

pub(super) fn cluster(inner: &Inner, topology: &Topology) -> Json {
    let (running, pending) = counts(inner.tasks.values());
    json!({
        "clusterArn": topology.cluster_arn(),
        "clusterName": topology.prefix(),
        "status": "ACTIVE",
        "registeredContainerInstancesCount": 0,
        "runningTasksCount": running,
        "pendingTasksCount": pending,
        "activeServicesCount": inner.state.services.len(),
        "capacityProviders": ["FARGATE"],
    })
}

pub(super) fn service(inner: &Inner, topology: &Topology, name: &str) -> Option<Json> {
    let service = inner.state.services.get(name)?;
    let balancers = super::ecs_configuration::told_balancers(topology, name, service)?;
    let (running, pending) = counts(inner.tasks_of(name).map(|(_, task)| task));
    let deployments: Vec<Json> = service
        .deployments
        .iter()
        .enumerate()
        .map(|(at, deployment)| {
            deployment_json(inner, service.wanted_of(&deployment.id), at == 0, deployment)
        })
        .collect();
    let events: Vec<Json> = service
        .events
        .iter()
        .map(|event| {
            json!({ "id": event.id, "createdAt": inner.seconds(event.created_at), "message": event.message })
        })
        .collect();
    Some(json!({
        "serviceArn": topology.service_arn(name),
        "serviceName": name,
        "clusterArn": topology.cluster_arn(),
        "status": "ACTIVE",
        "desiredCount": service.desired,
        "runningCount": running,
        "pendingCount": pending,
        "taskDefinition": service.primary().definition,
        "launchType": "FARGATE",
        "platformVersion": "1.4.0",
        "schedulingStrategy": "REPLICA",
        "deploymentController": { "type": "ECS" },
        "deploymentConfiguration": super::ecs_configuration::told(service.configuration),
        "loadBalancers": balancers,
        "deployments": deployments,
        "events": events,
        "createdAt": inner.seconds(service.created_at),
        "enableECSManagedTags": false,
        "propagateTags": "NONE",
        "enableExecuteCommand": false,
    }))
}

fn deployment_json(inner: &Inner, wanted: u32, primary: bool, deployment: &Deployment) -> Json {
    let of_it = inner.tasks.values().filter(|task| task.deployment == deployment.id);
    let (running, pending) = counts(of_it);
    json!({
        "id": deployment.id,
        "status": if primary { "PRIMARY" } else { "ACTIVE" },
        "taskDefinition": deployment.definition,
        "desiredCount": wanted,
        "runningCount": running,
        "pendingCount": pending,
        "failedTasks": deployment.failed_tasks,
        "createdAt": inner.seconds(deployment.created_at),
        "updatedAt": inner.seconds(deployment.updated_at),
        "launchType": "FARGATE",
        "platformVersion": "1.4.0",
        "rolloutState": deployment.rollout,
        "rolloutStateReason": deployment.reason,
    })
}

pub(super) fn task(inner: &Inner, topology: &Topology, id: &str, task: &Task) -> Json {
    let health = match inner.target(&task.group, id).map(|target| target.health) {
        Some(Health::Healthy) => "HEALTHY",
        Some(Health::Unhealthy) => "UNHEALTHY",
        _ => "UNKNOWN",
    };
    let leaving = task.status == TaskStatus::Stopped || task.stop.borrow().is_some();
    let mut container = json!({
        "containerArn": format!("{}/{}", topology.task_arn(id).replace(":task/", ":container/"), task.container),
        "taskArn": topology.task_arn(id),
        "name": task.container,
        "image": task.image,
        "lastStatus": task.status.as_str(),
        "healthStatus": health,
        "networkBindings": [],
        "networkInterfaces": [{ "privateIpv4Address": "127.0.0.1" }],
    });
    // Known once the image was pulled.
    let digest = task.digest.as_deref().filter(|_| task.started_at.is_some());
    set(&mut container, "imageDigest", digest);
    set(&mut container, "exitCode", task.exit_code);
    set(&mut container, "reason", task.container_reason.as_deref());
    set(&mut container, "runtimeId", task.pid.map(|pid| pid.to_string()));
    let mut described = json!({
        "taskArn": topology.task_arn(id),
        "clusterArn": topology.cluster_arn(),
        "taskDefinitionArn": task.definition,
        "group": format!("service:{}", task.service),
        "startedBy": task.deployment,
        "lastStatus": task.status.as_str(),
        "desiredStatus": if leaving { "STOPPED" } else { "RUNNING" },
        "healthStatus": health,
        "launchType": "FARGATE",
        "connectivity": "CONNECTED",
        "containers": [container],
        "createdAt": inner.seconds(task.created_at),
        "version": 1,
    });
    set(&mut described, "startedAt", task.started_at.map(|at| inner.seconds(at)));
    set(&mut described, "stoppedAt", task.stopped_at.map(|at| inner.seconds(at)));
    // Known as soon as somebody wants it to stop.
    let asked = task.stop.borrow().clone();
    let code = task.stop_code.or(asked.as_ref().map(|stop| stop.code));
    let reason = task.stopped_reason.clone().or(asked.map(|stop| stop.reason));
    set(&mut described, "stopCode", code);
    set(&mut described, "stoppedReason", reason);
    described
}

/// AWS leaves out what is not known.
pub(super) fn set(of: &mut Json, name: &str, value: Option<impl Into<Json>>) {
    if let Some(value) = value {
        of[name] = value.into();
    }
}
