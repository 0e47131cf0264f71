//! ECS: service deployments and service revisions.

use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::ecs::{bad_token, cluster, invalid, service_not_found, short, with_next};
use super::ecs_describe as describe;
use super::input::{page, size, text, texts, time};
use crate::deployments::{Configuration, status};
use crate::launch;
use crate::refusal::Refusal;
use crate::scheduler::breaker_threshold;
use crate::state::{Deployment, RolloutState, Service};
use crate::topology::Topology;
use crate::world::{Inner, TaskStatus, World};

/// What `deploymentConfiguration` changes of what there was.
pub(super) fn configuration(input: &Json, before: Configuration) -> Result<Configuration, Refusal> {
    let asked = &input["deploymentConfiguration"];
    if let Some(strategy) = text(asked, "strategy").filter(|strategy| *strategy != "ROLLING") {
        return Err(Refusal::new(
            "UnsupportedFeatureException",
            format!("The stage has no deployment strategy {strategy}, only ROLLING"),
        ));
    }
    let mut after = before;
    let percent = |name: &str, before: u32, most: i64| match super::input::number(asked, name) {
        None => Ok(before),
        Some(value) if (0..=most).contains(&value) => Ok(u32::try_from(value).unwrap_or(before)),
        Some(value) => Err(invalid(format!("{name} {value} is not 0 to {most}"))),
    };
    after.minimum = percent("minimumHealthyPercent", before.minimum, 100)?;
    after.maximum = percent("maximumPercent", before.maximum, 200)?;
    if after.maximum <= after.minimum {
        return Err(invalid("maximumPercent must be greater than minimumHealthyPercent"));
    }
    if let Some(breaker) = asked["deploymentCircuitBreaker"].as_object() {
        let flag = |name: &str| breaker.get(name).and_then(Json::as_bool).unwrap_or(false);
        (after.breaker, after.roll_back) = (flag("enable"), flag("rollback"));
    }
    Ok(after)
}

/// The configuration as ECS tells it.
pub(super) fn told(configuration: Configuration) -> Json {
    json!({
        "deploymentCircuitBreaker": {
            "enable": configuration.breaker,
            "rollback": configuration.roll_back,
        },
        "maximumPercent": configuration.maximum,
        "minimumHealthyPercent": configuration.minimum,
        "strategy": "ROLLING",
    })
}

fn deployment_arn(topology: &Topology, service: &str, id: &str) -> String {
    let id = id.rsplit('/').next().unwrap_or(id);
    let of = topology.service_arn(service).replace(":service/", ":service-deployment/");
    format!("{of}/{id}")
}

/// A service's revision is what it runs: the same task definition is the same revision.
fn revision_arn(topology: &Topology, service: &str, definition: &str) -> String {
    let hash = Sha256::digest(format!("{service} {definition}").as_bytes());
    let number = hash.iter().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    let of = topology.service_arn(service).replace(":service/", ":service-revision/");
    format!("{of}/{:019}", number % 10_u64.pow(19))
}

fn reason(deployment: &Deployment) -> Option<&str> {
    (deployment.rollout != RolloutState::Completed).then_some(deployment.reason.as_str())
}

pub(super) fn list(inner: &Inner, input: &Json) -> Result<Json, Refusal> {
    let topology = cluster(inner, input)?;
    let name = text(input, "service").ok_or_else(|| invalid("Service cannot be empty."))?;
    let service = inner.state.services.get(short(name)).ok_or_else(service_not_found)?;
    let states = texts(input, "status");
    let skew = inner.faults.skew();
    let limit =
        |name: &str| time(&input["createdAt"], name).and_then(|at| at.checked_sub(skew).ok());
    let (after, before) = (limit("after"), limit("before"));
    let wanted = service.asked_for().into_iter().filter(|(deployment, primary)| {
        (states.is_empty() || states.contains(&status(deployment, *primary)))
            && after.is_none_or(|after| deployment.created_at >= after)
            && before.is_none_or(|before| deployment.created_at <= before)
    });
    let all = wanted.map(|(deployment, primary)| {
        let mut brief = head(inner, topology, short(name), deployment, primary);
        let revision = revision_arn(topology, short(name), &deployment.definition);
        brief["targetServiceRevisionArn"] = revision.into();
        brief
    });
    let size = size(input, "maxResults", 100);
    let (found, next) = page(all.collect(), text(input, "nextToken"), size, bad_token)?;
    Ok(with_next(json!({ "serviceDeployments": found }), next))
}

/// What the list and the description both tell.
fn head(
    inner: &Inner,
    topology: &Topology,
    service: &str,
    deployment: &Deployment,
    primary: bool,
) -> Json {
    let mut head = json!({
        "serviceDeploymentArn": deployment_arn(topology, service, &deployment.id),
        "serviceArn": topology.service_arn(service),
        "clusterArn": topology.cluster_arn(),
        "createdAt": inner.seconds(deployment.created_at),
        "startedAt": inner.seconds(deployment.created_at),
        "status": status(deployment, primary),
    });
    describe::set(&mut head, "finishedAt", deployment.finished_at.map(|at| inner.seconds(at)));
    describe::set(&mut head, "statusReason", reason(deployment));
    head
}

fn summary(
    inner: &Inner,
    topology: &Topology,
    service: &str,
    definition: &str,
    asked: u32,
) -> Json {
    let alive =
        |status: TaskStatus| matches!(status, TaskStatus::Running | TaskStatus::Deactivating);
    let of_it = || inner.tasks_of(service).filter(|(_, task)| task.definition == definition);
    json!({
        "arn": revision_arn(topology, service, definition),
        "requestedTaskCount": asked,
        "runningTaskCount": of_it().filter(|(_, task)| alive(task.status)).count(),
        "pendingTaskCount": of_it().filter(|(_, task)| task.status < TaskStatus::Running).count(),
    })
}

/// The service's name, itself and the deployment that an ARN means.
fn find<'a>(inner: &'a Inner, arn: &str) -> Option<(&'a str, &'a Service, &'a Deployment, bool)> {
    let topology = inner.topology()?;
    inner.state.services.iter().find_map(|(name, service)| {
        let mut all = service.asked_for().into_iter();
        let found = all.find(|(d, _)| deployment_arn(topology, name, &d.id) == arn);
        found.map(|(deployment, primary)| (name.as_str(), service, deployment, primary))
    })
}

pub(super) fn describe(inner: &Inner, input: &Json) -> Result<Json, Refusal> {
    let arns = texts(input, "serviceDeploymentArns");
    if arns.is_empty() || arns.len() > 20 {
        return Err(invalid("serviceDeploymentArns: between 1 and 20 can be described at a time"));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for arn in arns {
        match (inner.topology(), find(inner, arn)) {
            (Some(topology), Some((name, service, deployment, primary))) => {
                found.push(describe_one(inner, topology, name, service, deployment, primary));
            }
            _ => failures.push(json!({ "arn": arn, "reason": "MISSING" })),
        }
    }
    Ok(json!({ "serviceDeployments": found, "failures": failures }))
}

fn describe_one(
    inner: &Inner,
    topology: &Topology,
    name: &str,
    service: &Service,
    deployment: &Deployment,
    primary: bool,
) -> Json {
    let mut told_of = head(inner, topology, name, deployment, primary);
    let asked = if primary { service.desired } else { 0 };
    let sources = deployment.sources.iter().map(|source| summary(inner, topology, name, source, 0));
    told_of["sourceServiceRevisions"] = sources.collect::<Vec<_>>().into();
    told_of["targetServiceRevision"] =
        summary(inner, topology, name, &deployment.definition, asked);
    told_of["updatedAt"] = inner.seconds(deployment.updated_at).into();
    told_of["deploymentConfiguration"] = told(service.configuration);
    let breaker = match (service.configuration.breaker, deployment.rollout) {
        (false, _) => "DISABLED",
        (true, RolloutState::InProgress) => "MONITORING",
        (true, RolloutState::Completed) => "MONITORING_COMPLETE",
        (true, RolloutState::Failed) => "TRIGGERED",
    };
    told_of["deploymentCircuitBreaker"] = json!({
        "status": breaker,
        "failureCount": deployment.failed_tasks,
        "threshold": breaker_threshold(service.desired),
    });
    if let Some(undo) = &deployment.undo {
        told_of["rollback"] = json!({
            "reason": undo.reason,
            "startedAt": inner.seconds(undo.started_at),
            "serviceRevisionArn": revision_arn(topology, name, &undo.definition),
        });
    }
    told_of
}

pub(super) fn describe_revisions(inner: &Inner, input: &Json) -> Result<Json, Refusal> {
    let arns = texts(input, "serviceRevisionArns");
    if arns.is_empty() || arns.len() > 20 {
        return Err(invalid("serviceRevisionArns: between 1 and 20 can be described at a time"));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for arn in arns {
        match inner.topology().and_then(|topology| describe_revision(inner, topology, arn)) {
            Some(revision) => found.push(revision),
            None => failures.push(json!({ "arn": arn, "reason": "MISSING" })),
        }
    }
    Ok(json!({ "serviceRevisions": found, "failures": failures }))
}

fn describe_revision(inner: &Inner, topology: &Topology, arn: &str) -> Option<Json> {
    let (name, deployment) = inner.state.services.iter().find_map(|(name, service)| {
        // The oldest: the revision was made with it.
        let all = service.deployments.iter().chain(&service.past);
        let mut fits = all.filter(|d| revision_arn(topology, name, &d.definition) == arn);
        Some((name, fits.next_back()?))
    })?;
    let (of, _) = topology.by_coloured(name)?;
    let (image, digest, container) = launch::names(inner, &deployment.definition);
    let mut images = json!({ "containerName": container, "image": image });
    describe::set(&mut images, "imageDigest", digest);
    Some(json!({
        "serviceRevisionArn": arn,
        "serviceArn": topology.service_arn(name),
        "clusterArn": topology.cluster_arn(),
        "taskDefinition": deployment.definition,
        "launchType": "FARGATE",
        "platformVersion": "1.4.0",
        "platformFamily": "Linux",
        "loadBalancers": [{
            "targetGroupArn": topology.group_arn(name),
            "containerName": of.name,
            "containerPort": of.port,
        }],
        "containerImages": [images],
        "guardDutyEnabled": false,
        "createdAt": inner.seconds(deployment.created_at),
    }))
}

pub(super) fn stop(world: &World, input: &Json) -> Result<Json, Refusal> {
    let arn = text(input, "serviceDeploymentArn");
    let arn = arn.ok_or_else(|| invalid("serviceDeploymentArn cannot be empty."))?;
    let roll_back = match text(input, "stopType") {
        None | Some("ROLLBACK") => true,
        Some("ABORT") => false,
        Some(other) => {
            return Err(invalid(format!("stopType {other} is neither ABORT nor ROLLBACK")));
        }
    };
    world.change(|inner| {
        let missing = || {
            Refusal::new(
                "ServiceDeploymentNotFoundException",
                "The service deployment does not exist.",
            )
        };
        let (name, _, deployment, primary) = find(inner, arn).ok_or_else(missing)?;
        if status(deployment, primary) != "IN_PROGRESS" {
            let message = "The service deployment is not in progress, and cannot be stopped.";
            return Err(Refusal::new("ConflictException", message));
        }
        let (name, id) = (name.to_owned(), deployment.id.clone());
        let service = inner.state.services.get_mut(&name).ok_or_else(service_not_found)?;
        service.give_up(&id, "Service deployment stopped by user request.", roll_back);
        Ok(json!({ "serviceDeploymentArn": arn }))
    })
}
