//! Latencies as counts in classes: what a load balancer's metrics can tell of two colours, and enough to compare them.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal};

/// The upper ends of the classes, inclusive, in seconds; the last class is open. About 1.5 times apart, so that a version
/// that takes a quarter longer moves a good part of its requests into another class.
pub const BOUNDS: [f64; 30] = [
    0.001, 0.002, 0.003, 0.004, 0.005, 0.007, 0.01, 0.014, 0.02, 0.028, 0.04, 0.055, 0.075, 0.1,
    0.14, 0.2, 0.28, 0.4, 0.55, 0.75, 1.0, 1.4, 2.0, 2.8, 4.0, 5.5, 7.5, 10.0, 20.0, 60.0,
];

/// One more than there are bounds.
pub const CLASSES: usize = BOUNDS.len() + 1;

/// How many requests took how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Latencies {
    counts: Vec<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: vec![0; CLASSES] }
    }
}

impl Latencies {
    /// Adds `count` requests to the class at this place (see [`BOUNDS`]; the place after the last bound is the open class).
    /// Places beyond are counted into the open class.
    pub fn add(&mut self, class: usize, count: u64) {
        let class = class.min(CLASSES - 1);
        self.counts[class] = self.counts[class].saturating_add(count);
    }

    /// Adds one request that took so many seconds.
    pub fn record(&mut self, seconds: f64) {
        self.add(BOUNDS.partition_point(|bound| *bound < seconds), 1);
    }

    /// How many requests there are.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many requests surely took longer than so many seconds: those of the classes that begin there or later.
    pub fn over(&self, seconds: f64) -> u64 {
        let begins = |class: usize| class.checked_sub(1).map_or(0.0, |before| BOUNDS[before]);
        self.counts
            .iter()
            .enumerate()
            .filter(|(class, _)| begins(*class) >= seconds)
            .map(|(_, n)| n)
            .sum()
    }

    /// The end of the class, in seconds, below which `percent` of the requests stay; infinite in the open class, and none without
    /// requests.
    pub fn quantile(&self, percent: f64) -> Option<f64> {
        let total = self.total();
        let wanted = as_float(total) * percent / 100.0;
        let mut seen = 0;
        let class = self.counts.iter().position(|count| {
            seen += count;
            *count > 0 && as_float(seen) >= wanted
        })?;
        Some(BOUNDS.get(class).copied().unwrap_or(f64::INFINITY))
    }
}

/// What the comparison of two samples of latencies says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Slower {
    /// The probability of seeing the first sample this much slower, or more, if both were of one kind (one-sided).
    pub p: f64,
    /// How often a request of the first sample is slower than one of the second, ties counted half (Vargha and Delaney's A,
    /// which is `U / (n1 n2)`): 0.5 is alike; 0.56 is called small, 0.64 medium, 0.71 large.
    pub effect: f64,
}

/// The one-sided Mann-Whitney U test of whether `canary` is slower than `baseline`, by its normal approximation with
/// correction for ties and for continuity (Mann and Whitney 1947; Lehmann, Nonparametrics, 1.2). None when either sample is empty.
///
/// A library's test takes single values and compares each with each, which thousands of requests a second forbid; on counts it takes a
/// pass over the classes. The tests hold it against the library.
pub fn slower(canary: &Latencies, baseline: &Latencies) -> Option<Slower> {
    let (n1, n2) = (as_float(canary.total()), as_float(baseline.total()));
    if n1 == 0.0 || n2 == 0.0 {
        return None;
    }
    let n = n1 + n2;
    let (mut faster, mut u, mut ties) = (0.0, 0.0, 0.0);
    for (a, b) in canary.counts.iter().zip(&baseline.counts) {
        let (a, b) = (as_float(*a), as_float(*b));
        u += a * (faster + b / 2.0);
        faster += b;
        let tied = a + b;
        ties += tied * tied * tied - tied;
    }
    let effect = u / (n1 * n2);
    let variance = n1 * n2 / 12.0 * ((n + 1.0) - ties / (n * (n - 1.0)));
    if variance <= 0.0 {
        // All in one class: there is no difference that could be seen.
        return Some(Slower { p: 1.0, effect });
    }
    let z = (u - n1 * n2 / 2.0 - 0.5) / variance.sqrt();
    Some(Slower { p: Normal::standard().sf(z), effect })
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn as_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use statrs::stats_tests::Alternative;
    use statrs::stats_tests::mannwhitneyu::{MannWhitneyUMethod, mannwhitneyu};

    use super::*;

    fn latencies(classes: &[usize]) -> Latencies {
        let mut latencies = Latencies::default();
        classes.iter().for_each(|class| latencies.add(*class, 1));
        latencies
    }

    proptest! {
        /// The library's test over the same values, one by one.
        #[test]
        fn it_agrees_with_the_test_over_single_values(
            a in prop::collection::vec(0..CLASSES, 1..60),
            b in prop::collection::vec(0..CLASSES, 1..60),
        ) {
            let mine = slower(&latencies(&a), &latencies(&b)).unwrap();
            let method = MannWhitneyUMethod::AsymptoticInclContinuityCorrection;
            let (u, p) = mannwhitneyu(&a, &b, method, Alternative::Greater).unwrap();
            prop_assert!((mine.effect - u / (a.len() * b.len()) as f64).abs() < 1e-9);
            if a.iter().chain(&b).all(|class| *class == a[0]) {
                prop_assert_eq!(mine.p, 1.0);
            } else {
                prop_assert!((mine.p - p).abs() < 1e-9, "{} {}", mine.p, p);
            }
        }

        #[test]
        fn a_quantile_is_a_bound_that_so_many_keep(
            seconds in prop::collection::vec(0.0001_f64..100.0, 1..80), percent in 1.0_f64..=100.0,
        ) {
            let mut latencies = Latencies::default();
            seconds.iter().for_each(|s| latencies.record(*s));
            let bound = latencies.quantile(percent).unwrap();
            let kept = seconds.iter().filter(|s| **s <= bound).count() as f64;
            prop_assert!(kept >= seconds.len() as f64 * percent / 100.0 - 1e-9);
        }
    }

    #[test]
    fn a_bound_is_in_the_class_that_it_ends() {
        let mut latencies = Latencies::default();
        latencies.record(0.1);
        assert_eq!(latencies.quantile(50.0), Some(0.1));
        latencies.record(61.0);
        assert_eq!(latencies.quantile(100.0), Some(f64::INFINITY));
        assert_eq!(Latencies::default().quantile(50.0), None);
        assert_eq!(slower(&latencies, &Latencies::default()), None);
    }
}
