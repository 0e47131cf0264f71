//! How large the database's tables are. The copy has none of their rows, so this is what warnings go by.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use sqlx::{PgConnection, Row as _};

/// A table's size, as the server knows it without looking at the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct TableSize {
    /// About how many rows; none if the table was never analysed.
    pub rows: Option<u64>,
    /// Bytes on disk, with indexes and what is kept out of line.
    pub bytes: u64,
}

/// Sizes by full name, such as `public.orders`.
pub(crate) type Sizes = BTreeMap<String, TableSize>;

/// From how many rows, or bytes, work on every row takes long enough to be told of.
const LARGE_ROWS: u64 = 10_000;
const LARGE_BYTES: u64 = 16 * 1024 * 1024;

/// A partitioned table has the size of its partitions. `pg_total_relation_size` waits for whoever changes a table, so there is a
/// limit; without it the catalog's own (older) count of pages is taken.
const SIZES: &str = "
    select format('%I.%I', n.nspname, c.relname) as name, c.reltuples::int8 as rows, BYTES::int8 as bytes
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'm') and c.relpersistence <> 't'
      and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg_toast%'
      and ($1::text[] is null or format('%I.%I', n.nspname, c.relname) = any ($1))";
const EXACT: &str = "case c.relkind when 'p'
    then (select coalesce(sum(pg_total_relation_size(p.relid)), 0) from pg_partition_tree(c.oid) p)
    else pg_total_relation_size(c.oid) end";
const ROUGH: &str = "c.relpages::int8 * current_setting('block_size')::int8";

/// The full names of all tables.
pub(crate) async fn tables(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    Ok(ask(connection, "0", None).await?.into_keys().collect())
}

/// Reads the sizes, of these tables or of all. Writes nothing, waits for nobody for longer than a second.
pub(crate) async fn read(
    connection: &mut PgConnection,
    of: Option<&[String]>,
) -> Result<Sizes, sqlx::Error> {
    sqlx::raw_sql("begin read only; set local lock_timeout = '1s'")
        .execute(&mut *connection)
        .await?;
    let exact = ask(connection, EXACT, of).await;
    sqlx::raw_sql("rollback").execute(&mut *connection).await?;
    match exact {
        Err(sqlx::Error::Database(_)) => ask(connection, ROUGH, of).await,
        other => other,
    }
}

async fn ask(
    connection: &mut PgConnection,
    bytes: &str,
    of: Option<&[String]>,
) -> Result<Sizes, sqlx::Error> {
    let query = sqlx::query(sqlx::AssertSqlSafe(SIZES.replace("BYTES", bytes))).bind(of);
    let mut sizes = Sizes::new();
    for row in query.persistent(false).fetch_all(connection).await? {
        let rows = u64::try_from(row.try_get::<i64, _>("rows")?).ok();
        let bytes = u64::try_from(row.try_get::<i64, _>("bytes")?).unwrap_or(0);
        sizes.insert(row.try_get("name")?, TableSize { rows, bytes });
    }
    Ok(sizes)
}

/// Which part of a column's rows holds no value, if the table was analysed and this user may know.
pub(crate) async fn null_fraction(
    connection: &mut PgConnection,
    table: &str,
    column: &str,
) -> Result<Option<f32>, sqlx::Error> {
    sqlx::query_scalar(
        "select null_frac from pg_stats
         where format('%I.%I', schemaname, tablename) = $1 and quote_ident(attname) = $2 and not inherited",
    )
    .bind(table)
    .bind(column)
    .fetch_optional(connection)
    .await
}

impl TableSize {
    /// Whether work on every row is worth a word.
    pub fn is_large(&self) -> bool {
        self.rows.is_some_and(|rows| rows >= LARGE_ROWS) || self.bytes >= LARGE_BYTES
    }

    /// Whether there is nothing in it, as far as the server knows.
    pub fn is_empty(&self) -> bool {
        self.rows == Some(0) || (self.rows.is_none() && self.bytes < 64 * 1024)
    }
}

impl fmt::Display for TableSize {
    /// `~1.2 million rows, 310 MB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rows {
            Some(rows) => write!(f, "{}, ", about(rows))?,
            None => f.write_str("rows never counted (no ANALYZE yet), ")?,
        }
        f.write_str(&bytes(self.bytes))
    }
}

/// `~1.2 million rows`.
pub(crate) fn about(rows: u64) -> String {
    let scaled = |unit: u64, name: &str| {
        let tenths = (rows + unit / 20) / (unit / 10);
        match tenths % 10 {
            0 => format!("~{} {name} rows", tenths / 10),
            tenth => format!("~{}.{tenth} {name} rows", tenths / 10),
        }
    };
    match rows {
        1 => "~1 row".into(),
        0..1_000 => format!("~{rows} rows"),
        1_000..1_000_000 => format!("~{},{:03} rows", rows / 1_000, rows % 1_000),
        1_000_000..1_000_000_000 => scaled(1_000_000, "million"),
        _ => scaled(1_000_000_000, "billion"),
    }
}

fn bytes(bytes: u64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut tenths = bytes.saturating_mul(10);
    while tenths >= 10_240 && unit + 1 < units.len() {
        tenths /= 1024;
        unit += 1;
    }
    match (tenths / 10, tenths % 10) {
        (whole @ 0..10, tenth) if unit > 0 && tenth > 0 => {
            format!("{whole}.{tenth} {}", units[unit])
        }
        (whole, _) => format!("{whole} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_words() {
        let told = |rows, bytes| TableSize { rows, bytes }.to_string();
        assert_eq!(told(Some(1_234_567), 325_058_560), "~1.2 million rows, 310 MB");
        assert_eq!(told(Some(12_000), 8192), "~12,000 rows, 8 kB");
        assert_eq!(told(Some(0), 0), "~0 rows, 0 bytes");
        assert_eq!(told(Some(2_000_000_000), 1_649_267_441_664), "~2 billion rows, 1.5 TB");
        assert_eq!(told(None, 1_500_000), "rows never counted (no ANALYZE yet), 1.4 MB");
        assert!(
            TableSize { rows: Some(999_950), bytes: 0 }.to_string().starts_with("~999,950 rows")
        );
    }

    #[test]
    fn small_tables_are_not_worth_a_word() {
        assert!(!TableSize { rows: Some(9_999), bytes: 1_000_000 }.is_large());
        assert!(TableSize { rows: Some(10_000), bytes: 0 }.is_large());
        assert!(TableSize { rows: None, bytes: 1 << 30 }.is_large());
        assert!(TableSize { rows: Some(0), bytes: 8192 }.is_empty());
    }
}
