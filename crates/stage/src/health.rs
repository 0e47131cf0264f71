//! The load balancer's health checks.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::Instant;

use crate::fault::Instead;
use crate::scheduler;
use crate::world::{Health, Inner, World};

/// How often a target is asked that has not been healthy yet.
const EAGER: Duration = Duration::from_millis(50);

/// Asks a target, and tells the world, until the task ends.
pub(crate) async fn watch(world: Arc<World>, task: String, port: u16) {
    let path = {
        let inner = world.look();
        let of = inner.tasks.get(&task).map(|task| &task.of.service);
        let found = of.and_then(|service| inner.topology()?.service(service));
        found.map_or_else(|| "/".to_owned(), |service| service.health_path.clone())
    };
    let mut failures = 0;
    loop {
        let asked = ask_through_faults(&world, &task, port, &path);
        let seen = tokio::time::timeout(world.timing.health_timeout, asked).await;
        let seen = seen.unwrap_or_else(|_| Err("Request timed out".to_owned()));
        failures = if seen.is_ok() { 0 } else { failures + 1 };
        let health = note(&world, &task, seen, failures);
        let Some(health) = health else { return };
        let calm = matches!(health, Health::Healthy | Health::Draining);
        tokio::time::sleep(if calm { world.timing.health_interval } else { EAGER }).await;
    }
}

/// The load balancer's way to the target leads through the same faults as its users' requests.
async fn ask_through_faults(world: &World, id: &str, port: u16, path: &str) -> Result<(), String> {
    let meddling = {
        let mut inner = world.look();
        let Inner { tasks, faults, .. } = &mut *inner;
        let task = tasks.get(id).filter(|_| !faults.is_empty());
        task.map(|task| faults.request(&task.subject(id), path, true)).unwrap_or_default()
    };
    if !meddling.delay.is_zero() {
        tokio::time::sleep(meddling.delay).await;
    }
    match meddling.instead {
        None => ask(port, path).await,
        Some(Instead::Status(status)) => {
            Err(format!("Health checks failed with these codes: [{status}]"))
        }
        Some(Instead::Reset) => {
            Err("Health checks failed: connection refused or closed".to_owned())
        }
        Some(Instead::Hang) => std::future::pending().await,
    }
}

async fn ask(port: u16, path: &str) -> Result<(), String> {
    // A connection of its own for each check, as load balancers do: the check shows that new connections are taken.
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
    let request = Request::builder()
        .method(Method::GET)
        .uri(format!("http://127.0.0.1:{port}{path}"))
        .header("user-agent", "ELB-HealthChecker/2.0")
        .header("connection", "close")
        .body(Body::empty())
        .map_err(|error| error.to_string())?;
    match client.request(request).await {
        Ok(answer) if answer.status() == StatusCode::OK => Ok(()),
        Ok(answer) => {
            Err(format!("Health checks failed with these codes: [{}]", answer.status().as_u16()))
        }
        Err(_) => Err("Health checks failed: connection refused or closed".to_owned()),
    }
}

/// Enters what was seen. None when the target is gone.
fn note(world: &World, id: &str, seen: Result<(), String>, failures: u32) -> Option<Health> {
    let timing = world.timing;
    let mut inner = world.look();
    let task = inner.tasks.get(id)?;
    let (service, group) = (task.service.clone(), task.group.clone());
    let (deployment, ever) = (task.deployment.clone(), task.was_healthy);
    let target = inner.target_mut(&group, id)?;
    if target.health == Health::Draining {
        return Some(Health::Draining);
    }
    let (before, age) = (target.health, target.registered.elapsed());
    // A new target is asked often, but is not unhealthy sooner than one that is asked at the usual pace.
    let patience = timing.health_interval * timing.unhealthy_after;
    target.health = match (&seen, before) {
        (Ok(()), _) => Health::Healthy,
        (Err(_), Health::Initial) if age < patience => Health::Initial,
        (Err(_), Health::Healthy) if failures < timing.unhealthy_after => Health::Healthy,
        _ => Health::Unhealthy,
    };
    let health = target.health;
    target.seen = seen.err().unwrap_or_default();
    let why = target.seen.clone();
    if health == before && health != Health::Unhealthy {
        return Some(health);
    }
    if health == Health::Healthy {
        became_healthy(&mut inner, id, &service, &deployment);
    } else if health == Health::Unhealthy && (ever || age >= timing.grace) {
        let reason = format!("Task failed ELB health checks in (target-group {group}): {why}");
        scheduler::ask_to_stop(&inner, id, "ServiceSchedulerInitiated", reason, true);
    }
    drop(inner);
    world.changed.notify_one();
    Some(health)
}

fn became_healthy(inner: &mut Inner, id: &str, service: &str, deployment: &str) {
    if let Some(task) = inner.tasks.get_mut(id) {
        task.was_healthy = true;
    }
    inner.not_before.insert(deployment.to_owned(), Instant::now());
    if let Some(service) = inner.state.services.get_mut(service)
        && let Some(found) = service.deployments.iter_mut().find(|d| d.id == deployment)
    {
        found.failed_tasks = 0;
    }
}
