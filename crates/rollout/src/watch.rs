//! Watching the running application for a while, with the breaker in hand.

use std::time::Duration;

use async_trait::async_trait;
use liftlock_model::Sample;
use serde::Serialize;
use tokio::time::Instant;

use crate::{Breaker, Observation, Wait};

/// Something that looks at the running application once.
#[async_trait]
pub trait Check: Send + Sync {
    /// Looks. What cannot be learned is `None` in the answer, never an error.
    async fn look(&self) -> Observation;
}

/// It was watched to the end, and was good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Watched {
    /// What that rests on.
    pub sample: Sample,
}

/// It was not seen to be good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Tripped {
    /// The breaker tripped.
    #[error("the circuit breaker tripped: {reason}")]
    Breaker {
        /// Why.
        reason: String,
        /// What that rests on.
        sample: Sample,
    },
    /// Too little was seen to call it good, or the end of the time was bad without having tripped the breaker.
    #[error(
        "inconclusive after {} s: {} of {} looks were bad, and too little is known to call the application well{}",
        watched.as_secs(), sample.bad, sample.size, detail.as_ref().map(|d| format!(" ({d})")).unwrap_or_default()
    )]
    Inconclusive {
        /// How long it was watched.
        watched: Duration,
        /// What was seen.
        sample: Sample,
        /// What the last look said was bad or unknown.
        detail: Option<String>,
    },
    /// Somebody asked to stop.
    #[error("cancelled after watching for {} s", watched.as_secs())]
    Cancelled {
        /// How long it was watched.
        watched: Duration,
    },
}

impl Tripped {
    /// True when somebody asked to stop, and nothing went wrong.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled { .. })
    }

    /// What was seen, where something was.
    pub fn sample(&self) -> Option<&Sample> {
        match self {
            Self::Breaker { sample, .. } | Self::Inconclusive { sample, .. } => Some(sample),
            Self::Cancelled { .. } => None,
        }
    }
}

/// How long a look may take at least, however short the breaker's interval is: on a busy machine an answer that comes late is still
/// an answer, and the next look simply begins later.
const LOOK: Duration = Duration::from_secs(10);

/// For how long after its end a watch goes on where health is not known: AWS may be slow just then, or not be there for a moment.
const LATE: Duration = Duration::from_secs(60);

/// Watches for `period`: looks at once, then at each of the breaker's intervals, and once more at the end. A look that does not
/// answer within the interval, or within ten seconds where the interval is shorter, learned nothing. Where the last look did not learn whether
/// the application is healthy, it looks on for a minute at most. A breaker that has watched before goes on where it was.
pub async fn watch(
    check: &dyn Check,
    breaker: &mut Breaker,
    period: Duration,
    wait: &Wait<'_>,
) -> Result<Watched, Tripped> {
    let (start, offset) = (Instant::now(), breaker.now());
    let interval = breaker.interval().max(Duration::from_millis(1));
    let limit = interval.max(LOOK).min(wait.timeout);
    let end = start + period;
    loop {
        let look = tokio::time::timeout(limit, check.look());
        let seen = tokio::select! {
            biased;
            () = wait.cancel.cancelled() => return Err(Tripped::Cancelled { watched: offset + start.elapsed() }),
            seen = look => seen.unwrap_or_else(|_| unanswered(limit)),
        };
        let looked = Instant::now();
        if let Some(trip) = breaker.observe(offset + (looked - start), &seen) {
            return Err(Tripped::Breaker { reason: trip.reason, sample: breaker.verdict().1 });
        }
        if looked >= end && (seen.health.is_some() || looked >= end + LATE) {
            return conclude(breaker, seen.detail);
        }
        (wait.on)(sign(breaker, end.saturating_duration_since(looked), &seen));
        let next = if looked < end { (looked + interval).min(end) } else { looked + interval };
        tokio::select! {
            biased;
            () = wait.cancel.cancelled() => return Err(Tripped::Cancelled { watched: offset + start.elapsed() }),
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

/// How often a watch without an end gives a sign of life while nothing changes.
const SILENCE: Duration = Duration::from_secs(60);

/// Watches until `done` has an answer, and no less strictly than [`watch()`]: what trips the breaker ends it. `doing` says what is waited
/// for. That the application is good at the end is not said by this: see [`watch()`] for a period of nothing.
pub async fn watch_until<T>(
    check: &dyn Check,
    breaker: &mut Breaker,
    done: impl Future<Output = T>,
    doing: &str,
    wait: &Wait<'_>,
) -> Result<T, Tripped> {
    let mut done = std::pin::pin!(done);
    let (start, offset) = (Instant::now(), breaker.now());
    let interval = breaker.interval().max(Duration::from_millis(1));
    let limit = interval.max(LOOK);
    let mut said: Option<(String, Instant)> = None;
    loop {
        let look = tokio::time::timeout(limit, check.look());
        let seen = tokio::select! {
            biased;
            () = wait.cancel.cancelled() => return Err(Tripped::Cancelled { watched: offset + start.elapsed() }),
            done = &mut done => return Ok(done),
            seen = look => seen.unwrap_or_else(|_| unanswered(limit)),
        };
        if let Some(trip) = breaker.observe(offset + start.elapsed(), &seen) {
            return Err(Tripped::Breaker { reason: trip.reason, sample: breaker.verdict().1 });
        }
        let health = crate::error::printable(&health(&seen));
        if said.as_ref().is_none_or(|(last, at)| *last != health || at.elapsed() >= SILENCE) {
            (wait.on)(format!("{doing}, for {} s by now: {health}", start.elapsed().as_secs()));
            said = Some((health, Instant::now()));
        }
        tokio::select! {
            biased;
            () = wait.cancel.cancelled() => return Err(Tripped::Cancelled { watched: offset + start.elapsed() }),
            done = &mut done => return Ok(done),
            () = tokio::time::sleep(interval) => {}
        }
    }
}

fn unanswered(limit: Duration) -> Observation {
    Observation {
        detail: Some(format!("no answer within {} s", limit.as_secs_f32())),
        ..Observation::default()
    }
}

fn conclude(breaker: &Breaker, detail: Option<String>) -> Result<Watched, Tripped> {
    match breaker.verdict() {
        (liftlock_model::Verdict::Pass, sample) => Ok(Watched { sample }),
        (_, sample) => Err(Tripped::Inconclusive {
            watched: breaker.now(),
            sample,
            detail: detail.map(|text| crate::error::printable(&text)),
        }),
    }
}

fn sign(breaker: &Breaker, left: Duration, seen: &Observation) -> String {
    let (_, sample) = breaker.verdict();
    crate::error::printable(&format!(
        "watching, {} s left: {}, {} of {} looks bad",
        left.as_secs_f32().ceil(),
        health(seen),
        sample.bad,
        sample.size
    ))
}

fn health(seen: &Observation) -> String {
    let health = match seen.health {
        Some(true) => "healthy",
        Some(false) => "not healthy",
        None => "health unknown",
    };
    let detail = seen.detail.as_ref().map(|d| format!(" ({d})")).unwrap_or_default();
    format!("{health}{detail}")
}
