//! A service whose traffic ECS moves by itself, between the two target groups that Liftlock's colours have otherwise.
//!
//! One of the two ECS services has all tasks, in whichever target group the newest deployment put them; the other stays empty. To a rollout
//! it looks like a service that has one colour.

use aws_sdk_ecs::types::{
    AdvancedConfiguration, LoadBalancer, Service, ServiceDeploymentStatus,
    StopServiceDeploymentStopType,
};
use liftlock_rollout::{Colour, Live, TargetError, TargetErrorKind, Weights};

use super::balancer::Targets;
use super::{EcsTarget, replacement};
use crate::{Action, AwsError, AwsErrorKind};

/// The colour whose ECS service has the tasks; none if both have some, which ECS's strategies never leave so.
fn owner(blue: &Service, green: &Service) -> Option<Colour> {
    match (blue.desired_count > 0, green.desired_count > 0) {
        (true, true) => None,
        (false, true) => Some(Colour::Green),
        (true, false) | (false, false) => Some(Colour::Blue),
    }
}

/// Both target groups hold tasks of the one service.
pub(super) fn both(one: Targets, other: Targets) -> Targets {
    Targets {
        healthy: one.healthy + other.healthy,
        unhealthy: one.unhealthy + other.unhealthy,
        unused: one.unused + other.unused,
        draining: one.draining + other.draining,
    }
}

/// Of a service whose traffic Liftlock moves: the tasks of one colour stand where the other's should, since ECS put them there.
fn is_crossed(blue: &Service, green: &Service, weights: Weights) -> bool {
    owner(blue, green).is_some_and(|owner| {
        let service = if owner == Colour::Blue { blue } else { green };
        let has_tasks = service.desired_count > 0;
        has_tasks && replacement::shifts(service) && weights == Weights::all(owner.other())
    })
}

impl Targets {
    /// These, or none.
    pub(super) fn only(self, these: bool) -> Self {
        if these { self } else { Self::default() }
    }
}

impl EcsTarget {
    /// The colour whose service has all tasks, in whichever target group, where ECS moves the traffic.
    ///
    /// # Errors
    /// ECS moved it, and the environment's file says that Liftlock does.
    pub(super) fn owner(
        &self,
        (blue, green): &(Service, Service),
        weights: Weights,
    ) -> Result<Option<Colour>, AwsError> {
        if self.shifted_by.is_some() {
            return Ok(owner(blue, green));
        }
        if !is_crossed(blue, green, weights) {
            return Ok(None);
        }
        let reason = "ECS's own strategy put its tasks into the other colour's target group";
        let name = self.family();
        let call = self.clients.call(Action::DescribeServices, &name);
        Err(call.because(AwsErrorKind::Conflict, None, reason))
    }

    /// What the service's `loadBalancers` are to be: with the other target group and the rules where ECS moves traffic, without them
    /// where it does not.
    pub(super) async fn balancing(
        &self,
        colour: Colour,
        service: &Service,
        shifts: bool,
    ) -> Result<Vec<LoadBalancer>, AwsError> {
        let balancer = self.balancer().await?;
        let name = self.name(colour);
        let call = self.clients.call(Action::UpdateService, &name);
        let as_is = service.load_balancers().first().ok_or_else(|| {
            call.because(AwsErrorKind::NotFound, None, "the service has no load balancer")
        })?;
        let own = as_is.target_group_arn().unwrap_or_default();
        let (group, alternate) = balancer.groups(own);
        let mut told = LoadBalancer::builder()
            .target_group_arn(group)
            .set_container_name(as_is.container_name().map(str::to_owned))
            .set_container_port(as_is.container_port());
        if shifts {
            let (production, test) = balancer.rule_arns();
            let advanced = AdvancedConfiguration::builder()
                .alternate_target_group_arn(alternate)
                .production_listener_rule(production)
                .test_listener_rule(test)
                .set_role_arn(self.shifted_by.clone());
            told = told.advanced_configuration(advanced.build());
        }
        Ok(vec![told.build()])
    }

    /// The deployment that is under way.
    pub(super) async fn under_way(&self, colour: Colour) -> Result<Option<String>, AwsError> {
        let name = self.name(colour);
        let resource = format!("deployments of service {name} in cluster {}", self.prefix);
        let call = self.clients.call(Action::ListServiceDeployments, &resource);
        let request = self.clients.ecs.list_service_deployments();
        let request = request.cluster(&self.prefix).service(&name);
        let under_way = [ServiceDeploymentStatus::Pending, ServiceDeploymentStatus::InProgress];
        let answer = request.set_status(Some(under_way.to_vec())).send().await;
        let answer = answer.map_err(|error| call.failed(error))?;
        let newest = answer.service_deployments().first();
        Ok(newest.and_then(|one| one.service_deployment_arn()).map(str::to_owned))
    }

    /// Stops the deployment that is under way, so that ECS gives all traffic back at once. False if none is.
    pub(super) async fn stop_deployment(&self, colour: Colour) -> Result<bool, AwsError> {
        let Some(arn) = self.under_way(colour).await? else { return Ok(false) };
        let resource = format!("service deployment {arn}");
        let call = self.clients.call(Action::StopServiceDeployment, &resource);
        let request = self.clients.ecs.stop_service_deployment().service_deployment_arn(arn);
        let sent = request.stop_type(StopServiceDeploymentStopType::Rollback).send().await;
        match sent.map_err(|error| call.failed(error)) {
            Ok(_) => Ok(true),
            // It ended meanwhile.
            Err(error) if error.code() == Some("ConflictException") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Traffic that ECS moves is moved by nobody else: what is asked for must be as it is.
    pub(super) async fn is_split_so(&self, weights: Weights) -> Result<(), TargetError> {
        let Live { weights: now, .. } = self.look().await?;
        if now == weights {
            return Ok(());
        }
        let text = format!(
            "the traffic of {} is moved by ECS itself, as the strategy in the environment's file says: its weights are not set to {weights}",
            self.family()
        );
        Err(TargetError::new(TargetErrorKind::Other, text))
    }
}
