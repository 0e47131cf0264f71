//! When no promotion may begin.

use jiff::Timestamp;
use liftlock_environment::config::Freeze;

use crate::evaluation::Evaluation;
use crate::facts::Facts;
use crate::moment;

const GATE: &str = "freeze";

pub(crate) fn evaluate(freezes: &[Freeze], facts: &Facts<'_>) -> Option<Evaluation> {
    if freezes.is_empty() {
        return None;
    }
    let spans: Vec<Span<'_>> = match freezes.iter().map(Span::read).collect() {
        Ok(spans) => spans,
        Err(fault) => return Some(Evaluation::unreadable(GATE, &fault, facts)),
    };
    let now = facts.now;
    let reasons: Vec<String> = spans
        .iter()
        .filter(|span| span.holds(now))
        .map(|span| format!("{} (until {})", span.freeze.reason, moment::utc(span.until)))
        .collect();
    Some(if reasons.is_empty() {
        Evaluation::open(GATE, upcoming(&spans, now))
    } else {
        let thaw = moment::utc(thaw(&spans, now));
        Evaluation::refused(
            GATE,
            format!("frozen: {}", reasons.join("; ")),
            Some(format!("opens {thaw}")),
        )
    })
}

fn upcoming(spans: &[Span<'_>], now: Timestamp) -> String {
    match spans.iter().filter(|span| span.from > now).min_by_key(|span| span.from) {
        Some(next) => {
            format!("not frozen; next {} ({})", moment::utc(next.from), next.freeze.reason)
        }
        None => "not frozen".to_owned(),
    }
}

/// When it is over, also where one freeze follows on another.
fn thaw(spans: &[Span<'_>], now: Timestamp) -> Timestamp {
    let mut thaw = now;
    while let Some(span) = spans.iter().find(|span| span.holds(thaw)) {
        thaw = span.until;
    }
    thaw
}

struct Span<'a> {
    freeze: &'a Freeze,
    from: Timestamp,
    until: Timestamp,
}

impl<'a> Span<'a> {
    fn read(freeze: &'a Freeze) -> Result<Self, String> {
        let (from, until) = (read(&freeze.from)?, read(&freeze.until)?);
        if from >= until {
            return Err(format!(
                "the freeze from {} until {} ends before it begins",
                freeze.from, freeze.until
            ));
        }
        Ok(Self { freeze, from, until })
    }

    fn holds(&self, moment: Timestamp) -> bool {
        self.from <= moment && moment < self.until
    }
}

fn read(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| {
        format!("{text:?} is not a time with offset: expected RFC 3339, such as 2026-12-24T00:00:00-05:00")
    })
}
