//! Elastic Load Balancing v2.

use serde_json::Value as Json;

use super::At;
use super::input::{list as members, number, page, size, text, texts};
use crate::arn::ListenerName;
use crate::refusal::Refusal;
use crate::state::Rule;
use crate::topology::{Colour, Topology};
use crate::tree::{Tree, list, map};
use crate::world::{Health, Inner, World};

pub(super) fn perform(world: &At<'_>, operation: &str, input: &Json) -> Result<Tree, Refusal> {
    match operation {
        "ModifyRule" => modify_rule(world, input),
        "DescribeLoadBalancers" => describe_balancers(&world.view(), input),
        "DescribeListeners" => describe_listeners(&world.view(), input),
        "DescribeRules" => describe_rules(&world.view(), input),
        "DescribeTargetGroups" => describe_groups(&world.view(), input),
        "DescribeTargetHealth" => describe_health(&world.view(), input),
        "DescribeTags" => describe_tags(&world.view(), input),
        _ => Err(super::unknown(
            &format!("elasticloadbalancing:{operation}"),
            super::Protocol::Query,
        )),
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new("ValidationError", message)
}

fn bad_marker() -> Refusal {
    invalid("The pagination marker is not valid")
}

fn no_balancer() -> Refusal {
    Refusal::new("LoadBalancerNotFound", "One or more load balancers not found")
}

fn no_group() -> Refusal {
    Refusal::new("TargetGroupNotFound", "One or more target groups not found")
}

/// One page of `all` under `name`, with the marker of the next.
fn paged(name: &'static str, all: Vec<Tree>, input: &Json) -> Result<Tree, Refusal> {
    let size = size(input, "PageSize", 400);
    let (found, next) = page(all, text(input, "Marker"), size, bad_marker)?;
    let answer = map([(name, list(found))]);
    Ok(match next {
        Some(next) => answer.with("NextMarker", next),
        None => answer,
    })
}

fn describe_balancers(inner: &Inner, input: &Json) -> Result<Tree, Refusal> {
    let topology = inner.topology();
    let (names, arns) = (texts(input, "Names"), texts(input, "LoadBalancerArns"));
    let strange = |topology: Option<&Topology>| {
        names.iter().any(|name| topology.is_none_or(|t| t.prefix() != *name))
            || arns.iter().any(|arn| topology.is_none_or(|t| t.balancer_arn() != *arn))
    };
    if strange(topology) {
        return Err(no_balancer());
    }
    let all = topology.map(|topology| {
        map([
            ("LoadBalancerArn", topology.balancer_arn().into()),
            ("LoadBalancerName", topology.prefix().into()),
            ("DNSName", "127.0.0.1".into()),
            ("CanonicalHostedZoneId", "Z000000000STAGE".into()),
            ("Scheme", "internet-facing".into()),
            ("VpcId", "vpc-00000000000000000".into()),
            ("State", map([("Code", "active".into())])),
            ("Type", "application".into()),
            ("IpAddressType", "ipv4".into()),
        ])
    });
    paged("LoadBalancers", all.into_iter().collect(), input)
}

fn describe_listeners(inner: &Inner, input: &Json) -> Result<Tree, Refusal> {
    let arns = texts(input, "ListenerArns");
    let topology = match (inner.topology(), text(input, "LoadBalancerArn")) {
        (Some(topology), Some(arn)) if topology.balancer_arn() != arn => return Err(no_balancer()),
        (None, Some(_)) => return Err(no_balancer()),
        (None, None) => {
            return Err(invalid("A load balancer ARN or listener ARNs must be specified"));
        }
        (Some(_), None) if arns.is_empty() => {
            return Err(invalid("A load balancer ARN or listener ARNs must be specified"));
        }
        (Some(topology), _) => topology,
    };
    let own = ListenerName::BOTH.map(|name| (name, topology.listener_arn(name)));
    if arns.iter().any(|arn| own.iter().all(|(_, known)| known != arn)) {
        return Err(Refusal::new("ListenerNotFound", "One or more listeners not found"));
    }
    let ports = inner.state.ports;
    let wanted = own.into_iter().filter(|(_, arn)| arns.is_empty() || arns.contains(&arn.as_str()));
    let all = wanted.map(|(name, arn)| {
        let port = match name {
            ListenerName::Production => ports.production,
            ListenerName::Test => ports.test,
        };
        map([
            ("ListenerArn", arn.into()),
            ("LoadBalancerArn", topology.balancer_arn().into()),
            ("Port", u32::from(port.unwrap_or(0)).into()),
            ("Protocol", "HTTP".into()),
            ("DefaultActions", list([default_action()])),
        ])
    });
    paged("Listeners", all.collect(), input)
}

/// What a listener answers that no rule takes.
fn default_action() -> Tree {
    map([
        ("Type", "fixed-response".into()),
        ("Order", 1_u32.into()),
        (
            "FixedResponseConfig",
            map([("StatusCode", "404".into()), ("ContentType", "text/plain".into())]),
        ),
    ])
}

fn describe_rules(inner: &Inner, input: &Json) -> Result<Tree, Refusal> {
    let (arns, of) = (texts(input, "RuleArns"), text(input, "ListenerArn"));
    let topology = inner.topology();
    let listener = match (of, topology) {
        (None, _) if arns.is_empty() => {
            return Err(invalid("A listener ARN or rule ARNs must be specified"));
        }
        (None, _) => None,
        (Some(arn), topology) => {
            let found = topology.and_then(|t| {
                ListenerName::BOTH.into_iter().find(|name| t.listener_arn(*name) == arn)
            });
            let missing = || Refusal::new("ListenerNotFound", "One or more listeners not found");
            Some(found.ok_or_else(missing)?)
        }
    };
    let Some(topology) = topology else { return Err(no_rule()) };
    if arns.iter().any(|arn| inner.state.rules.iter().all(|rule| rule.arn != *arn)) {
        return Err(no_rule());
    }
    let mut rules: Vec<&Rule> = inner
        .state
        .rules
        .iter()
        .filter(|rule| listener.is_none_or(|listener| rule.listener == listener))
        .filter(|rule| arns.is_empty() || arns.contains(&rule.arn.as_str()))
        .collect();
    rules.sort_by_key(|rule| rule.priority);
    let mut all: Vec<Tree> = rules.into_iter().map(|rule| describe_rule(topology, rule)).collect();
    if let Some(listener) = listener {
        let arn = topology.rule_arn(listener, "default");
        all.push(map([
            ("RuleArn", arn.into()),
            ("Priority", "default".into()),
            ("Conditions", list([])),
            ("Actions", list([default_action()])),
            ("IsDefault", true.into()),
        ]));
    }
    paged("Rules", all, input)
}

fn no_rule() -> Refusal {
    Refusal::new("RuleNotFound", "One or more rules not found")
}

fn describe_rule(topology: &Topology, rule: &Rule) -> Tree {
    let groups = rule.targets.iter().map(|(name, weight)| {
        map([("TargetGroupArn", topology.group_arn(name).into()), ("Weight", (*weight).into())])
    });
    let forward = map([
        ("TargetGroups", list(groups)),
        ("TargetGroupStickinessConfig", map([("Enabled", false.into())])),
    ]);
    let mut action =
        map([("Type", "forward".into()), ("Order", 1_u32.into()), ("ForwardConfig", forward)]);
    if let [(only, _)] = rule.targets.as_slice() {
        action = action.with("TargetGroupArn", topology.group_arn(only));
    }
    let paths = || list(rule.paths.iter().map(|path| path.as_str().into()));
    let condition = map([
        ("Field", "path-pattern".into()),
        ("Values", paths()),
        ("PathPatternConfig", map([("Values", paths())])),
    ]);
    map([
        ("RuleArn", rule.arn.as_str().into()),
        ("Priority", rule.priority.to_string().into()),
        ("Conditions", list([condition])),
        ("Actions", list([action])),
        ("IsDefault", false.into()),
    ])
}

/// The target groups that an action forwards to, checked as AWS checks them.
fn forward_targets(inner: &Inner, actions: &[Json]) -> Result<Vec<(String, u32)>, Refusal> {
    let [action] = actions else {
        return Err(Refusal::new(
            "InvalidLoadBalancerAction",
            "The stage's rules have exactly one action",
        ));
    };
    if text(action, "Type") != Some("forward") {
        return Err(Refusal::new("InvalidLoadBalancerAction", "The stage's rules only forward"));
    }
    let groups = members(&action["ForwardConfig"], "TargetGroups");
    if groups.is_empty() {
        let arn = text(action, "TargetGroupArn");
        let arn = arn.ok_or_else(|| invalid("A target group ARN must be specified"))?;
        return Ok(vec![(group_name(inner, arn)?, 1)]);
    }
    if groups.len() > 5 {
        return Err(invalid("A forward action can have at most 5 target groups"));
    }
    let mut targets: Vec<(String, u32)> = Vec::new();
    for group in groups {
        let arn = text(group, "TargetGroupArn");
        let name =
            group_name(inner, arn.ok_or_else(|| invalid("A target group ARN must be specified"))?)?;
        if targets.iter().any(|(other, _)| *other == name) {
            return Err(invalid("Target group ARNs must be unique within an action"));
        }
        let weight = if group["Weight"].is_null() { Some(1) } else { number(group, "Weight") };
        let weight = weight.and_then(|w| u32::try_from(w).ok()).filter(|w| *w <= 999);
        let weight = weight.ok_or_else(|| {
            invalid(format!("Weight for target group '{name}' must be between 0 and 999"))
        })?;
        targets.push((name, weight));
    }
    Ok(targets)
}

pub(super) fn group_name(inner: &Inner, arn: &str) -> Result<String, Refusal> {
    let topology = inner.topology().ok_or_else(no_group)?;
    let mut names = group_names(topology);
    names.find(|name| topology.group_arn(name) == arn).ok_or_else(no_group)
}

fn group_names(topology: &Topology) -> impl Iterator<Item = String> {
    topology
        .services
        .iter()
        .flat_map(|service| Colour::BOTH.map(|colour| topology.coloured(service, colour)))
}

fn modify_rule(world: &World, input: &Json) -> Result<Tree, Refusal> {
    let arn = text(input, "RuleArn").ok_or_else(|| invalid("A rule ARN must be specified"))?;
    world.change(|inner| {
        let targets = match members(input, "Actions") {
            [] => None,
            actions => Some(forward_targets(inner, actions)?),
        };
        let paths = match members(input, "Conditions") {
            [] => None,
            [one] if text(one, "Field") == Some("path-pattern") => Some(condition_paths(one)?),
            _ => {
                return Err(invalid(
                    "The stage's rules have exactly one condition, of field path-pattern",
                ));
            }
        };
        let rule = inner.state.rules.iter_mut().find(|rule| rule.arn == arn).ok_or_else(no_rule)?;
        if let Some(targets) = targets {
            rule.targets = targets;
        }
        if let Some(paths) = paths {
            rule.paths = paths;
        }
        let rule = rule.clone();
        inner.rounds.retain(|(of, _), _| *of != rule.arn);
        let topology = inner.topology().ok_or_else(no_rule)?;
        Ok(map([("Rules", list([describe_rule(topology, &rule)]))]))
    })
}

fn condition_paths(condition: &Json) -> Result<Vec<String>, Refusal> {
    let mut paths = texts(&condition["PathPatternConfig"], "Values");
    if paths.is_empty() {
        paths = texts(condition, "Values");
    }
    if paths.is_empty() || paths.len() > 5 {
        return Err(invalid("A condition has 1 to 5 values"));
    }
    Ok(paths.into_iter().map(str::to_owned).collect())
}

fn describe_groups(inner: &Inner, input: &Json) -> Result<Tree, Refusal> {
    let (names, arns) = (texts(input, "Names"), texts(input, "TargetGroupArns"));
    let Some(topology) = inner.topology() else {
        return if names.is_empty() && arns.is_empty() {
            paged("TargetGroups", vec![], input)
        } else {
            Err(no_group())
        };
    };
    if text(input, "LoadBalancerArn").is_some_and(|arn| arn != topology.balancer_arn()) {
        return Err(no_balancer());
    }
    let own: Vec<String> = group_names(topology).collect();
    let known = |name: &&str| own.iter().any(|own| own == name);
    let known_arn = |arn: &&str| own.iter().any(|own| topology.group_arn(own) == **arn);
    if !names.iter().all(known) || !arns.iter().all(known_arn) {
        return Err(no_group());
    }
    let wanted = own.iter().filter(|name| {
        (names.is_empty() || names.contains(&name.as_str()))
            && (arns.is_empty() || arns.contains(&topology.group_arn(name).as_str()))
    });
    let all = wanted.filter_map(|name| describe_group(topology, name)).collect();
    paged("TargetGroups", all, input)
}

fn describe_group(topology: &Topology, name: &str) -> Option<Tree> {
    let (service, _) = topology.by_coloured(name)?;
    Some(map([
        ("TargetGroupArn", topology.group_arn(name).into()),
        ("TargetGroupName", name.into()),
        ("Protocol", "HTTP".into()),
        ("ProtocolVersion", "HTTP1".into()),
        ("Port", u32::from(service.port).into()),
        ("VpcId", "vpc-00000000000000000".into()),
        ("HealthCheckProtocol", "HTTP".into()),
        ("HealthCheckPort", "traffic-port".into()),
        ("HealthCheckEnabled", true.into()),
        ("HealthCheckIntervalSeconds", 1_u32.into()),
        ("HealthCheckTimeoutSeconds", 2_u32.into()),
        ("HealthyThresholdCount", 1_u32.into()),
        ("UnhealthyThresholdCount", 2_u32.into()),
        ("HealthCheckPath", service.health_path.as_str().into()),
        ("Matcher", map([("HttpCode", "200".into())])),
        ("LoadBalancerArns", list([topology.balancer_arn().into()])),
        ("TargetType", "ip".into()),
        ("IpAddressType", "ipv4".into()),
    ]))
}

fn describe_health(inner: &Inner, input: &Json) -> Result<Tree, Refusal> {
    let arn = text(input, "TargetGroupArn").ok_or_else(no_group)?;
    let name = group_name(inner, arn)?;
    let targets = inner.groups.get(&name).into_iter().flatten();
    let described = targets.map(|target| {
        let health = map([("State", target.health.as_str().into())]);
        let reason = match target.health {
            Health::Healthy => None,
            Health::Initial => Some("Elb.RegistrationInProgress"),
            Health::Draining => Some("Target.DeregistrationInProgress"),
            Health::Unhealthy => Some("Target.FailedHealthChecks"),
        };
        let health = match reason {
            Some(reason) => health.with("Reason", reason).with("Description", target.seen.as_str()),
            None => health,
        };
        let port = u32::from(target.port);
        map([
            ("Target", map([("Id", "127.0.0.1".into()), ("Port", port.into())])),
            ("HealthCheckPort", port.to_string().into()),
            ("TargetHealth", health),
        ])
    });
    Ok(map([("TargetHealthDescriptions", list(described))]))
}

fn describe_tags(inner: &Inner, input: &Json) -> Result<Tree, Refusal> {
    let topology = inner.topology().ok_or_else(no_balancer)?;
    let mut all = Vec::new();
    for arn in texts(input, "ResourceArns") {
        let listener = ListenerName::BOTH.into_iter().find(|l| topology.listener_arn(*l) == arn);
        let known = listener.is_some()
            || arn == topology.balancer_arn()
            || inner.state.rules.iter().any(|rule| rule.arn == arn)
            || group_name(inner, arn).is_ok();
        if !known {
            return Err(match arn {
                arn if arn.contains(":targetgroup/") => no_group(),
                arn if arn.contains(":listener-rule/") => no_rule(),
                arn if arn.contains(":listener/") => {
                    Refusal::new("ListenerNotFound", "One or more listeners not found")
                }
                _ => no_balancer(),
            });
        }
        let tag = |key: &str, value: &str| map([("Key", key.into()), ("Value", value.into())]);
        let mut tags = vec![tag("liftlock:environment", topology.environment.as_str())];
        tags.extend(listener.map(|listener| tag("liftlock:listener", listener.as_str())));
        all.push(map([("ResourceArn", arn.into()), ("Tags", list(tags))]));
    }
    Ok(map([("TagDescriptions", list(all))]))
}
