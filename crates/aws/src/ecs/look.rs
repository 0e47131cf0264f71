//! Looking at a service: what ECS and the load balancer say of it right now.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::{DeploymentRolloutState, Service, Task};
use liftlock_model::ImageDigest;
use liftlock_rollout::{Colour, ColourState, Live, TaskDefinition, Weights};

use super::balancer::Targets;
use super::tasks::{dead, why};
use super::{EcsTarget, shifted};
use crate::AwsError;

/// How many of ECS's own messages are kept.
const EVENTS: usize = 10;

impl EcsTarget {
    /// Everything.
    pub(super) async fn look(&self) -> Result<Live, AwsError> {
        let (mut live, (blue, green)) = self.seen().await?;
        let (running, blue_stopped, green_stopped) = tokio::try_join!(
            self.running(&blue, &green),
            self.stopped(Colour::Blue),
            self.stopped(Colour::Green),
        )?;
        let container = self.service.as_str();
        for (state, running) in [(&mut live.blue, &running.0), (&mut live.green, &running.1)] {
            state.digests = digests(container, running);
        }
        live.blue.stopped = deaths(&blue, blue_stopped);
        live.green.stopped = deaths(&green, green_stopped);
        Ok(live)
    }

    /// Without single tasks.
    pub(super) async fn sketch(&self) -> Result<Live, AwsError> {
        Ok(self.seen().await?.0)
    }

    async fn seen(&self) -> Result<(Live, (Service, Service)), AwsError> {
        let balancer = self.balancer().await?;
        let targets = |colour| balancer.targets(&self.clients, colour);
        let (services, (weights, test), blue, green) = tokio::try_join!(
            self.services(),
            balancer.splits(&self.clients),
            targets(Colour::Blue),
            targets(Colour::Green),
        )?;
        let ((weights, test), blue, green) = match self.owner(&services, weights)? {
            // Whichever target group they are in.
            Some(owner) => {
                let of = |colour| shifted::both(blue, green).only(owner == colour);
                ((Weights::all(owner), owner), of(Colour::Blue), of(Colour::Green))
            }
            None => ((weights, test), blue, green),
        };
        let (blue, green) = (state(&services.0, blue), state(&services.1, green));
        Ok((Live { blue, green, weights, test }, services))
    }
}

/// No task runs, is on its way, or should be.
pub(super) fn is_empty(service: &Service) -> bool {
    (service.desired_count, service.running_count, service.pending_count) == (0, 0, 0)
}

/// Pure: what the answers mean, without single tasks.
fn state(service: &Service, targets: Targets) -> ColourState {
    let count = |number: i32| u32::try_from(number).unwrap_or(0);
    ColourState {
        task_definition: service.task_definition().map(TaskDefinition::new),
        desired: count(service.desired_count),
        running: count(service.running_count),
        pending: count(service.pending_count),
        steady: steady(service),
        failed: failed(service),
        digests: BTreeMap::new(),
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
        stopped: Vec::new(),
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

/// Why tasks of the newest deployment stopped that should have run, newest first.
fn deaths(service: &Service, mut stopped: Vec<Task>) -> Vec<String> {
    let Some(revision) = service.task_definition() else { return Vec::new() };
    let newest = service.deployments().iter().find(|d| d.status() == Some("PRIMARY"));
    if let Some(since) = newest.and_then(|deployment| deployment.created_at()) {
        // Whole seconds: answers round times differently.
        let after = |task: &Task| task.created_at().is_none_or(|at| at.secs() >= since.secs());
        stopped.retain(after);
    }
    dead(stopped, revision).iter().map(why).collect()
}
