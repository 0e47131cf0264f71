//! Making Liftlock's table, and bringing an older one up to date.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::refinery;

/// Liftlock's table. The rollback script's text is kept, so that a rollback works on a machine without the files of
/// that version. Which actions there are is not for the table to say: it outlives the version of Liftlock that made it.
const CREATE_TABLE: &str = "
    create table if not exists liftlock_schema_history (
        id bigint generated always as identity primary key,
        action text not null,
        version integer not null,
        name text not null,
        up_sha256 text not null,
        rollback_sha256 text not null,
        rollback_sql text not null,
        actor text not null,
        database_user text not null default session_user,
        run text,
        started_at timestamptz not null,
        duration_ms bigint not null,
        transaction_id text not null default pg_current_xact_id()::text
    )";

/// Columns that came later, each with its type. All may be null: older rows have none of them.
const LATER: [(&str, &str); 6] = [
    ("statements", "integer"),
    ("attempts", "integer"),
    ("sqlstate", "text"),
    ("snapshot", "text"),
    ("error", "text"),
    ("reason", "text"),
];

/// Makes both history tables if they are not there, and adds what an older one lacks. To be called inside a transaction
/// that may write.
pub(crate) async fn make(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let columns: Option<Vec<String>> = sqlx::query_scalar(
        "select array_agg(attname::text) from pg_attribute
         where attrelid = to_regclass('liftlock_schema_history') and attnum > 0 and not attisdropped",
    )
    .fetch_one(&mut *connection)
    .await?;
    if let Some(sql) = missing(columns.as_deref()) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await?;
    }
    sqlx::raw_sql(AssertSqlSafe(refinery::create_table())).execute(connection).await.map(drop)
}

/// What is to be run on a table with these columns; none if it has all. No columns, no table.
fn missing(columns: Option<&[String]>) -> Option<String> {
    let there = columns.unwrap_or_default();
    let lacks = |name: &str| !there.iter().any(|column| column == name);
    let added: Vec<String> = LATER
        .iter()
        .filter(|(name, _)| lacks(name))
        .map(|(name, kind)| format!("add column if not exists {name} {kind}"))
        .collect();
    if added.is_empty() {
        return None;
    }
    let create = if columns.is_none() { CREATE_TABLE } else { "" };
    // Older tables list the actions that there were.
    Some(format!(
        "{create}; alter table liftlock_schema_history drop constraint if exists liftlock_schema_history_action_check, {}",
        added.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_changed_only_where_it_lacks_something() {
        let all: Vec<String> = LATER.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(missing(Some(&all)), None);
        let older = missing(Some(&all[..2])).unwrap();
        assert!(
            !older.contains("create table")
                && older.ends_with(
                    "add column if not exists error text, add column if not exists reason text"
                )
        );
        assert!(!older.contains("attempts"), "{older}");
        assert!(missing(None).unwrap().contains("create table"));
    }
}
