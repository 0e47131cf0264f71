//! Settings that a database or its roles have (`alter database … set`): a search path decides where a script's tables are made.

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::failure::reason;

/// Whose values are lists of names that were quoted one by one.
const LISTS: &str =
    "'search_path', 'temp_tablespaces', 'session_preload_libraries', 'local_preload_libraries'";

/// Gives the database `to`, called `name`, the settings of the database that `from` is connected to; on a private server
/// (`also_roles`) roles have none of their own yet. Gives notes of what failed.
pub(super) async fn copy(
    from: &mut PgConnection,
    to: &SecretString,
    name: &str,
    also_roles: bool,
) -> Vec<String> {
    match try_copy(from, to, name, also_roles).await {
        Ok(failures) => failures,
        Err(error) => {
            vec![format!("the database's settings could not be copied: {}", reason(&error))]
        }
    }
}

async fn try_copy(
    from: &mut PgConnection,
    to: &SecretString,
    name: &str,
    also_roles: bool,
) -> Result<Vec<String>, sqlx::Error> {
    let query = format!(
        "select format('alter %s set %s = %s',
             case when setrole = 0 then format('database %I', $1::text)
                  when setdatabase = 0 then format('role %s', setrole::regrole)
                  else format('role %s in database %I', setrole::regrole, $1::text) end,
             split_part(one, '=', 1),
             case when split_part(one, '=', 1) in ({LISTS}) then substr(one, strpos(one, '=') + 1)
                  else quote_literal(substr(one, strpos(one, '=') + 1)) end)
         from pg_db_role_setting, unnest(setconfig) one
         where setdatabase = (select oid from pg_database where datname = current_database()) or (setdatabase = 0 and $2)"
    );
    let statements: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query))
        .bind(name)
        .bind(also_roles)
        .fetch_all(from)
        .await?;
    if statements.is_empty() {
        return Ok(Vec::new());
    }
    let mut connection = PgConnection::connect(to.expose_secret()).await?;
    let mut failures = Vec::new();
    for sql in statements {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut connection).await;
        failures.extend(done.err().map(|error| format!("not copied: {sql}: {}", reason(&error))));
    }
    connection.close().await?;
    Ok(failures)
}
