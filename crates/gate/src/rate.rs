//! How many promotions may begin in how much time.

use jiff::Timestamp;
use liftlock_environment::config::Rate;

use crate::evaluation::Evaluation;
use crate::facts::Facts;
use crate::moment;

const GATE: &str = "rate";

pub(crate) fn evaluate(rate: &Rate, facts: &Facts<'_>) -> Evaluation {
    let since = moment::before(facts.now, rate.within.duration());
    // What lies ahead counts too: the clock of the machine that began it was fast, or ours is slow.
    let mut recent: Vec<Timestamp> =
        facts.promotions.iter().copied().filter(|began| *began > since).collect();
    recent.sort_unstable_by(|a, b| b.cmp(a));
    let limit = format!("at most {} in {}", rate.at_most, rate.within);
    if rate.at_most == 0 {
        return Evaluation::unreadable(GATE, &format!("{limit}: none may ever begin"), facts);
    }
    // The one that must grow older than the limit, so that fewer than `at_most` are recent.
    match usize::try_from(rate.at_most).ok().and_then(|at_most| recent.get(at_most - 1)) {
        None => Evaluation::open(
            GATE,
            format!("{} began in the last {}, {limit}", recent.len(), rate.within),
        ),
        Some(began) => Evaluation::refused(
            GATE,
            format!(
                "{} began in the last {}, the newest {}; {limit}",
                recent.len(),
                rate.within,
                moment::utc(recent[0])
            ),
            Some(format!("opens {}", moment::utc(moment::after(*began, rate.within.duration())))),
        ),
    }
}
