//! What a rollback would lose: looked at under the locks that the rollback itself takes, so that nobody writes between
//! the look and the act.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::catalog::{Catalog, Changes, Column, Table};

/// How far rows are counted: enough to tell that it matters.
const MOST: i64 = 100_000;

/// What a look at the tables in question showed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Contents {
    /// Rows of tables.
    rows: BTreeMap<i64, i64>,
    /// A sum over the values of each column of the touched tables.
    sums: BTreeMap<(i64, i16), Option<String>>,
    /// Values of the columns that would go.
    values: BTreeMap<(i64, i16), i64>,
}

/// Takes the locks that nobody can write, or read, these tables under.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    catalog: &Catalog,
    changes: &Changes,
) -> Result<(), sqlx::Error> {
    for oid in changes.tables() {
        if let Some(table) = catalog.get(&oid) {
            let sql = format!("lock table only {} in access exclusive mode", table.name);
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// Looks at what the tables hold before the script runs.
pub(crate) async fn look(
    connection: &mut PgConnection,
    catalog: &Catalog,
    changes: &Changes,
) -> Result<Contents, sqlx::Error> {
    let mut contents = Contents::default();
    for oid in &changes.dropped {
        if let Some(table) = catalog.get(oid) {
            let sql = format!(
                "select count(*) from (select from only {} limit {}) t",
                table.name,
                MOST + 1
            );
            contents.rows.insert(*oid, number(connection, sql).await?);
        }
    }
    for (oid, attribute) in &changes.dropped_columns {
        let Some(table) = catalog.get(oid) else { continue };
        let Some(column) = table.columns.get(attribute) else { continue };
        let sql = values_of(table, column);
        contents.values.insert((*oid, *attribute), number(connection, sql).await?);
    }
    look_at_touched(connection, catalog, catalog, changes, &mut contents).await?;
    Ok(contents)
}

/// Looks at the touched tables after the script ran: the columns that were there `before`, by their names of now.
pub(crate) async fn look_again(
    connection: &mut PgConnection,
    before: &Catalog,
    now: &Catalog,
    changes: &Changes,
) -> Result<Contents, sqlx::Error> {
    let mut contents = Contents::default();
    look_at_touched(connection, before, now, changes, &mut contents).await?;
    Ok(contents)
}

async fn look_at_touched(
    connection: &mut PgConnection,
    before: &Catalog,
    now: &Catalog,
    changes: &Changes,
    contents: &mut Contents,
) -> Result<(), sqlx::Error> {
    for oid in &changes.touched {
        let (Some(old), Some(table)) = (before.get(oid), now.get(oid)) else { continue };
        let columns: Vec<(i16, &Column)> = table
            .columns
            .iter()
            .filter(|(attribute, _)| old.columns.contains_key(attribute))
            .map(|(attribute, column)| (*attribute, column))
            .collect();
        let sums: String =
            columns.iter().map(|(_, column)| format!(", {}", sum_of(column))).collect();
        let sql = format!("select count(*){sums} from only {}", table.name);
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut *connection).await?;
        contents.rows.insert(*oid, row.try_get(0)?);
        for (index, (attribute, _)) in columns.iter().enumerate() {
            contents.sums.insert((*oid, *attribute), row.try_get(index + 1)?);
        }
    }
    Ok(())
}

/// A sum that changes when a value does, whatever the order of the rows.
fn sum_of(column: &Column) -> String {
    format!(
        "sum(hashtextextended(coalesce({}::text, '∅') collate \"C\", 0)::numeric)::text",
        column.name
    )
}

/// Counts the values that say something: not null, and neither the constant default nor what older rows are taken to hold.
/// Compared as text, since not every type can be compared.
fn values_of(table: &Table, column: &Column) -> String {
    let name = &column.name;
    let mut conditions = vec![format!("{name} is not null")];
    if let Some(default) = &column.default {
        conditions
            .push(format!("{name}::text is distinct from ({default})::{}::text", column.kind));
    }
    if let Some(missing) = &column.missing {
        let missing = missing.replace('\'', "''");
        conditions
            .push(format!("{name}::text is distinct from ('{missing}')::{}::text", column.kind));
    }
    let conditions = conditions.join(" and ");
    format!(
        "select count(*) from (select from only {} where {conditions} limit {}) t",
        table.name,
        MOST + 1
    )
}

async fn number(connection: &mut PgConnection, sql: String) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await
}

/// What is lost, for people: `table public.orders: 3 rows`. Empty if nothing is. Pure.
pub(crate) fn losses(
    catalog: &Catalog,
    changes: &Changes,
    before: &Contents,
    after: &Contents,
) -> Vec<String> {
    let mut losses = Vec::new();
    for oid in &changes.dropped {
        let rows = before.rows.get(oid).copied().unwrap_or(0);
        if rows > 0 {
            losses.push(format!("table {}: {}", shown(&catalog[oid].name), counted(rows, "row")));
        }
    }
    for key @ (oid, attribute) in &changes.dropped_columns {
        let values = before.values.get(key).copied().unwrap_or(0);
        if values > 0 {
            let column = full_name(&catalog[oid], *attribute);
            losses.push(format!("column {column}: {}", counted(values, "value")));
        }
    }
    for oid in &changes.touched {
        losses.extend(lost_in_touched(*oid, &catalog[oid], before, after));
    }
    losses
}

fn lost_in_touched(oid: i64, table: &Table, before: &Contents, after: &Contents) -> Vec<String> {
    let rows = |contents: &Contents| contents.rows.get(&oid).copied().unwrap_or(0);
    let fewer = rows(before) - rows(after);
    if fewer > 0 {
        return vec![format!("table {}: {}", shown(&table.name), counted(fewer, "row"))];
    }
    if rows(before) == 0 {
        return Vec::new();
    }
    let changed = table.columns.keys().filter(|attribute| {
        let key = (oid, **attribute);
        after.sums.contains_key(&key) && before.sums.get(&key) != after.sums.get(&key)
    });
    changed
        .map(|attribute| format!("column {}: values that it changes", full_name(table, *attribute)))
        .collect()
}

fn full_name(table: &Table, attribute: i16) -> String {
    let column = table.columns.get(&attribute).map_or("?", |column| column.name.as_str());
    format!("{}.{column}", shown(&table.name))
}

/// `public` goes without saying.
fn shown(name: &str) -> &str {
    name.strip_prefix("public.").unwrap_or(name)
}

fn counted(count: i64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count if count > MOST => format!("more than {MOST} {what}s"),
        count => format!("{count} {what}s"),
    }
}
