//! Looking at a service: what ECS and the load balancer say of it right now.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::{DeploymentRolloutState, DesiredStatus, Service, Task, TaskStopCode};
use liftlock_model::ImageDigest;
use liftlock_rollout::{Colour, ColourState, Live, TaskDefinition, Weights};

use super::balancer::Targets;
use super::{EcsTarget, shifted};
use crate::{Action, AwsError, AwsErrorKind};

/// How many of ECS's own messages are kept.
const EVENTS: usize = 10;

impl EcsTarget {
    pub(super) async fn look(&self) -> Result<Live, AwsError> {
        let balancer = self.balancer().await?;
        let ((blue, green), (weights, test)) =
            tokio::try_join!(self.services(), balancer.splits(&self.clients))?;
        if self.shifted_by.is_none() && shifted::is_crossed(&blue, &green, weights) {
            let reason = "ECS's own strategy put its tasks into the other colour's target group: promote once more with that strategy, \
                          and then choose another";
            let name = self.family();
            let call = self.clients.call(Action::DescribeServices, &name);
            return Err(call.because(AwsErrorKind::Other, None, reason));
        }
        let owner = self.shifted_by.as_ref().and_then(|_| shifted::owner(&blue, &green));
        let of = |colour, service| self.colour(colour, service, owner);
        let (blue, green) = tokio::try_join!(of(Colour::Blue, &blue), of(Colour::Green, &green))?;
        let (weights, test) = match owner {
            // Whichever target group they are in.
            Some(owner) => (Weights::all(owner), owner),
            None => (weights, test),
        };
        Ok(Live { blue, green, weights, test })
    }

    /// A colour. The targets of both groups are the `owner`'s, if ECS moves the traffic.
    async fn colour(
        &self,
        colour: Colour,
        service: &Service,
        owner: Option<Colour>,
    ) -> Result<ColourState, AwsError> {
        let (targets, running, stopped) = tokio::try_join!(
            self.targets(colour, owner),
            self.tasks(colour, DesiredStatus::Running),
            self.tasks(colour, DesiredStatus::Stopped),
        )?;
        Ok(state(service, self.service.as_str(), targets, &running, stopped))
    }

    async fn targets(&self, colour: Colour, owner: Option<Colour>) -> Result<Targets, AwsError> {
        let balancer = self.balancer().await?;
        let of = |colour| balancer.targets(&self.clients, colour);
        match owner {
            None => of(colour).await,
            Some(owner) if owner == colour => {
                let (one, other) = tokio::try_join!(of(Colour::Blue), of(Colour::Green))?;
                Ok(shifted::both(one, other))
            }
            Some(_) => Ok(Targets::default()),
        }
    }

    pub(super) async fn tasks(
        &self,
        colour: Colour,
        status: DesiredStatus,
    ) -> Result<Vec<Task>, AwsError> {
        let name = self.name(colour);
        let resource = format!("tasks of service {name} in cluster {}", self.prefix);
        let call = self.clients.call(Action::ListTasks, &resource);
        let request = self.clients.ecs.list_tasks();
        let request = request.cluster(&self.prefix).service_name(&name).desired_status(status);
        let mut pages = request.into_paginator().send();
        let mut arns = Vec::new();
        while let Some(page) = pages.next().await {
            arns.extend(page.map_err(|error| call.failed(error))?.task_arns.unwrap_or_default());
        }
        let call = self.clients.call(Action::DescribeTasks, &resource);
        let mut tasks = Vec::new();
        // ECS describes at most 100 tasks at once.
        for arns in arns.chunks(100) {
            let request = self.clients.ecs.describe_tasks().cluster(&self.prefix);
            let answer = request.set_tasks(Some(arns.to_vec())).send().await;
            match answer.map_err(|error| call.failed(error)) {
                Ok(answer) => tasks.extend(answer.tasks.unwrap_or_default()),
                // They were forgotten between the two calls.
                Err(error) if error.kind() == AwsErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(tasks)
    }
}

/// Pure: what the answers mean.
fn state(
    service: &Service,
    container: &str,
    targets: Targets,
    running: &[Task],
    stopped: Vec<Task>,
) -> ColourState {
    let count = |number: i32| u32::try_from(number).unwrap_or(0);
    ColourState {
        task_definition: service.task_definition().map(TaskDefinition::new),
        desired: count(service.desired_count),
        running: count(service.running_count),
        pending: count(service.pending_count),
        steady: steady(service),
        failed: failed(service),
        digests: digests(container, running),
        healthy_targets: targets.healthy,
        unhealthy_targets: targets.unhealthy,
        unused_targets: targets.unused,
        draining_targets: targets.draining,
        events: service
            .events()
            .iter()
            .filter_map(|event| event.message())
            .take(EVENTS)
            .map(str::to_owned)
            .collect(),
        stopped: deaths(service, stopped),
    }
}

/// Steady state as ECS has it: one deployment, completed, with all its tasks running and none on the way.
fn steady(service: &Service) -> bool {
    let [deployment] = service.deployments() else {
        return false;
    };
    let completed =
        deployment.rollout_state().is_none_or(|state| *state == DeploymentRolloutState::Completed);
    completed && service.running_count == service.desired_count && service.pending_count == 0
}

/// ECS's deployment circuit breaker gave the newest deployment up.
pub(super) fn failed(service: &Service) -> bool {
    service.deployments().iter().any(|deployment| {
        deployment.status() == Some("PRIMARY")
            && deployment.rollout_state() == Some(&DeploymentRolloutState::Failed)
    })
}

/// What runs, by count. A container whose digest ECS does not tell is not counted: no digest is better than a guess.
fn digests(container: &str, tasks: &[Task]) -> BTreeMap<ImageDigest, u32> {
    let mut digests = BTreeMap::new();
    for task in tasks.iter().filter(|task| task.last_status() == Some("RUNNING")) {
        let ours = task.containers().iter().find(|c| c.name() == Some(container));
        let digest = ours.and_then(|c| c.image_digest()).and_then(|digest| digest.parse().ok());
        if let Some(digest) = digest {
            *digests.entry(digest).or_insert(0) += 1;
        }
    }
    digests
}

/// Why tasks of the newest deployment stopped that should have run, newest first. ECS remembers stopped tasks for about an
/// hour; those that it stopped by plan are no deaths.
fn deaths(service: &Service, mut stopped: Vec<Task>) -> Vec<String> {
    let newest = service.deployments().iter().find(|d| d.status() == Some("PRIMARY"));
    let since = newest.and_then(|deployment| deployment.created_at());
    stopped.retain(|task| {
        let of_it = task.task_definition_arn() == service.task_definition();
        // Whole seconds: answers round times differently.
        let after = since
            .zip(task.created_at())
            .is_none_or(|(since, created)| created.secs() >= since.secs());
        of_it && after && unplanned(task)
    });
    stopped.sort_by_key(|task| std::cmp::Reverse(task.stopped_at().map(|at| at.secs())));
    stopped.iter().map(why).collect()
}

pub(super) fn unplanned(task: &Task) -> bool {
    match task.stop_code() {
        Some(TaskStopCode::EssentialContainerExited | TaskStopCode::TaskFailedToStart) => true,
        // The scheduler stops tasks by plan, and those whose health checks fail.
        Some(TaskStopCode::ServiceSchedulerInitiated) => {
            task.stopped_reason().is_some_and(|reason| reason.contains("health checks"))
        }
        _ => false,
    }
}

pub(super) fn why(task: &Task) -> String {
    let mut text = task.stopped_reason().unwrap_or("no reason given").to_owned();
    for container in task.containers() {
        let name = container.name().unwrap_or("?");
        if let Some(code) = container.exit_code() {
            text.push_str(&format!("; container {name} exited with {code}"));
        }
        if let Some(reason) = container.reason() {
            text.push_str(&format!("; container {name}: {reason}"));
        }
    }
    text
}
