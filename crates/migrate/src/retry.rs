//! Running a transaction again that failed only since others were in its way: a lock that was not to be had, a deadlock, a
//! serialization failure. No transaction is open between two attempts, so that nobody has to wait for the one that waits.

use std::time::{Duration, Instant};

use liftlock_model::MigrationId;

use crate::failure::{Failure, ScriptError};
use crate::progress::{On, Progress};
use crate::session::Session;

/// The pause after the first attempt; it doubles after each.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The attempts at one transaction.
pub(crate) struct Attempts {
    budget: Duration,
    /// When the first attempt failed: the budget counts from there.
    failed: Option<Instant>,
    number: u32,
}

impl Attempts {
    /// `budget` is how long after the first failure new attempts are begun.
    pub(crate) fn new(budget: Duration) -> Self {
        Self { budget, failed: None, number: 1 }
    }

    /// The number of the attempt that is under way, from 1.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Looks at how an attempt ended. None after a pause: it is to be tried again. To be called with no transaction open.
    ///
    /// # Errors
    /// What cannot be mended by waiting, and the last failure once the budget is used up.
    pub(crate) async fn ended<T>(
        &mut self,
        id: &MigrationId,
        attempt: Result<T, Failure>,
        on: On<'_>,
    ) -> Result<Option<T>, Failure> {
        let failure = match attempt {
            Ok(done) => return Ok(Some(done)),
            Err(failure) => failure,
        };
        if !passes(&failure) {
            return Err(failure);
        }
        let waited = self.failed.get_or_insert_with(Instant::now).elapsed();
        match pause(self.number, waited, self.budget, rand::random()) {
            Some(pause) => {
                on(&Progress::Retrying {
                    id: id.clone(),
                    attempt: self.number,
                    after: pause,
                    left: self.budget.saturating_sub(waited),
                    reason: why(&failure),
                    by: blockers(&failure).to_vec(),
                });
                self.number += 1;
                tokio::time::sleep(pause).await;
                Ok(None)
            }
            None if self.number == 1 => Err(failure),
            None => {
                let (attempts, last) = (self.number, Box::new(failure));
                Err(Failure::GaveUp { attempts, over: waited, last })
            }
        }
    }
}

/// Whether the same transaction may go through later.
fn passes(failure: &Failure) -> bool {
    let code = match failure {
        Failure::Script { source: ScriptError::LockTimeout { .. }, .. } => return true,
        Failure::Raced { .. } => return true,
        Failure::Outside { source, .. } => match &**source {
            ScriptError::LockTimeout { .. } => return true,
            ScriptError::Sql { code, .. } => code,
            _ => return false,
        },
        Failure::Script { source: ScriptError::Sql { code, .. }, .. } => code,
        Failure::Database { code: Some(code), .. } => code,
        _ => return false,
    };
    // No lock, deadlock, serialization failure.
    matches!(code.as_str(), "55P03" | "40P01" | "40001")
}

fn why(failure: &Failure) -> String {
    let Failure::Script { source: ScriptError::LockTimeout { after, by, .. }, .. } = failure else {
        return failure.to_string();
    };
    let by: Vec<String> = by.iter().map(ToString::to_string).collect();
    let by = if by.is_empty() { "somebody".to_owned() } else { by.join(", ") };
    format!("no lock within {} ms: it is held by {by}", after.as_millis())
}

fn blockers(failure: &Failure) -> &[Session] {
    match failure {
        Failure::Script { source: ScriptError::LockTimeout { by, .. }, .. } => by,
        _ => &[],
    }
}

/// How long to wait after attempt `number`, from 1, when `waited` of the budget is gone; none when it is used up. `jitter`
/// from 0 to 1 keeps those apart that failed at one time.
fn pause(number: u32, waited: Duration, budget: Duration, jitter: f64) -> Option<Duration> {
    let left = budget.checked_sub(waited).filter(|left| !left.is_zero())?;
    let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(number.saturating_sub(1)));
    Some(doubled.min(LONGEST_PAUSE).mul_f64(0.5 + jitter / 2.0).min(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: u32, waited: u64, budget: u64, jitter: f64) -> Option<f64> {
        let from = Duration::from_secs;
        pause(number, from(waited), from(budget), jitter).map(|pause| pause.as_secs_f64())
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_the_budget() {
        let pauses: Vec<_> = (1..9).map(|number| seconds(number, 0, 600, 1.0).unwrap()).collect();
        assert_eq!(pauses, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        assert_eq!(seconds(3, 0, 600, 0.0), Some(1.0), "at least half of it");
        assert_eq!(seconds(u32::MAX, 0, 600, 1.0), Some(30.0));
        assert_eq!(seconds(9, 595, 600, 1.0), Some(5.0), "a last attempt when the budget ends");
        assert_eq!(seconds(9, 600, 600, 1.0), None);
        assert_eq!(seconds(1, 0, 0, 1.0), None, "no budget, no retry");
    }

    #[test]
    fn only_what_others_caused_is_tried_again() {
        let sql = |code: &str| Failure::Script {
            id: MigrationId { version: 1, name: "a".into() },
            source: ScriptError::Sql {
                file: "V0001__a.sql".into(),
                line: None,
                code: code.into(),
                message: String::new(),
            },
        };
        assert!(["55P03", "40P01", "40001"].iter().all(|code| passes(&sql(code))));
        assert!(["42703", "57014", "23505", ""].iter().all(|code| !passes(&sql(code))));
    }
}
