//! Slack's message format (<https://docs.slack.dev/messaging/formatting-message-text>), with its limits.

use liftlock_environment::config::Occasion;
use serde_json::{Value, json};

use crate::message::Message;

/// Characters of a section's text; Slack takes 3000.
const TEXT_LIMIT: usize = 2900;
/// Characters of a title.
const TITLE_LIMIT: usize = 250;
/// Characters of a field's name, and of its value; Slack takes 2000 together.
const NAME_LIMIT: usize = 100;
const VALUE_LIMIT: usize = 1000;
/// Fields of one section.
const FIELDS_PER_SECTION: usize = 10;
/// Fields of a message.
const FIELDS_LIMIT: usize = 30;

pub(crate) fn payload(message: &Message) -> Value {
    let title = escape(&one_line(&message.title), TITLE_LIMIT);
    let text = escape(&message.text, TEXT_LIMIT);
    let mut blocks = vec![section(&format!("{} *{title}*", symbol(message.occasion)))];
    if !text.trim().is_empty() {
        blocks.push(section(&text));
    }
    for fields in
        message.fields[..message.fields.len().min(FIELDS_LIMIT)].chunks(FIELDS_PER_SECTION)
    {
        let fields: Vec<Value> = fields.iter().map(|(name, value)| field(name, value)).collect();
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    let mut footer = format!("liftlock · {}", message.environment);
    if message.fields.len() > FIELDS_LIMIT {
        footer.push_str(&format!(
            " · {} more facts are not shown",
            message.fields.len() - FIELDS_LIMIT
        ));
    }
    blocks.push(json!({ "type": "context", "elements": [mrkdwn(&footer)] }));
    // For notifications on phones, for screen readers, and for servers that know no blocks.
    let fallback = if text.trim().is_empty() { title } else { format!("{title}\n{text}") };
    json!({ "text": fallback, "blocks": blocks })
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": mrkdwn(text) })
}

fn field(name: &str, value: &str) -> Value {
    let name = escape(&one_line(name), NAME_LIMIT);
    mrkdwn(&format!("*{name}*\n{}", escape(value, VALUE_LIMIT)))
}

fn mrkdwn(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

fn symbol(occasion: Occasion) -> &'static str {
    match occasion {
        Occasion::Started => ":arrow_up:",
        Occasion::Promoted => ":white_check_mark:",
        Occasion::RolledBack => ":leftwards_arrow_with_hook:",
        Occasion::Stuck => ":rotating_light:",
        Occasion::ApprovalPending => ":raised_hand:",
        Occasion::RollbackStarted => ":rewind:",
        Occasion::Paused => ":double_vertical_bar:",
        Occasion::MigrationLong => ":hourglass_flowing_sand:",
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Escapes Slack's three special characters, which also turns mentions and links into text, and drops control characters
/// except line ends. The result has at most `limit` characters and never ends within an escape.
fn escape(text: &str, limit: usize) -> String {
    let mut escaped = String::new();
    let mut length = 0;
    for c in text.chars().filter(|c| *c == '\n' || !c.is_control()) {
        let piece = match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            c => c.to_string(),
        };
        let size = piece.chars().count();
        // One is kept for the ellipsis.
        if length + size > limit - 1 {
            escaped.push('…');
            break;
        }
        escaped.push_str(&piece);
        length += size;
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message {
            occasion: Occasion::Promoted,
            environment: "prod".parse().unwrap(),
            title: "1.4.0 is\nin prod".into(),
            text: "<!channel> a & b\u{1b}[2J".into(),
            fields: vec![("Release".into(), "rel-0123456789ab".into())],
        }
    }

    /// Shows E-NOT-1: the whole payload, as Slack documents it.
    #[test]
    fn the_payload_is_slacks() {
        let text = |text: &str| json!({ "type": "mrkdwn", "text": text, "verbatim": true });
        assert_eq!(
            payload(&message()),
            json!({
                "text": "1.4.0 is in prod\n&lt;!channel&gt; a &amp; b[2J",
                "blocks": [
                    { "type": "section", "text": text(":white_check_mark: *1.4.0 is in prod*") },
                    { "type": "section", "text": text("&lt;!channel&gt; a &amp; b[2J") },
                    { "type": "section", "fields": [text("*Release*\nrel-0123456789ab")] },
                    { "type": "context", "elements": [text("liftlock · prod")] },
                ],
            })
        );
    }

    /// Slack refuses a message that breaks a limit, as a whole: better a shorter one.
    #[test]
    fn limits_are_kept() {
        let long = "&".repeat(5000);
        let fields = (0..45).map(|_| (long.clone(), long.clone())).collect();
        let message = Message { title: long.clone(), text: long.clone(), fields, ..message() };
        let payload = payload(&message);
        let blocks = payload["blocks"].as_array().unwrap();
        assert_eq!(blocks.len(), 6);
        for block in blocks {
            let fields = block["fields"].as_array().cloned().unwrap_or_default();
            assert!(fields.len() <= 10);
            for field in fields {
                assert!(field["text"].as_str().unwrap().chars().count() <= 2000);
            }
            let text = block["text"]["text"].as_str().unwrap_or_default();
            assert!(text.chars().count() <= 3000);
        }
        assert!(payload.to_string().contains("15 more facts are not shown"));
    }

    #[test]
    fn no_escape_is_cut() {
        assert_eq!(escape("ab&cd", 8), "ab&amp;…");
        assert_eq!(escape("ab&cd", 7), "ab…");
        assert_eq!(escape("ab", 3), "ab");
    }
}
