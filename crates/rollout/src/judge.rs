//! A named check: whether what was measured again and again is good. Pure; it knows no clock: time is passed in.

use std::time::Duration;

use jiff::Timestamp;
use liftlock_environment::config::{NamedCheck, NoData, Scalar};
use liftlock_model::{Sample, Verdict};
use serde::Serialize;

/// What one look found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Measured {
    /// A value, and when it was so.
    Value(Scalar, Timestamp),
    /// Whether it was good is known, with what that was, and when: an alarm.
    Known(bool, String, Timestamp),
    /// Nothing is known, and why.
    Nothing(String),
}

/// What is known of a check by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Standing {
    /// The newest value is good.
    Good,
    /// Looks that are still to come decide.
    Open,
    /// It was bad too often in a row, or without data for too long: the rollout turns back.
    Bad,
    /// It was without data for too long, and the environment's file leaves that to others.
    Unknown,
}

/// The state of one named check over one wait.
#[derive(Debug, Clone)]
pub struct Judge {
    rule: NamedCheck,
    /// Looks that learned something, and those of them that were bad.
    sample: Sample,
    bad_in_a_row: u32,
    /// Since when there is no data.
    blind_since: Option<Duration>,
    standing: Standing,
    detail: String,
}

impl Judge {
    /// One that has seen nothing yet: without data from time zero on.
    pub fn new(rule: &NamedCheck) -> Self {
        Self {
            rule: rule.clone(),
            sample: Sample { size: 0, bad: 0 },
            bad_in_a_row: 0,
            blind_since: Some(Duration::ZERO),
            standing: Standing::Open,
            detail: "it has not been asked yet".to_owned(),
        }
    }

    /// Takes one look in, made `at` this time since the wait began. What is bad stays so.
    pub fn observe(&mut self, at: Duration, measured: &Measured) -> Standing {
        if self.standing == Standing::Bad {
            return Standing::Bad;
        }
        let (good, told) = match measured {
            Measured::Nothing(why) => return self.blind(at, why),
            Measured::Known(good, told, when) => (*good, format!("{told} at {when:.0}")),
            Measured::Value(value, when) => match is_good(&self.rule, value) {
                Ok(good) => {
                    let is = if good { "is" } else { "is not" };
                    (good, format!("{value} at {when:.0} {is} {}", wanted(&self.rule)))
                }
                Err(why) => return self.blind(at, &why),
            },
        };
        let told = crate::error::printable(&told);
        self.blind_since = None;
        self.sample.size += 1;
        if good {
            self.bad_in_a_row = 0;
            self.detail = told;
            self.standing = Standing::Good;
            return Standing::Good;
        }
        self.sample.bad += 1;
        self.bad_in_a_row += 1;
        let (row, limit) = (self.bad_in_a_row, self.rule.failures.max(1));
        self.detail = match limit {
            1 => told,
            _ if row >= limit => format!("{told}, {row} times in a row"),
            _ => format!("{told}, {row} of {limit} times in a row"),
        };
        self.standing = if row >= limit { Standing::Bad } else { Standing::Open };
        self.standing.clone()
    }

    /// Looks that learn nothing neither lengthen nor end a row of bad ones.
    fn blind(&mut self, at: Duration, why: &str) -> Standing {
        let since = *self.blind_since.get_or_insert(at);
        let length = at.saturating_sub(since);
        let over = length >= self.rule.patience.duration();
        self.detail = format!("{}, for {}", crate::error::printable(why), spoken(length));
        self.standing = match (over, self.rule.no_data) {
            (false, _) => Standing::Open,
            (true, NoData::Fail) => Standing::Bad,
            (true, NoData::Breaker) => Standing::Unknown,
        };
        self.standing.clone()
    }

    /// What is known by now.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Pass, fail or inconclusive, and what that rests on. What it turns back for without data is inconclusive all the same.
    pub fn verdict(&self) -> (Verdict, Sample) {
        let verdict = match self.standing {
            Standing::Good => Verdict::Pass,
            Standing::Bad if self.blind_since.is_none() => Verdict::Fail,
            Standing::Bad | Standing::Open | Standing::Unknown => Verdict::Inconclusive,
        };
        (verdict, self.sample.clone())
    }

    /// The newest value with its time and what was wanted, or why there is none, for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// Whether a value is good; why it cannot be compared, where it cannot.
fn is_good(rule: &NamedCheck, value: &Scalar) -> Result<bool, String> {
    if let Some(equals) = &rule.equals {
        return match (equals, value) {
            (Scalar::Number(a), Scalar::Number(b)) => Ok(a.total_cmp(b).is_eq() || a == b),
            (Scalar::Text(a), Scalar::Text(b)) => Ok(a == b),
            (Scalar::Truth(a), Scalar::Truth(b)) => Ok(a == b),
            _ => Err(format!("{value} is of another type than {equals}, which it should equal")),
        };
    }
    let Scalar::Number(number) = value else {
        return Err(format!("{value} is not a number, and is to be {}", wanted(rule)));
    };
    if number.is_nan() {
        return Err("NaN".to_owned());
    }
    let fits = rule.below.is_none_or(|limit| *number < limit)
        && rule.above.is_none_or(|limit| *number > limit);
    Ok(fits)
}

fn wanted(rule: &NamedCheck) -> String {
    match (rule.below, rule.above, &rule.equals) {
        (_, _, Some(equals)) => equals.to_string(),
        (Some(below), Some(above), None) => format!("above {above} and below {below}"),
        (Some(below), None, None) => format!("below {below}"),
        (None, Some(above), None) => format!("above {above}"),
        (None, None, None) => "anything".to_owned(),
    }
}

/// Short times with a decimal, so that they are not told as none.
fn spoken(length: Duration) -> String {
    match length.as_secs() {
        0..10 => format!("{:.1} s", length.as_secs_f32()),
        seconds => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use liftlock_environment::Period;
    use proptest::prelude::*;

    use super::*;

    fn below(limit: f64) -> NamedCheck {
        NamedCheck { below: Some(limit), failures: 2, ..NamedCheck::default() }
    }

    fn value(number: f64) -> Measured {
        Measured::Value(Scalar::Number(number), Timestamp::UNIX_EPOCH)
    }

    fn nothing() -> Measured {
        Measured::Nothing("no data: the query found no series".into())
    }

    fn ends(rule: &NamedCheck, looks: &[(u64, Measured)]) -> Judge {
        let mut judge = Judge::new(rule);
        for (at, measured) in looks {
            judge.observe(Duration::from_secs(*at), measured);
        }
        judge
    }

    /// Shows D-RB-1 as data: as many bad values in a row as the file says turn back, with value, limit and time.
    #[test]
    fn bad_values_in_a_row_are_a_fail() {
        let judge = ends(&below(0.5), &[(0, value(0.6)), (30, value(0.7))]);
        assert_eq!(judge.standing(), &Standing::Bad);
        assert_eq!(judge.verdict(), (Verdict::Fail, Sample { size: 2, bad: 2 }));
        assert_eq!(
            judge.detail(),
            "0.7 at 1970-01-01T00:00:00Z is not below 0.5, 2 times in a row"
        );
        let mended = ends(&below(0.5), &[(0, value(0.6)), (30, value(0.4)), (60, value(0.5))]);
        assert_eq!(mended.standing(), &Standing::Open, "the limit itself is not below it");
        let gap = ends(&below(0.5), &[(0, value(0.6)), (30, nothing()), (60, value(0.6))]);
        assert_eq!(gap.standing(), &Standing::Bad, "a look that learned nothing is not a good one");
        let good = ends(&below(0.5), &[(0, value(0.6)), (30, value(0.4))]);
        assert_eq!(good.verdict(), (Verdict::Pass, Sample { size: 2, bad: 1 }));
    }

    /// Shows A-RB-1's condition that no data is never a pass, and that the file says what becomes of it.
    #[test]
    fn without_data_it_is_never_a_pass() {
        let mut rule = NamedCheck { patience: Period::from_secs(60), ..below(1.0) };
        assert_eq!(Judge::new(&rule).verdict().0, Verdict::Inconclusive);
        let blind = [(0, nothing()), (59, nothing())];
        assert_eq!(ends(&rule, &blind).standing(), &Standing::Open);
        let longer = [&blind[..], &[(60, nothing())]].concat();
        let judge = ends(&rule, &longer);
        assert_eq!((judge.standing(), judge.verdict().0), (&Standing::Bad, Verdict::Inconclusive));
        assert_eq!(judge.detail(), "no data: the query found no series, for 60 s");
        rule.no_data = NoData::Breaker;
        let judge = ends(&rule, &longer);
        assert_eq!(judge.standing(), &Standing::Unknown);
        assert_eq!(judge.verdict(), (Verdict::Inconclusive, Sample { size: 0, bad: 0 }));
        // Data that comes later counts again.
        let late = [&longer[..], &[(90, value(0.5))]].concat();
        assert_eq!(ends(&rule, &late).verdict().0, Verdict::Pass);
        // A good value long ago is no pass now.
        let stale = [(0, value(0.5)), (10, nothing()), (70, nothing())];
        assert_eq!(ends(&rule, &stale).verdict().0, Verdict::Inconclusive);
    }

    #[test]
    fn what_cannot_be_compared_is_no_data() {
        let equals = |equals| NamedCheck { equals: Some(equals), ..NamedCheck::default() };
        let text = |text: &str| Measured::Value(Scalar::Text(text.into()), Timestamp::UNIX_EPOCH);
        let ok = equals(Scalar::Text("ok".into()));
        assert_eq!(ends(&ok, &[(0, text("ok"))]).verdict().0, Verdict::Pass);
        assert_eq!(ends(&ok, &[(0, value(1.0))]).verdict().0, Verdict::Inconclusive);
        let judge = ends(&below(1.0), &[(0, text("0.5"))]);
        assert_eq!(judge.verdict().0, Verdict::Inconclusive);
        assert!(judge.detail().starts_with("\"0.5\" is not a number"), "{}", judge.detail());
        assert_eq!(ends(&below(1.0), &[(0, value(f64::NAN))]).verdict().0, Verdict::Inconclusive);
        let range = NamedCheck { above: Some(1.0), ..below(2.0) };
        assert_eq!(ends(&range, &[(0, value(1.5))]).verdict().0, Verdict::Pass);
        assert_eq!(ends(&range, &[(0, value(1.0))]).standing(), &Standing::Open);
    }

    proptest! {
        /// It is a pass only if the newest look had a good value, whatever came before, and it was not bad already.
        #[test]
        fn a_pass_rests_on_the_newest_look(
            looks in prop::collection::vec(prop::option::of(any::<bool>()), 0..30)
        ) {
            let mut judge = Judge::new(&below(1.0));
            for (n, look) in looks.iter().enumerate() {
                let seen = look.map_or_else(nothing, |good| value(if good { 0.0 } else { 1.0 }));
                judge.observe(Duration::from_secs(n as u64), &seen);
            }
            if judge.verdict().0 == Verdict::Pass {
                prop_assert_eq!(looks.last(), Some(&Some(true)));
            }
            prop_assert!(judge.sample.size <= looks.iter().flatten().count() as u64);
        }
    }
}
