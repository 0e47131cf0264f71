//! Keeping secrets, and what could move the cursor, out of messages. Environment files must not hold secrets, but some
//! will, and the message that says so is printed in CI logs.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// What stands in the place of a secret.
pub(crate) const MASK: &str = "[redacted]";

/// The password of a URL, the path of a chat webhook (which is a secret as a whole), and what a line that cannot be parsed
/// may hold: a quoted value whose key says that it is secret, and a text without a scheme where a source belongs.
static SECRET: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?ix)
        [a-z][a-z0-9+.-]*://[^/@\s"':]*:(?<password>[^\s"']+)@
        | hooks\.slack\.com/(?<webhook>[^\s"']+)
        | (?:password|passwd|secret|token|webhook|api_?key|value)[a-z0-9_-]*["']?\s*=\s*(?<value>["'].*)
        | \burl["']?\s*=\s*(?<plain>["'][^:]*)$
        "#,
    )
    .expect("the pattern is fixed")
});

/// Whether a value holds what must never stand in a file: a URL's password or a webhook's path.
pub(crate) fn holds_secret(text: &str) -> bool {
    SECRET
        .captures_iter(text)
        .any(|found| found.name("password").or(found.name("webhook")).is_some())
}

/// Whether a key promises a secret, so that a text under it is one.
pub(crate) fn names_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    [
        "password",
        "passwd",
        "passphrase",
        "private_key",
        "api_key",
        "secret_key",
        "access_token",
        "auth_token",
    ]
    .iter()
    .any(|name| key.ends_with(name))
}

/// `text` without its secrets, where they can be told by their form, and without control characters.
pub(crate) fn clean(text: &str) -> String {
    line(text, 0..0, &[]).0
}

/// `text` as it is quoted in a message: cleaned, and cut when it is long.
pub(crate) fn quoted(text: &str) -> String {
    let text = clean(text);
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("`{short}`")
}

/// A line of a file as it may be shown: the secrets at `hidden`, and those that can be told by their form, masked. `marked`
/// is moved along.
pub(crate) fn line(
    text: &str,
    marked: Range<usize>,
    hidden: &[Range<usize>],
) -> (String, Range<usize>) {
    let masks = masks(text, hidden);
    let mut shown = String::with_capacity(text.len());
    let map = |at: usize| -> usize {
        let mut target = 0;
        let mut from = 0;
        for mask in &masks {
            if at <= mask.start {
                break;
            }
            target += mask.start - from + if at >= mask.end { MASK.len() } else { 0 };
            from = mask.end;
            if at < mask.end {
                return target;
            }
        }
        target + at - from
    };
    let marked = map(marked.start)..map(marked.end);
    let mut from = 0;
    for mask in &masks {
        shown.push_str(&printable(&text[from..mask.start]));
        shown.push_str(MASK);
        from = mask.end;
    }
    shown.push_str(&printable(&text[from..]));
    (shown, marked)
}

/// What to mask, in order, without overlaps.
fn masks(text: &str, hidden: &[Range<usize>]) -> Vec<Range<usize>> {
    let told = SECRET.captures_iter(text).filter_map(|found| {
        ["password", "webhook", "value", "plain"]
            .into_iter()
            .find_map(|name| found.name(name))
            .map(|part| part.range())
    });
    let mut all: Vec<Range<usize>> =
        told.chain(hidden.iter().cloned()).filter(|mask| !mask.is_empty()).collect();
    all.sort_by_key(|mask| (mask.start, mask.end));
    let mut merged: Vec<Range<usize>> = Vec::new();
    for mask in all {
        match merged.last_mut() {
            Some(last) if mask.start <= last.end => last.end = last.end.max(mask.end),
            _ => merged.push(mask),
        }
    }
    merged
}

/// Control characters (C0, DEL, C1, direction) replaced by as many bytes, so that places in the text keep their meaning.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() && c.len_utf8() == 1 => '?',
            c if c.is_control() => '¿',
            // What turns the direction of text, and so makes a line read as another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            c => c,
        })
        .collect()
}
