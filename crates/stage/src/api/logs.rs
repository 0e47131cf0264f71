//! CloudWatch Logs: the tasks' output, as their task definitions' `awslogs` say where it goes.

use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::At;
use super::input::{flag, number, text};
use crate::launch;
use crate::refusal::Refusal;
use crate::world::Inner;

/// The most events of one answer, and how many there are where none is said.
const MOST: usize = 10_000;

pub(super) fn perform(world: &At<'_>, operation: &str, input: &Json) -> Result<Json, Refusal> {
    match operation {
        "GetLogEvents" => get(world, input),
        _ => Err(super::unknown(&format!("logs:{operation}"), super::Protocol::Json)),
    }
}

/// A stream's events: the lines of its file. When each was written is not known, only when the last was, and that is what all say.
fn get(world: &At<'_>, input: &Json) -> Result<Json, Refusal> {
    let invalid = |text: &str| Refusal::new("InvalidParameterException", text);
    let group = text(input, "logGroupName").ok_or_else(|| invalid("logGroupName is missing"))?;
    let stream = text(input, "logStreamName").ok_or_else(|| invalid("logStreamName is missing"))?;
    let limit = match number(input, "limit") {
        None => MOST,
        Some(limit) => usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=MOST).contains(limit))
            .ok_or_else(|| invalid("limit must be between 1 and 10000"))?,
    };
    let (file, now) = {
        let inner = world.look();
        (file(&inner, group, stream)?, inner.seconds(Timestamp::now()))
    };
    let missing = || not_found("The specified log stream does not exist.");
    let path = world.directory.join("logs").join(file);
    let written = fs::metadata(&path).and_then(|file| file.modified()).map_err(|_| missing())?;
    let bytes = fs::read(&path).map_err(|_| missing())?;
    let all = String::from_utf8_lossy(&bytes);
    let written = Timestamp::try_from(written).unwrap_or(Timestamp::UNIX_EPOCH);
    let written = milliseconds(world.look().seconds(written).min(now));
    let between = |name: &str, fits: fn(i64, i64) -> bool| {
        number(input, name).is_none_or(|time| fits(written, time))
    };
    let fits =
        between("startTime", |at, start| at >= start) && between("endTime", |at, end| at < end);
    let lines: Vec<&str> = all.lines().filter(|line| fits && !line.is_empty()).collect();
    let from_head = flag(input, "startFromHead");
    let (from, until) = part(lines.len(), limit, text(input, "nextToken"), from_head)
        .ok_or_else(|| invalid("The specified nextToken is invalid."))?;
    let events: Vec<Json> = lines[from..until]
        .iter()
        .map(|line| json!({ "timestamp": written, "message": line, "ingestionTime": written }))
        .collect();
    Ok(json!({
        "events": events,
        "nextForwardToken": format!("f/{until}"),
        "nextBackwardToken": format!("b/{from}"),
    }))
}

/// Which events an answer has. At either end the token that was sent comes back, with nothing.
fn part(
    count: usize,
    limit: usize,
    token: Option<&str>,
    from_head: bool,
) -> Option<(usize, usize)> {
    let at = |text: &str| text.parse::<usize>().ok().filter(|at| *at <= count);
    Some(match token.and_then(|token| token.split_once('/')) {
        Some(("f", from)) => {
            let from = at(from)?;
            (from, (from + limit).min(count))
        }
        Some(("b", until)) => {
            let until = at(until)?;
            (until.saturating_sub(limit), until)
        }
        Some(_) => return None,
        None if token.is_some() => return None,
        None if from_head => (0, limit.min(count)),
        None => (count.saturating_sub(limit), count),
    })
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit")]
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}

fn not_found(text: &str) -> Refusal {
    Refusal::new("ResourceNotFoundException", text)
}

/// The file of a stream, `<ECS service>/<task>.log`.
fn file(inner: &Inner, group: &str, stream: &str) -> Result<PathBuf, Refusal> {
    let definitions = inner.state.definitions.iter();
    if !definitions.flat_map(|one| containers(&one.body)).any(|one| option(one, "group") == group) {
        return Err(not_found("The specified log group does not exist."));
    }
    let found = inner.tasks.iter().find(|(id, task)| {
        let body = launch::definition(inner, &task.definition);
        let container =
            body.into_iter().flat_map(containers).find(|one| one["name"] == task.container);
        container.is_some_and(|one| {
            one["logConfiguration"]["logDriver"] == "awslogs"
                && option(one, "group") == group
                && stream == format!("{}/{}/{id}", option(one, "stream-prefix"), task.container)
        })
    });
    let (id, task) = found.ok_or_else(|| not_found("The specified log stream does not exist."))?;
    Ok(PathBuf::from(&task.service).join(format!("{id}.log")))
}

fn containers(body: &Json) -> impl Iterator<Item = &Json> {
    body["containerDefinitions"].as_array().into_iter().flatten()
}

fn option<'a>(container: &'a Json, name: &str) -> &'a str {
    let options = &container["logConfiguration"]["options"];
    options[format!("awslogs-{name}")].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_pages_from_either_end() {
        assert_eq!(part(25, 10, None, false), Some((15, 25)));
        assert_eq!(part(25, 10, Some("b/15"), false), Some((5, 15)));
        assert_eq!(part(25, 10, Some("b/0"), false), Some((0, 0)));
        assert_eq!(part(25, 10, None, true), Some((0, 10)));
        assert_eq!(part(25, 10, Some("f/20"), true), Some((20, 25)));
        assert_eq!(part(25, 10, Some("f/25"), true), Some((25, 25)));
        for bad in ["f/26", "x/1", "page-1"] {
            assert_eq!(part(25, 10, Some(bad), true), None, "{bad}");
        }
    }
}
