//! A load's answers against limits and against the last good release: pure.

use liftlock_environment::config::Performance;
use liftlock_model::{Sample, Verdict};
use serde::{Deserialize, Serialize};

use crate::analysis::Judgement;

/// A quantile of fewer answers says nothing.
const LEAST: u64 = 20;

/// How a release answered a load. Times are in microseconds, usage in tenths of a percent of what a task has: whole numbers, since the
/// ledger keeps no others exactly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// What was asked.
    pub path: String,
    /// How often in a second.
    pub per_second: u32,
    /// For how long, in milliseconds.
    pub length: u64,
    /// How many requests that were.
    pub requests: u64,
    /// How many of them failed.
    pub failed: u64,
    /// The median.
    pub p50: Option<u64>,
    /// The 95th percentile.
    pub p95: Option<u64>,
    /// The 99th percentile.
    pub p99: Option<u64>,
    /// The highest average of a minute over the tasks' processors, where CloudWatch tells.
    pub cpu: Option<u64>,
    /// The same of their memory.
    pub memory: Option<u64>,
}

impl Measures {
    /// Whether the other was under the same load, so that the two can be compared.
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.path, self.per_second, self.length) == (&other.path, other.per_second, other.length)
    }
}

/// Judges a load by its limits and by what the last good release did under the same. `errors` is the share of requests, in percent, that
/// may fail.
pub fn judge(
    policy: &Performance,
    errors: f64,
    now: &Measures,
    before: Option<&Measures>,
) -> Judgement {
    let sample = Sample { size: now.requests, bad: now.failed };
    let judged = |verdict, reason| Judgement { verdict, sample: sample.clone(), reason };
    let baseline = before.filter(|before| before.is_like(now));
    let bad: Vec<_> = [failing(errors, now)]
        .into_iter()
        .chain(over(policy, now))
        .chain(longer(policy, now, baseline))
        .flatten()
        .collect();
    if !bad.is_empty() {
        return judged(Verdict::Fail, format!("{}; {}", bad.join("; "), told(now)));
    }
    if now.requests < LEAST || now.p50.is_none() {
        let reason =
            format!("{} answers are too few to judge by: {LEAST} are wanted", now.requests);
        return judged(Verdict::Inconclusive, reason);
    }
    let missing = [("cpu", policy.cpu, now.cpu), ("memory", policy.memory, now.memory)];
    let missing = missing.iter().find(|(_, limit, seen)| limit.is_some() && seen.is_none());
    if let Some((what, ..)) = missing {
        let reason =
            format!("{what} has a limit, and CloudWatch has no number of it; {}", told(now));
        return judged(Verdict::Inconclusive, reason);
    }
    let compared = match (before, baseline) {
        (_, Some(baseline)) => format!("the last good release: {}", told(baseline)),
        (Some(_), None) => {
            "nothing to compare with: the last good release was under another load".to_owned()
        }
        (None, None) => "nothing to compare with yet".to_owned(),
    };
    judged(Verdict::Pass, format!("{}; {compared}", told(now)))
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn failing(errors: f64, now: &Measures) -> Option<String> {
    let share = now.failed as f64 * 100.0 / now.requests.max(1) as f64;
    (now.failed > 0 && share > errors)
        .then(|| format!("{} of {} requests failed, over {errors} %", now.failed, now.requests))
}

/// The limits of the environment's file.
fn over(policy: &Performance, now: &Measures) -> impl Iterator<Item = Option<String>> {
    let times = [
        ("the median", policy.p50, now.p50),
        ("the 95th percentile", policy.p95, now.p95),
        ("the 99th percentile", policy.p99, now.p99),
    ]
    .map(|(what, limit, seen)| {
        let (limit, seen) = (limit?, seen?);
        (u128::from(seen) > limit.duration().as_micros())
            .then(|| format!("{what} is {}, over {limit}", spoken(seen)))
    });
    let usage = [("cpu", policy.cpu, now.cpu), ("memory", policy.memory, now.memory)].map(
        |(what, limit, seen)| {
            let (limit, seen) = (limit?, as_float(seen?) / 10.0);
            (seen > limit).then(|| format!("{what} is at {seen:.1} %, over {limit} %"))
        },
    );
    times.into_iter().chain(usage)
}

/// The 99th percentile of a short load is a handful of requests: it has a limit, and is not compared.
fn longer(
    policy: &Performance,
    now: &Measures,
    before: Option<&Measures>,
) -> impl Iterator<Item = Option<String>> {
    let quantiles = before.map(|before| {
        [("the median", now.p50, before.p50), ("the 95th percentile", now.p95, before.p95)]
    });
    quantiles.into_iter().flatten().map(|(what, now, before)| {
        let (now, before) = (now?, before?);
        let more = u128::from(now.saturating_sub(before));
        let allowed = as_float(before) * (1.0 + policy.regression / 100.0);
        (as_float(now) > allowed && more >= policy.noise.duration().as_micros()).then(|| {
            format!(
                "{what} is {}, and was {} in the last good release: more than {} % longer",
                spoken(now),
                spoken(before),
                policy.regression
            )
        })
    })
}

/// In one line.
fn told(measures: &Measures) -> String {
    let quantile = |value: Option<u64>| value.map_or_else(|| "unknown".to_owned(), spoken);
    let percent = |value: Option<u64>| {
        let spoken = |tenths| format!("{:.1} %", as_float(tenths) / 10.0);
        value.map_or_else(|| "unknown".to_owned(), spoken)
    };
    let Measures { requests, failed, p50, p95, p99, cpu, memory, .. } = measures;
    format!(
        "{failed} of {requests} requests failed, p50 {}, p95 {}, p99 {}, cpu {}, memory {}",
        quantile(*p50),
        quantile(*p95),
        quantile(*p99),
        percent(*cpu),
        percent(*memory)
    )
}

fn spoken(microseconds: u64) -> String {
    format!("{:.1} ms", as_float(microseconds) / 1000.0)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a load are far below 2^52")]
fn as_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(more: &str) -> Performance {
        let text = format!("path = \"/\"\nrequests_per_second = 50\n{more}");
        toml::from_str(&text).unwrap()
    }

    /// Quantiles in milliseconds.
    fn measures(p50: u64, p95: u64) -> Measures {
        Measures {
            path: "/".into(),
            per_second: 50,
            length: 30_000,
            requests: 1500,
            failed: 0,
            p50: Some(p50 * 1000),
            p95: Some(p95 * 1000),
            p99: Some(p95 * 2000),
            cpu: None,
            memory: None,
        }
    }

    fn verdict(more: &str, now: &Measures, before: Option<&Measures>) -> Judgement {
        judge(&policy(more), 5.0, now, before)
    }

    /// Shows E-PERF-1: a regression is both more percent than the file allows and more than noise; another load is not compared.
    #[test]
    fn a_regression_is_more_than_the_share_and_more_than_noise() {
        let before = measures(40, 100);
        let seen = |p50, p95| verdict("", &measures(p50, p95), Some(&before));
        assert_eq!(seen(48, 120).verdict, Verdict::Pass);
        let slow = seen(49, 100);
        assert_eq!(slow.verdict, Verdict::Fail);
        assert!(
            slow.reason
                .starts_with("the median is 49.0 ms, and was 40.0 ms in the last good release"),
            "{}",
            slow.reason
        );
        assert_eq!(seen(40, 121).verdict, Verdict::Fail);
        // Twice as long, and all the same no time at all.
        let quick = measures(1, 2);
        assert_eq!(verdict("", &measures(2, 4), Some(&quick)).verdict, Verdict::Pass);
        let other = Measures { per_second: 10, ..measures(1, 1) };
        let uncompared = verdict("", &measures(40, 100), Some(&other));
        assert_eq!(uncompared.verdict, Verdict::Pass);
        assert!(uncompared.reason.contains("under another load"), "{}", uncompared.reason);
        let first = verdict("", &measures(40, 100), None);
        assert!(first.reason.ends_with("nothing to compare with yet"), "{}", first.reason);
    }

    /// Shows E-PERF-1: response-time thresholds, and processors and memory of the tasks, also in a first release.
    #[test]
    fn limits_count_without_a_release_before() {
        assert_eq!(verdict("p95 = \"99ms\"", &measures(40, 100), None).verdict, Verdict::Fail);
        assert_eq!(verdict("p95 = \"100ms\"", &measures(40, 100), None).verdict, Verdict::Pass);
        assert_eq!(verdict("p50 = \"39ms\"", &measures(40, 100), None).verdict, Verdict::Fail);
        assert_eq!(verdict("p99 = \"199ms\"", &measures(40, 100), None).verdict, Verdict::Fail);
        let used = |cpu| Measures { cpu, ..measures(40, 100) };
        assert_eq!(verdict("cpu = 80", &used(Some(801)), None).verdict, Verdict::Fail);
        assert_eq!(verdict("cpu = 80", &used(Some(800)), None).verdict, Verdict::Pass);
        assert_eq!(verdict("cpu = 80", &used(None), None).verdict, Verdict::Inconclusive);
        assert_eq!(verdict("memory = 80", &used(None), None).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn failures_fail_and_too_few_are_inconclusive() {
        let failing = |failed| Measures { failed, ..measures(1, 1) };
        assert_eq!(verdict("", &failing(75), None).verdict, Verdict::Pass);
        assert_eq!(verdict("", &failing(76), None).verdict, Verdict::Fail);
        let few = Measures { requests: 19, ..measures(1, 1) };
        assert_eq!(verdict("", &few, None).verdict, Verdict::Inconclusive);
        let none = Measures { p50: None, ..measures(1, 1) };
        assert_eq!(verdict("", &none, None).verdict, Verdict::Inconclusive);
    }
}
