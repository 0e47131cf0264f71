//! What is known of the database that migrations are for.

use std::collections::BTreeMap;

use crate::database::{Database, StatusError};

/// What is known of the database that migrations are for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// The newest migration that it has, 0 if none: what is newer goes out together, and what it makes is new to the version that
    /// is running. None if that is not known: each migration is then taken to go out alone.
    pub applied: Option<i32>,
    /// Rows of its tables, about, by name (`orders`, `shop.orders`).
    pub rows: BTreeMap<String, u64>,
}

/// What the planner believes. A table that it never looked at has no more rows than fit its file with 32 bytes each.
const ROWS: &str = "
    select case n.nspname when 'public' then c.relname::text else n.nspname || '.' || c.relname end as name,
           (case when c.reltuples >= 0 then c.reltuples else pg_relation_size(c.oid) / 32 end)::int8 as rows
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'm') and c.relpersistence <> 't'
      and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg_toast%'";

impl Database {
    /// What the lint asks of the database. Writes nothing.
    ///
    /// # Errors
    /// [`StatusError`] if it cannot be read.
    pub async fn known(&mut self) -> Result<Known, StatusError> {
        let applied = self.applied().await?.iter().map(|one| one.version).max().unwrap_or(0);
        let rows = sqlx::query_as::<_, (String, i64)>(ROWS).fetch_all(&mut self.connection).await;
        let rows = rows.map_err(|error| StatusError::new(self.place(), &error))?;
        let count = |(name, rows)| (name, u64::try_from(rows).unwrap_or(0));
        Ok(Known { applied: Some(applied), rows: rows.into_iter().map(count).collect() })
    }
}
