//! A fresh place for a ledger, and a way to it past the ledger, as an attacker has.

use std::path::PathBuf;

use liftlock_ledger::{Draft, Ledger, Location};
use liftlock_model::{Actor, EnvName, Event, RunId};
use liftlock_testkit::TestDatabase;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;

/// Defines a test for each database from one function that takes a [`Place`].
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$name(crate::place::Place::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                let Some(place) = crate::place::Place::postgres().await else { return };
                super::$name(place).await;
            }
        }
    )+};
}
pub(crate) use on_both;

pub(crate) enum Place {
    Sqlite { directory: TempDir },
    Postgres { database: TestDatabase },
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) async fn postgres() -> Option<Self> {
        Some(Self::Postgres { database: TestDatabase::new().await? })
    }

    pub(crate) fn location(&self) -> Location {
        match self {
            Self::Sqlite { directory } => Location::Sqlite(file(directory)),
            Self::Postgres { database } => Location::Postgres(database.url().clone()),
        }
    }

    /// The location as a text that [`location`] reads in a child process.
    pub(crate) fn text(&self) -> String {
        match self.location() {
            Location::Sqlite(path) => path.display().to_string(),
            Location::Postgres(url) => url.expose_secret().to_owned(),
        }
    }

    pub(crate) async fn ledger(&self) -> Ledger {
        Ledger::open(&self.location()).await.unwrap()
    }

    /// Runs statements past the ledger.
    pub(crate) async fn sql(&self, sql: &str) -> Result<(), sqlx::Error> {
        match self.location() {
            Location::Sqlite(path) => {
                let url = format!("sqlite://{}", path.display());
                let mut connection = SqliteConnection::connect(&url).await?;
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
                connection.close().await
            }
            Location::Postgres(url) => {
                let mut connection = PgConnection::connect(url.expose_secret()).await?;
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
                connection.close().await
            }
        }
    }

    /// Changes the ledger as somebody would who may do everything with its database.
    pub(crate) async fn attack(&self, sql: &str) {
        let disarm = match self {
            Self::Sqlite { .. } => {
                "DROP TRIGGER IF EXISTS liftlock_entries_no_update; DROP TRIGGER IF EXISTS liftlock_entries_no_delete; \
                 DROP TRIGGER IF EXISTS liftlock_artifacts_no_update;"
            }
            Self::Postgres { .. } => {
                "ALTER TABLE liftlock_entries DISABLE TRIGGER USER; ALTER TABLE liftlock_artifacts DISABLE TRIGGER USER;"
            }
        };
        self.sql(&format!("{disarm} {sql}")).await.unwrap();
    }
}

fn file(directory: &TempDir) -> PathBuf {
    directory.path().join("new/ledger.db")
}

pub(crate) fn location(text: &str) -> Location {
    if text.starts_with("postgres://") {
        Location::Postgres(SecretString::from(text))
    } else {
        Location::Sqlite(PathBuf::from(text))
    }
}

pub(crate) fn dev() -> EnvName {
    "dev".parse().unwrap()
}

pub(crate) fn ann() -> Actor {
    Actor::new("ann")
}

pub(crate) fn draft(event: Event) -> Draft {
    let environment = Some(dev());
    Draft { environment, run: None, actor: ann(), event, fence: None }
}

pub(crate) fn note(text: &str) -> Draft {
    draft(Event::IncidentOpened { summary: text.into() })
}

pub(crate) fn run() -> RunId {
    RunId::generate()
}
