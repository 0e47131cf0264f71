//! RDS: the instance and its snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value as Json;

use super::At;
use super::input::{list as members, page, text};
use crate::database;
use crate::refusal::Refusal;
use crate::state::{Snapshot, SnapshotStatus};
use crate::topology::Topology;
use crate::tree::{Tree, map};
use crate::world::{Inner, World};

pub(super) fn perform(world: &At<'_>, operation: &str, input: &Json) -> Result<Tree, Refusal> {
    match operation {
        "DescribeDBInstances" => describe_instances(&world.view(), input),
        "CreateDBSnapshot" => create_snapshot(world, input),
        "DescribeDBSnapshots" => describe_snapshots(&world.view(), input),
        "DeleteDBSnapshot" => delete_snapshot(world, input),
        "AddTagsToResource" => add_tags(world, input),
        "ListTagsForResource" => list_tags(&world.view(), input),
        _ => Err(super::unknown(&format!("rds:{operation}"), super::Protocol::Query)),
    }
}

fn missing(name: &str) -> Refusal {
    Refusal::new("InvalidParameterValue", format!("The parameter {name} must be provided"))
}

fn no_instance(name: &str) -> Refusal {
    Refusal::new("DBInstanceNotFound", format!("DBInstance {name} not found.")).with_status(404)
}

fn no_snapshot(name: &str) -> Refusal {
    Refusal::new("DBSnapshotNotFound", format!("DBSnapshot {name} not found.")).with_status(404)
}

fn paged(
    name: &'static str,
    item: &'static str,
    all: Vec<Tree>,
    input: &Json,
) -> Result<Tree, Refusal> {
    let refuse = || Refusal::new("InvalidParameterValue", "The marker is not valid");
    let size = super::input::size(input, "MaxRecords", 100);
    let (found, next) = page(all, text(input, "Marker"), size, refuse)?;
    let answer = map([(name, Tree::List(item, found))]);
    Ok(match next {
        Some(next) => answer.with("Marker", next),
        None => answer,
    })
}

fn describe_instances(inner: &Inner, input: &Json) -> Result<Tree, Refusal> {
    let known = inner.topology().and_then(|topology| Some((topology, topology.instance()?)));
    let wanted = text(input, "DBInstanceIdentifier");
    if let Some(wanted) = wanted
        && known
            .as_ref()
            .is_none_or(|(topology, name)| name != wanted && topology.instance_arn(name) != wanted)
    {
        return Err(no_instance(wanted));
    }
    let described = known.map(|(topology, name)| {
        let status = if inner.database_up { "available" } else { "starting" };
        let port = u32::from(inner.state.ports.database.unwrap_or(0));
        map([
            ("DBInstanceIdentifier", name.as_str().into()),
            ("DBInstanceArn", topology.instance_arn(&name).into()),
            ("DBInstanceClass", "db.t4g.micro".into()),
            ("DBInstanceStatus", status.into()),
            ("DBName", topology.database_name().into()),
            ("Engine", "postgres".into()),
            ("MasterUsername", "postgres".into()),
            ("Endpoint", map([("Address", "127.0.0.1".into()), ("Port", port.into())])),
            ("AllocatedStorage", 20_u32.into()),
            ("MultiAZ", false.into()),
            ("StorageEncrypted", false.into()),
        ])
    });
    paged("DBInstances", "DBInstance", described.into_iter().collect(), input)
}

fn tags(input: &Json) -> BTreeMap<String, String> {
    let tag = |tag: &Json| {
        Some((text(tag, "Key")?.to_owned(), text(tag, "Value").unwrap_or_default().to_owned()))
    };
    members(input, "Tags").iter().filter_map(tag).collect()
}

fn tag_list(tags: &BTreeMap<String, String>) -> Tree {
    let tag = |(key, value): (&String, &String)| {
        map([("Key", key.as_str().into()), ("Value", value.as_str().into())])
    };
    Tree::List("Tag", tags.iter().map(tag).collect())
}

fn describe_snapshot(inner: &Inner, topology: &Topology, name: &str, snapshot: &Snapshot) -> Tree {
    let whole = if snapshot.status == SnapshotStatus::Available { 100 } else { 0_u32 };
    map([
        ("DBSnapshotIdentifier", name.into()),
        ("DBSnapshotArn", topology.snapshot_arn(name).into()),
        ("DBInstanceIdentifier", snapshot.instance.as_str().into()),
        ("SnapshotCreateTime", snapshot.created_at.into()),
        ("Status", snapshot.status.as_str().into()),
        ("PercentProgress", whole.into()),
        ("SnapshotType", "manual".into()),
        ("Engine", "postgres".into()),
        ("Port", u32::from(inner.state.ports.database.unwrap_or(0)).into()),
        ("MasterUsername", "postgres".into()),
        ("AllocatedStorage", 20_u32.into()),
        ("Encrypted", false.into()),
        ("TagList", tag_list(&snapshot.tags)),
    ])
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let fine = name.len() <= 255
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !name.ends_with('-')
        && !name.contains("--");
    let message = "The parameter DBSnapshotIdentifier is not a valid identifier. Identifiers must begin with a letter; \
                   must contain only ASCII letters, digits, and hyphens; and must not end with a hyphen or contain \
                   two consecutive hyphens.";
    if fine { Ok(()) } else { Err(Refusal::new("InvalidParameterValue", message)) }
}

fn create_snapshot(world: &Arc<World>, input: &Json) -> Result<Tree, Refusal> {
    let name = text(input, "DBSnapshotIdentifier");
    // RDS keeps identifiers in lower case.
    let name = name.ok_or_else(|| missing("DBSnapshotIdentifier"))?.to_lowercase();
    check_name(&name)?;
    let instance =
        text(input, "DBInstanceIdentifier").ok_or_else(|| missing("DBInstanceIdentifier"))?;
    let described = world.change(|inner| {
        let topology = inner.topology().ok_or_else(|| no_instance(instance))?.clone();
        if topology.instance().as_deref() != Some(instance) {
            return Err(no_instance(instance));
        }
        if !inner.database_up {
            let message = format!("DBInstance {instance} is not in available state.");
            return Err(Refusal::new("InvalidDBInstanceState", message));
        }
        if inner.state.snapshots.contains_key(&name) {
            let message = format!("Cannot create the snapshot because a snapshot with the identifier {name} already exists.");
            return Err(Refusal::new("DBSnapshotAlreadyExists", message));
        }
        let snapshot = Snapshot {
            instance: instance.to_owned(),
            created_at: Timestamp::now(),
            status: SnapshotStatus::Creating,
            tags: tags(input),
        };
        let described = describe_snapshot(inner, &topology, &name, &snapshot);
        inner.state.snapshots.insert(name.clone(), snapshot);
        Ok(map([("DBSnapshot", described)]))
    })?;
    tokio::spawn(database::take_snapshot(world.clone(), name));
    Ok(described)
}

fn describe_snapshots(inner: &Inner, input: &Json) -> Result<Tree, Refusal> {
    let wanted = text(input, "DBSnapshotIdentifier").map(|name| short(name).to_lowercase());
    if let Some(wanted) = &wanted
        && !inner.state.snapshots.contains_key(wanted)
    {
        return Err(no_snapshot(wanted));
    }
    let of = text(input, "DBInstanceIdentifier");
    let Some(topology) = inner.topology() else {
        return paged("DBSnapshots", "DBSnapshot", Vec::new(), input);
    };
    let found = inner.state.snapshots.iter().filter(|(name, snapshot)| {
        wanted.as_ref().is_none_or(|wanted| *wanted == **name)
            && of.is_none_or(|of| of == snapshot.instance)
    });
    let all = found.map(|(name, snapshot)| describe_snapshot(inner, topology, name, snapshot));
    paged("DBSnapshots", "DBSnapshot", all.collect(), input)
}

/// An identifier that may be an ARN.
fn short(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

fn delete_snapshot(world: &World, input: &Json) -> Result<Tree, Refusal> {
    let name = text(input, "DBSnapshotIdentifier");
    let name = short(name.ok_or_else(|| missing("DBSnapshotIdentifier"))?).to_lowercase();
    let described = world.change(|inner| {
        let snapshot = inner.state.snapshots.get(&name).ok_or_else(|| no_snapshot(&name))?;
        if snapshot.status == SnapshotStatus::Creating {
            let message = format!(
                "Cannot delete the snapshot {name} because it is not in the available state"
            );
            return Err(Refusal::new("InvalidDBSnapshotState", message));
        }
        let topology = inner.topology().ok_or_else(|| no_snapshot(&name))?;
        let described = describe_snapshot(inner, topology, &name, snapshot);
        inner.state.snapshots.remove(&name);
        Ok(map([("DBSnapshot", described)]))
    })?;
    database::remove_dump(&world.directory, &name);
    Ok(described)
}

/// The snapshot that a tag call means. Only snapshots have tags here.
fn tagged(input: &Json) -> Result<String, Refusal> {
    let arn = text(input, "ResourceName").ok_or_else(|| missing("ResourceName"))?;
    match arn.split_once(":snapshot:") {
        Some((_, name)) => Ok(name.to_owned()),
        None => Err(no_instance(short(arn))),
    }
}

fn add_tags(world: &World, input: &Json) -> Result<Tree, Refusal> {
    let name = tagged(input)?;
    world.change(|inner| {
        let snapshot = inner.state.snapshots.get_mut(&name).ok_or_else(|| no_snapshot(&name))?;
        snapshot.tags.extend(tags(input));
        Ok(map([]))
    })
}

fn list_tags(inner: &Inner, input: &Json) -> Result<Tree, Refusal> {
    let name = tagged(input)?;
    let snapshot = inner.state.snapshots.get(&name).ok_or_else(|| no_snapshot(&name))?;
    Ok(map([("TagList", tag_list(&snapshot.tags))]))
}
