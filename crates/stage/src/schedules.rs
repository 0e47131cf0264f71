//! EventBridge Scheduler: schedules that fire, and call AWS's API as they say.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::api;
use crate::task::{keep, tracing_line};
use crate::world::World;

/// How often schedules are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A schedule, as it was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Schedule {
    pub(crate) group: String,
    /// What was asked for: `ScheduleExpression`, `Target` and the rest, as `GetSchedule` tells it.
    pub(crate) body: Json,
    pub(crate) when: When,
    pub(crate) enabled: bool,
    /// Whether it goes once it has fired for the last time.
    pub(crate) delete_after: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) modified_at: Timestamp,
    pub(crate) fired_at: Option<Timestamp>,
    /// What came of the last time it fired.
    pub(crate) outcome: Option<String>,
}

/// When a schedule fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum When {
    /// Once.
    At(Timestamp),
    /// So often, from when it was made.
    Every(SignedDuration),
}

impl When {
    /// Reads `at(2026-11-21T13:00:00)` or `rate(5 minutes)`.
    pub(crate) fn parse(expression: &str, timezone: &str) -> Result<Self, String> {
        let inside =
            |name: &str| expression.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        if let Some(text) = inside("at") {
            let zone = TimeZone::get(timezone)
                .map_err(|_| format!("Invalid ScheduleExpressionTimezone {timezone}."))?;
            let time: civil::DateTime =
                text.parse().map_err(|_| format!("Invalid Schedule Expression {expression}."))?;
            let time = time.to_zoned(zone).map_err(|error| error.to_string())?;
            return Ok(Self::At(time.timestamp()));
        }
        if let Some((count, unit)) = inside("rate").and_then(|text| text.split_once(' ')) {
            let seconds = match unit.trim_end_matches('s') {
                "minute" => 60,
                "hour" => 3600,
                "day" => 86_400,
                _ => 0,
            };
            let count: i64 = count.parse().unwrap_or(0);
            if count > 0 && seconds > 0 {
                return Ok(Self::Every(SignedDuration::from_secs(count * seconds)));
            }
        }
        Err(format!(
            "Invalid Schedule Expression {expression}. (The stage has at(…) and rate(…), and no cron.)"
        ))
    }
}

impl Schedule {
    /// Whether it is to fire now.
    fn is_due(&self, now: Timestamp) -> bool {
        self.enabled
            && match self.when {
                // A schedule that was changed after it fired may fire again.
                When::At(time) => time <= now && self.fired_at.is_none_or(|fired| fired < time),
                When::Every(pause) => {
                    now.duration_since(self.fired_at.unwrap_or(self.created_at)) >= pause
                }
            }
    }
}

/// Fires schedules until the stage ends. One whose time came while no stage ran fires at the next start.
pub(crate) async fn run(world: Arc<World>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let due: Vec<(String, Json)> = {
            let inner = world.look();
            if inner.ending {
                continue;
            }
            let now = Timestamp::now();
            let due = inner.state.schedules.iter().filter(|(_, schedule)| schedule.is_due(now));
            due.map(|(name, schedule)| (name.clone(), schedule.body["Target"].clone())).collect()
        };
        for (name, target) in due {
            fire(&world, &name, &target);
        }
    }
}

fn fire(world: &Arc<World>, name: &str, target: &Json) {
    let outcome = match api::call_of_schedule(world, target) {
        Ok(operation) => format!("{operation} was called"),
        Err(reason) => reason,
    };
    tracing_line(&format!("schedule {name} fired: {outcome}"));
    let mut inner = world.look();
    let Some(schedule) = inner.state.schedules.get_mut(name) else { return };
    (schedule.fired_at, schedule.outcome) = (Some(Timestamp::now()), Some(outcome));
    if schedule.delete_after && matches!(schedule.when, When::At(_)) {
        inner.state.schedules.remove(name);
    }
    keep(world, &inner);
    drop(inner);
    world.changed.notify_one();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_those_of_eventbridge() {
        let at = |zone| When::parse("at(2026-11-21T14:00:00)", zone);
        assert_eq!(at("UTC"), Ok(When::At("2026-11-21T14:00:00Z".parse().unwrap())));
        assert_eq!(at("Europe/Berlin"), Ok(When::At("2026-11-21T13:00:00Z".parse().unwrap())));
        assert_eq!(
            When::parse("rate(5 minutes)", "UTC"),
            Ok(When::Every(SignedDuration::from_secs(300)))
        );
        for bad in ["at(soon)", "rate(0 minutes)", "rate(5 years)", "cron(0 12 * * ? *)", ""] {
            assert!(When::parse(bad, "UTC").is_err(), "{bad}");
        }
        assert!(at("Mars").is_err());
    }
}
