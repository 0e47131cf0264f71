//! What is different between two schemas.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use similar::TextDiff;

use super::{Object, Schema};

/// How many lines around a change are shown.
const CONTEXT: usize = 2;

/// What is different between two schemas, object by object. As text, a unified difference of each.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Difference {
    objects: Vec<ObjectChange>,
}

/// How an object is different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not there.
    Added,
    /// It is no longer there.
    Removed,
    /// It is another.
    Changed,
    /// Its columns are the same, in another order. A column that was dropped and added again comes last, which no
    /// rollback can avoid.
    ColumnOrder,
}

/// An object that is different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectChange {
    /// PostgreSQL's word for what it is: `table`, `materialized view`, `index`, `constraint`, `function` …
    pub kind: String,
    /// Its name with its schema, quoted where needed; with the table of a constraint, index, trigger, rule or policy (`NAME on
    /// TABLE`), and with the arguments of a function.
    pub name: String,
    /// How it is different.
    pub change: Change,
    /// What it was, as text; nothing if it is new.
    pub before: String,
    /// What it is, as text; nothing if it is gone.
    pub after: String,
}

impl Difference {
    /// Whether the schemas are the same.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Whether they are different, and only in the order of columns.
    pub fn only_column_order(&self) -> bool {
        !self.is_empty() && self.objects.iter().all(|object| object.change == Change::ColumnOrder)
    }

    /// What is left without the objects that `left_out` says.
    pub(crate) fn without(mut self, left_out: impl Fn(&ObjectChange) -> bool) -> Self {
        self.objects.retain(|object| !left_out(object));
        self
    }

    /// What is different, sorted by kind and name.
    pub fn objects(&self) -> &[ObjectChange] {
        &self.objects
    }
}

/// Compares object by object.
pub(super) fn compare(before: &Schema, after: &Schema) -> Difference {
    let keys: BTreeSet<_> = before.objects.keys().chain(after.objects.keys()).collect();
    let objects = keys.into_iter().filter_map(|key| {
        let (before, after) = (before.objects.get(key), after.objects.get(key));
        let change = change(before, after)?;
        let text = |object: Option<&Object>| object.map(Object::text).unwrap_or_default();
        let (kind, name) = key.clone();
        Some(ObjectChange { kind, name, change, before: text(before), after: text(after) })
    });
    Difference { objects: objects.collect() }
}

fn change(before: Option<&Object>, after: Option<&Object>) -> Option<Change> {
    match (before, after) {
        (None, None) => None,
        (None, Some(_)) => Some(Change::Added),
        (Some(_), None) => Some(Change::Removed),
        (Some(before), Some(after)) if before.equals(after) => None,
        (Some(before), Some(after)) if before.equals_in_any_order(after) => {
            Some(Change::ColumnOrder)
        }
        (Some(_), Some(_)) => Some(Change::Changed),
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::ColumnOrder => "column order",
        })
    }
}

impl fmt::Display for ObjectChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{} {} ({})", self.kind, self.name, self.change);
        writeln!(f, "{}", safe(&text))?;
        let difference = TextDiff::from_lines(&self.before, &self.after);
        let difference = difference.unified_diff().context_radius(CONTEXT).to_string();
        f.write_str(&safe(&difference))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.iter().try_for_each(|object| object.fmt(f))
    }
}

/// A terminal takes control characters for commands.
fn safe(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c })
        .collect()
}
