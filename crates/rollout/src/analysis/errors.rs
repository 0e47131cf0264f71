//! Failed requests of two colours.

use statrs::stats_tests::Alternative;
use statrs::stats_tests::fisher::fishers_exact;

use crate::Requests;

/// The probability that a canary no worse than the baseline fails this often or more: Fisher's exact test, one-sided. It holds
/// for any numbers, also for those few errors where an approximation would not. None when either side has no requests.
pub fn worse(canary: Requests, baseline: Requests) -> Option<f64> {
    if canary.total == 0 || baseline.total == 0 {
        return None;
    }
    let good = |requests: Requests| requests.total.saturating_sub(requests.errors);
    let table = [canary.errors, good(canary), baseline.errors, good(baseline)];
    fishers_exact(&table, Alternative::Greater).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(canary: (u64, u64), baseline: (u64, u64)) -> f64 {
        let requests = |(errors, total)| Requests { total, errors };
        worse(requests(canary), requests(baseline)).unwrap()
    }

    /// Values from R: `fisher.test(matrix(c(a, b, c, d), 2), alternative = "greater")$p.value`, which for a table of these sizes is
    /// the sum over the hypergeometric distribution: C(9, 1) C(11, 9) / C(20, 10) and so on.
    #[test]
    fn it_is_the_tail_of_the_hypergeometric_distribution() {
        // 3 of 3 against 0 of 3: 1 / C(6, 3).
        assert!((p((3, 3), (0, 3)) - 0.05).abs() < 1e-12);
        // 2 of 4 against 0 of 4: C(4,2) C(4,0) / C(8,2) = 6/28.
        assert!((p((2, 4), (0, 4)) - 6.0 / 28.0).abs() < 1e-12);
        assert!((p((0, 100), (7, 100)) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn many_requests_are_no_trouble() {
        assert!(p((600, 100_000), (4_500, 900_000)) < 1e-3);
        assert!(p((500, 100_000), (4_500, 900_000)) > 0.4);
    }

    #[test]
    fn without_requests_there_is_nothing_to_say() {
        let none = Requests { total: 0, errors: 0 };
        assert_eq!(worse(none, Requests { total: 5, errors: 0 }), None);
        assert_eq!(worse(Requests { total: 5, errors: 5 }, none), None);
    }
}
