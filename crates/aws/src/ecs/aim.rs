//! What a dead-man's switch asks AWS for when it fires.

use std::time::Duration;

use aws_sdk_ecs::types::{DeploymentRolloutState, Service};
use aws_sdk_elasticloadbalancingv2::types::{Action as RuleAction, ActionTypeEnum};
use liftlock_rollout::{Back, Colour, TaskDefinition, Weights};
use serde_json::{Value, json};

use super::{EcsTarget, replacement, same_revision};
use crate::{Action, AwsError, AwsErrorKind};

/// How often a deployment that was just begun is looked for: AWS may list it a moment later.
const LOOKS: u32 = 5;
/// How long is waited before the second look; each time twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// A call of AWS's API, as a schedule of EventBridge makes it.
#[derive(Debug)]
pub(super) struct Aim {
    /// Service and operation, such as `ecs:updateService`.
    pub(super) operation: &'static str,
    /// Its members, by the names that schedules have for them.
    pub(super) input: Value,
}

impl EcsTarget {
    /// What it takes by now to give this back, one after the other.
    pub(super) async fn aim(&self, back: &Back) -> Result<Vec<Aim>, AwsError> {
        match back {
            Back::Weights(weights) => Ok(vec![self.aim_at_rule(*weights).await?]),
            Back::Tasks { colour, task_definition } => {
                self.aim_at_service(*colour, task_definition).await
            }
        }
    }

    async fn aim_at_rule(&self, weights: Weights) -> Result<Aim, AwsError> {
        let balancer = self.balancer().await?;
        let (rule, actions) = balancer.production_with(&self.clients, weights).await?;
        let resource = format!("the production rule of {}", self.family());
        let call = self.clients.call(Action::CreateSchedule, &resource);
        let input = rule_input(&rule, &actions)
            .map_err(|error| call.because(AwsErrorKind::Other, None, &error))?;
        Ok(Aim { operation: "elasticloadbalancingv2:modifyRule", input })
    }

    /// The old tasks are asked for: that needs no deployment, so that it can be armed before there is one, and it works as well once one is
    /// through. A deployment that moves traffic is stopped before, since it gives that back at once; if it is through by then, or goes back
    /// already, the one or the other changes nothing.
    async fn aim_at_service(
        &self,
        colour: Colour,
        old: &TaskDefinition,
    ) -> Result<Vec<Aim>, AwsError> {
        let mut service = self.service(colour).await?;
        if self.shifted_by.is_none() {
            return Ok(vec![self.old_tasks(colour, old, &service)]);
        }
        let (mut pause, mut looks) = (PAUSE, 0);
        while is_replaced(&service, old) && looks < LOOKS {
            if let Some(deployment) = self.under_way(colour).await? {
                return Ok(vec![stop(&deployment), self.old_tasks(colour, old, &service)]);
            }
            tokio::time::sleep(pause).await;
            (pause, looks) = (pause * 2, looks + 1);
            service = self.service(colour).await?;
        }
        let ask = || self.old_tasks(colour, old, &service);
        Ok(vec![ask(), ask()])
    }

    fn old_tasks(&self, colour: Colour, old: &TaskDefinition, service: &Service) -> Aim {
        let mut input = json!({
            "Cluster": self.prefix,
            "Service": self.name(colour),
            "TaskDefinition": old.as_str(),
        });
        // A service that ECS has not been told to move the traffic of yet would refuse this.
        if self.shifted_by.is_some() && replacement::shifts(service) {
            input["DeploymentConfiguration"] = at_once();
        }
        Aim { operation: "ecs:updateService", input }
    }
}

/// ECS is replacing the tasks of this revision by those of another.
fn is_replaced(service: &Service, old: &TaskDefinition) -> bool {
    let newest = service.deployments().iter().find(|one| one.status() == Some("PRIMARY"));
    let is_through = newest
        .and_then(|one| one.rollout_state())
        .is_none_or(|state| *state != DeploymentRolloutState::InProgress);
    let is_old = service.task_definition().is_some_and(|now| same_revision(now, old.as_str()));
    !is_old && !is_through
}

fn stop(deployment: &str) -> Aim {
    let input = json!({ "ServiceDeploymentArn": deployment, "StopType": "ROLLBACK" });
    Aim { operation: "ecs:stopServiceDeployment", input }
}

/// As [`replacement::configuration`] says it of a way back, in a schedule's words.
fn at_once() -> Value {
    json!({
        "Strategy": "BLUE_GREEN",
        "BakeTimeInMinutes": 0,
        "MinimumHealthyPercent": 100,
        "MaximumPercent": 200,
        "DeploymentCircuitBreaker": { "Enable": true, "Rollback": true },
    })
}

/// What `ModifyRule` is called with.
fn rule_input(rule: &str, actions: &[RuleAction]) -> Result<Value, String> {
    let actions: Result<Vec<_>, _> = actions.iter().map(forward).collect();
    Ok(json!({ "RuleArn": rule, "Actions": actions? }))
}

/// A rule's action as JSON. `ModifyRule` replaces all of a rule's actions, so that one that could not be written down here would be lost.
fn forward(action: &RuleAction) -> Result<Value, String> {
    let config = action.forward_config();
    let (Some(ActionTypeEnum::Forward), Some(config)) = (action.r#type(), config) else {
        let kind = action.r#type().map_or("an unknown one", ActionTypeEnum::as_str);
        return Err(format!(
            "its rule has an action of another kind than forward ({kind}), which a schedule would take away with the weights"
        ));
    };
    let groups: Vec<_> = config
        .target_groups()
        .iter()
        .map(
            |group| json!({ "TargetGroupArn": group.target_group_arn(), "Weight": group.weight() }),
        )
        .collect();
    let mut forward = json!({ "TargetGroups": groups });
    if let Some(sticky) = config.target_group_stickiness_config() {
        let mut told = json!({});
        if let Some(enabled) = sticky.enabled() {
            told["Enabled"] = enabled.into();
        }
        if let Some(seconds) = sticky.duration_seconds() {
            told["DurationSeconds"] = seconds.into();
        }
        forward["TargetGroupStickinessConfig"] = told;
    }
    let mut action_json = json!({ "Type": "forward", "ForwardConfig": forward });
    if let Some(order) = action.order() {
        action_json["Order"] = order.into();
    }
    Ok(action_json)
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::types::Deployment;
    use aws_sdk_elasticloadbalancingv2::types::{
        ForwardActionConfig, TargetGroupStickinessConfig, TargetGroupTuple,
    };

    use super::*;

    /// A deployment is stopped only while it is under way, and only if it takes the old tasks away: one that brings them back is left alone.
    #[test]
    fn only_what_takes_the_old_tasks_away_is_stopped() {
        let service = |revision: &str, state| {
            let newest = Deployment::builder().status("PRIMARY").rollout_state(state).build();
            let service = Service::builder().deployments(newest).desired_count(2).running_count(2);
            service.pending_count(0).task_definition(format!("arn:x/{revision}")).build()
        };
        let old = TaskDefinition::new("shop-dev-backend:7");
        let is = |revision, state| is_replaced(&service(revision, state), &old);
        assert!(is("shop-dev-backend:8", DeploymentRolloutState::InProgress));
        assert!(!is("shop-dev-backend:8", DeploymentRolloutState::Completed));
        assert!(!is("shop-dev-backend:8", DeploymentRolloutState::Failed));
        assert!(!is("shop-dev-backend:7", DeploymentRolloutState::InProgress));
    }

    /// `ModifyRule` takes members by AWS's own names, and what is not said is lost.
    #[test]
    fn nothing_of_the_rule_is_lost() {
        let group = TargetGroupTuple::builder().target_group_arn("arn:blue").weight(100).build();
        let sticky = TargetGroupStickinessConfig::builder().enabled(true).duration_seconds(60);
        let config = ForwardActionConfig::builder().target_groups(group);
        let config = config.target_group_stickiness_config(sticky.build()).build();
        let action = RuleAction::builder().r#type(ActionTypeEnum::Forward).forward_config(config);
        let told = rule_input("arn:rule", &[action.order(1).build()]).unwrap();
        let expected = json!({ "RuleArn": "arn:rule", "Actions": [{
            "Type": "forward", "Order": 1, "ForwardConfig": {
                "TargetGroups": [{ "TargetGroupArn": "arn:blue", "Weight": 100 }],
                "TargetGroupStickinessConfig": { "Enabled": true, "DurationSeconds": 60 },
            } }] });
        assert_eq!(told, expected);
        let login = RuleAction::builder().r#type(ActionTypeEnum::AuthenticateOidc).build();
        assert!(rule_input("arn:rule", &[login]).unwrap_err().contains("authenticate-oidc"));
    }
}
