//! What an environment file may say. These types are the one description of it: the JSON Schema for editors, the checks
//! and the documentation are all made from them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use liftlock_model::{ApplicationName, EnvName, ServiceName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::analysis::{Analysis, LatencyLimit, LowTraffic, SyntheticProbes};
pub use crate::performance::Performance;
use crate::period::Period;
pub use crate::switch::Switch;

mod checks;
mod database;
mod rollout;

pub use checks::{JsonEndpoint, NamedCheck, NoData, PLACEHOLDERS, Prometheus, Scalar, fill};
pub use database::{
    Database, Fleet, FleetDatabases, Level, Lint, Migrations, OnDrift, Snapshot, SnapshotMethod,
};
pub use rollout::{Breaker, Pause, Rollout, Step, Strategy};

/// An environment file: `environments/base.toml`, overlaid by `environments/<name>.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The application.
    pub application: Application,
    /// Where in AWS (or on which stand-in for it) the environment lives.
    pub aws: Aws,
    /// Who makes the infrastructure, and how.
    pub infrastructure: Infrastructure,
    /// The application's database. Left out: the application has none, and no migrations run.
    pub database: Option<Database>,
    /// The services, by name. They are rolled out in the order of their `order`, then by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "maxLength": 16 }))]
    pub services: BTreeMap<ServiceName, Service>,
    /// What gives traffic back when a promotion is gone.
    #[serde(default)]
    pub switch: Switch,
    /// What must hold before a promotion begins.
    #[serde(default)]
    pub gates: Gates,
    /// What a rollback by hand demands.
    #[serde(default)]
    pub rollback: Rollback,
    /// How the running application is looked at.
    #[serde(default)]
    pub probes: Probes,
    /// Who is told.
    #[serde(default)]
    pub notifications: Vec<Notification>,
    /// How long things may take before they are reported as over budget.
    #[serde(default)]
    pub budgets: Budgets,
    /// Where the ledger is.
    #[serde(default)]
    pub ledger: LedgerConfig,
}

/// The application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// Its name, the first part of every resource's name: resources are called `<application>-<environment>-…`.
    pub name: ApplicationName,
}

/// Where in AWS the environment lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Aws {
    /// The region, such as `eu-central-1`.
    #[schemars(regex(pattern = "^[a-z]{2}(-[a-z]+)+-[0-9]$"))]
    pub region: String,
    /// The account's 12 digits.
    #[schemars(regex(pattern = "^[0-9]{12}$"))]
    pub account: String,
    /// Another endpoint than AWS's own, for all services: moto, LocalStack. Not needed for the stage, which names its own.
    pub endpoint: Option<url::Url>,
}

/// Who makes the infrastructure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// HashiCorp Terraform, from `PATH`.
    Terraform,
    /// OpenTofu, from `PATH`.
    Tofu,
    /// Liftlock's own rehearsal cloud on this machine: an AWS endpoint on loopback whose tasks are real processes.
    Stage,
}

/// Who makes the infrastructure, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Infrastructure {
    /// Who makes it.
    pub engine: Engine,
    /// The root module's directory, from the repository's top.
    #[serde(default = "defaults::root")]
    pub root: PathBuf,
    /// The workspace; the environment's name if left out.
    pub workspace: Option<String>,
    /// Where the state is kept.
    pub backend: Option<Backend>,
    /// Values for the root module's variables, beside those that Liftlock derives from this file.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub variables: BTreeMap<String, toml::Value>,
    /// How long one `terraform` command may take before its process group is ended.
    #[serde(default = "defaults::infrastructure_timeout")]
    pub timeout: Period,
}

/// Where Terraform's state is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Backend {
    /// An S3 bucket with its lock file.
    S3 {
        /// The bucket.
        bucket: String,
        /// The state's key in it, one for each environment.
        key: String,
        /// The bucket's region; the environment's if left out.
        region: Option<String>,
        /// Another endpoint than AWS's own; `aws.endpoint` if left out.
        endpoint: Option<url::Url>,
    },
    /// A file on this machine.
    Local {
        /// The state file.
        path: PathBuf,
    },
}

/// Where a secret comes from. The secret itself never stands in a file of the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "from", rename_all = "lowercase", deny_unknown_fields)]
#[schemars(extend("x-secret" = true))]
pub enum SecretSource {
    /// An environment variable.
    Env {
        /// Its name.
        variable: String,
    },
    /// A parameter of SSM Parameter Store, decrypted.
    Ssm {
        /// Its name.
        parameter: String,
    },
    /// A file; a newline at its end is not part of the secret.
    File {
        /// Its path, from the repository's top.
        path: PathBuf,
    },
    /// What a program prints, such as `doppler secrets get DATABASE_URL --plain`; a newline at its end is not part of the
    /// secret.
    Command {
        /// The program and its arguments; no shell.
        program: Vec<String>,
    },
    /// The stage's own database (with `engine = "stage"` only).
    Stage {},
}

/// The place, for people; never the secret.
impl std::fmt::Display for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Env { variable } => write!(f, "the environment variable `{variable}`"),
            Self::Ssm { parameter } => write!(f, "the SSM parameter `{parameter}`"),
            Self::File { path } => write!(f, "the file {}", path.display()),
            // Its arguments may be anything.
            Self::Command { program } => {
                write!(f, "the command `{}`", program.first().map_or("", String::as_str))
            }
            Self::Stage {} => f.write_str("the stage"),
        }
    }
}

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its image repository, without tag or digest.
    pub repository: String,
    /// The port that its tasks listen on.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Which request paths the load balancer sends to it, such as `["/api/*"]`. Left out: all that no other service takes.
    pub paths: Option<Vec<String>>,
    /// Its place in the order of rollout: lower first.
    #[serde(default)]
    pub order: i32,
    /// CPU units of a task (1024 is one core).
    #[serde(default = "defaults::cpu")]
    pub cpu: u32,
    /// Memory of a task, in MiB.
    #[serde(default = "defaults::memory")]
    pub memory: u32,
    /// How many tasks carry full traffic.
    #[serde(default = "defaults::tasks")]
    #[schemars(range(min = 1, max = 1000))]
    pub tasks: u32,
    /// The path that the load balancer's health check asks.
    #[serde(default = "defaults::health_path")]
    pub health_path: String,
    /// How traffic moves.
    #[serde(default)]
    pub rollout: Rollout,
    /// A short load on each new version before the old one goes. Left out: none.
    pub performance: Option<Performance>,
    /// How its tasks run on the stage (with `engine = "stage"` only).
    pub stage: Option<StageService>,
}

/// How a service's tasks run on the stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageService {
    /// What builds the program; run before a release is made of it.
    pub build: Option<Vec<String>>,
    /// The program and its arguments, from the repository's top.
    pub command: Vec<String>,
    /// The directory of versions: each `<version>.toml` in it holds the environment variables that make that version.
    pub versions: PathBuf,
}

/// What must hold before a promotion begins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gates {
    /// The environment that must have proven the release first. Left out: this environment is the first of its chain.
    pub after: Option<EnvName>,
    /// How old that proof may be. Left out: any age.
    pub proof_max_age: Option<Period>,
    /// When promotions may begin. None: at any time.
    pub windows: Vec<Window>,
    /// How many promotions may begin in how much time. Left out: any number.
    pub rate: Option<Rate>,
    /// When no promotion may begin: holidays, maintenance.
    pub freezes: Vec<Freeze>,
    /// Who must have approved the release for this environment. Left out: nobody.
    pub approvals: Option<Approvals>,
    /// Whether `promote --skip-canary` is refused here. Left out: it may be used, with a reason, which is recorded.
    pub forbid_skip_canary: bool,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// When promotions may begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// On which days.
    #[schemars(length(min = 1))]
    pub days: Vec<Day>,
    /// From when, `HH:MM`, this minute included.
    #[schemars(regex(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub from: String,
    /// Until when, `HH:MM`, this minute not included. Later than `from`.
    #[schemars(regex(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub until: String,
    /// The IANA time zone, such as `America/New_York`.
    pub timezone: String,
}

/// How many promotions may begin in how much time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// At most so many …
    #[schemars(range(min = 1))]
    pub at_most: u32,
    /// … in this time.
    pub within: Period,
}

/// When no promotion may begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// From when, RFC 3339 with offset, such as `2026-12-24T00:00:00-05:00`, included.
    pub from: String,
    /// Until when, RFC 3339 with offset, not included. Later than `from`.
    pub until: String,
    /// Why.
    pub reason: String,
}

/// Who must have approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approvals {
    /// How many of `from`.
    #[schemars(range(min = 1))]
    pub required: u32,
    /// Who may approve, as `liftlock approve` knows them.
    #[schemars(length(min = 1))]
    pub from: Vec<String>,
    /// How long an approval holds.
    #[serde(default = "defaults::approval_expiry")]
    pub expires: Period,
}

/// What a rollback by hand demands, of the application as well as of migrations alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rollback {
    /// Whether nobody may roll back without saying why. The reason is kept in the ledger, and in the database's history.
    pub reason_required: bool,
    /// Who must have approved the release that comes back, since the one that serves began to. Left out: nobody.
    pub approvals: Option<Approvals>,
}

/// How the running application is looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Probes {
    /// Where users reach the application. Left out: the load balancer's own name (with the stage: its address).
    pub url: Option<url::Url>,
    /// Where the test listener is, which shows the new version before users do. Left out: the load balancer's.
    pub test_url: Option<url::Url>,
    /// How long one request or query may take.
    pub timeout: Period,
    /// Checks that run after each step of a rollout, and after a rollback.
    pub smoke: Vec<Smoke>,
}

impl Default for Probes {
    fn default() -> Self {
        Self { url: None, test_url: None, timeout: Period::from_secs(5), smoke: Vec::new() }
    }
}

/// A smoke test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Smoke {
    /// One HTTP request.
    Http {
        /// For people.
        name: String,
        /// The method.
        #[serde(default = "defaults::method")]
        method: String,
        /// The path, from the environment's URL.
        path: String,
        /// A body to send, as JSON text.
        body: Option<String>,
        /// The status that is right.
        #[serde(default = "defaults::status")]
        #[schemars(range(min = 100, max = 599))]
        status: u16,
        /// A text that the answer's body must hold.
        contains: Option<String>,
        /// How long it may take; `probes.timeout` if left out.
        within: Option<Period>,
    },
    /// One SQL query, run in a read-only transaction.
    Sql {
        /// For people.
        name: String,
        /// The query.
        query: String,
        /// What its first column of its first row must be, as text. Left out: the query must answer.
        equals: Option<String>,
        /// How long it may take; `probes.timeout` if left out.
        within: Option<Period>,
    },
}

/// What people are told about.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Occasion {
    /// A promotion began.
    Started,
    /// A release was promoted.
    Promoted,
    /// A promotion failed and everything was rolled back.
    RolledBack,
    /// A promotion failed and something is left.
    Stuck,
    /// A promotion waits for an approval.
    ApprovalPending,
    /// Somebody started a rollback by hand.
    RollbackStarted,
    /// A rollout has paused, and waits for somebody to say how it goes on.
    Paused,
    /// A migration has been running for longer than `database.migrations.alert_after`, and is running still.
    MigrationLong,
}

/// Who is told, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Notification {
    /// A Slack-compatible incoming webhook.
    Slack {
        /// For people and for the ledger.
        name: String,
        /// Where the webhook's URL comes from; it is a secret.
        url: SecretSource,
        /// What about. None: everything.
        #[serde(default)]
        on: Vec<Occasion>,
    },
}

/// How long things may take before they are reported as over budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Budgets {
    /// A promotion, from its start to its end.
    pub promotion: Period,
    /// A rollback.
    pub rollback: Period,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { promotion: Period::from_secs(1800), rollback: Period::from_secs(300) }
    }
}

/// Where the ledger is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerConfig {
    /// Where the URL of a PostgreSQL ledger comes from. Left out: the SQLite file `.liftlock/ledger.db`.
    pub url: Option<SecretSource>,
}

mod defaults {
    use super::Period;

    pub(super) fn root() -> std::path::PathBuf {
        "iac".into()
    }
    pub(super) fn infrastructure_timeout() -> Period {
        Period::from_secs(3600)
    }
    pub(super) fn cpu() -> u32 {
        256
    }
    pub(super) fn memory() -> u32 {
        512
    }
    pub(super) fn tasks() -> u32 {
        1
    }
    pub(super) fn health_path() -> String {
        "/health".into()
    }
    pub(super) fn approval_expiry() -> Period {
        Period::from_secs(86_400)
    }
    pub(super) fn method() -> String {
        "GET".into()
    }
    pub(super) fn status() -> u16 {
        200
    }
}
