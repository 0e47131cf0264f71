//! EventBridge Scheduler: schedules.

use hyper::Method;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::At;
use super::input::{page, size, text};
use crate::refusal::Refusal;
use crate::schedules::{Schedule, When};
use crate::world::{Inner, World};

/// What `CreateSchedule` takes and `GetSchedule` gives back as it was.
const KEPT: [&str; 8] = [
    "ScheduleExpression",
    "ScheduleExpressionTimezone",
    "StartDate",
    "EndDate",
    "Description",
    "KmsKeyArn",
    "Target",
    "FlexibleTimeWindow",
];

/// The operation of a request, and the name in its path.
pub(super) fn operation(method: &Method, path: &str) -> (&'static str, Option<String>) {
    let name = path.strip_prefix("/schedules").and_then(|rest| rest.strip_prefix('/'));
    let name = name.map(|name| percent_encoding::percent_decode_str(name).decode_utf8_lossy());
    let operation = match (method.as_str(), name.is_some(), path.starts_with("/schedules")) {
        ("POST", true, true) => "CreateSchedule",
        ("PUT", true, true) => "UpdateSchedule",
        ("GET", true, true) => "GetSchedule",
        ("DELETE", true, true) => "DeleteSchedule",
        ("GET", false, true) => "ListSchedules",
        _ => "",
    };
    (operation, name.map(Into::into))
}

/// Adds to the body what stands in the path and after it, under the members' own names.
pub(super) fn complete(input: &mut Json, name: Option<String>, query: &str) {
    if let Some(name) = name {
        input["Name"] = name.into();
    }
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "groupName" | "ScheduleGroup" => input["GroupName"] = value.into(),
            "clientToken" => input["ClientToken"] = value.into(),
            "MaxResults" => input["MaxResults"] = value.parse::<i64>().unwrap_or(0).into(),
            other => input[other] = value.into(),
        }
    }
}

pub(super) fn perform(world: &At<'_>, operation: &str, input: &Json) -> Result<Json, Refusal> {
    match operation {
        "CreateSchedule" => put(world, input, true),
        "UpdateSchedule" => put(world, input, false),
        "DeleteSchedule" => delete(world, input),
        "GetSchedule" => get(&world.view(), input),
        "ListSchedules" => list(&world.view(), input),
        _ => Err(super::unknown(&format!("scheduler:{operation}"), super::Protocol::Rest)),
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new("ValidationException", message)
}

fn not_found(name: &str) -> Refusal {
    let message = format!("Schedule {name} does not exist.");
    Refusal::new("ResourceNotFoundException", message).with_status(404)
}

fn name_of(input: &Json) -> Result<&str, Refusal> {
    let fine = |name: &&str| {
        name.len() <= 64
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    text(input, "Name")
        .filter(fine)
        .ok_or_else(|| invalid("The name of the schedule is not valid."))
}

fn arn(inner: &Inner, name: &str, group: &str) -> String {
    let (region, account) = inner.topology().map_or(("eu-central-1", "000000000000"), |topology| {
        (topology.region.as_str(), topology.account.as_str())
    });
    format!("arn:aws:scheduler:{region}:{account}:schedule/{group}/{name}")
}

fn put(world: &World, input: &Json, is_new: bool) -> Result<Json, Refusal> {
    let name = name_of(input)?;
    let group = text(input, "GroupName").unwrap_or("default");
    if group != "default" {
        let message = format!("Schedule group {group} does not exist.");
        return Err(Refusal::new("ResourceNotFoundException", message).with_status(404));
    }
    let expression = text(input, "ScheduleExpression")
        .ok_or_else(|| invalid("ScheduleExpression is missing."))?;
    let zone = text(input, "ScheduleExpressionTimezone").unwrap_or("UTC");
    let when = When::parse(expression, zone).map_err(invalid)?;
    if text(&input["FlexibleTimeWindow"], "Mode") != Some("OFF") {
        return Err(invalid(
            "The stage fires at the time that is said: FlexibleTimeWindow.Mode is OFF.",
        ));
    }
    super::schedule_target(&input["Target"]).map_err(invalid)?;
    let mut body = json!({});
    for key in KEPT.iter().filter(|key| !input[**key].is_null()) {
        body[*key] = input[*key].clone();
    }
    body["ScheduleExpressionTimezone"] = zone.into();
    world.change(|inner| {
        let before = inner.state.schedules.get(name);
        match (before, is_new) {
            (Some(_), true) => {
                let message = format!("Schedule {name} already exists.");
                return Err(Refusal::new("ConflictException", message).with_status(409));
            }
            (None, false) => return Err(not_found(name)),
            _ => {}
        }
        let now = Timestamp::now();
        let schedule = Schedule {
            group: group.to_owned(),
            body,
            when,
            enabled: text(input, "State") != Some("DISABLED"),
            delete_after: text(input, "ActionAfterCompletion") == Some("DELETE"),
            created_at: before.map_or(now, |before| before.created_at),
            modified_at: now,
            fired_at: before.and_then(|before| before.fired_at),
            outcome: before.and_then(|before| before.outcome.clone()),
        };
        inner.state.schedules.insert(name.to_owned(), schedule);
        Ok(json!({ "ScheduleArn": arn(inner, name, group) }))
    })
}

fn delete(world: &World, input: &Json) -> Result<Json, Refusal> {
    let name = name_of(input)?;
    world.change(|inner| {
        inner.state.schedules.remove(name).map(|_| json!({})).ok_or_else(|| not_found(name))
    })
}

fn state(schedule: &Schedule) -> &'static str {
    if schedule.enabled { "ENABLED" } else { "DISABLED" }
}

fn get(inner: &Inner, input: &Json) -> Result<Json, Refusal> {
    let name = name_of(input)?;
    let schedule = inner.state.schedules.get(name).ok_or_else(|| not_found(name))?;
    let mut told = schedule.body.clone();
    told["Arn"] = arn(inner, name, &schedule.group).into();
    told["Name"] = name.into();
    told["GroupName"] = schedule.group.as_str().into();
    told["State"] = state(schedule).into();
    told["ActionAfterCompletion"] = if schedule.delete_after { "DELETE" } else { "NONE" }.into();
    told["CreationDate"] = inner.seconds(schedule.created_at).into();
    told["LastModificationDate"] = inner.seconds(schedule.modified_at).into();
    Ok(told)
}

fn list(inner: &Inner, input: &Json) -> Result<Json, Refusal> {
    let (prefix, wanted) = (text(input, "NamePrefix").unwrap_or(""), text(input, "State"));
    let all = inner.state.schedules.iter().filter(|(name, schedule)| {
        name.starts_with(prefix) && wanted.is_none_or(|wanted| wanted == state(schedule))
    });
    let told = all.map(|(name, schedule)| {
        json!({
            "Arn": arn(inner, name, &schedule.group),
            "Name": name,
            "GroupName": schedule.group,
            "State": state(schedule),
            "CreationDate": inner.seconds(schedule.created_at),
            "LastModificationDate": inner.seconds(schedule.modified_at),
            "Target": { "Arn": schedule.body["Target"]["Arn"] },
        })
    });
    let refuse = || invalid("The next token is not valid.");
    let size = size(input, "MaxResults", 100);
    let (found, next) = page(told.collect(), text(input, "NextToken"), size, refuse)?;
    let mut answer = json!({ "Schedules": found });
    if let Some(next) = next {
        answer["NextToken"] = next.into();
    }
    Ok(answer)
}
