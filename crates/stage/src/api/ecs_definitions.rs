//! ECS: task definitions.

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::ecs::invalid;
use super::input::{page, size, text};
use crate::refusal::Refusal;
use crate::state::Definition;
use crate::topology::Topology;
use crate::world::{Inner, World};

/// What `RegisterTaskDefinition` takes and `DescribeTaskDefinition` gives back as it was.
const KEPT: [&str; 15] = [
    "family",
    "taskRoleArn",
    "executionRoleArn",
    "networkMode",
    "containerDefinitions",
    "volumes",
    "placementConstraints",
    "requiresCompatibilities",
    "cpu",
    "memory",
    "pidMode",
    "ipcMode",
    "proxyConfiguration",
    "runtimePlatform",
    "ephemeralStorage",
];

fn client(message: impl Into<String>) -> Refusal {
    Refusal::new("ClientException", message)
}

fn topology(inner: &Inner) -> Result<&Topology, Refusal> {
    inner.topology().ok_or_else(|| client("the stage has no topology yet"))
}

pub(super) fn register(world: &World, input: &Json) -> Result<Json, Refusal> {
    let family =
        text(input, "family").ok_or_else(|| client("Family should not be null or empty."))?;
    let fine = family.len() <= 255
        && family.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !fine {
        return Err(client("Family contains invalid characters."));
    }
    let containers = input["containerDefinitions"].as_array().filter(|all| !all.is_empty());
    let containers = containers.ok_or_else(|| client("Container list cannot be empty."))?;
    for container in containers {
        if text(container, "name").is_none() || text(container, "image").is_none() {
            return Err(client("Container.name and Container.image should not be null or empty."));
        }
    }
    world.change(|inner| {
        let definition = add(inner, family, input);
        Ok(json!({ "taskDefinition": describe_one(inner, &definition)?, "tags": definition.tags }))
    })
}

/// Adds the family's next revision.
pub(crate) fn add(inner: &mut Inner, family: &str, input: &Json) -> Definition {
    let revisions = inner.state.definitions.iter().filter(|d| d.family == family);
    let revision = revisions.map(|d| d.revision).max().unwrap_or(0) + 1;
    let mut body = json!({});
    for name in KEPT {
        if !input[name].is_null() {
            body[name] = input[name].clone();
        }
    }
    let tags = input["tags"].as_array().cloned().unwrap_or_default().into();
    let definition = Definition {
        family: family.to_owned(),
        revision,
        active: true,
        registered_at: Timestamp::now(),
        deregistered_at: None,
        body,
        tags,
    };
    inner.state.definitions.push(definition.clone());
    definition
}

fn describe_one(inner: &Inner, definition: &Definition) -> Result<Json, Refusal> {
    let topology = topology(inner)?;
    let mut described = definition.body.clone();
    described["taskDefinitionArn"] =
        topology.definition_arn(&definition.family, definition.revision).into();
    described["revision"] = definition.revision.into();
    described["status"] = if definition.active { "ACTIVE" } else { "INACTIVE" }.into();
    described["registeredAt"] = inner.seconds(definition.registered_at).into();
    if let Some(at) = definition.deregistered_at {
        described["deregisteredAt"] = inner.seconds(at).into();
    }
    for name in ["volumes", "placementConstraints"] {
        if described[name].is_null() {
            described[name] = json!([]);
        }
    }
    described["compatibilities"] = json!(["EC2", "FARGATE"]);
    Ok(described)
}

/// Finds a definition by `family`, `family:revision` or ARN; a family alone means its newest active revision.
fn find<'a>(inner: &'a Inner, wanted: &str) -> Option<&'a Definition> {
    let name = wanted.rsplit('/').next().unwrap_or(wanted);
    let all = inner.state.definitions.iter();
    match name.split_once(':') {
        Some((family, revision)) => {
            let revision: u32 = revision.parse().ok()?;
            all.into_iter().find(|d| d.family == family && d.revision == revision)
        }
        None => all.filter(|d| d.family == name && d.active).max_by_key(|d| d.revision),
    }
}

/// The ARN of the definition that a service is to run.
pub(super) fn active_arn(inner: &Inner, wanted: &str) -> Result<String, Refusal> {
    let found = find(inner, wanted).ok_or_else(|| client("TaskDefinition not found."))?;
    if !found.active {
        return Err(client("TaskDefinition is inactive"));
    }
    Ok(topology(inner)?.definition_arn(&found.family, found.revision))
}

pub(super) fn describe(inner: &Inner, input: &Json) -> Result<Json, Refusal> {
    let wanted =
        text(input, "taskDefinition").ok_or_else(|| client("taskDefinition is missing"))?;
    let found = find(inner, wanted).ok_or_else(|| client("Unable to describe task definition."))?;
    let mut answer = json!({ "taskDefinition": describe_one(inner, found)? });
    if super::input::texts(input, "include").contains(&"TAGS") {
        answer["tags"] = found.tags.clone();
    }
    Ok(answer)
}

pub(super) fn deregister(world: &World, input: &Json) -> Result<Json, Refusal> {
    let wanted =
        text(input, "taskDefinition").ok_or_else(|| client("taskDefinition is missing"))?;
    if !wanted.contains(':') {
        return Err(invalid("Invalid revision number. Number: null"));
    }
    world.change(|inner| {
        let found = find(inner, wanted)
            .ok_or_else(|| client("The specified task definition does not exist."))?;
        let (family, revision) = (found.family.clone(), found.revision);
        let all = inner.state.definitions.iter_mut();
        for definition in all.filter(|d| d.family == family && d.revision == revision) {
            definition.active = false;
            definition.deregistered_at.get_or_insert_with(Timestamp::now);
        }
        let found = find(inner, wanted).ok_or_else(|| client("it is gone"))?;
        Ok(json!({ "taskDefinition": describe_one(inner, found)? }))
    })
}

pub(super) fn list(inner: &Inner, input: &Json) -> Result<Json, Refusal> {
    let topology = topology(inner)?;
    let active = text(input, "status") != Some("INACTIVE");
    let family = text(input, "familyPrefix");
    let mut found: Vec<&Definition> = inner
        .state
        .definitions
        .iter()
        .filter(|d| d.active == active && family.is_none_or(|family| d.family == family))
        .collect();
    found.sort_by(|a, b| (&a.family, a.revision).cmp(&(&b.family, b.revision)));
    if text(input, "sort") == Some("DESC") {
        found.reverse();
    }
    let refuse = || invalid("Invalid token");
    let size = size(input, "maxResults", 100);
    let (found, next) = page(found, text(input, "nextToken"), size, refuse)?;
    let arns: Vec<String> =
        found.iter().map(|d| topology.definition_arn(&d.family, d.revision)).collect();
    let mut answer = json!({ "taskDefinitionArns": arns });
    if let Some(next) = next {
        answer["nextToken"] = next.into();
    }
    Ok(answer)
}
