//! A project of one environment, `prod`, whose database is this test's own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use liftlock_testkit::TestDatabase;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A command that takes longer than this hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

const BASE: &str = r#"
[application]
name = "shop"

[aws]
region = "eu-central-1"
account = "123456789012"

[infrastructure]
engine = "terraform"
backend = { kind = "local", path = "state.tfstate" }

[services.backend]
repository = "registry.example/shop/backend"
port = 8080
"#;

pub(crate) struct Project {
    directory: TempDir,
    pub(crate) database: TestDatabase,
    variables: Vec<(String, String)>,
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Project {
    /// `more` is the environment's file after the database's URL; none if this machine has no PostgreSQL.
    pub(crate) async fn new(more: &str) -> Option<Self> {
        let database = TestDatabase::new().await?;
        let directory = tempfile::tempdir().unwrap();
        let project = Self { directory, database, variables: Vec::new() };
        project.write("environments/base.toml", BASE);
        project.write("migrations/.keep", "");
        std::fs::remove_file(project.path("migrations/.keep")).unwrap();
        project.environment(more);
        Some(project)
    }

    pub(crate) fn environment(&self, more: &str) {
        let url = "[database]\nurl = { from = \"env\", variable = \"SHOP_DATABASE_URL\" }\n";
        self.write("environments/prod.toml", &format!("{url}{more}"));
    }

    /// What the commands find in their environment, beside the database's URL.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.variables.push((name.to_owned(), value));
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn add(&self, name: &str, up: &str, rollback: &str) {
        self.write(&format!("migrations/{name}.sql"), up);
        self.write(&format!("migrations/{name}.rollback.sql"), rollback);
    }

    /// Starts `liftlock`, with `--env prod` at its end if `arguments` are of `migrate`.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_liftlock"));
        for (name, _) in std::env::vars() {
            if name.starts_with("LIFTLOCK_") || name.starts_with("GITHUB_") {
                command.env_remove(name);
            }
        }
        command.arg("--root").arg(self.directory.path()).args(arguments);
        if arguments.first() == Some(&"migrate") {
            command.args(["--env", "prod"]);
        }
        command
            .env("LIFTLOCK_ACTOR", "ann")
            .env("SHOP_DATABASE_URL", self.database.url().expose_secret())
            .envs(self.variables.iter().cloned())
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command.spawn().unwrap()
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        ended(self.start(arguments)).await
    }

    /// Every entry of the ledger.
    pub(crate) async fn ledger(&self) -> Vec<Value> {
        let export = self.run(&["audit", "export"]).await.exits(0);
        // Where there is no ledger yet, that is said in words.
        let lines = export.stdout.lines().filter(|line| line.starts_with('{'));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What the ledger has of one kind, oldest first.
    pub(crate) async fn events(&self, kind: &str) -> Vec<Value> {
        let entries = self.ledger().await.into_iter();
        let mut events: Vec<Value> = entries.map(|mut entry| entry["event"].take()).collect();
        events.retain(|event| event["kind"] == kind);
        events.into_iter().map(|mut event| event["data"].take()).collect()
    }

    pub(crate) async fn session(&self) -> PgConnection {
        session(self.database.url()).await
    }
}

pub(crate) async fn session(url: &SecretString) -> PgConnection {
    PgConnection::connect(url.expose_secret()).await.unwrap()
}

pub(crate) async fn execute(connection: &mut PgConnection, sql: &str) {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

/// Whether there is a table, an index or a view of that name.
pub(crate) async fn is_there(connection: &mut PgConnection, name: &str) -> bool {
    let there = sqlx::query_scalar("select to_regclass($1) is not null").bind(name);
    there.fetch_one(connection).await.unwrap()
}

pub(crate) async fn ended(child: Child) -> Ran {
    let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stdout.contains(text) || self.stderr.contains(text), "{text}: {self:#?}");
        self
    }
}
