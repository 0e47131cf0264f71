//! Other sessions of the server: who holds what we wait for.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use crate::connect::{Address, ConnectError};
use crate::text::printable;

/// How much of another session's statement is shown.
const SHOWN: usize = 60;

/// How long a look may take.
const LIMIT: Duration = Duration::from_secs(2);

/// How far a session is: the phase, and its percentage.
const PHASE: &str = "
    select phase, case when total > 0 then least(100 * done / total, 100) end from (
        select pid, lower(command) || ': ' || phase as phase,
               case when lockers_total > 0 then lockers_total when blocks_total > 0 then blocks_total else tuples_total end as total,
               case when lockers_total > 0 then lockers_done when blocks_total > 0 then blocks_done else tuples_done end as done
        from pg_stat_progress_create_index
        union all select pid, lower(command) || ': ' || phase, heap_blks_total, heap_blks_scanned from pg_stat_progress_cluster
        union all select pid, 'vacuum: ' || phase, heap_blks_total, heap_blks_scanned from pg_stat_progress_vacuum
        union all select pid, 'analyze: ' || phase, sample_blks_total, sample_blks_scanned from pg_stat_progress_analyze
        union all select pid, lower(command), bytes_total, bytes_processed from pg_stat_progress_copy
    ) progress where pid = $1";

/// A session of the server, as `pg_stat_activity` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Session {
    /// Its process.
    pub pid: i32,
    /// Its user.
    pub user: String,
    /// The application's name for itself.
    pub application: String,
    /// Where it comes from; `local` for a socket.
    pub client: String,
    /// What it does, such as `idle in transaction`.
    pub state: String,
    /// For how many seconds its transaction has been open.
    pub seconds: i64,
    /// The beginning of its current or last statement.
    pub statement: String,
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, user, application, client, state, seconds, statement } = self;
        let application =
            if application.is_empty() { "a program without a name" } else { application };
        write!(f, "process {pid} (user {user}, {application}, from {client}, {state}")?;
        if *seconds > 0 {
            write!(f, ", for {seconds} s")?;
        }
        if !statement.is_empty() {
            write!(f, ": `{statement}`")?;
        }
        f.write_str(")")
    }
}

/// The columns that make a [`Session`], from `pg_stat_activity a`.
pub(crate) const COLUMNS: &str = "
    a.pid, coalesce(a.usename, '') as username, coalesce(a.application_name, '') as application,
    coalesce(a.client_addr::text, 'local') as client, coalesce(a.state, 'unknown') as state,
    coalesce(extract(epoch from clock_timestamp() - a.xact_start)::int8, 0) as seconds, coalesce(a.query, '') as query";

pub(crate) fn read(row: &PgRow) -> Result<Session, sqlx::Error> {
    let text = |column: &str| row.try_get::<String, _>(column).map(|text| printable(&text));
    Ok(Session {
        pid: row.try_get("pid")?,
        user: text("username")?,
        application: text("application")?,
        client: text("client")?,
        state: text("state")?,
        seconds: row.try_get("seconds")?,
        statement: beginning(&text("query")?),
    })
}

/// The beginning of a statement. One that sets a password is not shown.
fn beginning(statement: &str) -> String {
    if statement.to_lowercase().contains("password") {
        return "not shown".into();
    }
    let statement: Vec<&str> = statement.split_whitespace().collect();
    let statement = statement.join(" ");
    match statement.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &statement[..end]),
        None => statement,
    }
}

/// Looks from a second connection at what our first one waits for.
pub(crate) struct Watcher {
    address: Address,
    /// None before the first look, and when the server lets no second connection in: then nobody is named.
    connection: Option<PgConnection>,
    given_up: bool,
    /// The beginning of the migration of which it was told that it takes long.
    pub(crate) told_long: Option<Instant>,
}

impl Watcher {
    pub(crate) fn new(address: Address) -> Self {
        Self { address, connection: None, given_up: false, told_long: None }
    }

    /// How far the session `pid` is, and the percentage of that phase, for the commands of which the server tells.
    pub(crate) async fn phase(&mut self, pid: i32) -> Option<(String, Option<u8>)> {
        let connection = self.connection.as_mut()?;
        let asked = sqlx::query_as(PHASE).bind(pid).fetch_optional(connection);
        let row: Option<(String, Option<i64>)> =
            tokio::time::timeout(LIMIT, asked).await.ok()?.ok()?;
        row.map(|(phase, percent)| (phase, percent.and_then(|percent| u8::try_from(percent).ok())))
    }

    /// Cancels what the session `pid` is doing. Whether that was said to it.
    pub(crate) async fn cancel(&mut self, pid: i32) -> bool {
        let Some(connection) = self.connection.as_mut() else { return false };
        let asked = sqlx::query_scalar("select pg_cancel_backend($1)").bind(pid);
        let said = tokio::time::timeout(LIMIT, asked.fetch_one(connection)).await;
        matches!(said, Ok(Ok(true)))
    }

    /// One more connection to the same database.
    pub(crate) fn another(
        &self,
    ) -> impl Future<Output = Result<PgConnection, ConnectError>> + use<> {
        let address = self.address.clone();
        async move { address.connect().await }
    }

    /// Who holds what the session `pid` waits for; nobody if it does not wait, or if it cannot be seen.
    pub(crate) async fn blockers(&mut self, pid: i32) -> Vec<Session> {
        let looked = tokio::time::timeout(LIMIT, self.look(pid)).await;
        looked.unwrap_or_else(|_| {
            self.connection = None;
            Vec::new()
        })
    }

    async fn look(&mut self, pid: i32) -> Vec<Session> {
        if self.given_up {
            return Vec::new();
        }
        if self.connection.is_none() {
            self.connection = self.address.connect().await.ok();
            self.given_up = self.connection.is_none();
        }
        let Some(connection) = &mut self.connection else { return Vec::new() };
        let query = format!(
            "select {COLUMNS} from pg_stat_activity a where a.pid = any(pg_blocking_pids($1)) order by a.pid"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).bind(pid).fetch_all(connection).await;
        let Ok(rows) = rows else {
            self.given_up = true;
            return Vec::new();
        };
        rows.iter().filter_map(|row| read(row).ok()).collect()
    }
}
