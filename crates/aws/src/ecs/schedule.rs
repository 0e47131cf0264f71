//! The dead-man's switch of a service: a schedule of EventBridge that sets the weights of its production rule, whoever is alive.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_elasticloadbalancingv2::types::{Action as RuleAction, ActionTypeEnum};
use aws_sdk_scheduler::operation::get_schedule::GetScheduleOutput;
use aws_sdk_scheduler::types::{
    ActionAfterCompletion, FlexibleTimeWindow, FlexibleTimeWindowMode, RetryPolicy, ScheduleState,
    Target as ScheduleTarget,
};
use jiff::{Timestamp, civil, tz::TimeZone};
use liftlock_rollout::{Armed, PutOff, Switch, TargetError, Weights};
use serde_json::{Value, json};

use super::EcsTarget;
use crate::{Action, AwsError, AwsErrorKind};

/// How long EventBridge goes on trying when the load balancer's API refuses, in seconds: what comes later could meet another rollout.
const TRIED_FOR: i32 = 600;
/// How often it tries in that time.
const TRIES: i32 = 60;
/// How often a schedule that was just made is looked for: AWS may show it a moment later.
const LOOKS: u32 = 6;
/// How long is waited before the second look; each time twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// The dead-man's switch of one service.
#[derive(Debug, Clone)]
pub struct EcsSwitch {
    target: EcsTarget,
    role: String,
    /// As it was armed: putting it off needs nothing but the scheduler.
    armed: Arc<Mutex<Option<(Weights, Wanted)>>>,
}

/// What a schedule says beside its time, since an update replaces all of it.
#[derive(Debug, Clone)]
struct Wanted {
    target: ScheduleTarget,
    window: FlexibleTimeWindow,
    description: String,
}

/// The request with all that a schedule says. What puts one off must say what made it, and the SDK has a type for each.
macro_rules! whole {
    ($request:expr, $name:expr, $wanted:expr, $at:expr) => {
        $request
            .name($name)
            .schedule_expression(expression($at))
            .schedule_expression_timezone("UTC")
            .description(&$wanted.description)
            .flexible_time_window($wanted.window.clone())
            .target($wanted.target.clone())
            .state(ScheduleState::Enabled)
            .action_after_completion(ActionAfterCompletion::Delete)
    };
}

impl EcsSwitch {
    /// The switch of a service, whose schedule takes the role of this name in this account.
    pub fn new(target: &EcsTarget, account: &str, role: &str) -> Self {
        let role = super::role_arn(&target.clients, account, role);
        Self { target: target.clone(), role, armed: Arc::default() }
    }

    /// The schedule's name.
    pub fn name(&self) -> String {
        format!("{}-{}-switch", self.target.prefix, self.target.service)
    }

    /// What was armed with, if that was for these weights; else what the load balancer says now.
    async fn known(&self, back: Weights) -> Result<Wanted, AwsError> {
        let known = self.armed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known.filter(|(weights, _)| *weights == back) {
            Some((_, wanted)) => Ok(wanted),
            None => self.wanted(back).await,
        }
    }

    async fn wanted(&self, back: Weights) -> Result<Wanted, AwsError> {
        let balancer = self.target.balancer().await?;
        let (rule, actions) = balancer.production_with(&self.target.clients, back).await?;
        let name = self.name();
        let resource = format!("schedule {name}");
        let call = self.target.clients.call(Action::CreateSchedule, &resource);
        let other = |error: String| call.because(AwsErrorKind::Other, None, &error);
        let input = input(&rule, &actions).map_err(other)?;
        let partition = self.role.split(':').nth(1).unwrap_or("aws");
        let retry = RetryPolicy::builder()
            .maximum_event_age_in_seconds(TRIED_FOR)
            .maximum_retry_attempts(TRIES);
        let target = ScheduleTarget::builder()
            .arn(format!("arn:{partition}:scheduler:::aws-sdk:elasticloadbalancingv2:modifyRule"))
            .role_arn(&self.role)
            .input(input.to_string())
            .retry_policy(retry.build())
            .build()
            .map_err(|error| other(error.to_string()))?;
        let window = FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build();
        Ok(Wanted {
            target,
            window: window.map_err(|error| other(error.to_string()))?,
            description: format!(
                "Liftlock: gives the traffic of {} back ({back}) unless the promotion that is under way puts this off",
                self.target.family()
            ),
        })
    }

    /// True when it was made, false when one of this name is there.
    async fn create(&self, name: &str, wanted: &Wanted, at: Timestamp) -> Result<bool, AwsError> {
        let resource = format!("schedule {name}");
        let call = self.target.clients.call(Action::CreateSchedule, &resource);
        let request = self.target.clients.scheduler.create_schedule();
        let sent = whole!(request, name, wanted, at).send();
        match sent.await.map_err(|error| call.failed(error)) {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("ConflictException") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// False when there is none of this name.
    async fn update(&self, name: &str, wanted: &Wanted, at: Timestamp) -> Result<bool, AwsError> {
        let resource = format!("schedule {name}");
        let call = self.target.clients.call(Action::UpdateSchedule, &resource);
        let request = self.target.clients.scheduler.update_schedule();
        let sent = whole!(request, name, wanted, at).send();
        match sent.await.map_err(|error| call.failed(error)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == AwsErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn get(&self, name: &str) -> Result<Option<GetScheduleOutput>, AwsError> {
        let resource = format!("schedule {name}");
        let call = self.target.clients.call(Action::GetSchedule, &resource);
        let sent = self.target.clients.scheduler.get_schedule().name(name).send();
        match sent.await.map_err(|error| call.failed(error)) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == AwsErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn armed(&self, back: Weights, at: Timestamp) -> Result<Armed, AwsError> {
        let (name, wanted) = (self.name(), self.wanted(back).await?);
        let asked = Timestamp::now();
        let mut is_new = self.create(&name, &wanted, at).await?;
        if !is_new && !self.update(&name, &wanted, at).await? {
            // The one that was in the way has fired meanwhile.
            is_new = self.create(&name, &wanted, at).await?;
        }
        let known = Some((back, wanted.clone()));
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = known;
        let mut pause = PAUSE;
        for look in 1..=LOOKS {
            let found = self.get(&name).await?;
            if let Some(found) = found.filter(|found| is_as_wanted(found, &wanted, at)) {
                let made = found.creation_date().filter(|_| is_new);
                let made = made.and_then(|time| Timestamp::from_second(time.secs()).ok());
                let ahead = made.map(|made| asked.duration_until(made));
                return Ok(Armed { name, at, ahead });
            }
            if look < LOOKS {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        let resource = format!("schedule {name}");
        let call = self.target.clients.call(Action::GetSchedule, &resource);
        Err(call.because(AwsErrorKind::Transient, None, "it was made, and is not read back so"))
    }
}

fn is_as_wanted(found: &GetScheduleOutput, wanted: &Wanted, at: Timestamp) -> bool {
    found.schedule_expression() == Some(expression(at).as_str())
        && found.state() == Some(&ScheduleState::Enabled)
        && found.target().and_then(ScheduleTarget::input) == wanted.target.input()
}

#[async_trait]
impl Switch for EcsSwitch {
    async fn arm(&self, back: Weights, at: Timestamp) -> Result<Armed, TargetError> {
        Ok(self.armed(back, at).await?)
    }

    async fn put_off(&self, back: Weights, at: Timestamp) -> Result<PutOff, TargetError> {
        let wanted = self.known(back).await?;
        Ok(match self.update(&self.name(), &wanted, at).await? {
            true => PutOff::Done,
            false => PutOff::Gone,
        })
    }

    async fn disarm(&self) -> Result<bool, TargetError> {
        let name = self.name();
        let resource = format!("schedule {name}");
        let call = self.target.clients.call(Action::DeleteSchedule, &resource);
        let sent = self.target.clients.scheduler.delete_schedule().name(&name).send();
        match sent.await.map_err(|error| call.failed(error)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == AwsErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn look(&self) -> Result<Option<Armed>, TargetError> {
        let name = self.name();
        let Some(found) = self.get(&name).await? else { return Ok(None) };
        let at = found.schedule_expression().and_then(time_of);
        Ok(at.map(|at| Armed { name, at, ahead: None }))
    }
}

/// One-time schedules go by whole seconds: the next one, so that none fires early.
fn expression(at: Timestamp) -> String {
    let whole = Timestamp::from_second(at.as_second() + i64::from(at.subsec_nanosecond() > 0));
    format!("at({})", whole.unwrap_or(at).strftime("%Y-%m-%dT%H:%M:%S"))
}

fn time_of(expression: &str) -> Option<Timestamp> {
    let text = expression.strip_prefix("at(")?.strip_suffix(')')?;
    let time: civil::DateTime = text.parse().ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// What `ModifyRule` is called with.
fn input(rule: &str, actions: &[RuleAction]) -> Result<Value, String> {
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
    use aws_sdk_elasticloadbalancingv2::types::{
        ForwardActionConfig, TargetGroupStickinessConfig, TargetGroupTuple,
    };

    use super::*;

    #[test]
    fn a_schedule_never_fires_early() {
        let at = |text: &str| expression(text.parse().unwrap());
        assert_eq!(at("2026-11-21T14:00:00Z"), "at(2026-11-21T14:00:00)");
        assert_eq!(at("2026-11-21T14:00:00.001Z"), "at(2026-11-21T14:00:01)");
        let told = time_of("at(2026-11-21T14:00:01)").unwrap();
        assert_eq!(told, "2026-11-21T14:00:01Z".parse().unwrap());
        assert_eq!(time_of("rate(5 minutes)"), None);
    }

    /// `ModifyRule` takes members by AWS's own names, and what is not said is lost.
    #[test]
    fn nothing_of_the_rule_is_lost() {
        let group = TargetGroupTuple::builder().target_group_arn("arn:blue").weight(100).build();
        let sticky = TargetGroupStickinessConfig::builder().enabled(true).duration_seconds(60);
        let config = ForwardActionConfig::builder().target_groups(group);
        let config = config.target_group_stickiness_config(sticky.build()).build();
        let action = RuleAction::builder().r#type(ActionTypeEnum::Forward).forward_config(config);
        let told = input("arn:rule", &[action.order(1).build()]).unwrap();
        let expected = json!({ "RuleArn": "arn:rule", "Actions": [{
            "Type": "forward", "Order": 1, "ForwardConfig": {
                "TargetGroups": [{ "TargetGroupArn": "arn:blue", "Weight": 100 }],
                "TargetGroupStickinessConfig": { "Enabled": true, "DurationSeconds": 60 },
            } }] });
        assert_eq!(told, expected);
        let login = RuleAction::builder().r#type(ActionTypeEnum::AuthenticateOidc).build();
        assert!(input("arn:rule", &[login]).unwrap_err().contains("authenticate-oidc"));
    }
}
