//! What the tables of a database hold: rows and checksums.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::manifest::{Contents, Sequence};

/// How large objects are called among tables.
pub(crate) const LARGE_OBJECTS: &str = "large objects";

/// Settings that say how values are written as text, and that no row is hidden.
pub(crate) const SETTINGS: &str = "
    set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres'; set local timezone = 'UTC';
    set local extra_float_digits = 1; set local bytea_output = 'hex'; set local xmlbinary = 'base64';
    set local lc_monetary = 'C'; set local search_path = pg_catalog; set local row_security = off;
    set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0";

/// Whether rows are read, or only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    Checksums,
    Rows,
}

/// Looks at every table whose rows `pg_dump` takes along, in the open transaction. The tables come in the order of their names.
pub(crate) async fn contents(
    connection: &mut PgConnection,
    depth: Depth,
) -> Result<Vec<Contents>, sqlx::Error> {
    let mut tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', n.nspname, c.relname)
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind = 'r' and c.relpersistence <> 't'
           and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
           and not exists (select from pg_depend d
               where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')",
    )
    .fetch_all(&mut *connection)
    .await?;
    tables.sort();
    let sum = |bytes: &str| match depth {
        // SHA-256 and not a faster hash: it is the same on every version, and there where MD5 is forbidden.
        Depth::Checksums => format!(
            "coalesce(sum(('x' || encode(substr(sha256({bytes}), 1, 8), 'hex'))::bit(64)::int8::numeric), 0)::text"
        ),
        Depth::Rows => "null::text".to_owned(),
    };
    let row = sum("convert_to((liftlock_row.*)::text, getdatabaseencoding())");
    let mut contents = Vec::with_capacity(tables.len() + 1);
    for table in tables {
        let query = format!("select count(*), {row} from only {table} as liftlock_row");
        contents.push(ask(connection, table, query).await?);
    }
    let object = sum("convert_to(oid::text || ':', 'UTF8') || lo_get(oid)");
    let query = format!("select count(*), {object} from pg_largeobject_metadata");
    let objects = ask(connection, LARGE_OBJECTS.to_owned(), query).await?;
    contents.extend(Some(objects).filter(|objects| objects.rows > 0));
    Ok(contents)
}

async fn ask(
    connection: &mut PgConnection,
    table: String,
    query: String,
) -> Result<Contents, sqlx::Error> {
    let row =
        sqlx::query(AssertSqlSafe(query)).persistent(false).fetch_one(&mut *connection).await?;
    let rows = u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0);
    Ok(Contents { table, rows, checksum: row.try_get(1)? })
}

/// Where the sequences are that were used.
pub(crate) async fn sequences(connection: &mut PgConnection) -> Result<Vec<Sequence>, sqlx::Error> {
    let rows = sqlx::query(
        "select format('%I.%I', schemaname, sequencename), last_value, increment_by < 0
         from pg_sequences where last_value is not null and not cycle order by 1",
    );
    let rows = rows.fetch_all(connection).await?;
    let sequence = |row: &sqlx::postgres::PgRow| {
        Ok(Sequence { name: row.try_get(0)?, last: row.try_get(1)?, down: row.try_get(2)? })
    };
    rows.iter().map(sequence).collect()
}

/// What differs between what must be there and what is, for people.
pub(crate) fn differences(expected: &[Contents], found: &[Contents]) -> Vec<String> {
    let mut left: BTreeMap<&str, &Contents> =
        found.iter().map(|one| (one.table.as_str(), one)).collect();
    let mut differences = Vec::new();
    for Contents { table, rows, checksum } in expected {
        let what = if table == LARGE_OBJECTS { table.clone() } else { format!("table {table}") };
        match left.remove(table.as_str()) {
            None => differences.push(format!("{what} is missing; it had {rows} rows")),
            Some(found) if found.rows != *rows => {
                differences.push(format!("{what} has {} rows instead of {rows}", found.rows));
            }
            Some(Contents { checksum: Some(found), .. })
                if checksum.as_ref().is_some_and(|checksum| checksum != found) =>
            {
                differences.push(format!("{what} has other values in its {rows} rows"));
            }
            Some(_) => {}
        }
    }
    let more = left.values().map(|one| format!("{} was not there", one.table));
    differences.extend(more);
    differences
}

/// Which sequences are behind where they must be at least: they would give the same values again.
pub(crate) fn behind(expected: &[Sequence], found: &[Sequence]) -> Vec<String> {
    let found: BTreeMap<&str, i64> =
        found.iter().map(|one| (one.name.as_str(), one.last)).collect();
    let behind = expected.iter().filter_map(|Sequence { name, last, down }| {
        let reached = |value: &i64| if *down { value <= last } else { value >= last };
        match found.get(name.as_str()) {
            Some(value) if reached(value) => None,
            Some(value) => Some(format!("sequence {name} is at {value} and must be at {last}")),
            None => Some(format!("sequence {name} is missing or unused; it was at {last}")),
        }
    });
    behind.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(table: &str, rows: u64, checksum: &str) -> Contents {
        Contents { table: table.into(), rows, checksum: Some(checksum.into()) }
    }

    #[test]
    fn each_kind_of_difference_is_told() {
        let expected = [table("a", 1, "1"), table("b", 2, "2"), table("c", 3, "3")];
        assert!(differences(&expected, &expected).is_empty());
        let found = [table("a", 1, "9"), table("b", 1, "2"), table("d", 0, "0")];
        assert_eq!(
            differences(&expected, &found),
            [
                "table a has other values in its 1 rows",
                "table b has 1 rows instead of 2",
                "table c is missing; it had 3 rows",
                "d was not there"
            ]
        );
    }

    #[test]
    fn a_sequence_may_be_ahead_and_not_behind() {
        let at = |last, down| [Sequence { name: "s".into(), last, down }];
        assert!(behind(&at(5, false), &at(6, false)).is_empty());
        assert!(behind(&at(-5, true), &at(-6, true)).is_empty());
        assert_eq!(behind(&at(5, false), &at(4, false)), ["sequence s is at 4 and must be at 5"]);
        assert_eq!(behind(&at(5, false), &[]).len(), 1);
    }
}
