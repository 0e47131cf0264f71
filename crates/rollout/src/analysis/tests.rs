use proptest::prelude::*;

use super::*;

fn policy() -> Analysis {
    Analysis::default()
}

/// So many requests, of which so many failed, around so many seconds.
fn traffic(total: u64, errors: u64, seconds: f64) -> Traffic {
    let mut latencies = Latencies::default();
    for n in 0..total {
        // From half to one and a half times as long, evenly.
        latencies.record(seconds * (0.5 + (n % 100) as f64 / 100.0));
    }
    Traffic { requests: Requests { total, errors }, latencies }
}

fn verdict(canary: &Traffic, baseline: &Traffic) -> Verdict {
    compare(&policy(), 5, canary, baseline).verdict
}

#[test]
fn a_canary_like_its_baseline_passes() {
    assert_eq!(verdict(&traffic(500, 2, 0.1), &traffic(4500, 18, 0.1)), Verdict::Pass);
    assert_eq!(verdict(&traffic(500, 0, 0.1), &traffic(4500, 0, 0.1)), Verdict::Pass);
}

#[test]
fn a_canary_that_fails_more_often_fails_and_says_by_how_much() {
    let judged = compare(&policy(), 5, &traffic(500, 20, 0.1), &traffic(4500, 18, 0.1));
    assert_eq!(judged.verdict, Verdict::Fail);
    assert_eq!(judged.sample, Sample { size: 500, bad: 20 });
    assert!(
        judged.reason.contains("20 of 500 requests (4.00 %) against 18 of 4500 (0.40 %)"),
        "{}",
        judged.reason
    );
}

/// A bad hour for both blames neither.
#[test]
fn what_hurts_both_blames_neither() {
    assert_eq!(verdict(&traffic(500, 100, 2.0), &traffic(4500, 900, 2.0)), Verdict::Pass);
}

#[test]
fn a_slower_canary_fails_and_a_faster_one_does_not() {
    let judged = compare(&policy(), 5, &traffic(500, 0, 0.2), &traffic(4500, 0, 0.1));
    assert_eq!(judged.verdict, Verdict::Fail);
    assert!(judged.reason.contains("slower"), "{}", judged.reason);
    assert_eq!(verdict(&traffic(500, 0, 0.05), &traffic(4500, 0, 0.1)), Verdict::Pass);
}

/// With a hundred thousand requests any difference is significant; a small one is no reason to go back.
#[test]
fn a_difference_that_nobody_notices_is_none() {
    assert_eq!(verdict(&traffic(100_000, 120, 0.1), &traffic(900_000, 900, 0.1)), Verdict::Pass);
    assert_eq!(verdict(&traffic(100_000, 0, 0.102), &traffic(900_000, 0, 0.1)), Verdict::Pass);
}

#[test]
fn few_requests_are_never_a_pass() {
    let (canary, baseline) = (traffic(5, 0, 0.1), traffic(45, 0, 0.1));
    let judged = compare(&policy(), 5, &canary, &baseline);
    assert_eq!(judged.verdict, Verdict::Inconclusive);
    assert!(
        judged.reason.contains("5 requests of the new version and 45 of the old one are too few")
    );
    assert_eq!(verdict(&Traffic::default(), &Traffic::default()), Verdict::Inconclusive);
    assert_eq!(verdict(&traffic(500, 0, 0.1), &Traffic::default()), Verdict::Inconclusive);
}

#[test]
fn a_limit_on_latency_needs_no_slower_baseline() {
    let limit =
        LatencyLimit { percentile: 95.0, at_most: liftlock_environment::Period::from_millis(400) };
    let policy = Analysis { latency: vec![limit], ..policy() };
    let slow = traffic(500, 0, 1.0);
    let judged = compare(&policy, 5, &slow, &slow);
    assert_eq!(judged.verdict, Verdict::Fail);
    assert!(
        judged.reason.contains("answers of the new version took longer than 400ms"),
        "{}",
        judged.reason
    );
    let fast = traffic(500, 0, 0.2);
    assert_eq!(compare(&policy, 5, &fast, &fast).verdict, Verdict::Pass);
}

/// Few requests that all fail are enough to turn back: the exact test knows no minimum.
#[test]
fn a_plain_failure_needs_no_minimum() {
    assert_eq!(verdict(&traffic(8, 8, 0.1), &traffic(72, 0, 0.1)), Verdict::Fail);
}

proptest! {
    /// More errors of the canary, all else alike, never make a fail a pass.
    #[test]
    fn more_errors_are_never_better(total in 1_u64..400, a in 0_u64..400, b in 0_u64..400, old in 0_u64..100) {
        let (fewer, more) = (a.min(b).min(total), a.max(b).min(total));
        let baseline = traffic(1000, old, 0.1);
        let canary = |errors| Traffic { requests: Requests { total, errors }, ..traffic(total, 0, 0.1) };
        let before = verdict(&canary(fewer), &baseline);
        if before == Verdict::Fail {
            prop_assert_eq!(verdict(&canary(more), &baseline), Verdict::Fail);
        }
    }
}
