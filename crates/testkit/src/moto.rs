//! AWS's API on loopback: moto's server with its gaps mended and with hands for its ECS, and the `aws` client.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::requirement::{self, Requirement};
use crate::venv::{Venv, VenvError};

/// How long the server may take to start. It imports most of botocore first: 3 s when idle.
const START: Duration = Duration::from_secs(90);
/// How long one call of the `aws` client may take.
const CALL: Duration = Duration::from_secs(60);

/// The region that tests use.
pub const REGION: &str = "eu-central-1";
/// The account that moto gives to everybody.
pub const ACCOUNT: &str = "123456789012";

/// Why there is no moto.
#[derive(Debug, thiserror::Error)]
pub enum MotoError {
    /// Its virtual environment.
    #[error(transparent)]
    Venv(#[from] VenvError),
    /// The server.
    #[error("moto's server did not start: {0}")]
    Start(String),
}

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct MotoOptions {
    /// What each task of ECS runs, as a shell would split it: started with `PORT`, `SERVICE` and what the task
    /// definition says, secrets from SSM included. None: tasks are records only.
    pub task_program: Option<String>,
}

/// A server. It ends when this is dropped and when the test's process ends, however that ends, with all its tasks.
#[derive(Debug)]
pub struct Moto {
    port: u16,
    venv: Venv,
    files: TempDir,
    child: Child,
}

/// Where the load balancers' listeners really are, and what runs.
#[derive(Debug, Clone, Deserialize)]
pub struct Hands {
    /// The loopback ports of each load balancer's listeners, by load balancer and by the tag `liftlock:listener`.
    pub load_balancers: BTreeMap<String, BTreeMap<String, u16>>,
    /// The tasks of each ECS service.
    pub tasks: BTreeMap<String, Vec<HandTask>>,
}

/// A task that runs.
#[derive(Debug, Clone, Deserialize)]
pub struct HandTask {
    /// ECS's id of it.
    pub id: String,
    /// Its process's port; none if tasks are records only.
    pub port: Option<u16>,
}

impl Moto {
    /// Starts a server whose tasks are records. None if the test is to be skipped.
    ///
    /// # Panics
    /// If it is missing and `LIFTLOCK_REQUIRE` names `moto`.
    pub async fn start() -> Option<Self> {
        Self::start_with(MotoOptions::default()).await
    }

    /// Starts a server. None if the test is to be skipped.
    ///
    /// # Panics
    /// If it is missing and `LIFTLOCK_REQUIRE` names `moto`.
    pub async fn start_with(options: MotoOptions) -> Option<Self> {
        requirement::met(Requirement::Moto, Self::try_start(options).await)
    }

    async fn try_start(options: MotoOptions) -> Result<Self, MotoError> {
        let venv = Venv::ensure().await?;
        let failed = |error: std::io::Error| MotoError::Start(error.to_string());
        let files = tempfile::Builder::new().prefix("liftlock-moto-").tempdir().map_err(failed)?;
        let log = files.path().join("server.log");
        let mut command = Command::new(venv.program("python"));
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("moto/server.py"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .process_group(0)
            // Held open for as long as this process lives: the server ends with it.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).map_err(failed)?)
            .kill_on_drop(true);
        if let Some(program) = options.task_program {
            command.env("LIFTLOCK_MOTO_TASK_PROGRAM", program);
        }
        let mut child = command.spawn().map_err(failed)?;
        let port = match tokio::time::timeout(START, first_line(&mut child)).await {
            Ok(Some(line)) => line,
            _ => return Err(MotoError::Start(std::fs::read_to_string(&log).unwrap_or_default())),
        };
        Ok(Self { port, venv, files, child })
    }

    /// Its endpoint, for all of AWS's services.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What the server wrote on its standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.files.path().join("server.log")).unwrap_or_default()
    }

    /// What a program needs in its environment to talk to this server.
    pub fn variables(&self) -> Vec<(String, String)> {
        let pairs = [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }

    /// The `aws` client, set up for this server.
    pub fn aws(&self) -> Aws {
        Aws { program: self.venv.program("aws"), variables: self.variables() }
    }

    /// Where the load balancers' listeners are, and what runs.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn hands(&self) -> Hands {
        let url = format!("{}/_hands", self.endpoint());
        let text = tokio::time::timeout(CALL, get(&url)).await.expect("moto answers in time");
        serde_json::from_str(&text).expect("moto's hands describe themselves")
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // Closing its standard input ends the server and its tasks; the group is killed in case it hangs.
        drop(self.child.stdin.take());
        let group = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = group.and_then(rustix::process::Pid::from_raw) {
            let killed = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            killed.unwrap_or_default();
        }
    }
}

async fn first_line(child: &mut Child) -> Option<u16> {
    #[derive(Deserialize)]
    struct Started {
        port: u16,
    }
    let stdout = child.stdout.take()?;
    let line = BufReader::new(stdout).lines().next_line().await.ok()??;
    serde_json::from_str::<Started>(&line).ok().map(|started| started.port)
}

async fn get(url: &str) -> String {
    // The builder needs a TLS provider even for plain HTTP; installing it twice is an error that says it is there.
    rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
    let client = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    let answer = client.get(url).send().await.expect("moto answers");
    answer.text().await.expect("moto's answer is text")
}

/// The real `aws` command-line client.
#[derive(Debug, Clone)]
pub struct Aws {
    program: PathBuf,
    variables: Vec<(String, String)>,
}

impl Aws {
    /// What the client prints for these arguments, read as JSON (null if it prints nothing).
    ///
    /// # Panics
    /// If it fails; with what it said.
    pub async fn call<I, S>(&self, arguments: I) -> Value
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        let mut command = Command::new(&self.program);
        command.args(arguments).args(["--output", "json"]).kill_on_drop(true);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env_remove("AWS_PROFILE").stdin(Stdio::null());
        let asked = format!("{:?}", command.as_std());
        let output = tokio::time::timeout(CALL, command.output()).await;
        let output = output.expect("aws answers in time").expect("aws starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{asked} failed: {said}");
        if output.stdout.iter().all(u8::is_ascii_whitespace) {
            return Value::Null;
        }
        serde_json::from_slice(&output.stdout).expect("aws prints JSON")
    }
}
