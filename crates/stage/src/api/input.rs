//! Reading what callers send. Query requests hold only texts; JSON and CBOR hold numbers and truth values, too.

use jiff::Timestamp;
use serde_json::Value as Json;

use crate::refusal::Refusal;

/// A text; none if it is missing or empty.
pub(super) fn text<'a>(input: &'a Json, name: &str) -> Option<&'a str> {
    input[name].as_str().filter(|text| !text.is_empty())
}

/// The texts of a list.
pub(super) fn texts<'a>(input: &'a Json, name: &str) -> Vec<&'a str> {
    input[name]
        .as_array()
        .map(|all| all.iter().filter_map(Json::as_str).collect())
        .unwrap_or_default()
}

/// A list's members.
pub(super) fn list<'a>(input: &'a Json, name: &str) -> &'a [Json] {
    input[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A whole number.
pub(super) fn number(input: &Json, name: &str) -> Option<i64> {
    match &input[name] {
        Json::String(text) => text.parse().ok(),
        other => other.as_i64(),
    }
}

pub(super) fn float(input: &Json, name: &str) -> Option<f64> {
    match &input[name] {
        Json::String(text) => text.parse().ok(),
        other => other.as_f64(),
    }
}

pub(super) fn flag(input: &Json, name: &str) -> bool {
    match &input[name] {
        Json::String(text) => text == "true",
        other => other.as_bool().unwrap_or(false),
    }
}

/// A time, as seconds since 1970 or as text.
pub(super) fn time(input: &Json, name: &str) -> Option<Timestamp> {
    match &input[name] {
        Json::String(text) => text.parse().ok(),
        other => {
            #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit")]
            let milliseconds = (other.as_f64()? * 1000.0) as i64;
            Timestamp::from_millisecond(milliseconds).ok()
        }
    }
}

/// One page of a list: its items from where the token says, and the token of the next page.
pub(super) fn page<T>(
    all: Vec<T>,
    token: Option<&str>,
    size: usize,
    refuse: impl FnOnce() -> Refusal,
) -> Result<(Vec<T>, Option<String>), Refusal> {
    let from: usize = match token {
        None => 0,
        Some(token) => token
            .strip_prefix("page-")
            .and_then(|at| at.parse().ok())
            .filter(|at| *at <= all.len())
            .ok_or_else(refuse)?,
    };
    let until = (from + size).min(all.len());
    let next = (until < all.len()).then(|| format!("page-{until}"));
    Ok((all.into_iter().skip(from).take(until - from).collect(), next))
}

/// How many items a page has: what was asked for, at most `most`.
pub(super) fn size(input: &Json, name: &str, most: usize) -> usize {
    number(input, name).and_then(|n| usize::try_from(n).ok()).map_or(most, |n| n.clamp(1, most))
}
