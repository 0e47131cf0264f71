//! A database's schema as objects that can be compared, kept and told apart by a fingerprint.
//!
//! Read from the catalogs: `pg_dump` writes text to be run, in an order that follows from names and dependencies, and costs a
//! process and many queries. It is the oracle of our tests.

pub(crate) mod again;
mod difference;
mod query;
mod read;
pub(crate) mod repeated;
mod stored;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

pub use again::Reader;
pub use difference::{Change, Difference, ObjectChange};
pub use stored::{Fingerprint, StoredError};

/// What a database is made of, without its rows: everything that a migration can make, but for what belongs to PostgreSQL, to
/// extensions, or to the history of the migrations themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schema {
    objects: BTreeMap<Key, Object>,
}

/// Kind and name.
type Key = (String, String);

/// A table, an index, a function …
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    /// PostgreSQL's word for what it is, such as `materialized view`.
    kind: String,
    /// Its name with its schema, quoted where needed, and with what else tells it from others: the table of a constraint,
    /// the arguments of a function.
    name: String,
    /// What it is, in an order that means something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    definition: Vec<String>,
    /// In their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    columns: Vec<Column>,
    /// Grants, comments and the like, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    facts: Vec<String>,
    /// What is told and not compared: an extension's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// A column of a table, view or composite type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    name: String,
    definition: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    facts: Vec<String>,
}

impl Schema {
    /// Reads the catalogs, in one round trip, as the transaction that is open sees them, or else in one of its own. Writes
    /// nothing, and sets back what it sets. Every user may do it; who sees less of secrets sees the same schema.
    ///
    /// # Errors
    /// What the connection or the server say.
    pub async fn read(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        read::read(connection).await
    }

    /// What is different in `after`, object by object.
    pub fn compare(before: &Self, after: &Self) -> Difference {
        difference::compare(before, after)
    }

    /// The same, whoever owns what.
    pub(crate) fn without_owners(mut self) -> Self {
        for object in self.objects.values_mut() {
            object.definition.retain(|line| !line.starts_with("owner "));
            object.facts.retain(|line| !line.starts_with("owner "));
        }
        self
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    fn new(objects: impl IntoIterator<Item = Object>) -> Self {
        let sorted = |mut object: Object| {
            object.facts.sort();
            object.columns.iter_mut().for_each(|column| column.facts.sort());
            ((object.kind.clone(), object.name.clone()), object)
        };
        Self { objects: objects.into_iter().map(sorted).collect() }
    }
}

impl Object {
    /// What is told of it, one line for each thing; what has lines of its own keeps them.
    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |indent: &str, line: &str| {
            for line in line.lines() {
                text.push_str(indent);
                text.push_str(line);
                text.push('\n');
            }
        };
        for column in &self.columns {
            line("", &format!("column {} {}", column.name, column.definition));
            column.facts.iter().for_each(|fact| line("    ", fact));
        }
        self.definition.iter().chain(&self.facts).for_each(|fact| line("", fact));
        text
    }

    /// Whether the two are the same, whatever is noted of them.
    fn equals(&self, other: &Self) -> bool {
        self.columns == other.columns && self.equals_without_columns(other)
    }

    /// Whether the two are the same but for the order of their columns.
    fn equals_in_any_order(&self, other: &Self) -> bool {
        let sorted = |object: &Self| {
            let mut columns = object.columns.clone();
            columns.sort();
            columns
        };
        sorted(self) == sorted(other) && self.equals_without_columns(other)
    }

    fn equals_without_columns(&self, other: &Self) -> bool {
        self.definition == other.definition && self.facts == other.facts
    }
}
