//! The locks that a migration takes on tables that are in use.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::{PgConnection, Row as _};

/// PostgreSQL's table locks, weakest first (its documentation, 13.3.1).
const MODES: [(&str, &str, &str); 8] = [
    ("AccessShareLock", "access share", "nothing but dropping or rewriting the table"),
    ("RowShareLock", "row share", "nothing but changes of the table itself"),
    ("RowExclusiveLock", "row exclusive", "building indexes and changes of the table itself"),
    (
        "ShareUpdateExclusiveLock",
        "share update exclusive",
        "vacuum and changes of the table itself",
    ),
    ("ShareLock", "share", "writes"),
    ("ShareRowExclusiveLock", "share row exclusive", "writes"),
    ("ExclusiveLock", "exclusive", "writes, and reads that lock rows"),
    ("AccessExclusiveLock", "access exclusive", "reads and writes"),
];

/// The strongest lock that a migration held on a table when it was about to commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableLock {
    /// The table, with its schema where that is not in the search path.
    pub table: String,
    /// The lock's mode, such as `access exclusive`.
    pub mode: &'static str,
    /// What others cannot do meanwhile.
    pub blocks: &'static str,
}

/// Notes the locks of the transactions of one database.
#[derive(Debug, Default)]
pub(crate) struct LockRecorder {
    /// The tables that were there before the transaction.
    known: Vec<i64>,
    pub(crate) locks: Vec<TableLock>,
}

impl LockRecorder {
    /// To be called at a transaction's begin.
    pub(crate) async fn begin(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let known = sqlx::query_scalar(
            "select c.oid::int8 from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.relkind in ('r', 'p', 'm') and c.relpersistence <> 't'
               and n.nspname not in ('pg_catalog', 'information_schema') and c.relname not in
                   ('liftlock_schema_history', 'refinery_schema_history')",
        );
        self.known = known.fetch_all(connection).await?;
        Ok(())
    }

    /// To be called before it ends, in whatever way.
    pub(crate) async fn end(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let rows = sqlx::query(
            "select l.relation::regclass::text as name, l.mode
             from pg_locks l where l.pid = pg_backend_pid() and l.locktype = 'relation' and l.granted
               and l.relation::int8 = any($1)",
        )
        .bind(&self.known)
        .fetch_all(connection)
        .await?;
        let mut strongest: BTreeMap<String, usize> = BTreeMap::new();
        for row in rows {
            let mode: String = row.try_get("mode")?;
            let Some(rank) = MODES.iter().position(|(name, ..)| *name == mode) else { continue };
            let of_table = strongest.entry(row.try_get("name")?).or_default();
            *of_table = rank.max(*of_table);
        }
        self.locks = strongest
            .into_iter()
            .map(|(table, rank)| TableLock { table, mode: MODES[rank].1, blocks: MODES[rank].2 })
            .collect();
        Ok(())
    }
}
