//! From a task definition to a process.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use liftlock_model::ImageRef;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value as Json;
use tokio::process::{Child, ChildStdin, Command};

use crate::image::{self, Image};
use crate::world::{Inner, World};

/// Runs the program with a watcher beside it that holds the other end of a pipe to the stage. When the stage ends in
/// whatever way, or lets go of a task that has ended, the pipe closes and the watcher ends what is left of the process group.
const KEEPER: &str = include_str!("keeper.sh");
/// Ports for tasks: below those that Linux gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 18_000..32_000;
/// The variables of the stage's own environment that tasks see, too.
const PASSED_ON: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// What a task needs to start.
pub(crate) struct Launch {
    pub(crate) service: String,
    pub(crate) port: u16,
    image: Image,
    program: PathBuf,
    environment: Vec<(String, String)>,
}

/// The stage's end of the pipe to a task's watcher. Dropping it ends what is left of the task.
pub(crate) struct Keeper {
    _pipe: Option<ChildStdin>,
}

/// Finds the image and gathers the environment. The error is the task's `stoppedReason`.
pub(crate) fn prepare(world: &World, id: &str) -> Result<Launch, String> {
    let mut inner = world.look();
    let task = inner.tasks.get(id).ok_or("the task is gone")?;
    let (service, arn) = (task.service.clone(), task.definition.clone());
    let container = container(&inner, &arn).ok_or("the task definition has no container")?.clone();
    let image_name = container["image"].as_str().unwrap_or_default().to_owned();
    let digest = image_name.parse::<ImageRef>().ok().map(|image| image.digest().clone());
    let environment = environment(&inner, &container);
    let port = free_port(&inner)?;
    if let Some(task) = inner.tasks.get_mut(id) {
        task.image.clone_from(&image_name);
        task.digest = digest.as_ref().map(ToString::to_string);
        task.container = container["name"].as_str().unwrap_or_default().to_owned();
        task.port = Some(port);
    }
    drop(inner);
    let mut environment = environment?;
    environment.push(("PORT".to_owned(), port.to_string()));
    let found = digest.and_then(|digest| image::load(&world.directory, &digest));
    let (image, program) = found.ok_or_else(|| {
        format!(
            "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref \
             {image_name}: {image_name}: not found"
        )
    })?;
    Ok(Launch { service, port, image, program, environment })
}

fn container<'a>(inner: &'a Inner, arn: &str) -> Option<&'a Json> {
    let topology = inner.topology()?;
    let named =
        |d: &&crate::state::Definition| topology.definition_arn(&d.family, d.revision) == arn;
    inner.state.definitions.iter().find(named)?.body["containerDefinitions"].get(0)
}

/// The task definition's variables, then its secrets from the parameter store.
fn environment(inner: &Inner, container: &Json) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    let list = |key: &str| container[key].as_array().cloned().unwrap_or_default();
    let text = |entry: &Json, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    for entry in list("environment") {
        all.push((text(&entry, "name"), text(&entry, "value")));
    }
    for entry in list("secrets") {
        let from = text(&entry, "valueFrom");
        let name = from.split_once(":parameter").map_or(from.as_str(), |(_, name)| name);
        let value = inner.state.parameters.get(name).ok_or_else(|| {
            format!(
                "ResourceInitializationError: unable to pull secrets or registry auth: invalid ssm parameters: {name}"
            )
        })?;
        all.push((text(&entry, "name"), value.value.clone()));
    }
    Ok(all)
}

fn free_port(inner: &Inner) -> Result<u16, String> {
    let taken: Vec<u16> =
        inner.tasks.values().filter(|t| t.stopped_at.is_none()).filter_map(|t| t.port).collect();
    for _ in 0..200 {
        let port = rand::random_range(PORTS);
        if !taken.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err("ResourceInitializationError: no port is free on this machine".to_owned())
}

/// Starts the process. The error is the task's `stoppedReason`.
pub(crate) fn start(world: &World, id: &str, launch: &Launch) -> Result<(Child, Keeper), String> {
    let failed = |error: io::Error| format!("CannotStartContainerError: {error}");
    let logs = world.directory.join("logs").join(&launch.service);
    fs::create_dir_all(&logs).map_err(failed)?;
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    let log = options.open(logs.join(format!("{id}.log"))).map_err(failed)?;
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", KEEPER, "liftlock-task"])
        .arg(&launch.program)
        .args(&launch.image.arguments);
    command.env_clear();
    command.envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.envs(&launch.image.environment);
    command.envs(launch.environment.iter().map(|(name, value)| (name, value)));
    command.current_dir("/").process_group(0).stdin(Stdio::piped());
    command.stdout(log.try_clone().map_err(failed)?).stderr(log);
    let mut child = command.spawn().map_err(failed)?;
    // Taken out: waiting for a child closes its standard input.
    let keeper = Keeper { _pipe: child.stdin.take() };
    Ok((child, keeper))
}

fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(child.id()?.try_into().ok()?)
}

/// SIGTERM to the process itself, as a container runtime does. One that has ended needs none.
pub(crate) fn terminate(child: &Child) {
    if let Some(pid) = pid(child) {
        kill_process(pid, Signal::TERM).unwrap_or_default();
    }
}

/// SIGKILL to the whole process group.
pub(crate) async fn kill(child: &mut Child) {
    if let Some(pid) = pid(child) {
        kill_process_group(pid, Signal::KILL).unwrap_or_default();
        // An error means that it has been waited for already.
        child.wait().await.map(drop).unwrap_or_default();
    }
}

/// As container runtimes tell it: 128 and the signal's number for a process that a signal ended.
pub(crate) fn exit_code(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}
