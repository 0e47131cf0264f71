//! ECS: how a service's deployments go, and where its tasks are registered.

use serde_json::{Value as Json, json};

use super::ecs::invalid;
use super::elb::group_name;
use super::input::{float, list, number, text};
use crate::deployments::Configuration;
use crate::native::{Advanced, Balancing, Share, Strategy};
use crate::refusal::Refusal;
use crate::state::Service;
use crate::topology::Topology;
use crate::world::Inner;

/// The longest bake time, in minutes.
const LONGEST_BAKE: u32 = 1440;

fn unsupported(message: impl Into<String>) -> Refusal {
    Refusal::new("UnsupportedFeatureException", message)
}

/// A whole number from 0 up to `most`; what there was if it is left out.
fn whole(of: &Json, name: &str, before: u32, most: u32) -> Result<u32, Refusal> {
    if of[name].is_null() {
        return Ok(before);
    }
    let value = number(of, name).and_then(|value| u32::try_from(value).ok());
    value
        .filter(|value| *value <= most)
        .ok_or_else(|| invalid(format!("{name} {} is not 0 to {most}", of[name])))
}

/// What `deploymentConfiguration` changes of what there was.
pub(super) fn configuration(input: &Json, before: Configuration) -> Result<Configuration, Refusal> {
    let asked = &input["deploymentConfiguration"];
    if !list(asked, "lifecycleHooks").is_empty() {
        return Err(unsupported("The stage has no lifecycle hooks"));
    }
    let mut after = before;
    after.minimum = whole(asked, "minimumHealthyPercent", before.minimum, 100)?;
    after.maximum = whole(asked, "maximumPercent", before.maximum, 200)?;
    if after.maximum <= after.minimum {
        return Err(invalid("maximumPercent must be greater than minimumHealthyPercent"));
    }
    if let Some(breaker) = asked["deploymentCircuitBreaker"].as_object() {
        let flag = |name: &str| breaker.get(name).and_then(Json::as_bool).unwrap_or(false);
        (after.breaker, after.roll_back) = (flag("enable"), flag("rollback"));
    }
    after.strategy = strategy(asked, before.strategy)?;
    after.bake = whole(asked, "bakeTimeInMinutes", before.bake, LONGEST_BAKE)?;
    let begins = after.strategy == Strategy::BlueGreen && before.strategy != after.strategy;
    if begins && asked["bakeTimeInMinutes"].is_null() {
        return Err(invalid(
            "bakeTimeInMinutes is required when using the BLUE_GREEN deployment strategy",
        ));
    }
    Ok(after)
}

fn strategy(asked: &Json, before: Strategy) -> Result<Strategy, Refusal> {
    let name = text(asked, "strategy").unwrap_or(before.as_str());
    let (linear, canary) = (&asked["linearConfiguration"], &asked["canaryConfiguration"]);
    for (of, config, only) in
        [("linearConfiguration", linear, "LINEAR"), ("canaryConfiguration", canary, "CANARY")]
    {
        if !config.is_null() && name != only {
            return Err(invalid(format!(
                "{of} is only valid when the deployment strategy is {only}"
            )));
        }
    }
    match name {
        "ROLLING" => Ok(Strategy::Rolling),
        "BLUE_GREEN" => Ok(Strategy::BlueGreen),
        "LINEAR" => {
            let (step, bake) = match before {
                Strategy::Linear { step, bake } => (step, bake),
                _ => (Share(100), 6),
            };
            Ok(Strategy::Linear {
                step: share(linear, "stepPercent", step, Share(30))?,
                bake: whole(linear, "stepBakeTimeInMinutes", bake, LONGEST_BAKE)?,
            })
        }
        "CANARY" => {
            let (share, bake) = match before {
                Strategy::Canary { share, bake } => (share, bake),
                _ => (Share(50), 10),
            };
            Ok(Strategy::Canary {
                share: self::share(canary, "canaryPercent", share, Share(1))?,
                bake: whole(canary, "canaryBakeTimeInMinutes", bake, LONGEST_BAKE)?,
            })
        }
        other => Err(invalid(format!("Invalid deployment strategy: {other}"))),
    }
}

/// A multiple of 0.1 from `least` up to 100.
fn share(of: &Json, name: &str, before: Share, least: Share) -> Result<Share, Refusal> {
    if of[name].is_null() {
        return Ok(before);
    }
    let wrong = || {
        let least = least.percent();
        invalid(format!("{name} {} is not a multiple of 0.1 from {least:.1} to 100.0", of[name]))
    };
    let tenths = float(of, name).map(|percent| percent * 10.0).ok_or_else(wrong)?;
    let fits =
        (f64::from(least.0)..=1000.0).contains(&tenths) && (tenths - tenths.round()).abs() < 1e-6;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 1 to 1000")]
    fits.then(|| Share(tenths.round() as u32)).ok_or_else(wrong)
}

/// The configuration as ECS tells it.
pub(super) fn told(configuration: Configuration) -> Json {
    let mut told = json!({
        "deploymentCircuitBreaker": {
            "enable": configuration.breaker,
            "rollback": configuration.roll_back,
        },
        "maximumPercent": configuration.maximum,
        "minimumHealthyPercent": configuration.minimum,
        "strategy": configuration.strategy.as_str(),
    });
    if configuration.strategy.shifts() {
        told["bakeTimeInMinutes"] = configuration.bake.into();
    }
    match configuration.strategy {
        Strategy::Linear { step, bake } => {
            told["linearConfiguration"] =
                json!({ "stepPercent": step.percent(), "stepBakeTimeInMinutes": bake });
        }
        Strategy::Canary { share, bake } => {
            told["canaryConfiguration"] =
                json!({ "canaryPercent": share.percent(), "canaryBakeTimeInMinutes": bake });
        }
        Strategy::Rolling | Strategy::BlueGreen => {}
    }
    told
}

/// The service's `loadBalancers` as the call wants them; what there was if it says nothing of them.
pub(super) fn balancing(
    inner: &Inner,
    name: &str,
    input: &Json,
) -> Result<Option<Balancing>, Refusal> {
    let before = inner.state.services.get(name).and_then(|service| service.balancing.clone());
    if input["loadBalancers"].is_null() {
        return Ok(before);
    }
    let [asked] = list(input, "loadBalancers") else {
        return Err(unsupported("The stage's services have exactly one load balancer entry"));
    };
    if text(asked, "loadBalancerName").is_some() {
        return Err(unsupported("The stage has no Classic Load Balancers"));
    }
    container(inner, name, asked)?;
    let group = target_group(inner, name, asked, "targetGroupArn")?;
    let advanced = match &asked["advancedConfiguration"] {
        Json::Null => None,
        advanced => Some(self::advanced(inner, name, advanced, &group)?),
    };
    Ok(Some(Balancing { group, advanced }).filter(|b| b.advanced.is_some() || b.group != name))
}

/// The container and port that an entry names must be the service's own.
fn container(inner: &Inner, name: &str, asked: &Json) -> Result<(), Refusal> {
    let Some((of, _)) = inner.topology().and_then(|topology| topology.by_coloured(name)) else {
        return Ok(());
    };
    let container = text(asked, "containerName").unwrap_or_default();
    if container != of.name.as_str() {
        return Err(invalid(format!(
            "The container {container} does not exist in the task definition."
        )));
    }
    let port = number(asked, "containerPort");
    if port != Some(of.port.into()) {
        let port = port.unwrap_or_default();
        return Err(invalid(format!(
            "The container {container} did not have a container port {port} defined."
        )));
    }
    Ok(())
}

fn required<'a>(of: &'a Json, member: &str) -> Result<&'a str, Refusal> {
    text(of, member).ok_or_else(|| invalid(format!("{member} cannot be empty.")))
}

/// The name of a target group of the same service.
fn target_group(inner: &Inner, name: &str, of: &Json, member: &str) -> Result<String, Refusal> {
    let arn = required(of, member)?;
    let group = group_name(inner, arn)
        .map_err(|_| invalid(format!("The target group {arn} does not exist.")))?;
    let service = |name: &str| {
        let found = inner.topology().and_then(|topology| topology.by_coloured(name));
        found.map(|(service, _)| service.name.clone())
    };
    if service(&group) == service(name) {
        Ok(group)
    } else {
        Err(invalid(format!("The target group {arn} is another service's on the stage.")))
    }
}

fn advanced(inner: &Inner, name: &str, asked: &Json, group: &str) -> Result<Advanced, Refusal> {
    let alternate = target_group(inner, name, asked, "alternateTargetGroupArn")?;
    if alternate == group {
        let arn = &asked["alternateTargetGroupArn"].as_str().unwrap_or_default();
        return Err(invalid(format!("Duplicate targetGroupArn found: {arn}")));
    }
    let production_rule =
        rule(inner, "productionListenerRule", required(asked, "productionListenerRule")?)?;
    let test_rule = match text(asked, "testListenerRule") {
        Some(arn) => Some(rule(inner, "testListenerRule", arn)?),
        None => None,
    };
    if test_rule.as_ref() == Some(&production_rule) {
        return Err(invalid(format!(
            "The following rules cannot be used as both production and test listener rules: {production_rule}"
        )));
    }
    let found = inner.state.rules.iter().find(|rule| rule.arn == production_rule);
    let both = [group, &alternate].into_iter().all(|group| {
        found.is_some_and(|rule| rule.targets.iter().any(|(other, _)| other == group))
    });
    if test_rule.is_none() && !both {
        return Err(invalid(
            "For Application LoadBalancer, testListenerRule is required when productionListenerRule is not associated \
             with both targetGroup and alternateTargetGroup",
        ));
    }
    let role = required(asked, "roleArn")?;
    if !role.starts_with("arn:aws:iam::") || !role.contains(":role/") {
        return Err(invalid(format!("roleArn has an invalid ARN format. Got: {role}")));
    }
    Ok(Advanced { alternate, production_rule, test_rule, role: role.to_owned() })
}

fn rule(inner: &Inner, member: &str, arn: &str) -> Result<String, Refusal> {
    if !arn.contains(":listener-rule/app/") {
        return Err(invalid(format!(
            "{member} has an invalid ARN format. Must be RuleArn for ALB or ListenerArn for NLB. Got: {arn}"
        )));
    }
    if inner.state.rules.iter().all(|rule| rule.arn != arn) {
        return Err(invalid(format!("The {member} {arn} does not exist.")));
    }
    Ok(arn.to_owned())
}

/// Whether the strategy has what it needs.
pub(super) fn check(
    configuration: Configuration,
    balancing: Option<&Balancing>,
) -> Result<(), Refusal> {
    let advanced = balancing.is_some_and(|balancing| balancing.advanced.is_some());
    if configuration.strategy.shifts() && !advanced {
        return Err(invalid(
            "advancedConfiguration field is required for all loadBalancers when using a non-ROLLING deployment strategy",
        ));
    }
    Ok(())
}

/// A service's `loadBalancers` as ECS tells them.
pub(super) fn told_balancers(topology: &Topology, name: &str, service: &Service) -> Option<Json> {
    let (of, _) = topology.by_coloured(name)?;
    let group = service.balancing.as_ref().map_or(name, |balancing| &balancing.group);
    let mut told = json!({
        "targetGroupArn": topology.group_arn(group),
        "containerName": of.name,
        "containerPort": of.port,
    });
    if let Some(advanced) = service.balancing.as_ref().and_then(|b| b.advanced.as_ref()) {
        told["advancedConfiguration"] = json!({
            "alternateTargetGroupArn": topology.group_arn(&advanced.alternate),
            "productionListenerRule": advanced.production_rule,
            "roleArn": advanced.role,
        });
        if let Some(rule) = &advanced.test_rule {
            told["advancedConfiguration"]["testListenerRule"] = rule.as_str().into();
        }
    }
    Some(json!([told]))
}
