//! Faults of tasks that run already, and of the database.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use super::Kind;
use crate::task::tracing_line;
use crate::usage;
use crate::world::{Inner, TaskStatus, World};

/// How often running tasks are looked at while a fault may hit them.
const LOOK: Duration = Duration::from_millis(25);
/// How fast memory grows if the fault does not say.
const MIB_PER_SECOND: u32 = 64;
/// The memory is taken in so many pieces a second.
const PIECES: u32 = 8;

/// A process beside a task's, within its process group, whose memory grows.
struct Hog {
    _child: Child,
    feeding: tokio::task::AbortHandle,
}

impl Drop for Hog {
    fn drop(&mut self) {
        self.feeding.abort();
    }
}

/// Runs until the stage ends.
pub(crate) async fn run(world: Arc<World>) {
    let mut changed = world.faults_changed.subscribe();
    let mut hogs = HashMap::new();
    let mut took_database = false;
    loop {
        let busy = world.look().faults.meddles_with_tasks();
        tokio::select! {
            // The sender is the world's: it lives as long as this.
            _ = changed.changed() => {}
            () = tokio::time::sleep(LOOK), if busy => {}
        }
        meddle_with_tasks(&world, &mut hogs);
        usage::enforce(&world, hogs.keys());
        meddle_with_database(&world, &mut took_database).await;
    }
}

fn meddle_with_tasks(world: &World, hogs: &mut HashMap<String, Hog>) {
    let mut inner = world.look();
    let Inner { tasks, faults, .. } = &mut *inner;
    let mut wanted = HashMap::new();
    for (id, task) in tasks.iter() {
        let Some(pid) = task.pid.filter(|_| task.status == TaskStatus::Running) else { continue };
        let subject = task.subject(id);
        if let Some(fault) = faults.task(Kind::Crash, &subject).filter(|_| !task.crashing) {
            let age = task.started_at.map(|at| Timestamp::now().duration_since(at).unsigned_abs());
            let patience = fault.after_start.map_or(Duration::ZERO, |after| after.length());
            if age.is_some_and(|age| age >= patience) {
                kill(pid);
            }
        }
        if let Some(fault) = faults.task(Kind::Memory, &subject) {
            wanted.insert(id.clone(), (pid, fault.mib_per_second.unwrap_or(MIB_PER_SECOND)));
        }
        let cut = faults.task(Kind::DatabaseCut, &subject).is_some();
        task.cut.send_if_modified(|now| std::mem::replace(now, cut) != cut);
    }
    let limit = |id: &String| inner.tasks.get(id).map_or(0, |task| usage::limit(&inner, task));
    let wanted: HashMap<String, (u32, u32, u64)> = wanted
        .into_iter()
        .map(|(id, (pid, rate))| {
            let most = limit(&id);
            (id, (pid, rate, most))
        })
        .collect();
    drop(inner);
    hogs.retain(|id, _| wanted.contains_key(id));
    for (id, (pid, rate, limit)) in wanted {
        if hogs.contains_key(&id) {
            continue;
        }
        match hog(pid, rate, limit) {
            Ok(hog) => drop(hogs.insert(id, hog)),
            Err(error) => tracing_line(&format!("the memory of task {id} cannot grow: {error}")),
        }
    }
}

/// One that has ended needs none.
pub(crate) fn kill(pid: u32) {
    if let Some(pid) = pid.try_into().ok().and_then(Pid::from_raw) {
        kill_process(pid, Signal::KILL).unwrap_or_default();
    }
}

/// `tail` keeps all that it reads until its input ends: its memory is as real as the task's own.
fn hog(group: u32, rate: u32, limit: u64) -> std::io::Result<Hog> {
    let mut command = Command::new("tail");
    command.args(["-c", "1099511627776"]).stdin(Stdio::piped()).stdout(Stdio::null());
    command.process_group(i32::try_from(group).map_err(std::io::Error::other)?).kill_on_drop(true);
    let mut child = command.spawn()?;
    let input = child.stdin.take();
    let feeding = tokio::spawn(async move {
        let piece = vec![0; (rate as usize) * (1 << 20) / PIECES as usize];
        let mut pace = tokio::time::interval(Duration::from_secs(1) / PIECES);
        let Some(mut input) = input else { return };
        // Killed long before it has twice what the task may have; if not, it is at least no danger to the machine.
        for _ in 0..(2 * limit).div_ceil(piece.len().max(1) as u64) {
            pace.tick().await;
            if input.write_all(&piece).await.is_err() {
                return;
            }
        }
        std::future::pending().await
    });
    Ok(Hog { _child: child, feeding: feeding.abort_handle() })
}

async fn meddle_with_database(world: &World, took: &mut bool) {
    let (down, up) = {
        let inner = world.look();
        (inner.faults.is_database_down(), inner.database_up)
    };
    if down && up {
        *took = true;
        crate::database::stop(world).await;
    } else if !down && *took {
        *took = false;
        if let Err(error) = crate::database::start(world).await {
            tracing_line(&format!("the database does not come back: {error}"));
        }
    }
}
