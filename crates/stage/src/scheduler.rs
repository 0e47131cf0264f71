//! Keeps each service's tasks at their desired count, as the ECS service scheduler does: starts new tasks, takes old
//! ones away as new ones become healthy, and gives up on a deployment whose tasks keep failing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::deployments::{Configuration, Ending};
use crate::fault::Subject;
use crate::launch;
use crate::native::{self, Orders, Tasks};
use crate::state::{Deployment, RolloutState, random_id};
use crate::task;
use crate::world::{Inner, Of, Stop, Task, TaskStatus, World};

/// How often the scheduler looks even if nothing woke it.
const LOOK: Duration = Duration::from_millis(100);
/// The longest pause before a failed task is tried again.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);
/// How many stopped tasks of a service can still be described.
const STOPPED_KEPT: usize = 50;

/// After how many failed tasks ECS's deployment circuit breaker gives up: half the desired count, at least 3, at most
/// 200 (Amazon ECS Developer Guide, "How the deployment circuit breaker detects failures").
pub(crate) fn breaker_threshold(desired: u32) -> u32 {
    desired.div_ceil(2).clamp(3, 200)
}

/// What one service looks like to the scheduler.
#[derive(Debug, Clone)]
struct View {
    desired: u32,
    configuration: Configuration,
    failed: bool,
    /// The newest deployment's tasks: id and whether healthy. Those that are on their way out are left out.
    new: Vec<(String, bool)>,
    /// The older deployments' tasks, those first that are healthy.
    old: Vec<String>,
}

/// What is to be done for one service.
#[derive(Debug, Default, PartialEq, Eq)]
struct Moves {
    start: u32,
    stop: Vec<String>,
}

/// Decides. At least `minimum` percent of the desired tasks stay healthy, rounded up, and at most `maximum` percent run,
/// rounded down.
fn decide(view: &View) -> Moves {
    let (desired, new) = (view.desired as usize, view.new.len());
    let (minimum, maximum) =
        (view.configuration.minimum as usize, view.configuration.maximum as usize);
    let (least, most) = ((desired * minimum).div_ceil(100), desired * maximum / 100);
    let healthy = view.new.iter().filter(|(_, healthy)| *healthy).count();
    let mut moves = Moves::default();
    if new < desired && !view.failed {
        let room = most.max(desired).saturating_sub(new + view.old.len());
        let room = if maximum >= 200 { desired } else { room };
        moves.start = u32::try_from((desired - new).min(room)).unwrap_or(u32::MAX);
    }
    // Those that are not healthy go first.
    let mut surplus: Vec<&(String, bool)> = view.new.iter().collect();
    surplus.sort_by_key(|(_, healthy)| *healthy);
    moves.stop.extend(surplus.iter().take(new.saturating_sub(desired)).map(|(id, _)| id.clone()));
    let still_needed = least.saturating_sub(healthy).min(desired.saturating_sub(healthy));
    moves.stop.extend(view.old.iter().skip(still_needed).cloned());
    moves
}

/// Runs until the stage ends.
pub(crate) async fn run(world: Arc<World>) {
    loop {
        let names: Vec<String> = world.look().state.services.keys().cloned().collect();
        for name in names {
            native::advance(&world, &name);
            tend(&world, &name);
        }
        sweep(&world);
        tokio::select! {
            () = world.changed.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn tend(world: &Arc<World>, name: &str) {
    let mut inner = world.look();
    if inner.ending {
        return;
    }
    let tasks = tasks(&inner, name);
    let Some(orders) = orders(&inner, name, &tasks) else { return };
    for id in &orders.stop {
        let reason =
            format!("Scaling activity initiated by (deployment {})", deployment_id(&inner, name));
        ask_to_stop(&inner, id, "ServiceSchedulerInitiated", reason, true);
    }
    let mut started = Vec::new();
    for (deployment, wanted) in &orders.start {
        if inner.not_before.get(deployment).is_none_or(|at| *at <= Instant::now()) {
            let places = places(&mut inner, name, deployment, *wanted, world.timing.back_off);
            started.extend((0..places).filter_map(|_| begin(&mut inner, name, deployment)));
        }
    }
    let turned = settle(&mut inner, name, &tasks);
    if !started.is_empty() {
        let ids =
            started.iter().map(|(id, _)| format!("(task {id})")).collect::<Vec<_>>().join(" ");
        let message = format!("(service {name}) has started {} tasks: {ids}.", started.len());
        if let Some(service) = inner.state.services.get_mut(name) {
            service.event(message);
        }
    }
    if turned || !started.is_empty() || !orders.stop.is_empty() {
        task::keep(world, &inner);
    }
    drop(inner);
    for (id, stop) in started {
        tokio::spawn(task::run(world.clone(), id, stop));
    }
}

fn deployment_id(inner: &Inner, service: &str) -> String {
    inner.state.services.get(service).map(|s| s.primary().id.clone()).unwrap_or_default()
}

/// A service's tasks without those that are on their way out.
fn tasks(inner: &Inner, name: &str) -> Tasks {
    let mut tasks = Tasks::new();
    for (id, task) in inner.tasks_of(name) {
        if task.status >= TaskStatus::Deactivating || task.stop.borrow().is_some() {
            continue;
        }
        let healthy = inner.is_healthy(&task.group, id);
        tasks.entry(task.deployment.clone()).or_default().push((id.clone(), healthy));
    }
    tasks
}

fn orders(inner: &Inner, name: &str, tasks: &Tasks) -> Option<Orders> {
    let service = inner.state.services.get(name)?;
    if let Some(orders) = native::orders(service, tasks) {
        return Some(orders);
    }
    let primary = service.primary();
    let others = tasks.iter().filter(|(deployment, _)| **deployment != primary.id);
    let mut old: Vec<_> = others.flat_map(|(_, tasks)| tasks).collect();
    // Those that are healthy go last.
    old.sort_by_key(|(_, healthy)| !healthy);
    let Moves { start, stop } = decide(&View {
        desired: service.desired,
        configuration: service.configuration,
        failed: primary.rollout == RolloutState::Failed,
        new: tasks.get(&primary.id).cloned().unwrap_or_default(),
        old: old.into_iter().map(|(id, _)| id.clone()).collect(),
    });
    let start = (start > 0).then(|| (primary.id.clone(), start));
    Some(Orders { start: start.into_iter().collect(), stop })
}

fn of(inner: &Inner, name: &str, deployment: &Deployment) -> Option<Of> {
    let (service, colour) = inner.topology()?.by_coloured(deployment.group(name))?;
    let revision = deployment.definition.rsplit(':').next().and_then(|r| r.parse().ok());
    let service = service.name.as_str().to_owned();
    let version = launch::version(inner, &deployment.definition);
    Some(Of { service, colour, revision: revision.unwrap_or(0), version })
}

/// How many of the wanted tasks find a place. Those that do not count as failed, and are tried again after a pause.
fn places(inner: &mut Inner, name: &str, id: &str, wanted: u32, back_off: Duration) -> u32 {
    let Some(deployment) = deployment(inner, name, id) else { return 0 };
    let Some(of) = of(inner, name, &deployment) else { return wanted };
    let (_, digest, _) = launch::names(inner, &deployment.definition);
    let Inner { tasks, faults, .. } = inner;
    let (service, digest) = (of.service.as_str(), digest.as_deref());
    let (colour, revision, version) = (of.colour, of.revision, of.version.as_deref());
    let subject = Subject { task: "", service, colour, revision, digest, version };
    let alive = tasks.iter().filter(|(_, task)| task.status != TaskStatus::Stopped);
    let room = faults.room(&subject, alive.map(|(id, task)| task.subject(id)));
    let places = room.map_or(wanted, |room| wanted.min(u32::try_from(room).unwrap_or(wanted)));
    if places == wanted {
        return wanted;
    }
    faults.found_no_room(&subject);
    if let Some(found) = inner.state.services.get_mut(name) {
        found.event(format!(
            "(service {name}) was unable to place a task. Reason: Capacity is unavailable at this time. Please try again \
             later or in a different availability zone. For more information, see the Troubleshooting section of the \
             Amazon ECS Developer Guide."
        ));
    }
    task_failed(inner, name, id, back_off);
    places
}

fn deployment(inner: &Inner, name: &str, id: &str) -> Option<Deployment> {
    inner.state.services.get(name)?.deployments.iter().find(|d| d.id == id).cloned()
}

/// Enters a new task into the world; its process starts after.
fn begin(
    inner: &mut Inner,
    name: &str,
    deployment: &str,
) -> Option<(String, watch::Receiver<Option<Stop>>)> {
    let deployment = self::deployment(inner, name, deployment)?;
    let (image, digest, container) = launch::names(inner, &deployment.definition);
    let (stop, stopped) = watch::channel(None);
    let task = Task {
        service: name.to_owned(),
        group: deployment.group(name).to_owned(),
        of: of(inner, name, &deployment)?,
        deployment: deployment.id,
        definition: deployment.definition,
        image,
        digest,
        container,
        port: None,
        pid: None,
        status: TaskStatus::Provisioning,
        created_at: jiff::Timestamp::now(),
        started_at: None,
        stopped_at: None,
        stop_code: None,
        stopped_reason: None,
        container_reason: None,
        exit_code: None,
        was_healthy: false,
        stop,
        cut: watch::Sender::new(false),
        crashing: false,
        out_of_memory: false,
    };
    let id = random_id(16);
    inner.tasks.insert(id.clone(), task);
    Some((id, stopped))
}

pub(crate) fn ask_to_stop(
    inner: &Inner,
    id: &str,
    code: &'static str,
    reason: String,
    drain: bool,
) {
    if let Some(task) = inner.tasks.get(id) {
        task.stop.send_if_modified(|stop| {
            let first = stop.is_none();
            if first {
                *stop = Some(Stop { code, reason, drain });
            }
            first
        });
    }
}

/// Notices when a deployment is complete, and forgets older ones whose tasks are gone. True if something changed.
fn settle(inner: &mut Inner, name: &str, tasks: &Tasks) -> bool {
    let live: Vec<String> = inner
        .tasks_of(name)
        .filter(|(_, task)| task.status != TaskStatus::Stopped)
        .map(|(_, task)| task.deployment.clone())
        .collect();
    let Some(service) = inner.state.services.get_mut(name) else { return false };
    let primary = service.primary().id.clone();
    let new = tasks.get(&primary).map(Vec::as_slice).unwrap_or_default();
    let healthy = new.iter().filter(|(_, healthy)| *healthy).count();
    let mut turned = service.put_away(|id| live.iter().any(|live| live == id));
    let steady = healthy == service.desired as usize && live.len() == healthy;
    let shifted = service.shift().is_none_or(|shift| !shift.can_return());
    if steady && shifted && service.primary().rollout == RolloutState::InProgress {
        service.complete();
        service.event(format!("(service {name}) (deployment {primary}) deployment completed."));
        service.event(format!("(service {name}) has reached a steady state."));
        turned = true;
    }
    turned
}

/// Takes note that a task failed: the next one waits longer, and after enough of them the deployment has failed.
pub(crate) fn task_failed(inner: &mut Inner, name: &str, deployment: &str, back_off: Duration) {
    let Some(service) = inner.state.services.get_mut(name) else { return };
    let desired = service.desired;
    let Some(found) = service.deployments.iter_mut().find(|d| d.id == deployment) else { return };
    found.failed_tasks += 1;
    let count = found.failed_tasks;
    let in_progress = found.rollout == RolloutState::InProgress;
    let Configuration { breaker, roll_back, .. } = service.configuration;
    if breaker && in_progress && count >= breaker_threshold(desired) {
        let message = format!(
            "(service {name}) (deployment {deployment}) deployment failed: tasks failed to start."
        );
        service.event(message);
        let reason = "ECS deployment circuit breaker: tasks failed to start.";
        let ending = if roll_back { Ending::RolledBack } else { Ending::Failed };
        native::give_up(inner, name, deployment, reason, ending);
    }
    let pause = back_off.saturating_mul(1 << count.saturating_sub(1).min(16)).min(LONGEST_BACK_OFF);
    inner.not_before.insert(deployment.to_owned(), Instant::now() + pause);
}

/// Forgets the oldest of the stopped tasks.
fn sweep(world: &World) {
    let mut inner = world.look();
    let mut stopped: Vec<_> = inner
        .tasks
        .iter()
        .filter(|(_, task)| task.status == TaskStatus::Stopped)
        .map(|(id, task)| (task.service.clone(), task.stopped_at, id.clone()))
        .collect();
    stopped.sort();
    for of_one in stopped.chunk_by(|a, b| a.0 == b.0) {
        for (_, _, id) in of_one.iter().take(of_one.len().saturating_sub(STOPPED_KEPT)) {
            inner.tasks.remove(id);
            inner.faults.forget(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(desired: u32, new: &[(&str, bool)], old: &[&str]) -> View {
        View {
            desired,
            configuration: Configuration::default(),
            failed: false,
            new: new.iter().map(|(id, healthy)| ((*id).to_owned(), *healthy)).collect(),
            old: old.iter().map(|id| (*id).to_owned()).collect(),
        }
    }

    #[test]
    fn old_tasks_go_only_as_new_ones_are_healthy() {
        let moves = decide(&view(2, &[], &["a", "b"]));
        assert_eq!(moves, Moves { start: 2, stop: vec![] });
        let moves = decide(&view(2, &[("c", true), ("d", false)], &["a", "b"]));
        assert_eq!(moves, Moves { start: 0, stop: vec!["b".into()] });
        let moves = decide(&view(2, &[("c", true), ("d", true)], &["a", "b"]));
        assert_eq!(moves, Moves { start: 0, stop: vec!["a".into(), "b".into()] });
    }

    #[test]
    fn what_is_not_healthy_is_scaled_in_first() {
        let moves = decide(&view(1, &[("a", true), ("b", false)], &[]));
        assert_eq!(moves, Moves { start: 0, stop: vec!["b".into()] });
        assert_eq!(decide(&view(0, &[("a", true)], &[])).stop, ["a"]);
    }

    #[test]
    fn a_failed_deployment_starts_nothing_more() {
        let failed = View { failed: true, ..view(2, &[("a", true)], &[]) };
        assert_eq!(decide(&failed), Moves::default());
    }

    #[test]
    fn the_breaker_has_the_threshold_of_ecs() {
        for (desired, threshold) in
            [(0, 3), (1, 3), (6, 3), (7, 4), (50, 25), (400, 200), (1000, 200)]
        {
            assert_eq!(breaker_threshold(desired), threshold, "{desired}");
        }
    }
}
