//! Checks of the services.

use std::collections::{BTreeMap, BTreeSet};

use liftlock_model::ServiceName;

use crate::check::Checks;
use crate::config::{Engine, Pause, Service};
use crate::load::Environment;
use crate::{named, strategy};

/// AWS allows target groups and load balancers so many characters.
const LONGEST: usize = 32;

pub(crate) fn check(environment: &Environment, checks: &mut Checks<'_>) {
    let services = &environment.config.services;
    if services.is_empty() {
        let help = "add `[services.<name>]` with `repository` and `port`";
        checks.key(&["services"], "there is no service, so there is nothing to roll out", help);
    }
    for (name, service) in services {
        names(environment, name, checks);
        one(name, service, environment.config.infrastructure.engine, checks);
    }
    routes(services, checks);
    order(services, checks);
}

fn names(environment: &Environment, name: &ServiceName, checks: &mut Checks<'_>) {
    let longest = format!("{}-{name}-green", environment.prefix());
    let over = longest.len().saturating_sub(LONGEST);
    if over > 0 {
        let message =
            format!("the target group `{longest}` has a name of {} characters", longest.len());
        let help = format!(
            "AWS allows {LONGEST}: shorten the application's, the environment's or the service's name by {over}"
        );
        checks.key(&["services", name.as_str()], message, help);
    }
}

fn one(name: &ServiceName, service: &Service, engine: Engine, checks: &mut Checks<'_>) {
    let at = |key| ["services", name.as_str(), key];
    repository(&at("repository"), &service.repository, checks);
    checks.request_path(&at("health_path"), &service.health_path);
    if service.paths.as_ref().is_some_and(Vec::is_empty) {
        checks.value(
            &at("paths"),
            "no request would reach this service",
            "name paths, or leave `paths` out",
        );
    }
    for (index, path) in service.paths.iter().flatten().enumerate() {
        let index = index.to_string();
        checks.request_path(&["services", name.as_str(), "paths", &index], path);
    }
    rollout(name, service, checks);
    probes(name, service, checks);
    performance(name, service, checks);
    named::check(name, &service.rollout.checks, engine, checks);
    match &service.stage {
        Some(stage) => {
            checks.inside(&["services", name.as_str(), "stage", "versions"], &stage.versions);
            for (key, words) in [("command", Some(&stage.command)), ("build", stage.build.as_ref())]
            {
                if words.is_some_and(|words| words.first().is_none_or(String::is_empty)) {
                    let path = ["services", name.as_str(), "stage", key];
                    checks.value(
                        &path,
                        "this names no program",
                        "name the program and its arguments",
                    );
                }
            }
        }
        None if engine == Engine::Stage => checks.key(
            &["services", name.as_str()],
            format!("`services.{name}.stage` is missing: how does the service run on the stage?"),
            format!("add `[services.{name}.stage]` with `command` and `versions`"),
        ),
        None => {}
    }
}

fn repository(path: &[&str], repository: &str, checks: &mut Checks<'_>) {
    let last = repository.rsplit('/').next().unwrap_or_default();
    // A colon before the last slash is a registry's port.
    let said = if repository.contains('@') {
        Some("a digest")
    } else if last.contains(':') {
        Some("a tag")
    } else {
        None
    };
    if let Some(said) = said {
        let message = format!("`{}` names {said}", path.join("."));
        let help = "leave it out: the release says which image, by digest, and one line here would pin every release";
        return checks.value(path, message, help);
    }
    let fine = |c: char| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_' | '/' | ':')
    };
    if last.is_empty() || repository.starts_with('/') || !repository.chars().all(fine) {
        let message = format!("`{}` is not an image repository", path.join("."));
        checks.value(path, message, "lower-case, such as `registry.example/shop/backend`");
    }
}

fn rollout(name: &ServiceName, service: &Service, checks: &mut Checks<'_>) {
    let rollout = &service.rollout;
    let at = |key| ["services", name.as_str(), "rollout", key];
    strategy::check(name, service, checks);
    for (index, step) in rollout.steps.iter().flatten().enumerate() {
        if let Some(Pause::AtMost(limit)) = step.pause {
            let index = index.to_string();
            let path = ["services", name.as_str(), "rollout", "steps", &index, "pause"];
            checks.takes_time(&path, limit);
        }
    }
    checks.takes_time(&at("poll"), rollout.poll);
    checks.takes_time(&at("start_timeout"), rollout.start_timeout);
    let interval = ["services", name.as_str(), "rollout", "breaker", "interval"];
    checks.takes_time(&interval, rollout.breaker.interval);
    if let Some(analysis) = &rollout.analysis {
        let at = ["services", name.as_str(), "rollout", "analysis", "resolution"];
        let seconds = analysis.resolution.duration().as_secs();
        let fine = [1, 5, 10, 20, 30].contains(&seconds) || (seconds > 0 && seconds % 60 == 0);
        if !fine || analysis.resolution.duration().subsec_nanos() > 0 {
            let message = "CloudWatch has no such period";
            checks.value(&at, message, "1s, 5s, 10s, 20s, 30s or whole minutes");
        }
    }
}

/// Requests that another service answers would compare that one.
fn probes(name: &ServiceName, service: &Service, checks: &mut Checks<'_>) {
    let analysis = service.rollout.analysis.as_ref();
    let Some(probes) = analysis.and_then(|analysis| analysis.probes.as_ref()) else { return };
    let place = ["services", name.as_str(), "rollout", "analysis", "probes", "path"];
    checks.request_path(&place, &probes.path);
    asks(&place, name, service, &probes.path, checks);
}

fn performance(name: &ServiceName, service: &Service, checks: &mut Checks<'_>) {
    let Some(performance) = &service.performance else { return };
    let at = |key| ["services", name.as_str(), "performance", key];
    checks.request_path(&at("path"), &performance.path);
    asks(&at("path"), name, service, &performance.path, checks);
    checks.takes_time(&at("duration"), performance.duration);
}

fn asks(
    place: &[&str],
    name: &ServiceName,
    service: &Service,
    path: &str,
    checks: &mut Checks<'_>,
) {
    let path = path.split('?').next().unwrap_or_default();
    if let Some(paths) = &service.paths
        && path.starts_with('/')
        && !paths.iter().any(|pattern| leads(pattern, path))
    {
        let message = format!("this path is none of `services.{name}.paths`");
        checks.value(place, message, "ask what the load balancer sends to this service");
    }
}

/// Whether a load balancer's pattern takes a path: `*` is any number of characters, and `?` is one.
fn leads(pattern: &str, path: &str) -> bool {
    let parts = regex::escape(pattern).replace("\\*", ".*").replace("\\?", ".");
    regex::Regex::new(&format!("^(?s:{parts})$")).is_ok_and(|pattern| pattern.is_match(path))
}

/// Services wait for others that are there, and never for each other.
fn order(services: &BTreeMap<ServiceName, Service>, checks: &mut Checks<'_>) {
    let mut told: BTreeSet<&ServiceName> = BTreeSet::new();
    for (name, service) in services {
        for (index, other) in service.rollout.depends_on.iter().enumerate() {
            let index = index.to_string();
            let at = ["services", name.as_str(), "rollout", "depends_on", &index];
            if other == name {
                let message = format!("`{name}` would wait for itself");
                checks.value(
                    &at,
                    message,
                    "name the services that come before it, or leave it out",
                );
            } else if !services.contains_key(other) {
                let message = format!("there is no service `{other}` to wait for");
                let known: Vec<_> = services.keys().filter(|one| *one != name).collect();
                let known: Vec<_> = known.iter().map(|one| format!("`{one}`")).collect();
                let help = match known.is_empty() {
                    true => "leave it out: there is no other service".to_owned(),
                    false => format!("name one of {}", known.join(", ")),
                };
                checks.value(&at, message, help);
            } else if !told.contains(name)
                && let Some(path) = way(services, other, name)
            {
                let circle: Vec<_> = path.iter().map(|one| format!("`{one}`")).collect();
                let message = format!(
                    "these services wait for each other, so none of them would ever move: `{name}` for {}",
                    circle.join(", that for ")
                );
                told.extend(path);
                checks.value(&at, message, "take one of these `depends_on` out");
            }
        }
    }
}

/// The services by which `from` waits for `to`, from the first to the last.
fn way<'s>(
    services: &'s BTreeMap<ServiceName, Service>,
    from: &'s ServiceName,
    to: &ServiceName,
) -> Option<Vec<&'s ServiceName>> {
    let mut seen = BTreeSet::from([from]);
    let mut open = vec![vec![from]];
    while let Some(path) = open.pop() {
        let last = path.last().and_then(|last| services.get(*last));
        for next in last.into_iter().flat_map(|service| &service.rollout.depends_on) {
            let longer: Vec<_> = path.iter().copied().chain([next]).collect();
            if next == to {
                return Some(longer);
            }
            if seen.insert(next) {
                open.push(longer);
            }
        }
    }
    None
}

/// Each request must have exactly one service that it belongs to.
fn routes(services: &BTreeMap<ServiceName, Service>, checks: &mut Checks<'_>) {
    let mut open =
        services.iter().filter(|(_, service)| service.paths.is_none()).map(|(name, _)| name);
    if let Some(first) = open.next() {
        for name in open {
            let message = format!("`{name}` and `{first}` both have no `paths`");
            let help = "only one service can get what no other takes; add `paths` to one of them";
            checks.key(&["services", name.as_str()], message, help);
        }
    }
    let mut seen: BTreeMap<&str, &ServiceName> = BTreeMap::new();
    for (name, service) in services {
        for (index, path) in service.paths.iter().flatten().enumerate() {
            if let Some(other) = seen.insert(path, name) {
                let message = if other == name {
                    "this path stands twice".to_owned()
                } else {
                    format!("this path is also one of `services.{other}`")
                };
                let at = ["services", name.as_str(), "paths", &index.to_string()];
                checks.value(
                    &at,
                    message,
                    "a request can go to one service only; take one of them out",
                );
            }
        }
    }
}
