//! A project directory of its own for each test: environments, migrations and versions that the test may change, a local
//! environment that it may break, and nothing left when it ends.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use liftlock_testkit::requirement;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

/// A command that takes longer than this hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// Each project has a PostgreSQL and up to eight tasks, and waits a third of its time: three at a time keep two processors busy, and more are
/// slower than one after the other.
static TURNS: LazyLock<Semaphore> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    Semaphore::new(processors + processors / 2)
});

/// A project that a test owns. Dropping it resets its local environment and removes it.
pub(crate) struct Project {
    directory: TempDir,
    url: OnceCell<String>,
    /// How long a minute of ECS's bakes takes on its stage.
    minute: &'static str,
    _turn: SemaphorePermit<'static>,
}

/// How long the tests' rollouts watch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// How long each share but the last is watched, in milliseconds.
    pub step_bake: u32,
    /// How long the last is watched, in milliseconds.
    pub bake: u32,
}

impl Pace {
    /// As fast as a promotion goes without leaving anything out.
    pub(crate) const FAST: Self = Self { step_bake: 200, bake: 200 };
    /// Slow enough that something can happen meanwhile.
    pub(crate) const STEADY: Self = Self { step_bake: 1500, bake: 1500 };
}

impl Project {
    /// A project where nothing was ever deployed; none if this machine has no PostgreSQL.
    pub(crate) async fn new(pace: Pace) -> Option<Self> {
        requirement::postgres()?;
        let turn = TURNS.acquire().await.unwrap();
        let project = Self {
            directory: tempfile::tempdir().unwrap(),
            url: OnceCell::new(),
            minute: "300ms",
            _turn: turn,
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for directory in ["migrations", "examples/shop/versions"] {
            copy_files(&source.join(directory), &project.path(directory));
        }
        std::fs::create_dir_all(project.path("environments")).unwrap();
        let base = source.join("environments/base.toml");
        std::fs::copy(base, project.path("environments/base.toml")).unwrap();
        project.set_pace(pace);
        std::fs::create_dir(project.path("bin")).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_shop-under-test"), project.path("bin/shop")).unwrap();
        Some(project)
    }

    /// A project whose local environment serves 1.1.0, after 1.0.0: both colours have been used.
    pub(crate) async fn serving(pace: Pace) -> Option<Self> {
        Self::serving_by_minutes(pace, "300ms").await
    }

    /// The same, where a minute of ECS's bakes takes so long.
    pub(crate) async fn serving_by_minutes(pace: Pace, minute: &'static str) -> Option<Self> {
        let mut project = Self::new(pace).await?;
        project.minute = minute;
        project.run(&["promote", "--env", "local", "--release", "1.1.0"]).await.exits(0);
        Some(project)
    }

    /// Says how long rollouts watch from now on.
    pub(crate) fn set_pace(&self, pace: Pace) {
        std::fs::write(self.path("environments/local.toml"), local(pace)).unwrap();
    }

    /// Says by which steps both services' traffic moves, in the lines of `[services.<name>.rollout]`.
    pub(crate) fn set_steps(&self, pace: Pace, lines: &str) {
        let text = local(pace);
        assert!(text.contains(STEPS));
        std::fs::write(self.path("environments/local.toml"), text.replace(STEPS, lines)).unwrap();
    }

    /// Says that the new version of this service is compared with the old one, by what these lines say of how.
    pub(crate) fn compare(&self, service: &str, lines: &str) {
        let file = self.path("environments/local.toml");
        let mut text = std::fs::read_to_string(&file).unwrap();
        write!(text, "\n[services.{service}.rollout.analysis]\nresolution = \"1s\"\n{lines}\n")
            .unwrap();
        std::fs::write(file, text).unwrap();
    }

    /// Adds a named check of a service's rollouts.
    pub(crate) fn add_check(&self, service: &str, name: &str, lines: &str) {
        self.add_lines(&format!("services.{service}.rollout.checks.{name}"), lines);
    }

    /// Adds a table to the environment's file.
    pub(crate) fn add_lines(&self, table: &str, lines: &str) {
        let file = self.path("environments/local.toml");
        let mut text = std::fs::read_to_string(&file).unwrap();
        write!(text, "\n[{table}]\n{lines}\n").unwrap();
        std::fs::write(file, text).unwrap();
    }

    /// A path in the project.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Adds a migration.
    pub(crate) fn add_migration(&self, number: usize, name: &str, apply: &str, rollback: &str) {
        let path = |kind: &str| self.path(&format!("migrations/V{number:04}__{name}{kind}.sql"));
        std::fs::write(path(""), apply).unwrap();
        std::fs::write(path(".rollback"), rollback).unwrap();
    }

    /// Adds a healthy version whose newest migration is this.
    pub(crate) fn add_version(&self, version: &str, newest_migration: usize) {
        self.add_version_with(version, newest_migration, "");
    }

    /// Adds a version whose backend has more variables, such as `FAULT = "errors"`.
    pub(crate) fn add_version_with(&self, version: &str, newest_migration: usize, backend: &str) {
        // `BUILD` makes it another image than the versions before it: else the digest would not tell them apart.
        let text = format!(
            "migrations = \"V{newest_migration:04}\"\n\n[backend]\nBUILD = \"{version}\"\n{backend}\n\n\
             [frontend]\nBUILD = \"{version}\"\n"
        );
        std::fs::write(self.path(&format!("examples/shop/versions/{version}.toml")), text).unwrap();
    }

    /// Runs `liftlock` in this project.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        self.start(arguments, &[]).end().await
    }

    /// Runs it, and reads each line that it prints as JSON.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let arguments: Vec<_> = arguments.iter().copied().chain(["--output", "json"]).collect();
        self.run(&arguments).await.exits(0).json()
    }

    /// Runs it with a fault on demand.
    pub(crate) async fn run_with_fault(&self, fault: &str, arguments: &[&str]) -> Ran {
        self.start(arguments, &[("LIFTLOCK_FAULT", fault)]).end().await
    }

    /// Starts it, and goes on.
    pub(crate) fn start(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Started {
        let child = self
            .command()
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Started { child, what: arguments.join(" ") }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_liftlock-under-test"));
        let ours = |name: &str| name.starts_with("LIFTLOCK_") || name == "CARGO_TARGET_DIR";
        for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        command.arg("--root").arg(self.directory.path()).env("LIFTLOCK_ACTOR", "tester");
        command.env("LIFTLOCK_STAGE_MINUTE", self.minute);
        command
    }

    /// Where users reach the application. The stage keeps its ports.
    pub(crate) async fn url(&self) -> String {
        let ask =
            async { self.json(&["local", "status"]).await[0]["url"].as_str().unwrap().to_owned() };
        self.url.get_or_init(|| ask).await.clone()
    }

    /// The version that each service answers with on the production listener; several when they take turns.
    pub(crate) async fn versions(&self) -> BTreeMap<String, Vec<String>> {
        let url = self.url().await;
        let mut found = BTreeMap::<String, Vec<String>>::new();
        for _ in 0..4 {
            let (status, backend) = get(&format!("{url}health")).await;
            assert_eq!(status, 200, "{backend}");
            let backend: Value = serde_json::from_str(&backend).unwrap();
            let (status, page) = get(&url).await;
            assert_eq!(status, 200, "{page}");
            let frontend = page.split("<title>Shop ").nth(1).unwrap().split('<').next().unwrap();
            for (service, version) in
                [("backend", backend["version"].as_str().unwrap()), ("frontend", frontend)]
            {
                let all = found.entry(service.to_owned()).or_default();
                if !all.iter().any(|known| known == version) {
                    all.push(version.to_owned());
                }
            }
        }
        found
    }

    /// Asserts that users get this version from both services, and nothing else.
    pub(crate) async fn serves(&self, version: &str) {
        let one = vec![version.to_owned()];
        let expected = [("backend".to_owned(), one.clone()), ("frontend".to_owned(), one)];
        assert_eq!(self.versions().await, expected.into());
    }

    /// What a promotion may change, as far as it is to be as before after a rollback.
    pub(crate) async fn world(&self) -> World {
        World { services: self.services().await, schema: self.schema().await }
    }

    /// Each service's weights, test listener and colours.
    pub(crate) async fn services(&self) -> BTreeMap<String, ServiceWorld> {
        let mut services = BTreeMap::new();
        for line in self.json(&["rollout", "status", "--env", "local"]).await {
            let live = &line["live"];
            let colour = |name: &str| {
                ["task_definition", "desired", "running", "healthy_targets", "digests"]
                    .map(|field| (field.to_owned(), live[name][field].clone()))
                    .into()
            };
            let service = ServiceWorld {
                weights: live["weights"].clone(),
                test: live["test"].clone(),
                blue: colour("blue"),
                green: colour("green"),
            };
            services.insert(line["service"].as_str().unwrap().to_owned(), service);
        }
        services
    }

    /// The newest migration that the database has.
    pub(crate) async fn schema(&self) -> i64 {
        let status = self.json(&["migrate", "status", "--env", "local"]).await;
        let applied = status.last().unwrap()["applied"].as_array().unwrap();
        applied.iter().map(|one| one["version"].as_i64().unwrap()).max().unwrap_or(0)
    }

    /// A connection to the environment's database.
    pub(crate) async fn database(&self) -> PgConnection {
        let stage = self.path(".liftlock/local/stage");
        let url = liftlock_stage::database_url(&stage).unwrap();
        PgConnection::connect(url.expose_secret()).await.unwrap()
    }

    /// The line of the history that is newest.
    pub(crate) async fn last_deployment(&self) -> Value {
        let mut lines = self.json(&["history", "--env", "local", "--limit", "1"]).await;
        lines.remove(0)["deployment"].take()
    }

    /// Asserts that the ledger's chain is whole and that nobody holds the environment.
    pub(crate) async fn is_settled(&self) {
        self.run(&["audit", "verify"]).await.exits(0).says("unbroken");
        self.is_free().await;
    }

    /// The schedules of the dead-man's switch that are there, each with the time at which it fires.
    pub(crate) async fn schedules(&self) -> Vec<String> {
        let stage = self.path(".liftlock/local/stage");
        let status = liftlock_stage::status(&stage).await.unwrap().unwrap();
        let told = |one: liftlock_stage::ScheduleStatus| format!("{} {}", one.name, one.expression);
        status.schedules.into_iter().map(told).collect()
    }

    /// The weight of each service's colours, blue first, as the stage itself says: also while something holds the ledger.
    pub(crate) async fn weights(&self) -> Vec<(String, Vec<u32>)> {
        let stage = self.path(".liftlock/local/stage");
        let status = liftlock_stage::status(&stage).await.unwrap().unwrap();
        let told = |one: liftlock_stage::ServiceStatus| {
            (one.name, one.colours.iter().map(|colour| colour.weight).collect())
        };
        status.services.into_iter().map(told).collect()
    }

    /// Says how long the dead-man's switch waits.
    pub(crate) fn switch_after(&self, after: &str) {
        let file = self.path("environments/local.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, text.replace("after = \"20s\"", &format!("after = \"{after}\"")))
            .unwrap();
    }

    /// Asserts that nobody holds the environment, and that no run is unfinished.
    pub(crate) async fn is_free(&self) {
        let status = self.json(&["status", "--env", "local"]).await;
        assert_eq!(status[0]["holder"], Value::Null, "a lease is left: {status:?}");
        assert_eq!(status[0]["unfinished"], Value::Null, "a run is unfinished: {status:?}");
        assert_eq!(self.schedules().await, Vec::<String>::new(), "a dead-man's switch is left");
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let mut reset = self.command().into_std();
        let output = reset.args(["local", "reset"]).output().unwrap();
        let left = processes_of(self.directory.path());
        // A test that fails already says why; a second panic would hide it.
        if !std::thread::panicking() {
            assert!(output.status.success(), "{output:?}");
            assert!(left.is_empty(), "these were left running: {left:#?}");
        }
    }
}

/// What a promotion may change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct World {
    /// By service.
    pub services: BTreeMap<String, ServiceWorld>,
    /// The newest migration.
    pub schema: i64,
}

/// What a promotion may change of a service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ServiceWorld {
    /// Of production's traffic.
    pub weights: Value,
    /// Where the test listener points.
    pub test: Value,
    /// What blue is set to and runs.
    pub blue: BTreeMap<String, Value>,
    /// What green is set to and runs.
    pub green: BTreeMap<String, Value>,
}

/// A command that runs.
pub(crate) struct Started {
    child: Child,
    what: String,
}

impl Started {
    /// Its process.
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        let id = self.child.id().expect("it has not been waited for");
        rustix::process::Pid::from_raw(id.try_into().unwrap()).unwrap()
    }

    /// Reads what it prints until that says `text`.
    pub(crate) async fn heard_until(mut self, text: &str) -> Heard {
        let mut lines = BufReader::new(self.stdout()).lines();
        let mut said = String::new();
        while !said.contains(text) {
            let line = lines.next_line().await.unwrap();
            said.push_str(&line.unwrap_or_else(|| panic!("it ended too early:\n{said}")));
            said.push('\n');
        }
        Heard { started: self, lines, said }
    }

    /// Its standard output, to be read while it runs; what it prints is then not in its end.
    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    /// Waits for its end.
    pub(crate) async fn end(self) -> Ran {
        let output = tokio::time::timeout(DEADLINE, self.child.wait_with_output()).await;
        let output = output
            .unwrap_or_else(|_| panic!("`{}` did not end within {DEADLINE:?}", self.what))
            .unwrap();
        Ran {
            what: self.what,
            status: output.status,
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A command whose standard output is read while it runs.
pub(crate) struct Heard {
    pub started: Started,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it has said so far.
    pub said: String,
}

impl Heard {
    /// Reads the rest, and waits for its end, which has all that it said.
    pub(crate) async fn end(mut self) -> Ran {
        while let Some(line) = self.lines.next_line().await.unwrap() {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        Ran { stdout: self.said, ..self.started.end().await }
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub what: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}", self.report());
        self
    }

    /// Asserts that one of its two outputs has this text.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(said, "nothing says {text:?}: {}", self.report());
        self
    }

    /// Asserts that it turned back since it slept for longer than backend's dead-man's switch waits: by its own clock, or since the switch
    /// is gone, whichever it saw first.
    #[track_caller]
    pub(crate) fn says_that_it_slept(self) -> Self {
        let reasons = [
            "was not heard of for longer than its dead-man's switch waits",
            "the dead-man's switch of backend is gone",
        ];
        let said = reasons.iter().any(|why| self.stdout.contains(why) || self.stderr.contains(why));
        assert!(said, "nothing says one of {reasons:?}: {}", self.report());
        self
    }

    /// Each line of standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.stdout.lines().map(parse).filter(|line: &Value| line["type"] != "life").collect()
    }

    /// Everything, for a test that failed.
    pub(crate) fn report(&self) -> String {
        let Self { what, status, stdout, stderr } = self;
        format!("`{what}`: {status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// Asks once, on a connection of its own.
pub(crate) async fn get(url: &str) -> (u16, String) {
    let answer = client().get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// A client with deadlines.
pub(crate) fn client() -> reqwest::Client {
    // Whoever comes second finds it installed.
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder().timeout(Duration::from_secs(10)).no_proxy().build().unwrap()
}

/// The lesser of the two weights, which the new version has before it has half of the traffic; none when they are no numbers.
pub(crate) fn wave_of(weights: &Value) -> Option<u64> {
    Some(weights["blue"].as_u64()?.min(weights["green"].as_u64()?))
}

/// Waits until `done` says so.
pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, waiting).await;
    assert!(waited.is_ok(), "not within {DEADLINE:?}: {what}");
}

/// How the tests' traffic moves if they do not say otherwise.
const STEPS: &str = "steps = [10, 50, 100]";

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The processes that name this directory in their command lines.
fn processes_of(directory: &Path) -> Vec<String> {
    let output = std::process::Command::new("ps").args(["-A", "-o", "pid=,args="]).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let directory = directory.to_string_lossy();
    String::from_utf8_lossy(&text)
        .lines()
        .filter(|line| line.contains(&*directory))
        .map(str::to_owned)
        .collect()
}

fn local(pace: Pace) -> String {
    let Pace { step_bake, bake } = pace;
    let mut text = "[aws]\naccount = \"000000000000\"\n\n[infrastructure]\nengine = \"stage\"\n\n\
                    [database]\nurl = { from = \"stage\" }\n\n\
                    [switch]\nafter = \"20s\"\n\n[database.snapshot]\ntimeout = \"1m\"\nkeep_days = 1\n"
        .to_owned();
    for service in ["backend", "frontend"] {
        write!(
            text,
            r#"
[services.{service}]
tasks = 2

[services.{service}.rollout]
steps = [10, 50, 100]
step_bake = "{step_bake}ms"
bake = "{bake}ms"
start_timeout = "15s"
poll = "50ms"

[services.{service}.rollout.breaker]
interval = "400ms"
error_rate_for = "300ms"

[services.{service}.stage]
command = ["bin/shop"]
versions = "examples/shop/versions"
"#
        )
        .unwrap();
    }
    text
}
