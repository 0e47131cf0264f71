//! Making a ledger's tables, and refusing what is no ledger of ours before anything is touched.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use crate::error::Trouble;
use crate::store::{Pool, Store, Tx};
use crate::{Location, OpenError, StoreError, location};

/// The newest schema version that this program knows. A ledger of a newer one is refused: it may hold kinds of events
/// that this program would misread.
pub(crate) const VERSION: i64 = 1;

const SQLITE: &str = include_str!("sql/sqlite.sql");
const POSTGRES: &str = include_str!("sql/postgres.sql");

/// How long the first answer of a server is waited for.
const CONNECT: Duration = Duration::from_secs(10);

/// Two first starts at once on PostgreSQL meet at this advisory lock ("liftlock" in ASCII).
const CREATE_LOCK: &str = "SELECT pg_advisory_xact_lock(7811894407405593451)";

pub(crate) async fn open(location: &Location) -> Result<Store, OpenError> {
    let store = match location {
        Location::Sqlite(path) => sqlite(path).await?,
        Location::Postgres(url) => postgres(location::postgres(url)?).await?,
    };
    prepare(&store).await?;
    Ok(store)
}

async fn sqlite(path: &Path) -> Result<Store, OpenError> {
    let place: Arc<str> = path.display().to_string().into();
    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory)
            .map_err(|source| OpenError::Directory { path: directory.to_owned(), source })?;
    }
    if std::fs::metadata(path).is_ok_and(|file| file.len() > 0) {
        inspect(path, &place).await?;
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(30))
        .disable_statement_logging();
    // One connection writes at a time; the others read meanwhile.
    let pool = SqlitePoolOptions::new()
        .max_connections(4)
        .acquire_timeout(Duration::from_secs(45))
        .connect_with(options)
        .await
        .map_err(|error| StoreError::database(&place, error))?;
    Ok(Store { pool: Pool::Sqlite(pool), place })
}

/// Looks at a file that exists without changing it: asking for WAL would change somebody else's database.
async fn inspect(path: &Path, place: &Arc<str>) -> Result<(), OpenError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(Duration::from_secs(30))
        .disable_statement_logging();
    let tables = async {
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let sql = "SELECT name FROM sqlite_master WHERE type = 'table'";
        let tables = sqlx::query_scalar::<_, String>(sql).fetch_all(&mut connection).await?;
        connection.close().await?;
        Ok(tables)
    };
    let not = |what: &str| OpenError::NotALedger { place: place.to_string(), what: what.into() };
    match tables.await.map_err(|error| StoreError::database(place, error)) {
        Ok(tables) if tables.is_empty() || tables.iter().any(|t| t == "liftlock_ledger") => Ok(()),
        Ok(_) => Err(not("a SQLite database with other tables")),
        Err(error) if error.trouble() == Trouble::Damaged => {
            Err(not("not a SQLite database, or a damaged one"))
        }
        Err(error) => Err(error.into()),
    }
}

async fn postgres(options: PgConnectOptions) -> Result<Store, OpenError> {
    let options = options.disable_statement_logging();
    let place: Arc<str> = location::describe(&options).into();
    // A pool hides why it cannot connect behind its own timeout, so the first connection is made without it.
    let first = tokio::time::timeout(CONNECT, async {
        PgConnection::connect_with(&options).await?.close().await
    });
    match first.await {
        Ok(result) => result.map_err(|error| StoreError::database(&place, error))?,
        Err(late) => return Err(StoreError::other(&place, Trouble::Unreachable, late).into()),
    }
    let pool = PgPoolOptions::new()
        .max_connections(4)
        .acquire_timeout(Duration::from_secs(45))
        .connect_lazy_with(options);
    Ok(Store { pool: Pool::Postgres(pool), place })
}

async fn prepare(store: &Store) -> Result<(), OpenError> {
    let mut tx = store.read().await?;
    let found = if exists(&mut tx).await? { Some(version(&mut tx).await?) } else { None };
    tx.commit().await?;
    let found = match found {
        Some(version) => version,
        None => create(store).await?,
    };
    if found > VERSION {
        let place = store.place.to_string();
        return Err(OpenError::Newer { place, found, known: VERSION });
    }
    // SQLite opens a file that it may not write without a word, and so do a standby and a user without rights. A statement
    // that would write, and finds no row, shows it now and not at the first intent of a run.
    let mut tx = store.write().await?;
    tx.execute("UPDATE liftlock_ledger SET version = version WHERE single = 0", &[]).await?;
    Ok(tx.commit().await?)
}

async fn create(store: &Store) -> Result<i64, StoreError> {
    let mut tx = store.write().await?;
    tx.batch("", CREATE_LOCK).await?;
    if !exists(&mut tx).await? {
        tx.batch(SQLITE, POSTGRES).await?;
    }
    let version = version(&mut tx).await?;
    tx.commit().await?;
    Ok(version)
}

async fn exists(tx: &mut Tx) -> Result<bool, StoreError> {
    let sql = if tx.is_postgres() {
        "SELECT count(*) FROM pg_class WHERE oid = to_regclass('liftlock_ledger')"
    } else {
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'liftlock_ledger'"
    };
    let row: Option<(i64,)> = tx.row(sql, &[]).await?;
    Ok(row.is_some_and(|(count,)| count > 0))
}

async fn version(tx: &mut Tx) -> Result<i64, StoreError> {
    let row: Option<(i64,)> = tx.row("SELECT version FROM liftlock_ledger", &[]).await?;
    row.map(|(version,)| version)
        .ok_or_else(|| tx.trouble(Trouble::Damaged, "the table liftlock_ledger has no row"))
}
