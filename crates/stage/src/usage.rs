//! The memory of tasks: what their processes have, and what they may have.

use std::collections::HashMap;
use std::fs;

use serde_json::Value as Json;

use crate::fault::kill;
use crate::launch;
use crate::world::{Inner, Task, TaskStatus, World};

/// What `/proc/<pid>/statm` counts in.
const PAGE: u64 = 4096;
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
        if used.get(&pid).is_some_and(|used| *used > limit)
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

/// The resident memory of all processes, by process group, in bytes. Empty where there is no `/proc`.
fn by_group() -> HashMap<u32, u64> {
    let mut sums = HashMap::new();
    let Ok(entries) = fs::read_dir("/proc") else { return sums };
    for entry in entries.flatten() {
        // Those that end meanwhile cannot be read.
        if let Some((group, bytes)) = entry.file_name().to_str().and_then(one) {
            *sums.entry(group).or_default() += bytes;
        }
    }
    sums
}

/// A process's group and memory.
fn one(pid: &str) -> Option<(u32, u64)> {
    pid.parse::<u32>().ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; after it: state, parent, group, and the memory in pages as the 22nd.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let pages: u64 = fields.get(21)?.parse().ok()?;
    Some((fields.get(2)?.parse().ok()?, pages * PAGE))
}
