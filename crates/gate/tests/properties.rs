//! What holds for every clock, window and history.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use liftlock_environment::Period;
use liftlock_environment::config::{Day, Gates, Rate, Window};
use liftlock_gate::{Decision, Evaluation, Facts, evaluate};
use liftlock_model::{EnvName, ReleaseId};
use proptest::prelude::*;

const ZONES: [&str; 8] = [
    "America/New_York",
    "Europe/London",
    "Australia/Lord_Howe", // daylight saving time of half an hour
    "America/St_Johns",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "America/Santiago", // its changes are at midnight
];
const DAYS: [Day; 7] = [
    Day::Monday,
    Day::Tuesday,
    Day::Wednesday,
    Day::Thursday,
    Day::Friday,
    Day::Saturday,
    Day::Sunday,
];

fn ask(gates: &Gates, now: Timestamp, promotions: &[Timestamp]) -> Evaluation {
    let environment: EnvName = "prod".parse().unwrap();
    let release: ReleaseId = "rel-0123456789ab".parse().unwrap();
    let facts = Facts {
        environment: &environment,
        release: &release,
        now,
        requester: None,
        proofs: &[],
        promotions,
        approvals: &[],
    };
    evaluate(gates, &facts).remove(0)
}

fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

prop_compose! {
    fn windows()(
        zone in 0..ZONES.len(),
        days in prop::sample::subsequence(DAYS.to_vec(), 1..=7),
        from in 0u16..1439,
        length in 1u16..1440,
    ) -> Window {
        let until = (from + length).min(1439);
        Window { days, from: clock(from), until: clock(until), timezone: ZONES[zone].into() }
    }
}

/// Moments of 1995 to 2037, half of them within a day of a change of the zone's clocks.
fn moments() -> impl Strategy<Value = (i64, bool, i64)> {
    (788_918_400i64..2_145_916_800, any::<bool>(), -86_400i64..86_400)
}

fn moment(zone: &str, (second, near, offset): (i64, bool, i64)) -> Timestamp {
    let base = Timestamp::from_second(second).unwrap();
    let zone = TimeZone::get(zone).unwrap();
    let change = near.then(|| zone.following(base).next()).flatten();
    match change {
        Some(change) => change.timestamp() + SignedDuration::from_secs(offset),
        None => base,
    }
}

fn inside(window: &Window, now: Timestamp) -> bool {
    let wall = TimeZone::get(&window.timezone).unwrap().to_datetime(now);
    let time = format!("{:02}:{:02}", wall.hour(), wall.minute());
    let day = DAYS[usize::try_from(wall.weekday().to_monday_zero_offset()).unwrap()];
    window.days.contains(&day) && window.from <= time && time < window.until
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    /// Shows C-GATE-1: the gate is never open while the clock on the wall is outside the window; and where the clock does not
    /// jump on that day or the next to it, it is open all the time that it is inside.
    #[test]
    fn never_open_outside_a_window(window in windows(), at in moments()) {
        let now = moment(&window.timezone, at);
        let zone = TimeZone::get(&window.timezone).unwrap();
        let gates = Gates { windows: vec![window.clone()], ..Gates::default() };
        let open = ask(&gates, now, &[]).decision == Decision::Open;
        prop_assert!(!open || inside(&window, now));
        let day = SignedDuration::from_hours(25);
        let jumps = zone.following(now - day).take(1).any(|change| change.timestamp() < now + day);
        prop_assert!(jumps || open == inside(&window, now));
    }

    /// Shows C-GATE-1: at the time that a refusal names, the gate is open, and it was shut the second before.
    #[test]
    fn the_named_time_opens(window in windows(), at in moments()) {
        let now = moment(&window.timezone, at);
        let gates = Gates { windows: vec![window], ..Gates::default() };
        let answer = ask(&gates, now, &[]);
        if answer.decision == Decision::Refused && let Some(next) = answer.next {
            let utc = next.rsplit_once(", ").unwrap().1.trim_end_matches(" UTC").replace(' ', "T");
            let utc = if utc.len() == 16 { format!("{utc}:00Z") } else { format!("{utc}Z") };
            let opens: Timestamp = utc.parse().unwrap();
            prop_assert!(opens > now);
            prop_assert_eq!(ask(&gates, opens, &[]).decision, Decision::Open);
            let before = opens - SignedDuration::from_secs(1);
            prop_assert_eq!(ask(&gates, before, &[]).decision, Decision::Refused);
        }
    }

    /// Shows C-GATE-2: however often it is asked, no stretch of time as long as the limit's holds more than it allows.
    #[test]
    fn the_rate_is_never_exceeded(
        at_most in 1u32..4,
        within in 1u64..200,
        pauses in prop::collection::vec(0i64..100, 1..80),
    ) {
        let rate = Rate { at_most, within: Period::from_secs(within) };
        let gates = Gates { rate: Some(rate), ..Gates::default() };
        let mut now = Timestamp::from_second(1_700_000_000).unwrap();
        let mut began = Vec::new();
        for pause in pauses {
            now += SignedDuration::from_secs(pause);
            if ask(&gates, now, &began).decision == Decision::Open {
                began.push(now);
            }
        }
        for first in &began {
            let end = *first + SignedDuration::from_secs(i64::try_from(within).unwrap());
            let count = began.iter().filter(|moment| first <= *moment && **moment < end).count();
            prop_assert!(count <= at_most as usize, "{count} from {first}");
        }
        prop_assert!(!began.is_empty());
    }
}
