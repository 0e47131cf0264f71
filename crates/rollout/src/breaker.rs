//! The circuit breaker: a pure state machine over what was observed. It knows no clock: time is passed in.

use std::time::Duration;

use liftlock_environment::config;
use liftlock_model::{Sample, Verdict};
use serde::Serialize;

/// Requests that were answered since the look before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// All.
    pub total: u64,
    /// Those that failed by the application's fault (status 5xx, or no answer).
    pub errors: u64,
}

/// What one look at the running application showed. `None` is not known, which is neither good nor bad.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Observation {
    /// Its health check answered as it should.
    pub health: Option<bool>,
    /// Requests since the look before.
    pub requests: Option<Requests>,
    /// Its database was reached.
    pub database: Option<bool>,
    /// How many of its tasks have died since it is watched: those that ended by themselves, or whose health checks failed.
    pub died: Option<u32>,
    /// Whether health is not known because an answer is still on its way: it is worth another look.
    pub pending: bool,
    /// What was bad or unknown, for people.
    pub detail: Option<String>,
}

impl Observation {
    fn is_empty(&self) -> bool {
        self.health.is_none()
            && self.database.is_none()
            && self.requests.is_none_or(|requests| requests.total == 0)
    }
}

/// Short times with a decimal, so that they are not told as none.
fn spoken(length: Duration) -> String {
    match length.as_secs() {
        0..10 => format!("{:.1} s", length.as_secs_f32()),
        seconds => format!("{seconds} s"),
    }
}

/// The breaker tripped: traffic must go back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trip {
    /// Which threshold was passed, and what was seen.
    pub reason: String,
}

/// Trips when a new version is bad for long enough. Once tripped, it stays so.
#[derive(Debug, Clone)]
pub struct Breaker {
    limits: config::Breaker,
    /// When the last look was.
    now: Duration,
    /// Health checks that failed in a row. Looks that learn nothing neither lengthen nor end a row.
    failed_in_a_row: u32,
    /// Whether the last health check that was known was good.
    healthy: Option<bool>,
    /// Since when the error rate is too high.
    errors_since: Option<Duration>,
    /// Since when the database is unreachable.
    database_since: Option<Duration>,
    /// How many tasks had died at the last look that knew.
    died: u32,
    /// Looks that learned something.
    size: u64,
    /// Looks that learned something bad.
    bad: u64,
    /// Looks that learned nothing about health.
    blind: u64,
    looks: u64,
    /// Whether the last look learned nothing about health.
    is_blind: bool,
    trip: Option<Trip>,
}

impl Breaker {
    /// A breaker with these limits, which has seen nothing yet.
    pub fn new(limits: &config::Breaker) -> Self {
        Self {
            limits: limits.clone(),
            now: Duration::ZERO,
            failed_in_a_row: 0,
            healthy: None,
            errors_since: None,
            database_since: None,
            died: 0,
            size: 0,
            bad: 0,
            blind: 0,
            is_blind: true,
            looks: 0,
            trip: None,
        }
    }

    /// How often it should look.
    pub fn interval(&self) -> Duration {
        self.limits.interval.duration()
    }

    /// When the last look was, since the breaker was made.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Takes one look in, made `at` this time since the breaker was made. Times must not fall. Returns the trip, also
    /// for each look after it.
    pub fn observe(&mut self, at: Duration, seen: &Observation) -> Option<Trip> {
        self.now = self.now.max(at);
        self.is_blind = seen.health.is_none();
        // What is asked now is answered later.
        if !seen.pending {
            self.looks += 1;
            self.blind += u64::from(seen.health.is_none());
        }
        self.size += u64::from(!seen.is_empty());
        let health = self.health(seen.health);
        let errors = self.errors(seen.requests);
        let database = self.database(seen.database);
        let died = self.died(seen.died);
        let bad = died.is_some()
            || seen.health == Some(false)
            || seen.database == Some(false)
            || seen.requests.is_some_and(|requests| self.too_many(requests));
        self.bad += u64::from(bad);
        if self.trip.is_none() {
            self.trip = health.or(errors).or(database).or(died).map(|mut reason| {
                if let Some(detail) = &seen.detail {
                    reason.push_str(&format!(" ({})", crate::error::printable(detail)));
                }
                Trip { reason }
            });
        }
        self.trip.clone()
    }

    /// What is known by now. Pass needs health that the last look knew and found good, nothing bad under way, and health known in at
    /// least half of the looks (but those that waited for an answer); no data is never a pass.
    pub fn verdict(&self) -> (Verdict, Sample) {
        let settled = self.healthy == Some(true)
            && !self.is_blind
            && self.errors_since.is_none()
            && self.database_since.is_none()
            && self.blind * 2 <= self.looks;
        let verdict = match (&self.trip, settled) {
            (Some(_), _) => Verdict::Fail,
            (None, true) => Verdict::Pass,
            (None, false) => Verdict::Inconclusive,
        };
        (verdict, Sample { size: self.size, bad: self.bad })
    }

    fn health(&mut self, healthy: Option<bool>) -> Option<String> {
        match healthy {
            None => {}
            Some(true) => self.failed_in_a_row = 0,
            Some(false) => self.failed_in_a_row += 1,
        }
        self.healthy = healthy.or(self.healthy);
        (self.failed_in_a_row >= self.limits.health_failures.max(1))
            .then(|| format!("{} health checks failed in a row", self.failed_in_a_row))
    }

    #[expect(clippy::cast_precision_loss, reason = "2^52 requests between two looks are not met")]
    fn too_many(&self, requests: Requests) -> bool {
        requests.total > 0
            && requests.errors as f64 * 100.0 > self.limits.error_rate * requests.total as f64
    }

    fn errors(&mut self, requests: Option<Requests>) -> Option<String> {
        let requests = requests.filter(|requests| requests.total > 0)?;
        if !self.too_many(requests) {
            self.errors_since = None;
            return None;
        }
        let since = *self.errors_since.get_or_insert(self.now);
        let (length, limit) = (self.now - since, &self.limits);
        (length >= limit.error_rate_for.duration()).then(|| {
            format!(
                "the error rate was over {} % for {} (last {} errors in {} requests)",
                limit.error_rate,
                spoken(length),
                requests.errors,
                requests.total
            )
        })
    }

    fn database(&mut self, reached: Option<bool>) -> Option<String> {
        if reached? {
            self.database_since = None;
            return None;
        }
        let since = *self.database_since.get_or_insert(self.now);
        let length = self.now - since;
        (length > self.limits.database_unreachable_for.duration())
            .then(|| format!("the database was unreachable for {}", spoken(length)))
    }

    /// One task may die of what is not its own: the machine under it. That others took its place is no reason to go on when that repeats.
    fn died(&mut self, died: Option<u32>) -> Option<String> {
        self.died = self.died.max(died?);
        (self.died >= self.limits.task_failures.max(1))
            .then(|| format!("{} tasks died while it was watched", self.died))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(&config::Breaker::default())
    }

    fn health(healthy: bool) -> Observation {
        Observation { health: Some(healthy), ..Observation::default() }
    }

    fn errors(errors: u64, total: u64) -> Observation {
        Observation { requests: Some(Requests { total, errors }), ..health(true) }
    }

    fn database(reached: bool) -> Observation {
        Observation { database: Some(reached), ..health(true) }
    }

    /// The time in seconds at which a look each 30 s at this trips the breaker.
    fn trips_at(each: u64, looks: impl IntoIterator<Item = Observation>) -> Option<u64> {
        let mut breaker = breaker();
        looks.into_iter().zip(0u64..).find_map(|(seen, n)| {
            breaker.observe(Duration::from_secs(n * each), &seen).map(|_| n * each)
        })
    }

    /// Shows A-RB-1: three health checks that failed in a row, 30 s apart.
    #[test]
    fn the_third_failed_health_check_in_a_row_trips() {
        let bad = [health(false), health(false), health(false)];
        assert_eq!(trips_at(30, bad), Some(60));
        let mended = [health(false), health(false), health(true), health(false), health(false)];
        assert_eq!(trips_at(30, mended), None);
        // A look that learned nothing is not a good one.
        let gap = [health(false), health(false), Observation::default(), health(false)];
        assert_eq!(trips_at(30, gap), Some(90));
        assert_eq!(breaker().interval(), Duration::from_secs(30));
    }

    /// Shows A-RB-1: an error rate over 5 % for 2 minutes. Exactly 5 % is not over.
    #[test]
    fn two_minutes_over_five_percent_trip() {
        assert_eq!(trips_at(30, vec![errors(6, 100); 9]), Some(120));
        assert_eq!(trips_at(30, vec![errors(5, 100); 9]), None);
        assert_eq!(trips_at(119, [errors(6, 100), errors(6, 100), errors(0, 100)]), None);
        let dip = [errors(6, 100), errors(6, 100), errors(5, 100), errors(6, 100), errors(6, 100)];
        assert_eq!(trips_at(60, dip), None);
        // No traffic says nothing about the rate, and does not end the two minutes.
        let quiet = [errors(1, 1), errors(0, 0), errors(0, 0), errors(0, 0), errors(1, 1)];
        assert_eq!(trips_at(30, quiet), Some(120));
    }

    /// Shows A-RB-1: a database unreachable for over 1 minute.
    #[test]
    fn over_a_minute_without_database_trips() {
        assert_eq!(trips_at(60, vec![database(false); 2]), None);
        assert_eq!(trips_at(61, vec![database(false); 2]), Some(61));
        assert_eq!(
            trips_at(40, [database(false), database(true), database(false), database(false)]),
            None
        );
    }

    /// Shows A-RB-1 beyond its words: a version whose tasks keep dying is not good, however many others answer meanwhile.
    #[test]
    fn the_second_task_that_dies_trips() {
        let died = |died| Observation { died, ..health(true) };
        assert_eq!(trips_at(30, [died(Some(0)), died(Some(1)), died(None), died(Some(1))]), None);
        assert_eq!(trips_at(30, [died(Some(1)), died(Some(2))]), Some(30));
        // The platform forgets those that died long ago.
        assert_eq!(trips_at(30, [died(Some(1)), died(Some(0)), died(Some(2))]), Some(60));
    }

    #[test]
    fn no_data_is_never_a_pass() {
        let mut breaker = breaker();
        assert_eq!(breaker.verdict(), (Verdict::Inconclusive, Sample { size: 0, bad: 0 }));
        for n in 0..10 {
            assert_eq!(breaker.observe(Duration::from_secs(n), &Observation::default()), None);
        }
        assert_eq!(breaker.verdict(), (Verdict::Inconclusive, Sample { size: 0, bad: 0 }));
        breaker.observe(Duration::from_secs(11), &health(true));
        assert_eq!(breaker.verdict().0, Verdict::Inconclusive, "one look in eleven is not enough");
    }

    /// Shows A-RB-1's condition for the end: what was good before says nothing of now.
    #[test]
    fn a_last_look_that_learned_nothing_is_not_a_pass() {
        let mut breaker = breaker();
        for n in 0..9 {
            breaker.observe(Duration::from_secs(n), &health(true));
        }
        breaker.observe(Duration::from_secs(10), &Observation::default());
        assert_eq!(breaker.verdict().0, Verdict::Inconclusive);
        breaker.observe(Duration::from_secs(11), &health(true));
        assert_eq!(breaker.verdict().0, Verdict::Pass);
    }

    #[test]
    fn what_ends_badly_is_not_a_pass_even_if_it_did_not_trip() {
        let mut breaker = breaker();
        breaker.observe(Duration::ZERO, &health(true));
        assert_eq!(breaker.verdict(), (Verdict::Pass, Sample { size: 1, bad: 0 }));
        breaker.observe(Duration::from_secs(30), &health(false));
        assert_eq!(breaker.verdict(), (Verdict::Inconclusive, Sample { size: 2, bad: 1 }));
        breaker.observe(Duration::from_secs(60), &database(false));
        assert_eq!(breaker.verdict(), (Verdict::Inconclusive, Sample { size: 3, bad: 2 }));
    }

    #[test]
    fn the_reason_names_the_threshold_and_what_was_seen() {
        let mut breaker = breaker();
        let seen = Observation { detail: Some("GET /health: 500".into()), ..health(false) };
        let trip = (0..3).find_map(|n| breaker.observe(Duration::from_secs(n * 30), &seen));
        assert_eq!(trip.unwrap().reason, "3 health checks failed in a row (GET /health: 500)");
        assert!(
            breaker.observe(Duration::from_secs(90), &health(true)).is_some(),
            "it stays tripped"
        );
        assert_eq!(breaker.verdict().0, Verdict::Fail);
    }

    proptest! {
        /// Shows A-RB-1: over any sequence of looks 30 s apart, the breaker trips exactly where a naive reading of the
        /// requirement says, and not one look earlier or later.
        #[test]
        fn it_trips_exactly_where_the_requirement_says(
            looks in prop::collection::vec((any::<bool>(), 0u64..=12, any::<bool>()), 0..40)
        ) {
            let mut breaker = breaker();
            for n in 0..looks.len() {
                let (healthy, errors, reached) = looks[n];
                let seen = Observation {
                    health: Some(healthy),
                    requests: Some(Requests { total: 100, errors }),
                    database: Some(reached),
                    died: Some(0),
                    pending: false,
                    detail: None,
                };
                let row = |length: usize, bad: &dyn Fn(&(bool, u64, bool)) -> bool| {
                    n + 1 >= length && looks[n + 1 - length..=n].iter().all(bad)
                };
                // 3 checks; 2 minutes are 5 looks from first to last; over 1 minute is 4 looks (90 s).
                let expected = row(3, &|l| !l.0) || row(5, &|l| l.1 > 5) || row(4, &|l| !l.2);
                let trip = breaker.observe(Duration::from_secs(30 * n as u64), &seen);
                prop_assert_eq!(trip.is_some(), expected);
                if expected {
                    break;
                }
            }
        }
    }
}
