//! The lock that keeps two runs on one database apart: a session-level advisory lock, so that a run that dies leaves
//! nothing behind.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection};
use tokio::time::Instant;

use crate::ask;
use crate::progress::{On, Progress};
use crate::session::{self, Session};

/// "lift" and "lock" in ASCII: advisory locks have numbers, and only those of the same database meet.
const CLASS: i32 = i32::from_be_bytes(*b"lift");
const OBJECT: i32 = i32::from_be_bytes(*b"lock");
/// How often a lock that is held is asked for again. Never by waiting in the server: that is a transaction, which would
/// stand in the way of others' work.
const POLL: Duration = Duration::from_millis(100);

/// Why the lock could not be had or kept.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run has it.
    #[error("another migration run has held the database for over {} s: {}", waited.as_secs(), holder(.by.as_deref()))]
    Held {
        /// Who, as far as the server tells.
        by: Option<Box<Session>>,
        /// How long we waited.
        waited: Duration,
    },
    /// What the server granted is not there: a pooler sits between.
    #[error(
        "a connection pooler in transaction mode (such as PgBouncer's) hands each statement to another session of the server, \
         and the lock of this run would not be ours; use a URL that leads to PostgreSQL itself, or to a pool in session mode"
    )]
    Pooled,
    /// A statement failed.
    #[error("{0}")]
    Database(#[from] sqlx::Error),
}

fn holder(session: Option<&Session>) -> String {
    session.map_or_else(|| "the server does not say who".to_owned(), ToString::to_string)
}

/// Takes the lock within `wait`.
pub(crate) async fn acquire(
    connection: &mut PgConnection,
    wait: Duration,
    on: On<'_>,
) -> Result<(), LockError> {
    let start = Instant::now();
    let mut told = None;
    loop {
        let take = format!("select pg_try_advisory_lock({CLASS}, {OBJECT})");
        if ask::one(connection, take).await? {
            return verify(connection).await;
        }
        let by = held_by(connection).await?;
        if start.elapsed() >= wait {
            return Err(LockError::Held { by: by.map(Box::new), waited: wait });
        }
        let pid = by.as_ref().map(|session| session.pid);
        if told != Some(pid) {
            told = Some(pid);
            on(&Progress::Waiting { by, at_most: wait });
        }
        tokio::time::sleep(POLL.min(wait)).await;
    }
}

/// Asks the server whether it is this very session that holds the lock.
async fn verify(connection: &mut PgConnection) -> Result<(), LockError> {
    if is_ours(connection).await? { Ok(()) } else { Err(LockError::Pooled) }
}

async fn is_ours(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let there = format!(
        "select exists (
             select from pg_locks
             where locktype = 'advisory' and classid::int8 = {CLASS} and objid::int8 = {OBJECT} and objsubid = 2
               and database = (select oid from pg_database where datname = current_database())
               and pid = pg_backend_pid() and granted)"
    );
    ask::one(connection, there).await
}

async fn held_by(connection: &mut PgConnection) -> Result<Option<Session>, sqlx::Error> {
    let query = format!(
        "select {} from pg_locks l join pg_stat_activity a on a.pid = l.pid
         where l.locktype = 'advisory' and l.classid::int8 = $1 and l.objid::int8 = $2 and l.objsubid = 2
           and l.database = (select oid from pg_database where datname = current_database()) and l.granted",
        session::COLUMNS
    );
    let row = sqlx::query(AssertSqlSafe(query))
        .bind(i64::from(CLASS))
        .bind(i64::from(OBJECT))
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(session::read).transpose()
}

/// Gives the lock back, and checks that it was ours until now.
pub(crate) async fn release(connection: &mut PgConnection) -> Result<(), LockError> {
    let give_back = format!("select pg_advisory_unlock({CLASS}, {OBJECT})");
    let was_ours: bool = ask::one(connection, give_back).await?;
    if was_ours { Ok(()) } else { Err(LockError::Pooled) }
}
