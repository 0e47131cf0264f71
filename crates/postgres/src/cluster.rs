//! A private cluster: a PostgreSQL server of one's own on loopback.

use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use crate::error::ClusterError;
use crate::home::Home;
use crate::lockfile::LockFile;
use crate::programs::Programs;
use crate::run;
use crate::server::{self, Server};

/// How often a port may be taken between our look and the server's.
const PORT_ATTEMPTS: usize = 10;
/// How long another process may take to start the same cluster.
const BUSY_LIMIT: Duration = Duration::from_secs(240);
/// How long `stop` waits for the server.
const STOP_SECONDS: u64 = 60;
/// How long a statement of this module may take.
const STATEMENT_LIMIT: Duration = Duration::from_secs(60);

/// How a private cluster is to be.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Where its files are. It is made if it is not there; what an earlier process left in it is used.
    pub directory: PathBuf,
    /// Whether what was committed survives a crash of the machine (`fsync`). Without it, tests are faster.
    pub durable: bool,
    /// The port; a free one if left out.
    pub port: Option<u16>,
    /// How many connections it takes.
    pub max_connections: u16,
    /// How long it may take until it takes connections.
    pub start_within: Duration,
    /// Whether the cluster is removed when it is stopped or dropped, or this process ends in whatever way.
    pub remove_at_end: bool,
}

impl ClusterOptions {
    /// A durable cluster in `directory`, on a free port.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            durable: true,
            port: None,
            max_connections: 100,
            start_within: Duration::from_secs(60),
            remove_at_end: false,
        }
    }
}

/// Whether a cluster is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// There is no cluster in the directory.
    Absent,
    /// There is one, and it does not run.
    Stopped,
    /// It runs.
    Running {
        /// The server's process.
        pid: u32,
        /// Its port on 127.0.0.1.
        port: u16,
    },
}

/// A private cluster that runs. Dropping it stops the server at once, unless it was attached to or is detached; so
/// does the end of this process, in whatever way it comes.
#[derive(Debug)]
pub struct Cluster {
    home: Home,
    programs: Programs,
    port: u16,
    password: SecretString,
    server: Option<Server>,
    remove_at_end: bool,
}

impl Cluster {
    /// Starts the cluster of a directory; makes it first if there is none.
    ///
    /// # Errors
    /// [`ClusterError`] says what stood in the way; no server is left running then.
    pub async fn start(options: ClusterOptions) -> Result<Self, ClusterError> {
        let programs = Programs::find()?;
        let home = Home::open(&options.directory)?;
        let starting = lock_start(&home).await?;
        if let Presence::Running { port, .. } = presence(&home) {
            return Err(ClusterError::AlreadyRunning { path: home.asked, port });
        }
        home.prepare(&programs, options.durable).await?;
        let password = home.password()?;
        let (server, port) = start_on_a_port(&home, &programs, &options).await?;
        drop(starting);
        let remove_at_end = options.remove_at_end;
        Ok(Self { home, programs, port, password, server: Some(server), remove_at_end })
    }

    /// The cluster that an earlier process started in `directory` and left running. Dropping it does not stop it.
    ///
    /// # Errors
    /// [`ClusterError::NotRunning`] if it does not run.
    pub fn attach(directory: &Path) -> Result<Self, ClusterError> {
        let programs = Programs::find()?;
        let home = Home::existing(directory)?;
        match home.map(|home| (presence(&home), home)) {
            Some((Presence::Running { port, .. }, home)) => {
                let password = home.password()?;
                Ok(Self { home, programs, port, password, server: None, remove_at_end: false })
            }
            _ => Err(ClusterError::NotRunning { path: directory.to_owned() }),
        }
    }

    /// Whether there is a cluster in `directory`, and whether it runs. Touches nothing.
    pub fn presence(directory: &Path) -> Result<Presence, ClusterError> {
        Ok(Home::existing(directory)?.map_or(Presence::Absent, |home| presence(&home)))
    }

    /// The URL of one of its databases, for the superuser `postgres`.
    pub fn url(&self, database: &str) -> SecretString {
        let (password, port) = (self.password.expose_secret(), self.port);
        format!("postgres://postgres:{password}@127.0.0.1:{port}/{database}").into()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The programs that it runs on.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The server's log file.
    pub fn log(&self) -> PathBuf {
        self.home.log()
    }

    /// Makes a database.
    ///
    /// # Errors
    /// [`ClusterError::Name`] for a name that would need quoting, [`ClusterError::Sql`] with the server's words.
    pub async fn create_database(&self, name: &str) -> Result<(), ClusterError> {
        check_name(name)?;
        self.execute(&format!("create database {name}")).await
    }

    /// Makes a database that is a copy of `template`, to which nobody may be connected.
    ///
    /// # Errors
    /// As [`Cluster::create_database`].
    pub async fn clone_database(&self, template: &str, name: &str) -> Result<(), ClusterError> {
        check_name(template)?;
        check_name(name)?;
        self.execute(&format!("create database {name} template {template} strategy file_copy"))
            .await
    }

    /// Removes a database, with its connections, if it is there.
    ///
    /// # Errors
    /// As [`Cluster::create_database`].
    pub async fn drop_database(&self, name: &str) -> Result<(), ClusterError> {
        check_name(name)?;
        self.execute(&format!("drop database if exists {name} with (force)")).await
    }

    /// Runs one statement on the database `postgres`, through psql, so that this crate needs no driver.
    async fn execute(&self, statement: &str) -> Result<(), ClusterError> {
        let mut command = run::command(&self.programs.path("psql"), None);
        command.args([
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--no-password",
            "--command",
        ]);
        command.arg(statement).env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string());
        command.env("PGUSER", "postgres").env("PGDATABASE", "postgres");
        command.env("PGPASSWORD", self.password.expose_secret());
        run::finish(command, STATEMENT_LIMIT).await.map(drop).map_err(|error| ClusterError::Sql {
            port: self.port,
            statement: statement.to_owned(),
            reason: error.to_string(),
        })
    }

    /// Stops the server in good order: running transactions are rolled back, what was committed is on disk.
    ///
    /// # Errors
    /// [`ClusterError::Stop`] if it does not end within a minute.
    pub async fn stop(mut self) -> Result<(), ClusterError> {
        let command = server::stop_command(&self.home, &self.programs, "fast", STOP_SECONDS);
        let within = Duration::from_secs(STOP_SECONDS + 5);
        let stopped = run::finish(command.into(), within).await;
        stopped.map_err(|error| ClusterError::Stop {
            path: self.home.asked.clone(),
            reason: error.to_string(),
        })?;
        if let Some(server) = self.server.take() {
            server.ended();
            if self.remove_at_end {
                self.home.remove()?;
            }
        }
        Ok(())
    }

    /// Removes the cluster in `directory` with all its databases, and the directory. It must not run.
    ///
    /// # Errors
    /// [`ClusterError::AlreadyRunning`] if it runs; [`ClusterError::Directory`] if something cannot be removed.
    pub fn remove(directory: &Path) -> Result<(), ClusterError> {
        let Some(home) = Home::existing(directory)? else { return Ok(()) };
        match presence(&home) {
            Presence::Running { port, .. } => {
                Err(ClusterError::AlreadyRunning { path: directory.to_owned(), port })
            }
            _ => home.remove(),
        }
    }

    /// Leaves the server running when this process ends; [`Cluster::attach`] finds it again.
    pub fn detach(mut self) {
        if let Some(server) = self.server.take() {
            server.detach();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.end(&self.home, &self.programs);
            server.ended();
            if self.remove_at_end {
                // What cannot be removed lies in a temporary directory; there is nobody here to tell.
                self.home.remove().unwrap_or_default();
            }
        }
    }
}

fn presence(home: &Home) -> Presence {
    match LockFile::read(&home.data()).filter(LockFile::is_alive) {
        Some(LockFile { pid, port, .. }) => Presence::Running { pid, port },
        None => Presence::Stopped,
    }
}

/// Holds every other start of the same cluster off until the returned file is closed.
async fn lock_start(home: &Home) -> Result<File, ClusterError> {
    let path = home.root().join("start.lock");
    let failed = |error: std::io::Error| ClusterError::directory(&path, &error);
    let file = File::create(&path).map_err(failed)?;
    let deadline = Instant::now() + BUSY_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(ClusterError::Busy { path: home.asked.clone() });
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn start_on_a_port(
    home: &Home,
    programs: &Programs,
    options: &ClusterOptions,
) -> Result<(Server, u16), ClusterError> {
    if let Some(port) = options.port {
        return Server::start(home, programs, options, port).await.map(|server| (server, port));
    }
    let mut attempts = PORT_ATTEMPTS;
    loop {
        attempts -= 1;
        let port = free_port().map_err(|error| ClusterError::directory("127.0.0.1", &error))?;
        match Server::start(home, programs, options, port).await {
            Ok(server) => return Ok((server, port)),
            Err(ClusterError::PortTaken { .. }) if attempts > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

/// A port that was free a moment ago.
fn free_port() -> std::io::Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr().map(|address| address.port())
}

fn check_name(name: &str) -> Result<(), ClusterError> {
    let fine = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 63
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if fine { Ok(()) } else { Err(ClusterError::Name { name: name.to_owned() }) }
}
