//! What an environment file may say of its database.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretSource;
use crate::period::Period;

/// The application's database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Where its URL (`postgres://…`) comes from.
    pub url: SecretSource,
    /// How its migrations run.
    #[serde(default)]
    pub migrations: Migrations,
    /// The snapshot before migrations. Left out: none is made.
    pub snapshot: Option<Snapshot>,
    /// The databases that have the schema, where there are many of one kind. Left out: the one that `url` leads to.
    pub fleet: Option<Fleet>,
}

/// Many databases with one schema. Migrations go over all of them: a canary first, then in waves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// Which databases.
    pub databases: FleetDatabases,
    /// The database that is migrated alone and first; left out, the first one.
    pub canary: Option<String>,
    /// How many databases are migrated at once after it.
    #[serde(default = "concurrency")]
    #[schemars(range(min = 1, max = 1000))]
    pub concurrency: u32,
    /// How many databases may fail before no further one is begun. A canary that fails always ends it.
    #[serde(default)]
    pub max_failures: u32,
    /// How far each wave after the canary goes, in percent: rising. The last takes the rest.
    #[serde(default = "waves")]
    #[schemars(inner(range(min = 1, max = 100)))]
    pub waves: Vec<u8>,
}

/// Where the list of a fleet's databases comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "from", rename_all = "lowercase", deny_unknown_fields)]
pub enum FleetDatabases {
    /// They are named here.
    List {
        /// The databases, on the server that `database.url` leads to.
        #[schemars(length(min = 1))]
        names: Vec<String>,
    },
    /// The database of `database.url` knows.
    Query {
        /// A query: its first column is a database's name on that server, a second one, if there is, its own URL.
        sql: String,
    },
    /// Parameters of SSM Parameter Store, decrypted.
    Ssm {
        /// Their path: each parameter right below it is named as its database is called, and holds that one's URL.
        path: String,
    },
}

/// What to do if others have changed the schema since the last run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnDrift {
    /// Nothing is touched.
    #[default]
    Refuse,
    /// It is shown, and the run goes on.
    Warn,
    /// Nobody looks.
    Ignore,
}

/// How migrations run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Migrations {
    /// Their directory, from the repository's top.
    pub directory: PathBuf,
    /// How long a statement may wait for a lock (`lock_timeout`).
    pub lock_timeout: Period,
    /// For how long a migration is tried again, from its beginning, that others' locks were in the way of. `0s`: not at all.
    pub lock_retry_budget: Period,
    /// How long a statement may run (`statement_timeout`).
    pub statement_timeout: Period,
    /// How long a run waits for another migration run to end.
    pub wait: Period,
    /// How long a statement that runs outside of a transaction, such as `CREATE INDEX CONCURRENTLY`, may wait for others in all: it
    /// blocks nobody meanwhile, so this is long.
    pub concurrent_budget: Period,
    /// After how long it is told, once, that a migration is still running.
    pub alert_after: Period,
    /// Whether migrations and their rollbacks are tried on a copy of the schema first, and nothing is applied if something must be
    /// mended.
    pub prove: bool,
    /// What to do if others have changed the schema since the last run. A way back is never barred by it.
    pub drift: OnDrift,
    /// What the linter's rules are worth here, in checks and in dry-runs.
    pub lint: Lint,
}

impl Default for Migrations {
    fn default() -> Self {
        Self {
            directory: "migrations".into(),
            lock_timeout: Period::from_secs(2),
            lock_retry_budget: Period::from_secs(600),
            statement_timeout: Period::from_secs(300),
            wait: Period::from_secs(60),
            concurrent_budget: Period::from_secs(1800),
            alert_after: Period::from_secs(300),
            prove: false,
            drift: OnDrift::Refuse,
            lint: Lint::default(),
        }
    }
}

/// How much the findings of a rule matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is not looked at.
    Off,
    /// Worth knowing.
    Note,
    /// Probably not meant; it stops nothing.
    Warning,
    /// It must be mended.
    Error,
}

impl Level {
    /// The name, as it stands in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What the linter's rules are worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lint {
    /// Levels of rules by their names, such as `ban-drop-column = "error"`; `migrate check --rules` lists them.
    pub rules: BTreeMap<String, Level>,
    /// Tables with fewer rows are small: what is said of their locks and scans is a note.
    pub small_table_rows: u64,
    /// Migrations before this one, such as `V0041`, are left to themselves.
    pub ignore_before: Option<String>,
}

impl Default for Lint {
    fn default() -> Self {
        Self { rules: BTreeMap::new(), small_table_rows: 10_000, ignore_before: None }
    }
}

/// How a snapshot is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotMethod {
    /// By RDS, of the whole instance.
    #[default]
    Rds,
    /// By `pg_dump`, of the database alone, as an archive in a directory.
    PgDump,
}

/// The snapshot before migrations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// How it is made.
    #[serde(default)]
    pub method: SnapshotMethod,
    /// The RDS instance (`rds`); `<application>-<environment>` if left out.
    pub instance: Option<String>,
    /// The directory of the archives (`pg_dump`), from the repository's top or absolute.
    pub directory: Option<PathBuf>,
    /// Whether nothing is applied without it. If not, a snapshot that cannot be made is reported, and that is all.
    #[serde(default = "yes")]
    pub required: bool,
    /// How long to wait until it is available.
    #[serde(default = "snapshot_timeout")]
    pub timeout: Period,
    /// How many days to keep it; written on it as the tag `liftlock:keep-until`.
    #[serde(default = "snapshot_days")]
    #[schemars(range(min = 1))]
    pub keep_days: u32,
}

fn concurrency() -> u32 {
    8
}

fn waves() -> Vec<u8> {
    vec![10, 100]
}

fn snapshot_timeout() -> Period {
    Period::from_secs(1800)
}

fn yes() -> bool {
    true
}

fn snapshot_days() -> u32 {
    2557
}
