//! When promotions may begin.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan as _};
use liftlock_environment::config::{Day, Window};

use crate::evaluation::Evaluation;
use crate::facts::Facts;
use crate::moment;

const GATE: &str = "window";
/// How far ahead the next opening is looked for. A week holds every day; a change to or from daylight saving time can
/// swallow a window twice at most.
const DAYS_AHEAD: i64 = 21;

pub(crate) fn evaluate(windows: &[Window], facts: &Facts<'_>) -> Option<Evaluation> {
    if windows.is_empty() {
        return None;
    }
    let schedules: Vec<Schedule> = match windows.iter().map(Schedule::read).collect() {
        Ok(schedules) => schedules,
        Err(fault) => return Some(Evaluation::unreadable(GATE, &fault, facts)),
    };
    let open = schedules
        .iter()
        .filter_map(|schedule| schedule.closes(facts.now).map(|closes| (closes, schedule)))
        .max_by_key(|(closes, _)| *closes);
    Some(match open {
        Some((closes, schedule)) => {
            Evaluation::open(GATE, format!("open until {}", schedule.show(closes)))
        }
        None => shut(&schedules, facts.now),
    })
}

fn shut(schedules: &[Schedule], now: Timestamp) -> Evaluation {
    let names: Vec<String> = schedules.iter().map(|schedule| schedule.text.clone()).collect();
    let zone = &schedules[0];
    let reason = format!("outside the window {}: it is {}", names.join(" or "), zone.show(now));
    let next = schedules
        .iter()
        .filter_map(|schedule| schedule.next(now).map(|opens| (opens, schedule)))
        .min_by_key(|(opens, _)| *opens)
        .map(|(opens, schedule)| format!("opens {}", schedule.show(opens)));
    Evaluation::refused(GATE, reason, next)
}

/// A window that was read.
struct Schedule {
    text: String,
    name: String,
    zone: TimeZone,
    days: Vec<Weekday>,
    from: Time,
    until: Time,
}

impl Schedule {
    fn read(window: &Window) -> Result<Self, String> {
        let zone = TimeZone::get(&window.timezone).map_err(|_| {
            format!(
                "the window's time zone {:?} is not known: expected an IANA name such as America/New_York",
                window.timezone
            )
        })?;
        let (from, until) = (clock(&window.from)?, clock(&window.until)?);
        if from >= until {
            return Err(format!(
                "the window from {} until {} ends before it begins",
                window.from, window.until
            ));
        }
        let days = window.days.iter().map(|day| weekday(*day)).collect();
        Ok(Self { text: text(window), name: window.timezone.clone(), zone, days, from, until })
    }

    /// From when until when it is open on a date. It is open only while no reading of the clock on the wall puts the
    /// moment outside: where a time comes twice, `from` is its second coming and `until` its first; where a time is
    /// skipped, the moment of the skip stands for it.
    fn on(&self, date: Date) -> Option<(Timestamp, Timestamp)> {
        if !self.days.contains(&date.weekday()) {
            return None;
        }
        let opens = self.moment(date, self.from, Coming::Last)?;
        let closes = self.moment(date, self.until, Coming::First)?;
        (opens < closes).then_some((opens, closes))
    }

    fn moment(&self, date: Date, time: Time, coming: Coming) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(date.to_datetime(time));
        match ambiguous.offset() {
            // With the later offset the skipped time lies just before the skip.
            AmbiguousOffset::Gap { after, .. } => {
                let just_before = after.to_timestamp(ambiguous.datetime()).ok()?;
                self.zone.following(just_before).next().map(|skip| skip.timestamp())
            }
            _ => match coming {
                Coming::First => ambiguous.earlier().ok(),
                Coming::Last => ambiguous.later().ok(),
            },
        }
    }

    /// When it closes, if it is open now.
    fn closes(&self, now: Timestamp) -> Option<Timestamp> {
        let wall = self.zone.to_datetime(now);
        let (opens, closes) = self.on(wall.date())?;
        let on_the_wall = self.from <= wall.time() && wall.time() < self.until;
        (on_the_wall && opens <= now && now < closes).then_some(closes)
    }

    /// When it opens next.
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let today = self.zone.to_datetime(now).date();
        (0..=DAYS_AHEAD)
            .filter_map(|days| today.checked_add(days.days()).ok())
            .filter_map(|date| self.on(date))
            .map(|(opens, _)| opens)
            .find(|opens| *opens > now)
    }

    fn show(&self, moment: Timestamp) -> String {
        moment::zoned(moment, &self.zone, &self.name)
    }
}

/// Which of the two, where a time comes twice.
enum Coming {
    First,
    Last,
}

fn clock(text: &str) -> Result<Time, String> {
    let fine = text.len() == 5;
    Time::strptime("%H:%M", text)
        .ok()
        .filter(|_| fine)
        .ok_or_else(|| format!("{text:?} is not a time of day: expected HH:MM, such as 09:00"))
}

fn weekday(day: Day) -> Weekday {
    match day {
        Day::Monday => Weekday::Monday,
        Day::Tuesday => Weekday::Tuesday,
        Day::Wednesday => Weekday::Wednesday,
        Day::Thursday => Weekday::Thursday,
        Day::Friday => Weekday::Friday,
        Day::Saturday => Weekday::Saturday,
        Day::Sunday => Weekday::Sunday,
    }
}

/// A window in one line: `Mon, Tue, Wed, Thu 09:00–15:00 America/New_York`.
pub(crate) fn text(window: &Window) -> String {
    let days: Vec<String> =
        window.days.iter().map(|day| format!("{day:?}").chars().take(3).collect()).collect();
    format!("{} {}–{} {}", days.join(", "), window.from, window.until, window.timezone)
}
