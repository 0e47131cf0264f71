//! JSON lines for machines: `{"version":1,"type":…,…}`. A field may be added in the same version; none changes its meaning.

use std::io::Write;

use liftlock_promote::Notice;
use serde::Serialize;
use serde_json::{Value, json};

/// The version of the lines' form.
const VERSION: u32 = 1;

pub(super) fn notice(notice: &Notice) {
    match notice {
        Notice::Entry(entry) => line("entry", entry),
        Notice::Life { step, text } => line("life", &json!({ "step": step, "text": text })),
    }
}

/// One line: the value's fields, or the value under `value` when it is no object.
pub(super) fn line<T: Serialize>(kind: &str, value: &T) {
    let mut object = serde_json::Map::from_iter([
        ("version".to_owned(), json!(VERSION)),
        ("type".to_owned(), json!(kind)),
    ]);
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => object.extend(fields),
        Ok(other) => {
            object.insert("value".into(), other);
        }
        Err(error) => {
            object.insert("error".into(), json!(error.to_string()));
        }
    }
    let mut out = std::io::stdout().lock();
    // Nobody reads on: nothing is left to do about it.
    writeln!(out, "{}", Value::Object(object)).and_then(|()| out.flush()).ok();
}
