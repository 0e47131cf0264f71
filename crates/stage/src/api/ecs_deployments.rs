//! ECS: service deployments and service revisions.

use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::ecs::{bad_token, cluster, invalid, service_not_found, short, with_next};
use super::ecs_configuration::{told, told_balancers};
use super::ecs_describe as describe;
use super::input::{page, size, text, texts, time};
use crate::deployments::{Ending, status};
use crate::launch;
use crate::native::{self, Share, Shift};
use crate::refusal::Refusal;
use crate::scheduler::breaker_threshold;
use crate::state::{Deployment, RolloutState, Service};
use crate::topology::Topology;
use crate::world::{Inner, TaskStatus, World};

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

/// What a summary of a service revision counts.
#[derive(Clone, Copy)]
enum Of<'a> {
    Definition(&'a str),
    Deployment(&'a Deployment),
}

fn summary(inner: &Inner, topology: &Topology, service: &str, of: Of<'_>, asked: u32) -> Json {
    let alive =
        |status: TaskStatus| matches!(status, TaskStatus::Running | TaskStatus::Deactivating);
    // While traffic shifts, both may run the same task definition.
    let of_it = || {
        let all = inner.tasks_of(service);
        all.filter(|(_, task)| match of {
            Of::Definition(definition) => task.definition == definition,
            Of::Deployment(deployment) => task.deployment == deployment.id,
        })
    };
    let definition = match of {
        Of::Definition(definition) => definition,
        Of::Deployment(deployment) => &deployment.definition,
    };
    json!({
        "arn": revision_arn(topology, service, definition),
        "requestedTaskCount": asked,
        "runningTaskCount": of_it().filter(|(_, task)| alive(task.status)).count(),
        "pendingTaskCount": of_it().filter(|(_, task)| task.status < TaskStatus::Running).count(),
    })
}

/// Both sides of a deployment that shifts traffic.
fn tell_shift(
    inner: &Inner,
    topology: &Topology,
    name: &str,
    service: &Service,
    deployment: &Deployment,
    shift: &Shift,
) -> Json {
    let asked = |id: &str| service.wanted_of(id);
    let mut target =
        summary(inner, topology, name, Of::Deployment(deployment), asked(&deployment.id));
    weigh(&mut target, shift, shift.production, shift.test);
    let mut all = service.deployments.iter().chain(&service.past);
    let source = all.find(|d| d.id == shift.source).map(|source| {
        let mut told = summary(inner, topology, name, Of::Deployment(source), asked(&source.id));
        weigh(&mut told, shift, shift.production.rest(), shift.test.rest());
        told
    });
    let mut told = json!({
        "sourceServiceRevisions": source.into_iter().collect::<Vec<_>>(),
        "targetServiceRevision": target,
        "deploymentConfiguration": told(shift.configuration),
    });
    describe::set(&mut told, "lifecycleStage", shift.stage.map(|stage| json!(stage)));
    told
}

fn weigh(summary: &mut Json, shift: &Shift, production: Share, test: Share) {
    summary["requestedProductionTrafficWeight"] = production.percent().into();
    if shift.test_rule.is_some() {
        summary["requestedTestTrafficWeight"] = test.percent().into();
    }
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
    let of = |definition, asked| summary(inner, topology, name, Of::Definition(definition), asked);
    let sides = match &deployment.shift {
        Some(shift) => tell_shift(inner, topology, name, service, deployment, shift),
        None => json!({
            "sourceServiceRevisions":
                deployment.sources.iter().map(|source| of(source, 0)).collect::<Vec<_>>(),
            "targetServiceRevision": of(&deployment.definition, asked),
            "deploymentConfiguration": told(service.configuration),
        }),
    };
    if let (Some(told), Json::Object(sides)) = (told_of.as_object_mut(), sides) {
        told.extend(sides);
    }
    told_of["updatedAt"] = inner.seconds(deployment.updated_at).into();
    let threshold = breaker_threshold(service.desired);
    let breaker = match (service.configuration.breaker, deployment.rollout) {
        (false, _) => "DISABLED",
        (true, RolloutState::InProgress) => "MONITORING",
        (true, RolloutState::Failed) if deployment.failed_tasks >= threshold => "TRIGGERED",
        // Others may have stopped it.
        (true, _) => "MONITORING_COMPLETE",
    };
    told_of["deploymentCircuitBreaker"] = json!({
        "status": breaker,
        "failureCount": deployment.failed_tasks,
        "threshold": threshold,
    });
    if let Some(undo) = deployment.undo.as_ref().filter(|undo| !undo.stopped) {
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
    let (name, service, newest, deployment) =
        inner.state.services.iter().find_map(|(name, service)| {
            let all = service.deployments.iter().chain(&service.past);
            let fits: Vec<_> =
                all.filter(|d| revision_arn(topology, name, &d.definition) == arn).collect();
            // The oldest: the revision was made with it.
            Some((name, service, *fits.first()?, *fits.last()?))
        })?;
    let (image, digest, container) = launch::names(inner, &deployment.definition);
    let mut images = json!({ "containerName": container, "image": image });
    describe::set(&mut images, "imageDigest", digest);
    let mut resolved = json!({ "targetGroupArn": topology.group_arn(newest.group(name)) });
    let rule = newest.shift.as_ref().map(|shift| shift.production_rule.as_str());
    describe::set(&mut resolved, "productionListenerRule", rule);
    Some(json!({
        "serviceRevisionArn": arn,
        "serviceArn": topology.service_arn(name),
        "clusterArn": topology.cluster_arn(),
        "taskDefinition": deployment.definition,
        "launchType": "FARGATE",
        "platformVersion": "1.4.0",
        "platformFamily": "Linux",
        "loadBalancers": told_balancers(topology, name, service)?,
        "resolvedConfiguration": { "loadBalancers": [resolved] },
        "containerImages": [images],
        "guardDutyEnabled": false,
        "createdAt": inner.seconds(deployment.created_at),
    }))
}

pub(super) fn stop(world: &World, input: &Json) -> Result<Json, Refusal> {
    let arn = text(input, "serviceDeploymentArn");
    let arn = arn.ok_or_else(|| invalid("serviceDeploymentArn cannot be empty."))?;
    let ending = match text(input, "stopType") {
        None | Some("ROLLBACK") => Ending::RolledBack,
        Some("ABORT") => Ending::Stopped,
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
        let (name, service, deployment, primary) = find(inner, arn).ok_or_else(missing)?;
        let (name, id) = (name.to_owned(), deployment.id.clone());
        let may = service.shift().is_none_or(|shift| !primary || shift.can_return());
        match status(deployment, primary) {
            "PENDING" | "IN_PROGRESS" if may => {
                let reason = "Service deployment stopped by user request.";
                native::give_up(inner, &name, &id, reason, ending);
            }
            // It is on its way.
            "STOP_REQUESTED" | "ROLLBACK_IN_PROGRESS" => {}
            _ => {
                let message = "The service deployment is not in progress, and cannot be stopped.";
                return Err(Refusal::new("ConflictException", message));
            }
        }
        Ok(json!({ "serviceDeploymentArn": arn }))
    })
}
