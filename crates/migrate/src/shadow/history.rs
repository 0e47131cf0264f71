//! What a copy does have beside its schema: the history of migrations, and statistics on its own catalogs.

use futures_util::TryStreamExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

/// Without them, what reads a catalog of many tables that was filled a moment ago is planned for a few.
const ANALYZE: &str = "analyze pg_catalog.pg_class, pg_catalog.pg_attribute, pg_catalog.pg_attrdef, pg_catalog.pg_constraint,
    pg_catalog.pg_depend, pg_catalog.pg_index, pg_catalog.pg_proc, pg_catalog.pg_sequence, pg_catalog.pg_trigger, pg_catalog.pg_type";

/// Copies the rows of the history tables, as far as they are there, and sets what numbers them; not the schemas of earlier runs,
/// which may be large and are not looked at on a copy. `many`: the copy has many tables.
pub(super) async fn copy(
    from: &mut PgConnection,
    to: &SecretString,
    many: bool,
) -> Result<(), sqlx::Error> {
    let tables = sqlx::raw_sql(
        "select format('%I.%I', n.nspname, c.relname) as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind = 'r' and c.oid = to_regclass(c.relname) and (c.relname = 'refinery_schema_history' or c.relname like
             'liftlock\\_schema\\_%') and c.relname not in ('liftlock_schema_snapshot', 'liftlock_schema_run')",
    );
    let tables = tables.fetch_all(&mut *from).await?;
    let mut connection = PgConnection::connect(to.expose_secret()).await?;
    if many {
        sqlx::raw_sql(ANALYZE).execute(&mut connection).await?;
    }
    for table in tables {
        copy_table(from, &mut connection, table.try_get("name")?).await?;
    }
    connection.close().await
}

async fn copy_table(
    from: &mut PgConnection,
    to: &mut PgConnection,
    table: &str,
) -> Result<(), sqlx::Error> {
    let mut rows = from.copy_out_raw(&format!("copy {table} to stdout")).await?;
    let mut into = to.copy_in_raw(&format!("copy {table} from stdin")).await?;
    while let Some(bytes) = rows.try_next().await? {
        into.send(bytes).await?;
    }
    into.finish().await?;
    let identities = sqlx::query_scalar(
        "select format('select setval(pg_get_serial_sequence(%L, %L), greatest(max(%I), 1)) from %s', $1, attname, attname, $1)
         from pg_attribute where attrelid = $1::regclass and attnum > 0 and attidentity <> ''",
    );
    let numbered: Vec<String> = identities.bind(table).fetch_all(&mut *to).await?;
    for sql in numbered {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *to).await?;
    }
    Ok(())
}
