//! A stage from outside: started when it is not there, asked, stopped.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustix::process::{Pid, Signal, kill_process};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use url::Url;

use crate::control::TOKEN;
use crate::error::StageError;
use crate::fault::{FaultStatus, Scenario};
use crate::home::{Home, Keys, Record};
use crate::serve::{Host, ServeOptions};
use crate::state::State;
use crate::status::Status;
use crate::topology::Topology;

/// How long a stage may take until it is ready. With a database to recover it may be a while.
const START_LIMIT: Duration = Duration::from_secs(90);
/// How long a topology may take: making a database cluster is part of it.
const TOPOLOGY_LIMIT: Duration = Duration::from_secs(240);
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// How long a stage may take to end before it is killed, and after.
const STOP_LIMIT: Duration = Duration::from_secs(75);
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// How long a stage that was killed may still hold its lock.
const DYING_LIMIT: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(10);
/// How many lines of the log an error shows.
const TAIL_LINES: usize = 12;

/// A running stage.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Where AWS clients call.
    pub endpoint: Url,
    /// The production listener: where users reach the application.
    pub url: Url,
    /// The test listener.
    pub test_url: Url,
    /// The access key that AWS clients sign with.
    pub access_key: String,
    /// The secret key that AWS clients sign with.
    pub secret_key: SecretString,
    /// The stage's directory, absolute.
    pub directory: PathBuf,
    /// The stage's process.
    pub pid: u32,
}

impl Stage {
    fn new(home: &Home, keys: &Keys, record: Record) -> Self {
        Self {
            endpoint: record.endpoint,
            url: record.url,
            test_url: record.test_url,
            access_key: keys.access_key.clone(),
            secret_key: keys.secret_key(),
            directory: home.path().to_owned(),
            pid: record.pid,
        }
    }

    /// Runs a stage within this process, for tests.
    ///
    /// # Errors
    /// [`StageError`] says why it did not start.
    pub async fn spawn(options: ServeOptions, topology: &Topology) -> Result<Running, StageError> {
        let host = Host::start(&options).await?;
        let home = Home::make(&options.directory)?;
        let keys = home.keys()?;
        put_topology(&host.record, &keys, topology).await?;
        Ok(Running { stage: Self::new(&home, &keys, host.record.clone()), host })
    }
}

/// A stage that runs within this process. Dropping it ends it at once.
pub struct Running {
    /// Where it is.
    pub stage: Stage,
    host: Host,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Running {
    /// Ends it in good order.
    pub async fn stop(self) {
        self.host.end().await;
    }

    /// Adds faults; one of the same name is replaced. Returns their names.
    ///
    /// # Errors
    /// [`StageError::Fault`] says what makes no sense.
    pub fn add_faults(&self, scenario: Scenario) -> Result<Vec<String>, StageError> {
        crate::control::add_faults(&self.host.world, scenario).map_err(StageError::Fault)
    }

    /// Takes one fault, or all, away. Returns the names of those that are gone.
    pub fn clear_faults(&self, name: Option<&str>) -> Vec<String> {
        crate::control::clear_faults(&self.host.world, name)
    }

    /// What it shows of itself.
    pub fn status(&self) -> Status {
        crate::status::status(&self.host.world.look(), &self.host.record)
    }
}

/// Finds the stage of a directory, or starts one with `program arguments…`, which must come to [`crate::serve()`] with the
/// same directory; then applies the topology. Two at once start one stage.
///
/// # Errors
/// [`StageError`] with the end of the stage's log when it did not start.
pub async fn ensure(
    directory: &Path,
    program: &Path,
    arguments: &[OsString],
    topology: &Topology,
) -> Result<Stage, StageError> {
    let stage = start_only(directory, program, arguments).await?;
    apply_topology(directory, topology).await?;
    Ok(stage)
}

/// As [`ensure`], and leaves the topology as it is: none, on a new stage.
///
/// # Errors
/// As [`ensure`].
pub async fn start_only(
    directory: &Path,
    program: &Path,
    arguments: &[OsString],
) -> Result<Stage, StageError> {
    let home = Home::make(directory)?;
    let keys = ready_keys(&home).await?;
    loop {
        let record = find_or_start(&home, program, arguments).await?;
        let asked = call(&record, &keys, Method::GET, "status", Vec::new());
        match within(&record, ASK_LIMIT, asked).await {
            Ok(_) => return Ok(Stage::new(&home, &keys, record)),
            // The stage that was found was about to end, killed perhaps: another takes its place.
            Err(_) if wait_until_free(&home, DYING_LIMIT).await? => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes the running stage of a directory have this topology.
///
/// # Errors
/// [`StageError::NotRunning`]; [`StageError::Topology`] says what it does not take.
pub async fn apply_topology(directory: &Path, topology: &Topology) -> Result<(), StageError> {
    let (record, keys) = running(directory)?;
    put_topology(&record, &keys, topology).await
}

/// What there is on the running stage of a directory; none on a new one.
///
/// # Errors
/// [`StageError::NotRunning`]; [`StageError::Unreachable`] if it does not answer.
pub async fn topology(directory: &Path) -> Result<Option<Topology>, StageError> {
    let (record, keys) = running(directory)?;
    let call = call(&record, &keys, Method::GET, "topology", Vec::new());
    let (_, answer) = within(&record, ASK_LIMIT, call).await?;
    serde_json::from_slice(&answer).map_err(|error| StageError::Unreachable {
        endpoint: record.endpoint.to_string(),
        reason: error.to_string(),
    })
}

/// Adds faults to the running stage of a directory; one of the same name is replaced. Returns their names.
///
/// # Errors
/// [`StageError::NotRunning`]; [`StageError::Fault`] says what it does not take.
pub async fn add_faults(directory: &Path, scenario: &Scenario) -> Result<Vec<String>, StageError> {
    let (record, keys) = running(directory)?;
    let body = serde_json::to_vec(scenario).map_err(|e| StageError::Fault(e.to_string()))?;
    let call = call(&record, &keys, Method::POST, "faults", body);
    let (status, answer) = within(&record, ASK_LIMIT, call).await?;
    if !status.is_success() {
        return Err(StageError::Fault(String::from_utf8_lossy(&answer).into_owned()));
    }
    read_answer(&record, &answer)
}

/// The faults of the running stage of a directory.
///
/// # Errors
/// [`StageError::NotRunning`]; [`StageError::Unreachable`] if it does not answer.
pub async fn faults(directory: &Path) -> Result<Vec<FaultStatus>, StageError> {
    let (record, keys) = running(directory)?;
    let call = call(&record, &keys, Method::GET, "faults", Vec::new());
    let (_, answer) = within(&record, ASK_LIMIT, call).await?;
    read_answer(&record, &answer)
}

/// Takes one fault, or all, away from the running stage of a directory. Returns the names of those that are gone.
///
/// # Errors
/// As [`faults`].
pub async fn clear_faults(directory: &Path, name: Option<&str>) -> Result<Vec<String>, StageError> {
    let (record, keys) = running(directory)?;
    let path = name.map_or_else(
        || "faults".to_owned(),
        |name| {
            let name =
                percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
            format!("faults/{name}")
        },
    );
    let call = call(&record, &keys, Method::DELETE, &path, Vec::new());
    let (_, answer) = within(&record, ASK_LIMIT, call).await?;
    read_answer(&record, &answer)
}

fn read_answer<T: DeserializeOwned>(record: &Record, answer: &[u8]) -> Result<T, StageError> {
    serde_json::from_slice(answer).map_err(|error| StageError::Unreachable {
        endpoint: record.endpoint.to_string(),
        reason: error.to_string(),
    })
}

fn running(directory: &Path) -> Result<(Record, Keys), StageError> {
    let missing = || StageError::NotRunning { path: directory.to_owned() };
    let home = Home::existing(directory).ok_or_else(missing)?;
    let record = home.record().ok_or_else(missing)?;
    Ok((record, home.keys()?))
}

/// Reads the keys, or makes them; by one process at a time.
async fn ready_keys(home: &Home) -> Result<Keys, StageError> {
    let deadline = Instant::now() + ASK_LIMIT;
    loop {
        if let Some(_lock) = home.lock("keys.lock")? {
            return home.keys();
        }
        if Instant::now() >= deadline {
            return home.keys();
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn find_or_start(
    home: &Home,
    program: &Path,
    arguments: &[OsString],
) -> Result<Record, StageError> {
    let deadline = Instant::now() + START_LIMIT;
    // Held while a stage is started, so that one is started.
    let mut starting = None;
    let mut child: Option<Child> = None;
    loop {
        if home.is_served()? {
            if let Some(record) = home.record() {
                return Ok(record);
            }
        } else if starting.is_none() {
            starting = home.lock("start.lock")?;
        } else if let Some(child) = &mut child {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(not_ready(home, format!("it ended with {status}")));
            }
        } else {
            child = Some(start(home, program, arguments)?);
        }
        if Instant::now() >= deadline {
            let reason = format!("it was not ready within {} s", START_LIMIT.as_secs());
            return Err(not_ready(home, reason));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn start(home: &Home, program: &Path, arguments: &[OsString]) -> Result<Child, StageError> {
    home.remove_record();
    let failed = |error: std::io::Error| StageError::directory(home.log(), &error);
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o600);
    let log = options.open(home.log()).map_err(failed)?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").stdin(Stdio::null());
    command.stdout(log.try_clone().map_err(failed)?).stderr(log);
    command.spawn().map_err(|error| StageError::Start {
        program: program.to_owned(),
        reason: error.to_string(),
    })
}

fn not_ready(home: &Home, reason: String) -> StageError {
    let text = fs::read(home.log()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let printable = |line: &&str| -> String {
        let safe = line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
        format!("    {}", safe.collect::<String>())
    };
    let tail: Vec<String> =
        lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(printable).collect();
    StageError::NotReady {
        directory: home.path().to_owned(),
        reason,
        log: home.log(),
        tail: tail.join("\n"),
    }
}

async fn put_topology(record: &Record, keys: &Keys, topology: &Topology) -> Result<(), StageError> {
    let body = serde_json::to_vec(topology).map_err(|e| StageError::Topology(e.to_string()))?;
    let call = call(record, keys, Method::PUT, "topology", body);
    let (status, answer) = within(record, TOPOLOGY_LIMIT, call).await?;
    if status.is_success() {
        return Ok(());
    }
    Err(StageError::Topology(String::from_utf8_lossy(&answer).into_owned()))
}

async fn call(
    record: &Record,
    keys: &Keys,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes), String> {
    let request = Request::builder()
        .method(method)
        .uri(format!("{}_stage/{path}", record.endpoint))
        .header(TOKEN, &keys.token)
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
    Ok((status, body.to_bytes()))
}

async fn within<T>(
    record: &Record,
    limit: Duration,
    call: impl Future<Output = Result<T, String>>,
) -> Result<T, StageError> {
    let answer = tokio::time::timeout(limit, call).await;
    let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {} s", limit.as_secs())));
    let endpoint = record.endpoint.to_string();
    answer.map_err(|reason| StageError::Unreachable { endpoint, reason })
}

/// What the stage of a directory shows of itself; none if none runs.
///
/// # Errors
/// [`StageError::Unreachable`] if one runs and does not answer.
pub async fn status(directory: &Path) -> Result<Option<Status>, StageError> {
    let Some(home) = Home::existing(directory) else { return Ok(None) };
    if !home.path().join("stage.lock").exists() || !home.is_served()? {
        return Ok(None);
    }
    let Some(record) = home.record() else { return Ok(None) };
    let keys = home.keys()?;
    let call = call(&record, &keys, Method::GET, "status", Vec::new());
    let (_, answer) = within(&record, ASK_LIMIT, call).await?;
    let endpoint = record.endpoint.to_string();
    serde_json::from_slice(&answer)
        .map(Some)
        .map_err(|error| StageError::Unreachable { endpoint, reason: error.to_string() })
}

/// Stops the stage of a directory with everything that runs on it. What it keeps stays: the next [`ensure`] brings it
/// back. True if one ran.
///
/// # Errors
/// [`StageError::NotStopped`] if it did not end.
pub async fn stop(directory: &Path) -> Result<bool, StageError> {
    let Some(home) = Home::existing(directory) else { return Ok(false) };
    if !home.path().join("stage.lock").exists() || !home.is_served()? {
        return Ok(false);
    }
    let pid = match home.record() {
        Some(record) => record.pid,
        // It starts or ends just now.
        None => return wait_until_free(&home, STOP_LIMIT).await.map(|_| true),
    };
    send(pid, Signal::TERM);
    if wait_until_free(&home, STOP_LIMIT).await? {
        return Ok(true);
    }
    send(pid, Signal::KILL);
    if wait_until_free(&home, KILL_LIMIT).await? {
        return Ok(true);
    }
    Err(StageError::NotStopped { pid, seconds: (STOP_LIMIT + KILL_LIMIT).as_secs() })
}

/// The lock is held by the process that wrote the record, so that the number is still its own.
fn send(pid: u32, signal: Signal) {
    if let Some(pid) = pid.try_into().ok().and_then(Pid::from_raw) {
        kill_process(pid, signal).unwrap_or_default();
    }
}

async fn wait_until_free(home: &Home, within: Duration) -> Result<bool, StageError> {
    let deadline = Instant::now() + within;
    while home.is_served()? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(true)
}

/// Stops the stage of a directory and removes everything that it keeps, its database and images too.
///
/// # Errors
/// As [`stop`]; [`StageError::Directory`] if something cannot be removed.
pub async fn reset(directory: &Path) -> Result<(), StageError> {
    stop(directory).await?;
    let Some(home) = Home::existing(directory) else { return Ok(()) };
    // A directory that no stage has ever served is somebody else's.
    if !home.path().join("stage.lock").exists() {
        return Ok(());
    }
    let elsewhere = home.path().join("postgres").join("elsewhere");
    if let Ok(place) = fs::read_link(&elsewhere) {
        remove(&place)?;
    }
    remove(home.path())
}

fn remove(path: &Path) -> Result<(), StageError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StageError::directory(path, &error))
        }
        _ => Ok(()),
    }
}

/// The URL of the database of a directory's stage, as its parameter store has it.
///
/// # Errors
/// [`StageError::NotRunning`] if there is no such stage or it has no database.
pub fn database_url(directory: &Path) -> Result<SecretString, StageError> {
    let missing = || StageError::NotRunning { path: directory.to_owned() };
    let home = Home::existing(directory).ok_or_else(missing)?;
    let path = home.path().join("stage.json");
    let state = State::load(home.path())
        .map_err(|error| StageError::State { path, reason: error.to_string() })?;
    let topology = state.topology.as_ref().ok_or_else(missing)?;
    let parameter = state.parameters.get(&topology.parameter("database-url"));
    parameter.map(|parameter| parameter.value.clone().into()).ok_or_else(missing)
}
