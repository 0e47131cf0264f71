//! From the rows of the catalogs to a [`Schema`].

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::TryStreamExt as _;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Either, PgConnection, Row as _, ValueRef as _};

use super::query::{kinds, query_of};
use super::{Column, Object, Schema};

/// Between the lines of a text.
const SEPARATOR: char = '\u{1f}';
/// PostgreSQL's number of an object: its catalog, and its row there.
type Id = (u32, u32);

/// Objects while their rows come in. Each row says what it is:
///
/// - `+KIND`: an object, its name, and lines about it;
/// - `column`: a column of an object, by number and name, and its definition;
/// - `definition`: text that comes first;
/// - `fact`: a line about an object or a column; one about what is not read is dropped;
/// - `note`: a line that is not compared;
/// - `alias`: another number of an object.
/// - `present`: numbers of what is in a catalog and is not read again.
#[derive(Debug, Clone, Default)]
pub(super) struct Gathered {
    pub(super) objects: HashMap<Id, Object>,
    pub(super) columns: HashMap<Id, BTreeMap<i32, Column>>,
    pub(super) facts: Vec<(Id, i32, String)>,
    pub(super) aliases: HashMap<Id, Id>,
    pub(super) present: HashMap<u32, HashSet<u32>>,
    /// Whose columns were read over those that were there.
    pub(super) read_anew: HashSet<Id>,
}

/// Reads all of it in two round trips.
pub(super) async fn read(connection: &mut PgConnection) -> Result<Schema, sqlx::Error> {
    Ok(fetch(connection).await?.schema())
}

/// The same, as it was gathered.
pub(super) async fn fetch(connection: &mut PgConnection) -> Result<Gathered, sqlx::Error> {
    let there = sqlx::raw_sql(AssertSqlSafe(kinds())).fetch_one(&mut *connection).await?;
    let sql = query_of(version(connection), text(&there, 0)?, None, "");
    Gathered::default().and(connection, sql).await
}

/// A pooler may hide the version; the oldest that is supported lacks only what came later.
pub(super) fn version(connection: &PgConnection) -> u32 {
    connection.server_version_num().unwrap_or(130_000)
}

impl Gathered {
    /// What `sql` reads on top of it.
    pub(super) async fn and(
        mut self,
        connection: &mut PgConnection,
        sql: String,
    ) -> Result<Self, sqlx::Error> {
        let mut rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(connection);
        while let Some(row) = rows.try_next().await? {
            if let Either::Right(row) = row
                && row.len() == 6
            {
                self.add(&row)?;
            }
        }
        Ok(self)
    }

    fn add(&mut self, row: &PgRow) -> Result<(), sqlx::Error> {
        let what = text(row, 0)?;
        let id = (number(text(row, 1)?)?, number(text(row, 2)?)?);
        let sub: i32 = number(text(row, 3)?)?;
        let (name, content) = (text(row, 4)?, text(row, 5)?);
        match what {
            "column" => {
                let (name, definition) = (name.to_owned(), content.to_owned());
                let column = Column { name, definition, facts: Vec::new() };
                if self.read_anew.insert(id) {
                    self.columns.remove(&id);
                }
                self.columns.entry(id).or_default().insert(sub, column);
            }
            "definition" => {
                if let Some(object) = self.objects.get_mut(&id) {
                    object.definition.insert(0, content.to_owned());
                }
            }
            "note" => {
                if let Some(object) = self.objects.get_mut(&id) {
                    object.note = Some(content.to_owned());
                }
            }
            "alias" => {
                self.aliases.insert(id, (number(name)?, number(content)?));
            }
            "present" => {
                let numbers: Result<Vec<u32>, _> =
                    content.split(' ').filter(|one| !one.is_empty()).map(number).collect();
                self.present.entry(id.0).or_default().extend(numbers?);
            }
            "fact" => self.facts.push((id, sub, content.to_owned())),
            kind => {
                let lines = content.split(SEPARATOR).filter(|line| !line.is_empty());
                let object = Object {
                    kind: kind.trim_start_matches('+').to_owned(),
                    name: name.to_owned(),
                    definition: lines.map(str::to_owned).collect(),
                    columns: Vec::new(),
                    facts: Vec::new(),
                    note: None,
                };
                self.objects.insert(id, object);
            }
        }
        Ok(())
    }

    pub(super) fn schema(mut self) -> Schema {
        for (id, sub, fact) in self.facts {
            let id = self.aliases.get(&id).copied().unwrap_or(id);
            let Some(object) = self.objects.get_mut(&id) else { continue };
            let column = self.columns.get_mut(&id).and_then(|columns| columns.get_mut(&sub));
            column.map_or(&mut object.facts, |column| &mut column.facts).push(fact);
        }
        for (id, columns) in self.columns {
            if let Some(object) = self.objects.get_mut(&id) {
                object.columns = columns.into_values().collect();
            }
        }
        Schema::new(self.objects.into_values())
    }
}

/// A field as text; nothing for null. The simple protocol sends all of them so.
pub(super) fn text(row: &PgRow, index: usize) -> Result<&str, sqlx::Error> {
    let value = row.try_get_raw(index)?;
    if value.is_null() {
        return Ok("");
    }
    value.as_str().map_err(sqlx::Error::Decode)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, sqlx::Error>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
