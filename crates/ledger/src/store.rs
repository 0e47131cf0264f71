//! SQLite and PostgreSQL behind the same few verbs. Both take `$1` for a parameter, so each statement is written once.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgPool, PgRow};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, FromRow, Postgres, Sqlite, Transaction};

use crate::StoreError;
use crate::error::Trouble;

/// Longer than any lock is waited for (30 s, below), so that the database's own word comes first where it has one.
const DEADLINE: Duration = Duration::from_secs(60);

/// An intent must survive a power loss, hence `synchronous_commit`; a client that vanishes must not hold the head's lock
/// for ever, hence the limit on idle transactions.
const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '30s'; \
     SET LOCAL statement_timeout = '45s'; SET LOCAL idle_in_transaction_session_timeout = '60s'; \
     SET LOCAL synchronous_commit = on";

/// A value of a statement.
#[derive(Clone)]
pub(crate) enum Value {
    Int(i64),
    Text(Option<String>),
    Bytes(Vec<u8>),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(ToOwned::to_owned))
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

/// A row that both databases can give.
pub(crate) trait Row:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl<T> Row for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{}

#[derive(Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// A ledger's database.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) pool: Pool,
    pub(crate) place: Arc<str>,
}

enum Inner {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// A transaction. Dropped without [`Tx::commit`], it is rolled back.
pub(crate) struct Tx {
    inner: Inner,
    place: Arc<str>,
}

macro_rules! bind {
    ($query:expr, $values:expr) => {{
        let mut query = $query;
        for value in $values {
            query = match value.clone() {
                Value::Int(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
                Value::Bytes(bytes) => query.bind(bytes),
            };
        }
        query
    }};
}

impl Store {
    /// Begins a transaction that may write. On SQLite it takes the write lock at once: a transaction that starts by
    /// reading could not wait for it later.
    pub(crate) async fn write(&self) -> Result<Tx, StoreError> {
        self.begin("BEGIN IMMEDIATE", BEGIN_WRITE).await
    }

    /// Begins a transaction that sees one state of the whole ledger.
    pub(crate) async fn read(&self) -> Result<Tx, StoreError> {
        self.begin("BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    async fn begin(&self, sqlite: &'static str, postgres: &'static str) -> Result<Tx, StoreError> {
        let inner = self.timed(async {
            Ok(match &self.pool {
                Pool::Sqlite(pool) => Inner::Sqlite(pool.begin_with(sqlite).await?),
                Pool::Postgres(pool) => Inner::Postgres(pool.begin_with(postgres).await?),
            })
        });
        Ok(Tx { inner: inner.await?, place: self.place.clone() })
    }

    async fn timed<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        timed(&self.place, work).await
    }
}

async fn timed<T>(
    place: &Arc<str>,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(result) => result.map_err(|error| StoreError::database(place, error)),
        Err(late) => Err(StoreError::other(place, Trouble::Unreachable, late)),
    }
}

impl Tx {
    /// Runs a statement and returns how many rows it touched.
    pub(crate) async fn execute(
        &mut self,
        sql: &'static str,
        values: &[Value],
    ) -> Result<u64, StoreError> {
        let Self { inner, place } = self;
        timed(place, async {
            Ok(match inner {
                Inner::Sqlite(tx) => {
                    bind!(sqlx::query(sql), values).execute(&mut **tx).await?.rows_affected()
                }
                Inner::Postgres(tx) => {
                    bind!(sqlx::query(sql), values).execute(&mut **tx).await?.rows_affected()
                }
            })
        })
        .await
    }

    /// Runs several statements that take no values.
    pub(crate) async fn batch(
        &mut self,
        sqlite: &'static str,
        postgres: &'static str,
    ) -> Result<(), StoreError> {
        let Self { inner, place } = self;
        timed(place, async {
            match inner {
                Inner::Sqlite(tx) => sqlx::raw_sql(sqlite).execute(&mut **tx).await.map(drop),
                Inner::Postgres(tx) => sqlx::raw_sql(postgres).execute(&mut **tx).await.map(drop),
            }
        })
        .await
    }

    /// Reads rows. The text of `sql` is put together from literals only; everything from outside is a value.
    pub(crate) async fn rows<T: Row>(
        &mut self,
        sql: impl Into<String>,
        values: &[Value],
    ) -> Result<Vec<T>, StoreError> {
        let Self { inner, place } = self;
        let sql = AssertSqlSafe(sql.into());
        timed(place, async {
            match inner {
                Inner::Sqlite(tx) => {
                    bind!(sqlx::query_as::<Sqlite, T>(sql), values).fetch_all(&mut **tx).await
                }
                Inner::Postgres(tx) => {
                    bind!(sqlx::query_as::<Postgres, T>(sql), values).fetch_all(&mut **tx).await
                }
            }
        })
        .await
    }

    /// Reads at most one row.
    pub(crate) async fn row<T: Row>(
        &mut self,
        sql: &'static str,
        values: &[Value],
    ) -> Result<Option<T>, StoreError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// The time in microseconds since 1970: the server's on PostgreSQL, since machines that share a ledger do not share
    /// a clock; the machine's on SQLite.
    pub(crate) async fn now(&mut self) -> Result<i64, StoreError> {
        if matches!(self.inner, Inner::Sqlite(_)) {
            return Ok(jiff::Timestamp::now().as_microsecond());
        }
        let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        let row: Option<(i64,)> = self.row(sql, &[]).await?;
        Ok(row.map_or(0, |(now,)| now))
    }

    /// True on PostgreSQL.
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.inner, Inner::Postgres(_))
    }

    /// Makes it so.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        timed(&self.place, async {
            match self.inner {
                Inner::Sqlite(tx) => tx.commit().await,
                Inner::Postgres(tx) => tx.commit().await,
            }
        })
        .await
    }

    /// An error of this ledger that is not its database's.
    pub(crate) fn trouble(&self, trouble: Trouble, what: &'static str) -> StoreError {
        StoreError::other(&self.place, trouble, what)
    }
}
