//! The JSON Schema of environment files, made from the types of [`crate::config`].

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::Config;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(Config).to_value());

/// What an environment may say, once its two files are laid on each other. [`Environment::load`](crate::Environment::load)
/// checks by it.
pub fn schema() -> Value {
    SCHEMA.clone()
}

pub(crate) fn checked() -> &'static Value {
    &SCHEMA
}

/// What one file may say, for editors: the same, but a key that the other file may hold is not required. This is
/// `environments/schema.json`.
pub fn file_schema() -> Value {
    let mut schema = schema();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".into(), json!("Liftlock environment file"));
    }
    let whole = replaced_as_a_whole(&schema);
    relax(&mut schema, &whole);
    schema
}

/// The definitions that stand in arrays: arrays replace, so each element is complete in one file.
fn replaced_as_a_whole(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(object) => object
            .iter()
            .flat_map(|(key, value)| match (key.as_str(), value.get("$ref")) {
                ("items", Some(Value::String(name))) => vec![name.replace("#/$defs/", "")],
                _ => replaced_as_a_whole(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(replaced_as_a_whole).collect(),
        _ => Vec::new(),
    }
}

fn relax(schema: &mut Value, whole: &[String]) {
    match schema {
        Value::Object(object) => {
            object.remove("required");
            // Without `required`, a table without its tag may fit several alternatives.
            if let Some(alternatives) = object.remove("oneOf") {
                object.insert("anyOf".into(), alternatives);
            }
            for (key, value) in object.iter_mut() {
                // `required` may also be a key of a file.
                match key.as_str() {
                    "properties" => relax_each(value, whole, &[]),
                    "$defs" => relax_each(value, whole, whole),
                    _ => relax(value, whole),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| relax(item, whole)),
        _ => {}
    }
}

fn relax_each(schemas: &mut Value, whole: &[String], but: &[String]) {
    for (name, schema) in schemas.as_object_mut().into_iter().flatten() {
        if !but.contains(name) {
            relax(schema, whole);
        }
    }
}
