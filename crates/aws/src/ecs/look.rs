//! Looking at a service: what ECS and the load balancer say of it right now.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::{DeploymentRolloutState, Service, Task};
use liftlock_model::ImageDigest;
use liftlock_rollout::{Colour, ColourState, Live, TaskDefinition, Weights};

use super::balancer::Targets;
use super::tasks::{dead, why};
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
            self.running(colour),
            self.stopped(colour),
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
