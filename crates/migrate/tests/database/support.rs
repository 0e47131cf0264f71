//! What the tests on real databases share.

use std::path::Path;
use std::time::Duration;

use liftlock_migrate::{ConnectErrorKind, Database, Migrations, Progress, Settings};
use liftlock_model::Actor;
use liftlock_testkit::TestDatabase;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// A directory of migrations.
pub(crate) struct Files(tempfile::TempDir);

impl Files {
    /// Each migration as its number and name, its script and its rollback script.
    pub(crate) fn new(migrations: &[(&str, &str, &str)]) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        for (stem, up, rollback) in migrations {
            files.write(&format!("{stem}.sql"), up);
            files.write(&format!("{stem}.rollback.sql"), rollback);
        }
        files
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.0.path().join(name), content).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn read(&self) -> Migrations {
        Migrations::read(self.path()).unwrap()
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        lock_timeout: Duration::from_millis(500),
        lock_retry_budget: Duration::ZERO,
        statement_timeout: Duration::from_secs(20),
        wait: Duration::from_secs(20),
        ..Settings::new(Actor::new("alice"))
    }
}

pub(crate) async fn connect(database: &TestDatabase) -> Database {
    // A machine that does a hundred things at once may need longer than the limit: that is not what is tested.
    for _ in 0..10 {
        match Database::connect(database.url(), settings()).await {
            Err(error) if error.kind() == ConnectErrorKind::Unreachable => {}
            connected => return connected.unwrap(),
        }
    }
    panic!("{} cannot be reached", database.name())
}

/// A session of somebody else.
pub(crate) async fn session(url: &SecretString) -> PgConnection {
    PgConnection::connect(url.expose_secret()).await.unwrap()
}

pub(crate) async fn execute(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
}

/// The first column of the first row, as text.
pub(crate) async fn ask(database: &TestDatabase, sql: &str) -> String {
    let mut connection = session(database.url()).await;
    let sql = format!("select ({sql})::text");
    sqlx::query_scalar::<_, Option<String>>(AssertSqlSafe(sql))
        .fetch_one(&mut connection)
        .await
        .unwrap()
        .unwrap_or_else(|| "null".into())
}

pub(crate) async fn tables(database: &TestDatabase) -> String {
    let query = "select string_agg(relname, ' ' order by relname) from pg_class
                 where relkind = 'r' and relnamespace = 'public'::regnamespace and relname not like '%schema_history' and relname not like 'liftlock_schema_%'";
    ask(database, query).await
}

/// Applies all, and nobody listens.
pub(crate) async fn apply(database: &TestDatabase, files: &Files) -> Vec<i32> {
    let ran = connect(database).await.apply(&files.read(), None, &mut quiet).await.unwrap();
    ran.iter().map(|ran| ran.id.version).collect()
}

pub(crate) fn quiet(_: &Progress) {}
