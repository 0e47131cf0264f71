//! One task from its start to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::fault::Kind;
use crate::health;
use crate::launch::{self, Launch};
use crate::scheduler;
use crate::world::{Health, Inner, Stop, Target, TaskStatus, World};

/// How often open requests are counted while a target drains.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// Writes what is kept after a change that the stage made by itself. It goes on when the disk is full: what it says is
/// the world then, and the next change is written again.
pub(crate) fn keep(world: &World, inner: &Inner) {
    if let Err(error) = inner.state.save(&world.directory) {
        tracing_line(&format!("stage.json could not be written: {error}"));
    }
}

/// A line in the stage's own log.
pub(crate) fn tracing_line(text: &str) {
    use std::io::Write as _;
    // Nobody is left to tell when the log is gone.
    writeln!(anstream::stderr(), "{} {text}", Timestamp::now()).unwrap_or_default();
}

/// Runs a task to its end.
pub(crate) async fn run(world: Arc<World>, id: String, mut stop: watch::Receiver<Option<Stop>>) {
    let started = match place(&world, &id, &mut stop).await {
        Err(stopped) => Err(stopped),
        Ok(()) => {
            let prepared = launch::prepare(&world, &id);
            let started = prepared
                .and_then(|launch| launch::start(&world, &id, &launch).map(|c| (launch, c)));
            started.map_err(Stopped::at_start)
        }
    };
    match started {
        Err(stopped) => finish(&world, &id, None, stopped),
        Ok((launch, (mut child, keeper))) => {
            // Registered first: a health check that finds no target takes it for gone, and checks no more.
            register(&world, &id, &launch, child.id());
            let checks = tokio::spawn(health::watch(world.clone(), id.clone(), launch.port));
            let stopped = live(&world, &id, &launch, &mut child, &mut stop).await;
            checks.abort();
            drop(keeper);
            let code = child.try_wait().ok().flatten().map(launch::exit_code);
            finish(&world, &id, code, stopped);
        }
    }
    world.changed.notify_one();
}

/// How a task ended.
struct Stopped {
    code: &'static str,
    reason: String,
    failed: bool,
}

impl Stopped {
    fn at_start(reason: String) -> Self {
        Self { code: "TaskFailedToStart", reason, failed: true }
    }
}

/// Waits for a place, and pulls the image.
async fn place(
    world: &World,
    id: &str,
    stop: &mut watch::Receiver<Option<Stop>>,
) -> Result<(), Stopped> {
    let (delay, missing) = {
        let mut inner = world.look();
        let Inner { tasks, faults, .. } = &mut *inner;
        let Some(task) = tasks.get(id) else { return Ok(()) };
        let subject = task.subject(id);
        let delay = faults.task(Kind::PlacementDelay, &subject).and_then(|fault| fault.delay);
        let missing = faults.task(Kind::ImageMissing, &subject).map(|_| task.image.clone());
        (delay.map(|delay| delay.length()), missing)
    };
    if let Some(delay) = delay {
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            Ok(stop) = stop.wait_for(Option::is_some) => {
                let (code, reason) = stop.clone().map(|stop| (stop.code, stop.reason)).unwrap_or_default();
                return Err(Stopped { code, reason, failed: false });
            }
        }
    }
    if let Some(task) = world.look().tasks.get_mut(id) {
        task.status = TaskStatus::Pending;
    }
    missing.map_or(Ok(()), |image| Err(Stopped::at_start(launch::cannot_pull(&image))))
}

async fn live(
    world: &Arc<World>,
    id: &str,
    launch: &Launch,
    child: &mut Child,
    stop: &mut watch::Receiver<Option<Stop>>,
) -> Stopped {
    let asked = async {
        // An error means that the task is no longer in the world: then it is left alone.
        stop.wait_for(Option::is_some).await.ok().and_then(|stop| stop.clone())
    };
    tokio::select! {
        ended = child.wait() => {
            let failed = true;
            if let Err(error) = ended {
                return Stopped { code: "EssentialContainerExited", reason: error.to_string(), failed };
            }
            let reason = "Essential container in task exited".to_owned();
            Stopped { code: "EssentialContainerExited", reason, failed }
        }
        Some(stop) = asked => {
            end(world, id, launch, child, stop.drain).await;
            let failed = stop.reason.contains("failed ELB health checks");
            Stopped { code: stop.code, reason: stop.reason, failed }
        }
    }
}

/// Makes the task a target of its target group.
fn register(world: &World, id: &str, launch: &Launch, pid: Option<u32>) {
    let mut inner = world.look();
    let Some(task) = inner.tasks.get_mut(id) else { return };
    (task.status, task.started_at, task.pid) = (TaskStatus::Running, Some(Timestamp::now()), pid);
    let (service, group) = (task.service.clone(), task.group.clone());
    let target = Target {
        task: id.to_owned(),
        port: launch.port,
        health: Health::Initial,
        seen: "Target registration is in progress".to_owned(),
        registered: Instant::now(),
        open: Arc::new(AtomicUsize::new(0)),
    };
    inner.groups.entry(group.clone()).or_default().push_back(target);
    if let Some(found) = inner.state.services.get_mut(&service) {
        found.event(format!("(service {service}) registered 1 targets in (target-group {group})"));
    }
}

/// Takes the task out of the load balancer, waits for its open requests, and ends its process.
async fn end(world: &World, id: &str, launch: &Launch, child: &mut Child, drain: bool) {
    let open = start_draining(world, id);
    if let (true, Some(open)) = (drain, open) {
        let deadline = Instant::now() + world.timing.deregistration;
        while open.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }
    if let Some(task) = world.look().tasks.get_mut(id) {
        task.status = TaskStatus::Stopping;
    }
    launch::terminate(child);
    if tokio::time::timeout(world.timing.stop, child.wait()).await.is_err() {
        tracing_line(&format!(
            "task {id} of {} did not end on SIGTERM and is killed",
            launch.service
        ));
        launch::kill(child).await;
    }
}

/// From here on the target gets no new request.
fn start_draining(world: &World, id: &str) -> Option<Arc<AtomicUsize>> {
    let mut inner = world.look();
    let task = inner.tasks.get_mut(id)?;
    task.status = TaskStatus::Deactivating;
    let group = task.group.clone();
    let target = inner.target_mut(&group, id)?;
    target.health = Health::Draining;
    target.seen = "Target deregistration is in progress".to_owned();
    Some(target.open.clone())
}

fn finish(world: &World, id: &str, exit_code: Option<i32>, stopped: Stopped) {
    let mut inner = world.look();
    let Some(task) = inner.tasks.get_mut(id) else { return };
    task.status = TaskStatus::Stopped;
    task.stopped_at = Some(Timestamp::now());
    task.stop_code = Some(stopped.code);
    task.stopped_reason = Some(stopped.reason.clone());
    task.exit_code = exit_code;
    task.pid = None;
    if task.out_of_memory {
        let reason = "OutOfMemoryError: Container killed due to memory usage";
        task.container_reason = Some(reason.to_owned());
    } else if exit_code.is_none() {
        task.container_reason = Some(stopped.reason.clone());
    }
    let (service, deployment) = (task.service.clone(), task.deployment.clone());
    let group = task.group.clone();
    if let Some(group) = inner.groups.get_mut(&group) {
        group.retain(|target| target.task != id);
    }
    let what = match exit_code {
        Some(code) => format!("{} (exit code {code})", stopped.reason),
        None => stopped.reason,
    };
    let verb = if stopped.failed { "has stopped" } else { "stopped" };
    if let Some(found) = inner.state.services.get_mut(&service) {
        found.event(format!("(service {service}) (task {id}) {verb}: {what}."));
    }
    if stopped.failed && !inner.ending {
        scheduler::task_failed(&mut inner, &service, &deployment, world.timing.back_off);
    }
    keep(world, &inner);
}
