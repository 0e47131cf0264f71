//! The RDS instance: a private PostgreSQL cluster, and snapshots that are dumps of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use liftlock_postgres::{Cluster, ClusterError, ClusterOptions};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use crate::state::{Parameter, SnapshotStatus};
use crate::task::{keep, tracing_line};
use crate::world::{NotKept, World};

/// How long a dump may take.
const DUMP_LIMIT: Duration = Duration::from_secs(30 * 60);
/// How long the server of a stage that was killed may take to end.
const LEFTOVER_LIMIT: Duration = Duration::from_secs(30);

fn dump_path(directory: &Path, snapshot: &str) -> PathBuf {
    directory.join("snapshots").join(format!("{snapshot}.dump"))
}

/// Starts the cluster if it does not run, makes the database, and tells its URL to the parameter store.
pub(crate) async fn start(world: &World) -> Result<(), ClusterError> {
    let mut cluster = world.cluster.lock().await;
    if cluster.is_none() {
        *cluster = Some(start_cluster(world).await?);
    }
    let Some(running) = cluster.as_ref() else { return Ok(()) };
    let Some(topology) = world.look().topology().cloned() else { return Ok(()) };
    let name = topology.database_name();
    match running.create_database(&name).await {
        Err(ClusterError::Sql { reason, .. }) if reason.contains("already exists") => {}
        other => other?,
    }
    tell(world, &topology.parameter("database-url"), &running.url(&name), running.port());
    Ok(())
}

async fn start_cluster(world: &World) -> Result<Cluster, ClusterError> {
    let mut options = ClusterOptions::new(world.directory.join("postgres"));
    options.port = world.ports().database;
    let deadline = Instant::now() + LEFTOVER_LIMIT;
    loop {
        match Cluster::start(options.clone()).await {
            // A stage that was killed takes its server with it, but that takes a moment.
            Err(ClusterError::AlreadyRunning { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(ClusterError::PortTaken { .. }) if options.port.is_some() => options.port = None,
            other => return other,
        }
    }
}

fn tell(world: &World, parameter: &str, url: &SecretString, port: u16) {
    let mut inner = world.look();
    inner.database_up = true;
    inner.state.ports.database = Some(port);
    let before = inner.state.parameters.get(parameter);
    if before.is_none_or(|before| before.value != url.expose_secret()) {
        let version = before.map_or(1, |before| before.version + 1);
        let value = url.expose_secret().to_owned();
        let told = Parameter { value, secure: true, version, modified_at: Timestamp::now() };
        inner.state.parameters.insert(parameter.to_owned(), told);
    }
    keep(world, &inner);
}

/// Stops the cluster in good order.
pub(crate) async fn stop(world: &World) {
    world.look().database_up = false;
    if let Some(cluster) = world.cluster.lock().await.take()
        && let Err(error) = cluster.stop().await
    {
        tracing_line(&error.to_string());
    }
}

/// Dumps the database; the snapshot is available when the dump is whole.
pub(crate) async fn take_snapshot(world: Arc<World>, name: String) {
    let dumped = dump(&world, &name).await;
    if let Err(reason) = &dumped {
        tracing_line(&format!("snapshot {name} failed: {reason}"));
    }
    let status = if dumped.is_ok() { SnapshotStatus::Available } else { SnapshotStatus::Failed };
    let changed: Result<(), NotKept> = world.change(|inner| {
        if let Some(snapshot) = inner.state.snapshots.get_mut(&name) {
            snapshot.status = status;
        }
        Ok(())
    });
    if let Err(error) = changed {
        tracing_line(&error.to_string());
    }
}

async fn dump(world: &World, name: &str) -> Result<(), String> {
    let path = dump_path(&world.directory, name);
    let parent = path.parent().unwrap_or(&world.directory).to_owned();
    std::fs::create_dir_all(&parent).map_err(|error| error.to_string())?;
    let (programs, url) = {
        let cluster = world.cluster.lock().await;
        let cluster = cluster.as_ref().ok_or("the database does not run")?;
        let database = world.look().topology().map(|topology| topology.database_name());
        (cluster.programs().clone(), cluster.url(&database.ok_or("there is no database")?))
    };
    let half = path.with_extension("dump.new");
    let dumped = liftlock_postgres::dump(&programs, &url, &half, DUMP_LIMIT).await;
    dumped.map_err(|error| error.to_string())?;
    std::fs::rename(&half, &path).map_err(|error| error.to_string())
}

/// A snapshot that is gone has no dump. One that cannot be removed is left: it costs space and nothing else.
pub(crate) fn remove_dump(directory: &Path, name: &str) {
    std::fs::remove_file(dump_path(directory, name)).unwrap_or_default();
}
