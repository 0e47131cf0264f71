//! Whether and when to try again.

use std::time::Duration;

/// The longest pause that a server may ask for and get.
const LONGEST: Duration = Duration::from_secs(5);
/// The pause after the first failure; it doubles after each.
const FIRST: Duration = Duration::from_millis(250);

/// How long to wait before the attempt after `attempts` failed ones, if it still fits into what remains of the deadline.
/// `asked` is what the server asked for by `Retry-After`.
pub(crate) fn pause(
    attempts: u32,
    asked: Option<Duration>,
    remaining: Duration,
) -> Option<Duration> {
    let own = FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(5));
    let pause = asked.unwrap_or(own).min(LONGEST);
    (pause < remaining).then_some(pause)
}

/// `Retry-After` in seconds. Its other form, a date, is not used by Slack and counts as nothing.
pub(crate) fn retry_after(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_with_the_deadline() {
        let remaining = Duration::from_secs(10);
        assert_eq!(pause(1, None, remaining), Some(Duration::from_millis(250)));
        assert_eq!(pause(3, None, remaining), Some(Duration::from_secs(1)));
        assert_eq!(pause(40, None, remaining), Some(LONGEST));
        assert_eq!(pause(1, None, Duration::from_millis(250)), None);
    }

    #[test]
    fn the_server_may_ask_for_a_pause_but_not_for_a_long_one() {
        let remaining = Duration::from_secs(10);
        assert_eq!(pause(1, retry_after("2"), remaining), Some(Duration::from_secs(2)));
        assert_eq!(pause(1, retry_after("3600"), remaining), Some(LONGEST));
        assert_eq!(pause(1, retry_after("3600"), Duration::from_secs(3)), None);
        assert_eq!(retry_after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }
}
