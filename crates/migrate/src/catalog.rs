//! The tables and columns of a database by their numbers in the catalogs, so that a renamed table is the same and one that was
//! dropped and made again is another.

use std::collections::BTreeMap;

use sqlx::{PgConnection, Row as _};

/// A table with rows of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// Its schema and name, quoted where needed.
    pub(crate) name: String,
    /// Where its rows lie: another number after a rewrite or `TRUNCATE`.
    pub(crate) file: i64,
    /// Its columns by number.
    pub(crate) columns: BTreeMap<i16, Column>,
    /// Rows that this transaction has updated and deleted so far.
    pub(crate) updated: i64,
    pub(crate) deleted: i64,
    /// Whether they are counted at all.
    pub(crate) counted: bool,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name, quoted where needed.
    pub(crate) name: String,
    /// Its type with its modifier.
    pub(crate) kind: String,
    /// Computed from other columns.
    pub(crate) generated: bool,
    /// The text of its default, if it is a constant.
    pub(crate) default: Option<String>,
    /// What rows older than the column are taken to hold, as text.
    pub(crate) missing: Option<String>,
}

/// Tables by number.
pub(crate) type Catalog = BTreeMap<i64, Table>;

/// Only what has rows of its own: tables and partitions, not partitioned tables, views or foreign tables. Not what belongs
/// to PostgreSQL, to this session alone, or to the migrations' own history.
const TABLES: &str = "
    select c.oid::int8 as oid, format('%I.%I', n.nspname, c.relname) as name, c.relfilenode::int8 as file,
           pg_stat_get_xact_tuples_updated(c.oid) as updated, pg_stat_get_xact_tuples_deleted(c.oid) as deleted,
           current_setting('track_counts')::bool as counted
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r' and c.relpersistence <> 't'
      and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg_toast%'
      and c.oid is distinct from to_regclass('liftlock_schema_history')
      and c.oid is distinct from to_regclass('liftlock_schema_journal')
      and c.oid is distinct from to_regclass('refinery_schema_history')";

const COLUMNS: &str = "
    select a.attrelid::int8 as oid, a.attnum as number, quote_ident(a.attname) as name,
           format_type(a.atttypid, a.atttypmod) as kind, a.attgenerated <> '' as generated,
           pg_get_expr(d.adbin, d.adrelid) as default_text, (a.attmissingval::text::text[])[1] as missing
    from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attnum > 0 and not a.attisdropped";

/// Reads the catalogs as this transaction sees them.
pub(crate) async fn read(connection: &mut PgConnection) -> Result<Catalog, sqlx::Error> {
    let mut catalog = Catalog::new();
    for row in sqlx::raw_sql(TABLES).fetch_all(&mut *connection).await? {
        let table = Table {
            name: row.try_get("name")?,
            file: row.try_get("file")?,
            columns: BTreeMap::new(),
            updated: row.try_get("updated")?,
            deleted: row.try_get("deleted")?,
            counted: row.try_get("counted")?,
        };
        catalog.insert(row.try_get("oid")?, table);
    }
    for row in sqlx::raw_sql(COLUMNS).fetch_all(connection).await? {
        let Some(table) = catalog.get_mut(&row.try_get::<i64, _>("oid")?) else { continue };
        let default: Option<String> = row.try_get("default_text")?;
        let column = Column {
            name: row.try_get("name")?,
            kind: row.try_get("kind")?,
            generated: row.try_get("generated")?,
            default: default.filter(|text| is_constant(text)),
            missing: row.try_get("missing")?,
        };
        table.columns.insert(row.try_get("number")?, column);
    }
    Ok(catalog)
}

/// Whether a default, as PostgreSQL prints it, is a constant: evaluating it again has no effect and gives the same value.
/// Function calls (`now()`, `nextval(…)`) and words (`CURRENT_USER`) are none.
fn is_constant(default: &str) -> bool {
    if let Some(rest) = default.strip_prefix('\'') {
        let Some(end) = rest.rfind('\'') else { return false };
        let after = &rest[end + 1..];
        return !rest[..end].replace("''", "").contains('\'')
            && (after.is_empty() || after.starts_with("::"));
    }
    let number = default.trim_start_matches('(').trim_end_matches(')').trim_start_matches('-');
    let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    is_number || matches!(default, "true" | "false")
}

/// What a script did to tables that were there before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Changes {
    /// Tables that are gone.
    pub(crate) dropped: Vec<i64>,
    /// Columns that are gone, of tables that are not.
    pub(crate) dropped_columns: Vec<(i64, i16)>,
    /// Tables whose rows may not be what they were: updated, deleted, truncated, rewritten, a column's type changed.
    pub(crate) touched: Vec<i64>,
}

impl Changes {
    pub(crate) fn between(before: &Catalog, after: &Catalog) -> Self {
        let mut changes = Self::default();
        for (oid, old) in before {
            let Some(new) = after.get(oid) else {
                changes.dropped.push(*oid);
                continue;
            };
            let gone = old
                .columns
                .iter()
                .filter(|(number, column)| !column.generated && !new.columns.contains_key(number));
            changes.dropped_columns.extend(gone.map(|(number, _)| (*oid, *number)));
            let retyped = old.columns.iter().any(|(number, column)| {
                new.columns.get(number).is_some_and(|new| new.kind != column.kind)
            });
            if !new.counted
                || old.file != new.file
                || retyped
                || (new.updated, new.deleted) != (old.updated, old.deleted)
            {
                changes.touched.push(*oid);
            }
        }
        changes
    }

    /// Every table that these changes are about.
    pub(crate) fn tables(&self) -> std::collections::BTreeSet<i64> {
        let columns = self.dropped_columns.iter().map(|(oid, _)| *oid);
        self.dropped.iter().copied().chain(columns).chain(self.touched.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_told_from_calls() {
        for constant in
            ["0", "'-1'::integer", "(-1)", "1.5", "'it''s'::text", "true", "'{}'::jsonb"]
        {
            assert!(is_constant(constant), "{constant}");
        }
        for other in [
            "now()",
            "nextval('s'::regclass)",
            "CURRENT_USER",
            "('a'::text || 'b'::text)",
            "'a' || f('b')",
            "",
        ] {
            assert!(!is_constant(other), "{other}");
        }
    }
}
