//! Checks of the gates.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz;

use crate::check::Checks;
use crate::config::{Approvals, Freeze, Gates, Window};
use crate::nearest::nearest;

pub(crate) fn check(gates: &Gates, checks: &mut Checks<'_>) {
    for (index, item) in gates.windows.iter().enumerate() {
        window(&index.to_string(), item, checks);
    }
    for (index, item) in gates.freezes.iter().enumerate() {
        freeze(&index.to_string(), item, checks);
    }
    if let Some(rate) = &gates.rate {
        checks.takes_time(&["gates", "rate", "within"], rate.within);
    }
    if let Some(approvals) = &gates.approvals {
        check_approvals("gates", approvals, checks);
    }
}

/// `table` is the one that they stand in.
pub(crate) fn check_approvals(table: &str, approvals: &Approvals, checks: &mut Checks<'_>) {
    checks.takes_time(&[table, "approvals", "expires"], approvals.expires);
    let people = approvals.from.iter().collect::<BTreeSet<_>>().len();
    if usize::try_from(approvals.required).is_ok_and(|required| required > people) {
        let message = format!(
            "{} approvals are required, and only {people} may give one: nobody could ever have them",
            approvals.required
        );
        let help =
            format!("allowed: 1 to {people}, or name more people in `{table}.approvals.from`");
        checks.value(&[table, "approvals", "required"], message, help);
    }
}

fn window(index: &str, window: &Window, checks: &mut Checks<'_>) {
    let at = |key| ["gates", "windows", index, key];
    // Both have the form HH:MM, so their texts are in the order of their times.
    if window.until <= window.from {
        let message =
            format!("the window ends ({}) before it begins ({})", window.until, window.from);
        let help = "`until` is later than `from` on the same day; for a window over midnight write two windows";
        checks.value(&at("until"), message, help);
    }
    if tz::TimeZone::get(&window.timezone).is_err() {
        let known: Vec<String> = tz::db().available().map(|name| name.to_string()).collect();
        let near = nearest(&window.timezone, known.iter().map(String::as_str));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "a name of the IANA time zone database, such as `America/New_York` or `UTC`"
                .to_owned(),
        };
        checks.value(&at("timezone"), "this is not a time zone", help);
    }
}

fn freeze(index: &str, freeze: &Freeze, checks: &mut Checks<'_>) {
    let mut time = |key, text: &str| {
        let time = text.parse::<Timestamp>().ok();
        if time.is_none() {
            let help = "expected RFC 3339 with offset, such as `2026-12-24T00:00:00-05:00`";
            checks.value(&["gates", "freezes", index, key], "this is not a time", help);
        }
        time
    };
    let times = (time("from", &freeze.from), time("until", &freeze.until));
    if matches!(times, (Some(from), Some(until)) if until <= from) {
        let message = "the freeze ends before it begins, so it would freeze nothing";
        checks.value(
            &["gates", "freezes", index, "until"],
            message,
            "`until` is later than `from`",
        );
    }
}
