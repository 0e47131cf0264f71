//! The canary against the version that still serves: pure.
//!
//! Both are compared over the same time, so that what hurts both (a slow database, a bad hour) blames neither.

mod errors;
mod latency;

use liftlock_environment::config::{Analysis, LatencyLimit};
use liftlock_model::{Sample, Verdict};
use serde::Serialize;

use crate::Requests;
pub use errors::worse;
pub use latency::{BOUNDS, CLASSES, Latencies, Slower, slower};

/// What one colour did over some time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Requests that reached it, and those of them that failed by its fault (status 5xx).
    pub requests: Requests,
    /// How long its answers took.
    pub latencies: Latencies,
}

/// What a comparison says, and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// Pass, fail or inconclusive.
    pub verdict: Verdict,
    /// Requests of the canary, and how many of them failed.
    pub sample: Sample,
    /// What was found, for people.
    pub reason: String,
}

/// Compares the canary with the baseline. `looks` is how often this is asked of one bake: the level of significance is shared
/// among them (Bonferroni), since a version that is compared often enough would fail some time by chance.
pub fn compare(policy: &Analysis, looks: u32, canary: &Traffic, baseline: &Traffic) -> Judgement {
    let sample = Sample { size: canary.requests.total, bad: canary.requests.errors };
    let judged = |verdict, reason| Judgement { verdict, sample: sample.clone(), reason };
    let level = policy.significance / f64::from(looks.max(1));
    let limits = policy.latency.iter().map(|limit| over(policy, limit, &canary.latencies));
    let compared = [
        more_errors(policy, level, canary, baseline),
        slower_answers(policy, level, canary, baseline),
    ];
    let bad: Vec<_> = compared.into_iter().chain(limits).flatten().collect();
    if !bad.is_empty() {
        return judged(Verdict::Fail, bad.join("; "));
    }
    let least = canary.requests.total.min(baseline.requests.total);
    if least < policy.min_requests {
        let reason = format!(
            "{} requests of the new version and {} of the old one are too few to compare: at least {} of each are wanted",
            canary.requests.total, baseline.requests.total, policy.min_requests
        );
        return judged(Verdict::Inconclusive, reason);
    }
    judged(Verdict::Pass, summary(canary, baseline))
}

fn more_errors(
    policy: &Analysis,
    level: f64,
    canary: &Traffic,
    baseline: &Traffic,
) -> Option<String> {
    let (new, old) = (canary.requests, baseline.requests);
    let p = worse(new, old)?;
    let more = rate(new) - rate(old);
    (p < level && more >= policy.error_increase).then(|| {
        format!(
            "the new version fails more often: {} of {} requests ({:.2} %) against {} of {} ({:.2} %), p = {p:.2e} in Fisher's exact test",
            new.errors, new.total, rate(new), old.errors, old.total, rate(old)
        )
    })
}

fn slower_answers(
    policy: &Analysis,
    level: f64,
    canary: &Traffic,
    baseline: &Traffic,
) -> Option<String> {
    let (new, old) = (&canary.latencies, &baseline.latencies);
    // The normal approximation holds from about 20 of each on.
    if new.total().min(old.total()) < policy.min_requests.max(20) {
        return None;
    }
    let slower = slower(new, old)?;
    (slower.p < level && slower.effect >= policy.latency_effect).then(|| {
        format!(
            "the new version is slower: its median is {} against {}, its 95th percentile {} against {}; a request of it is slower than one of \
             the old version {:.0} % of the time, p = {:.2e} in the Mann-Whitney test",
            quantile(new, 50.0), quantile(old, 50.0), quantile(new, 95.0), quantile(old, 95.0), slower.effect * 100.0, slower.p
        )
    })
}

/// A limit that is surely broken: what may lie below it within its class is not counted.
fn over(policy: &Analysis, limit: &LatencyLimit, latencies: &Latencies) -> Option<String> {
    let (total, at_most) = (latencies.total(), limit.at_most.duration().as_secs_f64());
    let slow = latencies.over(at_most);
    (total >= policy.min_requests && share(slow, total) > 100.0 - limit.percentile).then(|| {
        format!(
            "{slow} of {total} answers of the new version took longer than {}: {} % must not",
            limit.at_most, limit.percentile
        )
    })
}

fn summary(canary: &Traffic, baseline: &Traffic) -> String {
    let (new, old) = (canary.requests, baseline.requests);
    format!(
        "{} of {} requests of the new version failed, {} of {} of the old one; 95th percentiles {} and {}",
        new.errors,
        new.total,
        old.errors,
        old.total,
        quantile(&canary.latencies, 95.0),
        quantile(&baseline.latencies, 95.0)
    )
}

/// Up to the end of a class of latencies.
fn quantile(latencies: &Latencies, percent: f64) -> String {
    match latencies.quantile(percent) {
        None => "unknown".to_owned(),
        Some(seconds) if seconds.is_infinite() => format!("over {} s", BOUNDS[BOUNDS.len() - 1]),
        Some(seconds) if seconds < 1.0 => format!("≤ {:.0} ms", seconds * 1000.0),
        Some(seconds) => format!("≤ {seconds:.1} s"),
    }
}

fn rate(requests: Requests) -> f64 {
    share(requests.errors, requests.total)
}

/// In percent; 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn share(part: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { part as f64 * 100.0 / total as f64 }
}

#[cfg(test)]
mod tests;
