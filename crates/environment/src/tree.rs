//! Parsed files as a tree in which each key and value knows its place, and the overlay of one by another.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::Finding;
use crate::source::{At, Sources};

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Value,
}

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(toml::value::Datetime),
    Array(Vec<Node>),
    Table(Table),
}

/// The entries of a table.
pub(crate) type Table = BTreeMap<String, Entry>;

/// An entry of a table.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Where its key stands.
    pub(crate) key: At,
    pub(crate) node: Node,
}

/// Keys that say of which kind a table is. A table of another kind replaces the one below it, since the keys of one kind
/// mean nothing in another.
const TAGS: [&str; 2] = ["from", "kind"];

impl Node {
    /// What TOML calls the value's type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self.value {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Boolean(_) => "a boolean",
            Value::Datetime(_) => "a date-time",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        if let Value::String(text) = &self.value { Some(text) } else { None }
    }

    pub(crate) fn table(&self) -> Option<&Table> {
        if let Value::Table(table) = &self.value { Some(table) } else { None }
    }

    /// The node at a path of keys and array positions.
    pub(crate) fn find(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| match &node.value {
            Value::Table(table) => table.get(*key).map(|entry| &entry.node),
            Value::Array(items) => key.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => None,
        })
    }

    /// The place of the value at a path, or of what is nearest to it.
    pub(crate) fn place(&self, path: &[&str]) -> At {
        (0..=path.len()).rev().find_map(|length| self.find(&path[..length])).unwrap_or(self).at
    }

    /// The place of the last key of a path, or of what is nearest to it.
    pub(crate) fn key_place(&self, path: &[&str]) -> At {
        let Some((last, above)) = path.split_last() else { return self.at };
        let entry = self.find(above).and_then(Self::table).and_then(|table| table.get(*last));
        entry.map_or_else(|| self.place(above), |entry| entry.key)
    }

    /// As serde reads it.
    pub(crate) fn to_toml(&self) -> toml::Value {
        match &self.value {
            Value::String(text) => toml::Value::String(text.clone()),
            Value::Integer(number) => toml::Value::Integer(*number),
            Value::Float(number) => toml::Value::Float(*number),
            Value::Boolean(yes) => toml::Value::Boolean(*yes),
            Value::Datetime(time) => toml::Value::Datetime(*time),
            Value::Array(items) => toml::Value::Array(items.iter().map(Self::to_toml).collect()),
            Value::Table(table) => toml::Value::Table(
                table.iter().map(|(key, entry)| (key.clone(), entry.node.to_toml())).collect(),
            ),
        }
    }
}

/// Parses one file. What can be parsed is in the tree even when there are findings.
pub(crate) fn parse(sources: &Sources, source: usize, findings: &mut Vec<Finding>) -> Node {
    let (table, errors) = DeTable::parse_recoverable(&sources.get(source).text);
    for error in errors {
        let at = At::new(source, error.span().unwrap_or(0..0));
        findings.push(Finding::at(at, format!("not TOML: {}", error.message())));
    }
    let at = At::new(source, 0..0);
    Node { at, value: Value::Table(entries(source, table.into_inner(), findings)) }
}

fn entries(source: usize, table: DeTable<'_>, findings: &mut Vec<Finding>) -> Table {
    let entry = |(key, value): (Spanned<std::borrow::Cow<'_, str>>, Spanned<DeValue<'_>>)| {
        let at = At::new(source, key.span());
        let mut node = node(source, value, findings);
        // A table under a header has no text of its own: its key is what people look for.
        if matches!(node.value, Value::Table(_)) {
            node.at = at;
        }
        (key.into_inner().into_owned(), Entry { key: at, node })
    };
    table.into_iter().map(entry).collect()
}

fn node(source: usize, value: Spanned<DeValue<'_>>, findings: &mut Vec<Finding>) -> Node {
    let at = At::new(source, value.span());
    let value = match value.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Value::Integer(parsed.unwrap_or_else(|_| {
                findings.push(Finding::at(at, "the number is too large"));
                0
            }))
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(yes) => Value::Boolean(yes),
        DeValue::Datetime(time) => Value::Datetime(time),
        DeValue::Array(items) => {
            Value::Array(items.into_iter().map(|item| node(source, item, findings)).collect())
        }
        DeValue::Table(table) => Value::Table(entries(source, table, findings)),
    };
    Node { at, value }
}

/// Lays `over` on `base`: tables entry by entry, everything else whole.
pub(crate) fn overlay(base: Node, over: Node) -> Node {
    match (base.value, over.value) {
        (Value::Table(mut below), Value::Table(above)) if !other_kind(&below, &above) => {
            for (key, entry) in above {
                let laid = match below.remove(&key) {
                    Some(under) => Entry { key: entry.key, node: overlay(under.node, entry.node) },
                    None => entry,
                };
                below.insert(key, laid);
            }
            Node { at: over.at, value: Value::Table(below) }
        }
        (_, value) => Node { at: over.at, value },
    }
}

fn other_kind(below: &Table, above: &Table) -> bool {
    TAGS.iter().any(|tag| match (below.get(*tag), above.get(*tag)) {
        (Some(below), Some(above)) => {
            below.node.text().zip(above.node.text()).is_some_and(|(below, above)| below != above)
        }
        _ => false,
    })
}
