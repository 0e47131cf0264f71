//! The stage's process: everything started, kept until told to end, and ended.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

use crate::arn::ListenerName;
use crate::balancer;
use crate::control::{self, Endpoint};
use crate::database;
use crate::error::StageError;
use crate::fault::{self, Span};
use crate::home::{Home, Record};
use crate::recorder::Recorder;
use crate::scheduler;
use crate::schedules;
use crate::state::{SnapshotStatus, State};
use crate::task::tracing_line;
use crate::usage;
use crate::world::{TaskStatus, Timing, World};

/// The variable that says how long a minute of bake times is, such as `1s`; for a stage that is a process of its own.
pub(crate) const MINUTE: &str = "LIFTLOCK_STAGE_MINUTE";

/// How long tasks may take to end when the stage ends; the stage's own end kills what is left.
const END_LIMIT: Duration = Duration::from_secs(8);

/// How a stage is to be.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Where everything is that it keeps.
    pub directory: PathBuf,
    /// Its times.
    pub timing: Timing,
    /// The endpoint's port on 127.0.0.1; the one of last time, or a free one, if left out.
    pub port: Option<u16>,
    /// Each AWS call with its answer is written to this file, one JSON object for each line; secrets included.
    pub record: Option<PathBuf>,
}

impl ServeOptions {
    /// A stage of `directory` with the usual times.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), timing: Timing::default(), port: None, record: None }
    }
}

/// A stage that runs in this process.
pub(crate) struct Host {
    pub(crate) world: Arc<World>,
    pub(crate) record: Record,
    home: Home,
    loops: JoinSet<()>,
    _serving: File,
}

impl Host {
    /// Starts everything, with what an earlier stage of this directory left.
    pub(crate) async fn start(options: &ServeOptions) -> Result<Self, StageError> {
        let home = Home::make(&options.directory)?;
        let serving = home.lock_serving()?;
        let serving = serving
            .ok_or_else(|| StageError::AlreadyRunning { path: options.directory.clone() })?;
        let keys = home.keys()?;
        let path = home.path().join("stage.json");
        let mut state = State::load(home.path())
            .map_err(|error| StageError::State { path: path.clone(), reason: error.to_string() })?;
        for snapshot in state.snapshots.values_mut() {
            if snapshot.status == SnapshotStatus::Creating {
                // The dump ended with the process that made it.
                snapshot.status = SnapshotStatus::Failed;
            }
        }
        let endpoint = match options.port {
            Some(port) => exactly(port, &mut state.ports.endpoint).await?,
            None => listen(&mut state.ports.endpoint).await?,
        };
        let listeners = [
            endpoint,
            listen(&mut state.ports.production).await?,
            listen(&mut state.ports.test).await?,
        ];
        state.save(home.path()).map_err(|error| StageError::directory(path, &error))?;
        let wants_database = state.topology.as_ref().is_some_and(|t| t.database.is_some());
        let record = Record {
            pid: std::process::id(),
            endpoint: url_of(state.ports.endpoint)?,
            url: url_of(state.ports.production)?,
            test_url: url_of(state.ports.test)?,
        };
        let recorder = options.record.as_deref().map(Recorder::create).transpose()?;
        let world = Arc::new(World::new(home.path(), options.timing, state, recorder));
        if wants_database {
            database::start(&world).await?;
        }
        let mut loops = JoinSet::new();
        let [endpoint, production, test] = listeners;
        loops.spawn(balancer::serve(world.clone(), production, ListenerName::Production));
        loops.spawn(balancer::serve(world.clone(), test, ListenerName::Test));
        loops.spawn(scheduler::run(world.clone()));
        loops.spawn(usage::run(world.clone()));
        loops.spawn(schedules::run(world.clone()));
        loops.spawn(fault::meddle(world.clone()));
        let api = Endpoint { world: world.clone(), record: record.clone(), keys };
        loops.spawn(control::serve(api, endpoint));
        home.write_record(&record)?;
        Ok(Self { world, record, home, loops, _serving: serving })
    }

    /// Ends everything in good order: requests first, then tasks, then the database.
    pub(crate) async fn end(mut self) {
        self.home.remove_record();
        let stopping: Vec<String> = {
            let mut inner = self.world.look();
            inner.ending = true;
            inner.tasks.keys().cloned().collect()
        };
        for id in stopping {
            let reason = "The stage ends".to_owned();
            scheduler::ask_to_stop(&self.world.look(), &id, "UserInitiated", reason, true);
        }
        let deadline = Instant::now() + END_LIMIT;
        while Instant::now() < deadline {
            if self.world.look().tasks.values().all(|task| task.status == TaskStatus::Stopped) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.loops.shutdown().await;
        database::stop(&self.world).await;
    }
}

/// Runs a stage until SIGTERM or SIGINT. The variable `LIFTLOCK_STAGE_MINUTE` makes the minutes of bake times shorter.
///
/// # Errors
/// [`StageError`] says why it did not start; nothing is left running then.
pub async fn serve(mut options: ServeOptions) -> Result<(), StageError> {
    if let Some(minute) = std::env::var_os(MINUTE) {
        options.timing.minute = minute_of(&minute.to_string_lossy())?;
    }
    // A session of its own: closing the terminal does not end it. Already the leader of a group, it stays what it is.
    rustix::process::setsid().map(drop).unwrap_or_default();
    let listen = |error: std::io::Error| StageError::Listen { reason: error.to_string() };
    let mut terminate = signal(SignalKind::terminate()).map_err(listen)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(listen)?;
    let _hangup = signal(SignalKind::hangup()).map_err(listen)?;
    let started = async {
        let host = Host::start(&options).await?;
        tracing_line(&format!(
            "serves {} at {}",
            options.directory.display(),
            host.record.endpoint
        ));
        Ok::<_, StageError>(host)
    };
    let host = tokio::select! {
        host = started => host?,
        _ = terminate.recv() => return Ok(()),
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing_line("ends");
    host.end().await;
    Ok(())
}

fn minute_of(text: &str) -> Result<Duration, StageError> {
    let read = text.parse::<Span>().map(Span::length);
    read.map_err(|reason| StageError::Minute { variable: MINUTE, reason })
}

/// Listens on the port of last time, or on a free one.
async fn listen(port: &mut Option<u16>) -> Result<TcpListener, StageError> {
    let failed = |error: std::io::Error| StageError::Listen { reason: error.to_string() };
    let again = match *port {
        Some(port) => TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.ok(),
        None => None,
    };
    let listener = match again {
        Some(listener) => listener,
        None => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?,
    };
    *port = Some(listener.local_addr().map_err(failed)?.port());
    Ok(listener)
}

/// Listens on this port and no other.
async fn exactly(wanted: u16, port: &mut Option<u16>) -> Result<TcpListener, StageError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))
        .await
        .map_err(|error| StageError::Listen { reason: format!("port {wanted}: {error}") })?;
    *port = Some(wanted);
    Ok(listener)
}

fn url_of(port: Option<u16>) -> Result<Url, StageError> {
    let text = format!("http://127.0.0.1:{}", port.unwrap_or(0));
    Url::parse(&text).map_err(|error| StageError::Listen { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_can_be_short() {
        assert_eq!(minute_of("200ms").unwrap(), Duration::from_millis(200));
        let error = minute_of("soon").unwrap_err().to_string();
        assert_eq!(
            error,
            "LIFTLOCK_STAGE_MINUTE: `soon` is no length of time: write it like `200ms`, `3s` or `5m`"
        );
    }
}
