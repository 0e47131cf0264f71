//! What differs between two environments.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use liftlock_model::EnvName;
use serde::Serialize;
use serde_json::Value;

use crate::Environment;
use crate::redact;

/// One key that two environments say differently, defaults included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The key, with dots: `services.backend.tasks`. Elements of an array of named tables are called by their names:
    /// `probes.smoke[health].path`.
    pub key: String,
    /// What the one says; none when it does not have the key.
    pub a: Option<String>,
    /// What the other says.
    pub b: Option<String>,
}

/// What differs between two environments. It displays as three columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// The one.
    pub a: EnvName,
    /// The other.
    pub b: EnvName,
    /// The keys that differ, in order.
    pub differences: Vec<Difference>,
}

/// What differs between `a` and `b`.
pub fn diff(a: &Environment, b: &Environment) -> Diff {
    let (left, right) = (flat(a), flat(b));
    let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let differences = keys
        .into_iter()
        .filter(|key| left.get(*key) != right.get(*key))
        .map(|key| Difference {
            key: key.clone(),
            a: left.get(key).cloned(),
            b: right.get(key).cloned(),
        })
        .collect();
    Diff { a: a.name.clone(), b: b.name.clone(), differences }
}

fn flat(environment: &Environment) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let value = serde_json::to_value(&environment.config).unwrap_or_default();
    flatten(String::new(), &value, &mut all);
    all
}

fn flatten(key: String, value: &Value, all: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        Value::Object(object) => {
            for (name, value) in object {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                flatten(key, value, all);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, item) in items.iter().enumerate() {
                let name = item.get("name").and_then(Value::as_str);
                let name = name.map_or_else(|| index.to_string(), str::to_owned);
                flatten(format!("{key}[{}]", redact::clean(&name)), item, all);
            }
        }
        value => {
            all.insert(key, redact::clean(&value.to_string()));
        }
    }
}

/// What stands in the place of a key that an environment does not have.
const NONE: &str = "-";

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.differences.is_empty() {
            return write!(f, "{} and {} say the same", self.a, self.b);
        }
        let title = ["", self.a.as_str(), self.b.as_str()];
        let rows: Vec<[&str; 3]> = std::iter::once(title)
            .chain(self.differences.iter().map(|row| {
                [
                    row.key.as_str(),
                    row.a.as_deref().unwrap_or(NONE),
                    row.b.as_deref().unwrap_or(NONE),
                ]
            }))
            .collect();
        let width =
            |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (first, second) = (width(0), width(1));
        for (index, [key, a, b]) in rows.iter().enumerate() {
            let end = if index + 1 == rows.len() { "" } else { "\n" };
            write!(f, "{key:first$}  {a:second$}  {b}{end}")?;
        }
        Ok(())
    }
}
