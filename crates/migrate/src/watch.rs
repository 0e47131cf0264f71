//! Looking from a second connection at what a script does while it runs: who blocks it, how far it is, and for how long.

use std::time::{Duration, Instant};

use liftlock_model::MigrationId;

use crate::files::Script;
use crate::progress::{On, Progress};
use crate::session::{Session, Watcher};
use crate::settings::Settings;

/// How often a running script is looked at.
const LOOK: Duration = Duration::from_millis(150);

/// What is running.
pub(crate) struct Running<'a> {
    pub(crate) id: &'a MigrationId,
    pub(crate) script: &'a Script,
    /// When the migration began.
    pub(crate) since: Instant,
    /// The line of the statement that is running, as far as is known.
    pub(crate) line: Option<usize>,
    /// How long it may wait for others' locks in all; none where the server itself limits each wait.
    pub(crate) budget: Option<Duration>,
}

/// What was seen from outside.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Who blocked it when it was last blocked.
    pub(crate) blockers: Vec<Session>,
    /// Whether it was cancelled, since it had waited longer than its budget.
    pub(crate) cancelled: bool,
}

/// Does `work`, which the session `pid` does, and tells meanwhile what is seen of it.
pub(crate) async fn watched<T>(
    work: impl Future<Output = T>,
    watcher: &mut Watcher,
    pid: i32,
    settings: &Settings,
    running: &Running<'_>,
    on: On<'_>,
) -> (T, Seen) {
    let mut work = std::pin::pin!(work);
    let mut watch = Watch { running, settings, seen: Seen::default(), waited: Duration::ZERO };
    let start = Instant::now();
    let mut last = start;
    // A wait for a lock is seen before it is given up.
    let every = LOOK.min(settings.progress_every).min(settings.lock_timeout / 3);
    let mut life = settings.progress_every;
    loop {
        tokio::select! {
            done = &mut work => return (done, watch.seen),
            () = tokio::time::sleep(every) => {}
        }
        let blockers = watcher.blockers(pid).await;
        watch.blocked(&blockers, last.elapsed(), on);
        last = Instant::now();
        if watch.is_over_budget() {
            watch.seen.cancelled = watcher.cancel(pid).await;
        }
        if watch.is_long(watcher) {
            watch.alert(blockers, on);
        }
        if start.elapsed() >= life {
            let phase = watcher.phase(pid).await;
            watch.tell_life(phase, on);
            life = start.elapsed() + settings.progress_every;
        }
    }
}

struct Watch<'a> {
    running: &'a Running<'a>,
    settings: &'a Settings,
    seen: Seen,
    waited: Duration,
}

impl Watch<'_> {
    fn blocked(&mut self, blockers: &[Session], passed: Duration, on: On<'_>) {
        if blockers.is_empty() {
            return;
        }
        self.waited += passed;
        let pids = |sessions: &[Session]| sessions.iter().map(|s| s.pid).collect::<Vec<_>>();
        if pids(blockers) != pids(&self.seen.blockers) {
            on(&Progress::Blocked { id: self.running.id.clone(), by: blockers.to_vec() });
        }
        self.seen.blockers = blockers.to_vec();
    }

    fn is_over_budget(&self) -> bool {
        !self.seen.cancelled && self.running.budget.is_some_and(|budget| self.waited >= budget)
    }

    /// Whether it is time to tell that the migration is taking long, which is told once.
    fn is_long(&self, watcher: &mut Watcher) -> bool {
        let long = self.running.since.elapsed() >= self.settings.alert_after;
        long && watcher.told_long.replace(self.running.since) != Some(self.running.since)
    }

    fn alert(&self, blocked_by: Vec<Session>, on: On<'_>) {
        on(&Progress::Long {
            id: self.running.id.clone(),
            seconds: self.running.since.elapsed().as_secs(),
            file: self.running.script.file.clone(),
            line: self.running.line,
            blocked_by,
        });
    }

    fn tell_life(&self, phase: Option<(String, Option<u8>)>, on: On<'_>) {
        let (phase, percent) =
            phase.map_or((None, None), |(phase, percent)| (Some(phase), percent));
        on(&Progress::Running {
            id: self.running.id.clone(),
            seconds: self.running.since.elapsed().as_secs(),
            line: self.running.line,
            phase,
            percent,
        });
    }
}
