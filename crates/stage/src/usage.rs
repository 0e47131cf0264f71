//! What tasks use of memory and processors: limits that are kept, and CloudWatch's metrics of services.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use serde_json::Value as Json;
use tokio::time::Instant;

use crate::fault::kill;
use crate::launch;
use crate::topology::Topology;
use crate::world::{Inner, Task, TaskStatus, World};

/// What `/proc/<pid>/stat` counts memory in.
const PAGE: u64 = 4096;
/// What `/proc/<pid>/stat` counts a second in.
const TICKS: f64 = 100.0;
/// What a task may have of which nothing is said, in MiB: no fault eats up the machine.
const FALLBACK: u64 = 512;

/// Kills those of these tasks whose processes have more memory than their task definition allows, as a kernel does.
pub(crate) fn enforce<'a>(world: &World, tasks: impl ExactSizeIterator<Item = &'a String>) {
    if tasks.len() == 0 {
        return;
    }
    let used = by_group();
    let mut inner = world.look();
    for id in tasks {
        let Some(task) = inner.tasks.get(id).filter(|t| t.status == TaskStatus::Running) else {
            continue;
        };
        let (Some(pid), limit) = (task.pid, limit(&inner, task)) else { continue };
        if used.get(&pid).is_some_and(|used| used.memory > limit)
            && let Some(task) = inner.tasks.get_mut(id)
        {
            task.out_of_memory = true;
            kill(pid);
        }
    }
}

/// How much memory a task may have, in bytes: its container's own limit, or else the task definition's, or else its service's.
pub(crate) fn limit(inner: &Inner, task: &Task) -> u64 {
    let definition = launch::definition(inner, &task.definition).unwrap_or(&Json::Null);
    let own = definition["containerDefinitions"][0]["memory"].as_u64();
    let whole = || definition["memory"].as_str()?.parse().ok();
    let service = || Some(u64::from(inner.topology()?.service(&task.of.service)?.memory));
    own.or_else(whole).or_else(service).unwrap_or(FALLBACK) << 20
}

/// What a process group uses.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    /// Resident memory in bytes.
    memory: u64,
    /// Processor time since its start, in ticks.
    ticks: u64,
}

/// What all processes use, by process group. Empty where there is no `/proc`.
fn by_group() -> HashMap<u32, Used> {
    let mut sums = HashMap::<u32, Used>::new();
    let Ok(entries) = fs::read_dir("/proc") else { return sums };
    for entry in entries.flatten() {
        // Those that end meanwhile cannot be read.
        if let Some((group, used)) = entry.file_name().to_str().and_then(one) {
            let sum = sums.entry(group).or_default();
            sum.memory += used.memory;
            sum.ticks += used.ticks;
        }
    }
    sums
}

/// A process's group, and what it uses.
fn one(pid: &str) -> Option<(u32, Used)> {
    pid.parse::<u32>().ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; after it: state, parent, group; as the 12th and 13th the time in the program
    // and in the system, and as the 22nd the memory in pages.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let used = Used { memory: number(21)? * PAGE, ticks: number(11)? + number(12)? };
    Some((fields.get(2)?.parse().ok()?, used))
}

/// Puts `CPUUtilization` and `MemoryUtilization` of each service into CloudWatch's namespace `AWS/ECS`, until the stage ends.
pub(crate) async fn run(world: Arc<World>) {
    let mut before = HashMap::new();
    let mut looked = Instant::now();
    loop {
        tokio::time::sleep(world.timing.usage_interval).await;
        let now = by_group();
        put(&world, &before, &now, looked.elapsed().as_secs_f64());
        (before, looked) = (now, Instant::now());
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes and ticks are far below 2^52")]
fn put(world: &World, before: &HashMap<u32, Used>, now: &HashMap<u32, Used>, seconds: f64) {
    let mut inner = world.look();
    let Some(cluster) = inner.topology().map(Topology::prefix) else { return };
    let mut values = Vec::new();
    for task in inner.tasks.values().filter(|task| task.status == TaskStatus::Running) {
        let Some((pid, used)) = task.pid.and_then(|pid| Some((pid, now.get(&pid)?))) else {
            continue;
        };
        let units =
            inner.topology().and_then(|t| t.service(&task.of.service)).map_or(256, |s| s.cpu);
        let share = f64::from(units.max(1)) / 1024.0;
        let memory = used.memory as f64 / limit(&inner, task) as f64;
        values.push((task.service.clone(), "MemoryUtilization", memory * 100.0));
        if let Some(earlier) = before.get(&pid) {
            let spent = used.ticks.saturating_sub(earlier.ticks) as f64 / TICKS;
            values.push((task.service.clone(), "CPUUtilization", spent / seconds / share * 100.0));
        }
    }
    let at = crate::balancer::now();
    for (service, name, value) in values {
        let dimensions =
            [("ClusterName".to_owned(), cluster.clone()), ("ServiceName".to_owned(), service)];
        inner.metrics.put(&crate::metrics::key("AWS/ECS", name, &dimensions), at, value);
    }
}
