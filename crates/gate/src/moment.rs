//! Moments and lengths of time, for people.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A moment in UTC: `2026-03-09 13:00 UTC`. Rounded up to the second, since it may be a time to come back at.
pub(crate) fn utc(moment: Timestamp) -> String {
    let shown = whole_second(moment).to_zoned(TimeZone::UTC);
    format!("{} UTC", shown.strftime(pattern(shown.second())))
}

/// A moment in a zone and in UTC: `Mon 2026-03-09 09:00 EDT (America/New_York), 2026-03-09 13:00 UTC`.
pub(crate) fn zoned(moment: Timestamp, zone: &TimeZone, name: &str) -> String {
    let shown = whole_second(moment).to_zoned(zone.clone());
    let clock = shown.strftime(pattern(shown.second()));
    format!("{} {clock} {} ({name}), {}", shown.strftime("%a"), shown.strftime("%Z"), utc(moment))
}

fn pattern(second: i8) -> &'static str {
    if second == 0 { "%Y-%m-%d %H:%M" } else { "%Y-%m-%d %H:%M:%S" }
}

fn whole_second(moment: Timestamp) -> Timestamp {
    let up = i64::from(moment.subsec_nanosecond() > 0);
    Timestamp::from_second(moment.as_second() + up).unwrap_or(moment)
}

/// How long ago, to the minute from one minute on: `3h 20m`. Zero for what lies ahead, as clocks of two machines differ.
pub(crate) fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    let shown = if seconds < 60 { seconds } else { seconds - seconds % 60 };
    format!("{:#}", SignedDuration::from_secs(shown))
}

/// A moment so much earlier; the beginning of time if that lies before it.
pub(crate) fn before(moment: Timestamp, length: Duration) -> Timestamp {
    moment.checked_sub(length).unwrap_or(Timestamp::MIN)
}

/// A moment so much later; the end of time if that lies beyond it.
pub(crate) fn after(moment: Timestamp, length: Duration) -> Timestamp {
    moment.checked_add(length).unwrap_or(Timestamp::MAX)
}
