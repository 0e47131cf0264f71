//! Text from outside, made fit for messages.

/// At most `limit` characters of `text` on one line, without control characters and without those that turn the direction of
/// writing.
pub(crate) fn clean(text: &str, limit: usize) -> String {
    let line: String = text.chars().map(|c| if hides(c) { ' ' } else { c }).collect();
    let words: Vec<&str> = line.split_whitespace().collect();
    let line = words.join(" ");
    if line.chars().count() <= limit {
        return line;
    }
    line.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The last cause of an error: `Connection refused (os error 111)`, without the layers around it.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    clean(&cause.to_string(), 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_text_cannot_move_the_cursor() {
        assert_eq!(clean("a\u{1b}[2J\r\nb\u{202e}c", 80), "a [2J b c");
        assert_eq!(clean("abcdef", 4), "abc…");
    }
}
