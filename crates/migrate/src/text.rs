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
