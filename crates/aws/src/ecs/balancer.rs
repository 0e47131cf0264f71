//! The service's part of the load balancer: its two target groups, and its rule on either listener.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::{
    Action as RuleAction, ActionTypeEnum, ForwardActionConfig, Listener, ProtocolEnum, Rule,
    TargetGroupTuple, TargetHealthStateEnum,
};
use liftlock_rollout::{Colour, Urls, Weights};
use url::Url;

use crate::error::Call;
use crate::{Action, AwsError, AwsErrorKind, Clients};

/// The tag that tells the listeners apart.
const LISTENER: &str = "liftlock:listener";

/// What of the load balancer belongs to one service.
#[derive(Debug)]
pub(super) struct Balancer {
    /// For messages.
    name: String,
    /// Its ARN.
    arn: String,
    /// ARNs of the blue and the green target group.
    groups: (String, String),
    /// ARN of the rule on the production listener.
    production: String,
    /// ARN of the rule on the test listener.
    test: String,
    urls: Urls,
}

/// A target group's targets, by state.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Targets {
    pub(super) healthy: u32,
    pub(super) unhealthy: u32,
    pub(super) unused: u32,
    pub(super) draining: u32,
}

impl Balancer {
    /// Finds it, by the names of the blue and the green target group.
    pub(super) async fn find(
        clients: &Clients,
        prefix: &str,
        names: (String, String),
    ) -> Result<Self, AwsError> {
        let (load_balancer, host) = load_balancer(clients, prefix).await?;
        let groups = target_groups(clients, &names).await?;
        let listeners = listeners(clients, prefix, &load_balancer).await?;
        let mut rules = Vec::new();
        let mut urls = Vec::new();
        for role in ["production", "test"] {
            let resource = format!("{role} listener of load balancer {prefix}");
            let call = clients.call(Action::DescribeListeners, &resource);
            let listener = listeners.get(role).ok_or_else(|| {
                let reason = format!("no listener has the tag {LISTENER} = {role}");
                call.because(AwsErrorKind::NotFound, None, &reason)
            })?;
            urls.push(url(&host, listener).ok_or_else(|| {
                call.because(AwsErrorKind::Other, None, &format!("{host:?} is no host name"))
            })?);
            rules.push(rule(clients, &resource, listener, &groups, &names).await?);
        }
        let [production, test] = <[String; 2]>::try_from(rules).expect("one rule for each role");
        let [production_url, test_url] = <[Url; 2]>::try_from(urls).expect("one URL for each role");
        let urls = Urls { production: production_url, test: test_url };
        Ok(Self { name: prefix.to_owned(), arn: load_balancer, groups, production, test, urls })
    }

    /// The load balancer and a colour's target group, as CloudWatch's dimensions name them: the last part of their ARNs.
    pub(super) fn dimensions(&self, colour: Colour) -> (&str, &str) {
        let group = match colour {
            Colour::Blue => &self.groups.0,
            Colour::Green => &self.groups.1,
        };
        let last = |arn: &'_ str, from: &str| arn.find(from).map(|at| at + from.len());
        let balancer = last(&self.arn, ":loadbalancer/").map_or("", |at| &self.arn[at..]);
        let group =
            last(group, ":targetgroup/").map_or("", |at| &group[at - "targetgroup/".len()..]);
        (balancer, group)
    }

    /// A service's target group and the other one, by the ARN of the first.
    pub(super) fn groups(&self, own: &str) -> (&str, &str) {
        match own == self.groups.1 {
            true => (&self.groups.1, &self.groups.0),
            false => (&self.groups.0, &self.groups.1),
        }
    }

    /// The ARNs of the rules on the production and on the test listener.
    pub(super) fn rule_arns(&self) -> (&str, &str) {
        (&self.production, &self.test)
    }

    pub(super) fn urls(&self) -> &Urls {
        &self.urls
    }

    /// The split of production traffic, and where the test listener points.
    pub(super) async fn splits(&self, clients: &Clients) -> Result<(Weights, Colour), AwsError> {
        let rules = self.rules(clients, &[&self.production, &self.test]).await?;
        let split = |arn: &str| {
            let found = rules.iter().find(|rule| rule.rule_arn() == Some(arn));
            found.and_then(|rule| self.split(rule)).ok_or_else(|| {
                let resource = format!("the rules of load balancer {}", self.name);
                let reason = "a rule gives neither colour any weight, or is gone";
                clients.call(Action::DescribeRules, &resource).because(
                    AwsErrorKind::NotFound,
                    None,
                    reason,
                )
            })
        };
        let test = split(&self.test)?;
        let test = if test.blue() > test.green() { Colour::Blue } else { Colour::Green };
        Ok((split(&self.production)?, test))
    }

    /// The shares that a rule gives to the colours. Weights are relative: 1 and 1 are 50 % each.
    fn split(&self, rule: &Rule) -> Option<Weights> {
        let forward = rule.actions().iter().find_map(RuleAction::forward_config)?;
        let weight = |arn: &str| {
            let group = forward.target_groups().iter().find(|g| g.target_group_arn() == Some(arn));
            group.map_or(0, |group| u32::try_from(group.weight().unwrap_or(1)).unwrap_or(0))
        };
        shares(weight(&self.groups.0), weight(&self.groups.1))
    }

    async fn rules(&self, clients: &Clients, arns: &[&str]) -> Result<Vec<Rule>, AwsError> {
        let resource = format!("the rules of load balancer {}", self.name);
        let call = clients.call(Action::DescribeRules, &resource);
        let arns = arns.iter().map(|arn| (*arn).to_owned()).collect();
        let answer = clients.balancing.describe_rules().set_rule_arns(Some(arns)).send().await;
        Ok(answer.map_err(|error| call.failed(error))?.rules.unwrap_or_default())
    }

    /// Splits production traffic.
    pub(super) async fn split_production(
        &self,
        clients: &Clients,
        weights: Weights,
    ) -> Result<(), AwsError> {
        self.set(clients, "production", &self.production, weights).await
    }

    /// Splits the test listener's traffic.
    pub(super) async fn split_test(
        &self,
        clients: &Clients,
        weights: Weights,
    ) -> Result<(), AwsError> {
        self.set(clients, "test", &self.test, weights).await
    }

    /// The production rule's ARN, and its actions as they would be with these weights.
    pub(super) async fn production_with(
        &self,
        clients: &Clients,
        weights: Weights,
    ) -> Result<(String, Vec<RuleAction>), AwsError> {
        let resource = format!("the production rule of load balancer {}", self.name);
        let call = clients.call(Action::DescribeRules, &resource);
        let actions = self.actions_with(clients, &call, &self.production, weights).await?;
        Ok((self.production.clone(), actions))
    }

    async fn actions_with(
        &self,
        clients: &Clients,
        call: &Call<'_>,
        arn: &str,
        weights: Weights,
    ) -> Result<Vec<RuleAction>, AwsError> {
        let rule = self.rules(clients, &[arn]).await?.into_iter().next();
        let actions = rule.and_then(|rule| rule.actions).ok_or_else(|| {
            call.because(AwsErrorKind::NotFound, None, "the rule is gone, or has no actions")
        })?;
        Ok(actions.into_iter().map(|action| self.with_weights(action, weights)).collect())
    }

    /// Changes the weights of a rule and nothing else: other actions (authentication) and stickiness stay.
    async fn set(
        &self,
        clients: &Clients,
        role: &str,
        arn: &str,
        weights: Weights,
    ) -> Result<(), AwsError> {
        let resource = format!("the {role} rule of load balancer {}", self.name);
        let call = clients.call(Action::ModifyRule, &resource);
        let actions = self.actions_with(clients, &call, arn, weights).await?;
        let request = clients.balancing.modify_rule().rule_arn(arn).set_actions(Some(actions));
        request.send().await.map(|_| ()).map_err(|error| call.failed(error))
    }

    fn with_weights(&self, mut action: RuleAction, weights: Weights) -> RuleAction {
        if action.r#type() != Some(&ActionTypeEnum::Forward) {
            return action;
        }
        let group = |arn: &str, colour| {
            TargetGroupTuple::builder()
                .target_group_arn(arn)
                .weight(i32::from(weights.share(colour)))
                .build()
        };
        let forward = ForwardActionConfig::builder()
            .target_groups(group(&self.groups.0, Colour::Blue))
            .target_groups(group(&self.groups.1, Colour::Green));
        let sticky = action.forward_config.and_then(|old| old.target_group_stickiness_config);
        action.forward_config = Some(forward.set_target_group_stickiness_config(sticky).build());
        // AWS takes either one group here or several there.
        action.target_group_arn = None;
        action
    }

    /// A colour's targets.
    pub(super) async fn targets(
        &self,
        clients: &Clients,
        colour: Colour,
    ) -> Result<Targets, AwsError> {
        let arn = match colour {
            Colour::Blue => &self.groups.0,
            Colour::Green => &self.groups.1,
        };
        let call = clients.call(Action::DescribeTargetHealth, arn);
        let answer = clients.balancing.describe_target_health().target_group_arn(arn).send().await;
        let answer = answer.map_err(|error| call.failed(error))?;
        let mut targets = Targets::default();
        for target in answer.target_health_descriptions() {
            let Some(state) = target.target_health().and_then(|health| health.state()) else {
                continue;
            };
            *match state {
                TargetHealthStateEnum::Healthy => &mut targets.healthy,
                TargetHealthStateEnum::Draining | TargetHealthStateEnum::UnhealthyDraining => {
                    &mut targets.draining
                }
                TargetHealthStateEnum::Unused => &mut targets.unused,
                _ => &mut targets.unhealthy,
            } += 1;
        }
        Ok(targets)
    }
}

/// Relative weights as shares that sum to 100. A colour with any weight has at least 1 %. `None` when neither has any.
fn shares(blue: u32, green: u32) -> Option<Weights> {
    let (blue, green) = (u64::from(blue), u64::from(green));
    let sum = blue + green;
    if sum == 0 {
        return None;
    }
    let percent = (blue * 100 + sum / 2) / sum;
    let percent = match (blue, green) {
        (0, _) => 0,
        (_, 0) => 100,
        _ => percent.clamp(1, 99),
    };
    Weights::giving(Colour::Blue, u8::try_from(percent).ok()?).ok()
}

/// ARN and host name of the environment's load balancer.
async fn load_balancer(clients: &Clients, prefix: &str) -> Result<(String, String), AwsError> {
    let resource = format!("load balancer {prefix}");
    let call = clients.call(Action::DescribeLoadBalancers, &resource);
    let answer = clients.balancing.describe_load_balancers().names(prefix).send().await;
    let answer = answer.map_err(|error| call.failed(error))?;
    let found = answer.load_balancers.unwrap_or_default().into_iter().next();
    found
        .and_then(|found| Some((found.load_balancer_arn?, found.dns_name?)))
        .ok_or_else(|| call.because(AwsErrorKind::NotFound, None, "there is no such load balancer"))
}

async fn target_groups(
    clients: &Clients,
    names: &(String, String),
) -> Result<(String, String), AwsError> {
    let resource = format!("target groups {} and {}", names.0, names.1);
    let call = clients.call(Action::DescribeTargetGroups, &resource);
    let request = clients.balancing.describe_target_groups().names(&names.0).names(&names.1);
    let answer = request.send().await.map_err(|error| call.failed(error))?;
    let arn = |name: &str| {
        let group = answer.target_groups().iter().find(|g| g.target_group_name() == Some(name));
        group.and_then(|group| group.target_group_arn()).map(str::to_owned).ok_or_else(|| {
            let reason = format!("there is no target group {name}");
            call.because(AwsErrorKind::NotFound, None, &reason)
        })
    };
    Ok((arn(&names.0)?, arn(&names.1)?))
}

/// The listeners of a load balancer, by their tag.
async fn listeners(
    clients: &Clients,
    prefix: &str,
    load_balancer: &str,
) -> Result<BTreeMap<String, Listener>, AwsError> {
    let resource = format!("listeners of load balancer {prefix}");
    let call = clients.call(Action::DescribeListeners, &resource);
    let request = clients.balancing.describe_listeners().load_balancer_arn(load_balancer);
    let mut pages = request.into_paginator().send();
    let mut found = BTreeMap::new();
    while let Some(page) = pages.next().await {
        for listener in page.map_err(|error| call.failed(error))?.listeners.unwrap_or_default() {
            found.extend(listener.listener_arn.clone().map(|arn| (arn, listener)));
        }
    }
    let call = clients.call(Action::DescribeTags, &resource);
    let arns: Vec<String> = found.keys().cloned().collect();
    let mut by_tag = BTreeMap::new();
    // AWS tells the tags of at most 20 resources at once.
    for arns in arns.chunks(20) {
        let request = clients.balancing.describe_tags().set_resource_arns(Some(arns.to_vec()));
        let answer = request.send().await.map_err(|error| call.failed(error))?;
        for description in answer.tag_descriptions() {
            let tag = description.tags().iter().find(|tag| tag.key() == Some(LISTENER));
            let role = tag.and_then(|tag| tag.value()).map(str::to_owned);
            let listener = description.resource_arn().and_then(|arn| found.remove(arn));
            by_tag.extend(role.zip(listener));
        }
    }
    Ok(by_tag)
}

/// The rule of a listener that forwards to both target groups.
async fn rule(
    clients: &Clients,
    resource: &str,
    listener: &Listener,
    groups: &(String, String),
    names: &(String, String),
) -> Result<String, AwsError> {
    let call = clients.call(Action::DescribeRules, resource);
    let request =
        clients.balancing.describe_rules().set_listener_arn(listener.listener_arn.clone());
    let mut pages = request.into_paginator().send();
    while let Some(page) = pages.next().await {
        for rule in page.map_err(|error| call.failed(error))?.rules.unwrap_or_default() {
            if forwards_to(&rule, groups) && rule.is_default() != Some(true) {
                return Ok(rule.rule_arn.unwrap_or_default());
            }
        }
    }
    let reason = format!("no rule forwards to both target groups {} and {}", names.0, names.1);
    Err(call.because(AwsErrorKind::NotFound, None, &reason))
}

fn forwards_to(rule: &Rule, groups: &(String, String)) -> bool {
    let forwards = rule.actions().iter().filter_map(RuleAction::forward_config);
    let arns: Vec<_> = forwards
        .flat_map(ForwardActionConfig::target_groups)
        .filter_map(TargetGroupTuple::target_group_arn)
        .collect();
    arns.contains(&groups.0.as_str()) && arns.contains(&groups.1.as_str())
}

fn url(host: &str, listener: &Listener) -> Option<Url> {
    let scheme = match listener.protocol() {
        Some(ProtocolEnum::Https) => "https",
        _ => "http",
    };
    Url::parse(&format!("{scheme}://{host}:{}/", listener.port()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_weights_become_shares() {
        let share = |blue, green| shares(blue, green).map(Weights::blue);
        assert_eq!(share(90, 10), Some(90));
        assert_eq!(share(1, 1), Some(50));
        assert_eq!(share(1, 0), Some(100));
        assert_eq!(share(999, 1), Some(99), "a colour with weight is never read as having none");
        assert_eq!(share(0, 0), None);
    }

    #[test]
    fn urls_follow_the_listener() {
        let listener = |protocol, port| Listener::builder().protocol(protocol).port(port).build();
        let text = |host, listener| url(host, &listener).unwrap().to_string();
        assert_eq!(text("lb.example", listener(ProtocolEnum::Https, 443)), "https://lb.example/");
        assert_eq!(text("127.0.0.1", listener(ProtocolEnum::Http, 4711)), "http://127.0.0.1:4711/");
    }
}
