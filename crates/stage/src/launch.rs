//! From a task definition to a process.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use liftlock_model::ImageRef;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value as Json;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;

use crate::fault::{Fault, Kind};
use crate::image::{self, Image};
use crate::relay::Relay;
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
    twist: Twist,
    _relay: Option<Relay>,
}

/// What faults make of a start.
#[derive(Debug, Default)]
struct Twist {
    /// The fault's name and the exit code.
    crash: Option<(String, u8)>,
    slow: Option<Duration>,
}

impl Twist {
    /// What runs in the program's place, or before it: real processes with real exit codes and logs.
    fn wrap(&self, command: &mut Command) {
        if let Some((name, code)) = &self.crash {
            let script = "echo \"liftlock stage: fault $0: the process crashes\" >&2; exit \"$1\"";
            command.args(["/bin/sh", "-c", script, name]).arg(code.to_string());
        } else if let Some(slow) = self.slow {
            command.args(["/bin/sh", "-c", "sleep \"$0\"; exec \"$@\""]);
            command.arg(format!("{:.3}", slow.as_secs_f64()));
        }
    }
}

/// The stage's end of the pipe to a task's watcher. Dropping it ends what is left of the task.
pub(crate) struct Keeper {
    _pipe: Option<ChildStdin>,
}

/// Finds the image and gathers the environment. The error is the task's `stoppedReason`.
pub(crate) fn prepare(world: &Arc<World>, id: &str) -> Result<Launch, String> {
    let mut inner = world.look();
    let task = inner.tasks.get(id).ok_or("the task is gone")?;
    let (service, arn, image_name) =
        (task.service.clone(), task.definition.clone(), task.image.clone());
    let cut = task.cut.subscribe();
    let container = container(&inner, &arn).ok_or("the task definition has no container")?.clone();
    let digest = image_name.parse::<ImageRef>().ok().map(|image| image.digest().clone());
    let environment = environment(&inner, &container);
    let port = free_port(&inner)?;
    let twist = twist(&mut inner, id);
    if let Some(task) = inner.tasks.get_mut(id) {
        task.port = Some(port);
        task.crashing = twist.crash.is_some();
    }
    let wants_relay = inner.database_url().map(|(_, url)| url.to_owned());
    drop(inner);
    let mut environment = environment?;
    let relay = wants_relay.and_then(|url| relayed(world, &mut environment, &url, cut));
    environment.push(("PORT".to_owned(), port.to_string()));
    let found = digest.and_then(|digest| image::load(&world.directory, &digest));
    let (image, program) = found.ok_or_else(|| cannot_pull(&image_name))?;
    Ok(Launch { service, port, image, program, environment, twist, _relay: relay })
}

/// What ECS says of an image that is not there.
pub(crate) fn cannot_pull(image: &str) -> String {
    format!(
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {image}: \
         {image}: not found"
    )
}

fn twist(inner: &mut Inner, id: &str) -> Twist {
    let Inner { tasks, faults, .. } = inner;
    let Some(task) = tasks.get(id) else { return Twist::default() };
    let subject = task.subject(id);
    let crash = faults.task(Kind::Crash, &subject).filter(|fault| fault.after_start.is_none());
    let name = |fault: &Fault| fault.name.clone().unwrap_or_default();
    let crash = crash.map(|fault| (name(fault), fault.exit_code.unwrap_or(1)));
    let slow = faults.task(Kind::SlowStart, &subject).and_then(|fault| fault.delay);
    Twist { crash, slow: slow.map(|delay| delay.length()) }
}

/// Leads the task's way to the database through a relay of its own, so that faults can cut it.
fn relayed(
    world: &Arc<World>,
    environment: &mut [(String, String)],
    url: &str,
    cut: watch::Receiver<bool>,
) -> Option<Relay> {
    let mut wanted = environment.iter_mut().filter(|(_, value)| value == url).peekable();
    wanted.peek()?;
    // Without a relay the task reaches the database, and only faults do not reach the task.
    let relay = Relay::start(world, cut).ok()?;
    for (_, value) in wanted {
        if let Some(led) = relay.lead(value) {
            *value = led;
        }
    }
    Some(relay)
}

/// The name of a task definition's image, by its digest if it has one, and of its container.
pub(crate) fn names(inner: &Inner, definition: &str) -> (String, Option<String>, String) {
    let text = |of: &Json, name: &str| of[name].as_str().unwrap_or_default().to_owned();
    let Some(container) = container(inner, definition) else { return Default::default() };
    let image = text(container, "image");
    let digest = image.parse::<ImageRef>().ok().map(|image| image.digest().to_string());
    (image, digest, text(container, "name"))
}

/// The release's version in a task definition.
pub(crate) fn version(inner: &Inner, definition: &str) -> Option<String> {
    let variables = container(inner, definition)?["environment"].as_array()?;
    let version = variables.iter().find(|variable| variable["name"] == "RELEASE_VERSION")?;
    version["value"].as_str().map(str::to_owned)
}

/// What was registered under this ARN.
pub(crate) fn definition<'a>(inner: &'a Inner, arn: &str) -> Option<&'a Json> {
    let topology = inner.topology()?;
    let named =
        |d: &&crate::state::Definition| topology.definition_arn(&d.family, d.revision) == arn;
    inner.state.definitions.iter().find(named).map(|definition| &definition.body)
}

fn container<'a>(inner: &'a Inner, arn: &str) -> Option<&'a Json> {
    definition(inner, arn)?["containerDefinitions"].get(0)
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
    command.args(["-c", KEEPER, "liftlock-task"]);
    launch.twist.wrap(&mut command);
    command.arg(&launch.program).args(&launch.image.arguments);
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
