//! HCL text that `terraform fmt` would leave as it is, written without terraform at hand.
//!
//! hcl-rs writes the scalars (it knows what must be escaped), and the layout is our own, since hcl-rs never aligns `=`.

use std::collections::BTreeMap;

use hcl::Value;

/// What cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{0} cannot be written as HCL: {1}")]
pub(crate) struct HclError(String, String);

/// Attributes, one for each line or block of lines, sorted by name.
pub(crate) fn attributes(values: &BTreeMap<String, Value>) -> Result<String, HclError> {
    let mut text = String::new();
    write_attributes(&mut text, values.iter(), 0)?;
    Ok(text)
}

/// A string, quoted and escaped.
pub(crate) fn quoted(text: &str) -> Result<String, HclError> {
    scalar(&Value::from(text))
}

/// `terraform fmt` aligns the `=` of consecutive lines, and a value of several lines ends such a group
/// (hclwrite's `formatCells`).
fn write_attributes<'a>(
    out: &mut String,
    values: impl Iterator<Item = (&'a String, &'a Value)>,
    depth: usize,
) -> Result<(), HclError> {
    let mut group: Vec<(String, String)> = Vec::new();
    for (key, value) in values {
        let key = key_text(key)?;
        let text = value_text(value, depth)?;
        if text.contains('\n') {
            flush(out, &mut group, depth);
            out.push_str(&format!("{}{key} = {text}\n", indent(depth)));
        } else {
            group.push((key, text));
        }
    }
    flush(out, &mut group, depth);
    Ok(())
}

fn flush(out: &mut String, group: &mut Vec<(String, String)>, depth: usize) {
    let width = group.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
    for (key, text) in group.drain(..) {
        out.push_str(&format!("{}{key:<width$} = {text}\n", indent(depth)));
    }
}

fn value_text(value: &Value, depth: usize) -> Result<String, HclError> {
    match value {
        Value::Array(items) if items.iter().any(is_long) => {
            let mut text = "[\n".to_owned();
            for item in items {
                text.push_str(&format!("{}{},\n", indent(depth + 1), value_text(item, depth + 1)?));
            }
            Ok(format!("{text}{}]", indent(depth)))
        }
        Value::Array(items) => {
            let texts: Result<Vec<_>, _> =
                items.iter().map(|item| value_text(item, depth)).collect();
            Ok(format!("[{}]", texts?.join(", ")))
        }
        Value::Object(map) if map.is_empty() => Ok("{}".to_owned()),
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            let mut text = "{\n".to_owned();
            write_attributes(&mut text, sorted.into_iter(), depth + 1)?;
            Ok(format!("{text}{}}}", indent(depth)))
        }
        scalar_value => scalar(scalar_value),
    }
}

fn is_long(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => items.iter().any(is_long),
        _ => false,
    }
}

fn scalar(value: &Value) -> Result<String, HclError> {
    let failed = |error: hcl::Error| HclError(value.to_string(), error.to_string());
    // Inside an attribute: alone, hcl-rs would write a string without its quotes.
    let written =
        hcl::format::to_string(&hcl::Attribute::new("x", value.clone())).map_err(failed)?;
    let text = written.trim_end_matches('\n').strip_prefix("x = ").unwrap_or(&written);
    Ok(text.to_owned())
}

/// Object keys and attribute names: bare if they are identifiers.
fn key_text(key: &str) -> Result<String, HclError> {
    let bare = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        // In an object these would be read as the values they name.
        && !["true", "false", "null", "for"].contains(&key);
    if bare { Ok(key.to_owned()) } else { quoted(key) }
}

fn indent(depth: usize) -> String {
    "  ".repeat(depth)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: serde_json::Value) -> String {
        let values: BTreeMap<String, Value> = serde_json::from_value(value).unwrap();
        attributes(&values).unwrap()
    }

    #[test]
    fn equals_signs_are_aligned_in_groups() {
        let text = written(serde_json::json!({
            "a": 1, "longer": "x", "map": {"b": [], "cc": null}, "z": {}, "zz": [1, "two"],
            "list": [{"a": true}, [{"b": 1.5}]],
        }));
        assert_eq!(
            text,
            "a = 1\nlist = [\n  {\n    a = true\n  },\n  [\n    {\n      b = 1.5\n    },\n  ],\n]\n\
             longer = \"x\"\nmap = {\n  b  = []\n  cc = null\n}\nz  = {}\nzz = [1, \"two\"]\n"
        );
    }

    #[test]
    fn templates_quotes_and_control_characters_are_escaped() {
        let text =
            written(serde_json::json!({"odd key": "${a} %{b} \"c\" \n \\ \u{7}", "true": 1}));
        assert_eq!(
            text,
            "\"odd key\" = \"$${a} %%{b} \\\"c\\\" \\n \\\\ \\u0007\"\n\"true\"    = 1\n"
        );
    }
}
