//! Making the stage what its topology says, as Terraform would.

use serde_json::{Value as Json, json};

use crate::api::add_definition;
use crate::arn::ListenerName;
use crate::state::{Rule, Service};
use crate::topology::{Colour, ServiceTopology, Topology};
use crate::world::{Inner, NotKept};

/// Why a topology was not applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("the topology contradicts itself: {0}")]
    Contradiction(String),
    #[error(transparent)]
    NotKept(#[from] NotKept),
}

/// Applies the topology. What Terraform would leave alone is left alone: weights, the services' task definitions and
/// desired counts.
pub(crate) fn apply(inner: &mut Inner, topology: &Topology) -> Result<(), ApplyError> {
    topology.check().map_err(ApplyError::Contradiction)?;
    let renamed = inner.topology().is_some_and(|before| before.prefix() != topology.prefix());
    if renamed {
        let before = inner.topology().map(Topology::prefix).unwrap_or_default();
        let text = format!("this stage is {before}, not {}: reset it first", topology.prefix());
        return Err(ApplyError::Contradiction(text));
    }
    inner.state.topology = Some(topology.clone());
    for service in &topology.services {
        let base = base_definition(inner, topology, service);
        for colour in Colour::BOTH {
            let name = topology.coloured(service, colour);
            inner.state.services.entry(name).or_insert_with(|| Service::new(&base));
        }
        for listener in ListenerName::BOTH {
            rule(inner, topology, service, listener);
        }
    }
    remove_others(inner, topology);
    Ok(())
}

/// Registers the family `…-base` anew if it would differ. Returns the newest revision's ARN.
fn base_definition(inner: &mut Inner, topology: &Topology, service: &ServiceTopology) -> String {
    let family = format!("{}-{}-base", topology.prefix(), service.name);
    let wanted = base_body(topology, service, &family);
    let newest = inner
        .state
        .definitions
        .iter()
        .filter(|d| d.family == family && d.active)
        .max_by_key(|d| d.revision);
    match newest {
        Some(newest) if newest.body == wanted => topology.definition_arn(&family, newest.revision),
        _ => {
            let added = add_definition(inner, &family, &wanted);
            topology.definition_arn(&family, added.revision)
        }
    }
}

fn base_body(topology: &Topology, service: &ServiceTopology, family: &str) -> Json {
    let mut secrets = Vec::new();
    if topology.database.is_some() {
        let arn = topology.parameter_arn(&topology.parameter("database-url"));
        secrets.push(json!({ "name": "DATABASE_URL", "valueFrom": arn }));
    }
    let group = format!("/{}/{}/{}", topology.application, topology.environment, service.name);
    let role = format!("arn:aws:iam::{}:role/{}", topology.account, topology.prefix());
    json!({
        "family": family,
        "taskRoleArn": format!("{role}-task"),
        "executionRoleArn": format!("{role}-execution"),
        "networkMode": "awsvpc",
        "containerDefinitions": [{
            "name": service.name,
            "image": format!("{}:base", service.repository),
            "cpu": 0,
            "essential": true,
            "portMappings": [{
                "containerPort": service.port, "hostPort": service.port, "protocol": "tcp",
            }],
            "environment": [
                { "name": "PORT", "value": service.port.to_string() },
                { "name": "ENVIRONMENT", "value": topology.environment },
                { "name": "SERVICE", "value": service.name },
            ],
            "secrets": secrets,
            "mountPoints": [],
            "volumesFrom": [],
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {
                    "awslogs-group": group,
                    "awslogs-region": topology.region,
                    "awslogs-stream-prefix": "task",
                },
            },
        }],
        "requiresCompatibilities": ["FARGATE"],
        "cpu": service.cpu.to_string(),
        "memory": service.memory.to_string(),
    })
}

/// Makes a listener's rule for a service, or brings its paths and priority up to date.
fn rule(inner: &mut Inner, topology: &Topology, service: &ServiceTopology, listener: ListenerName) {
    let arn = topology.rule_arn(listener, service.name.as_str());
    let paths = service.paths.clone().unwrap_or_else(|| vec!["/*".to_owned()]);
    let priority = service.priority;
    if let Some(rule) = inner.state.rules.iter_mut().find(|rule| rule.arn == arn) {
        (rule.paths, rule.priority) = (paths, priority);
        return;
    }
    let weights = match listener {
        ListenerName::Production => [100, 0],
        ListenerName::Test => [0, 100],
    };
    let names = Colour::BOTH.map(|colour| topology.coloured(service, colour));
    let targets = names.into_iter().zip(weights).collect();
    let service = service.name.as_str().to_owned();
    inner.state.rules.push(Rule { arn, listener, service, priority, paths, targets });
}

/// What the topology does not say goes.
fn remove_others(inner: &mut Inner, topology: &Topology) {
    inner.state.rules.retain(|rule| topology.service(&rule.service).is_some());
    let gone: Vec<String> = inner
        .state
        .services
        .keys()
        .filter(|name| topology.by_coloured(name).is_none())
        .cloned()
        .collect();
    for name in gone {
        inner.state.services.remove(&name);
        let tasks: Vec<String> = inner.tasks_of(&name).map(|(id, _)| id.clone()).collect();
        for id in tasks {
            let reason = "The service was removed".to_owned();
            crate::scheduler::ask_to_stop(inner, &id, "ServiceSchedulerInitiated", reason, true);
        }
    }
}
