//! Text from outside, made fit for messages.

/// `text` on one line, with every control character replaced.
pub(crate) fn printable(text: &str) -> String {
    let safe = |c: char| match c {
        '\n' | '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.trim().chars().map(safe).collect()
}

/// A list for people, one item on each line.
pub(crate) fn lines<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(|item| format!("\n  {item}")).collect()
}

/// A number that is unlike those of others: for names that must not meet.
pub(crate) fn unlike() -> u32 {
    use std::hash::{BuildHasher as _, Hasher as _};
    // Each of these is seeded by the system's randomness.
    let hash = std::collections::hash_map::RandomState::new().build_hasher().finish();
    u32::try_from(hash >> 32).unwrap_or(0)
}

/// A string for SQL that means the same however the server is set to read strings.
pub(crate) fn quoted(text: &str) -> String {
    format!("E'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_do_not_end_a_string() {
        assert_eq!(quoted(r"it's \'x"), r"E'it''s \\''x'");
        assert_eq!(quoted(""), "E''");
    }
}
