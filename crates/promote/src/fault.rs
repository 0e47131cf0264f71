//! Faults on demand, so that tests can show what happens when a run dies or a step fails at a chosen place. Only debug
//! builds have them; a release build ignores the variable.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use liftlock_model::StepName;
use liftlock_saga::{StepError, StepErrorKind};

/// `LIFTLOCK_FAULT`: `kill-before-record:N` and `kill-after-record:N` end this process with SIGKILL around its N-th
/// journal record (from 1); `fail:STEP` makes a step fail after it acted.
const VARIABLE: &str = "LIFTLOCK_FAULT";

#[derive(Debug, Clone, Default)]
enum Kind {
    #[default]
    None,
    KillBefore(usize),
    KillAfter(usize),
    Fail(String),
}

/// The fault of this process, if one was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fault {
    kind: Kind,
    records: Arc<AtomicUsize>,
}

impl Fault {
    /// Reads the variable; none in a release build.
    pub(crate) fn from_environment() -> Self {
        let asked = if cfg!(debug_assertions) { std::env::var(VARIABLE).ok() } else { None };
        let kind = match asked.as_deref().and_then(|text| text.split_once(':')) {
            Some(("kill-before-record", n)) => n.parse().map_or(Kind::None, Kind::KillBefore),
            Some(("kill-after-record", n)) => n.parse().map_or(Kind::None, Kind::KillAfter),
            Some(("fail", step)) => Kind::Fail(step.to_owned()),
            _ => Kind::None,
        };
        Self { kind, records: Arc::default() }
    }

    pub(crate) fn before_record(&self) {
        let nth = self.records.fetch_add(1, Ordering::SeqCst) + 1;
        if matches!(self.kind, Kind::KillBefore(n) if n == nth) {
            kill();
        }
    }

    pub(crate) fn after_record(&self) {
        if matches!(self.kind, Kind::KillAfter(n) if n == self.records.load(Ordering::SeqCst)) {
            kill();
        }
    }

    /// The failure of a step that was asked to fail.
    pub(crate) fn after_step(&self, step: &StepName) -> Result<(), StepError> {
        match &self.kind {
            Kind::Fail(name) if name == step.as_str() => Err(StepError::new(
                StepErrorKind::Failed,
                format!("{VARIABLE} asked step {step} to fail"),
            )),
            _ => Ok(()),
        }
    }
}

fn kill() {
    let this = rustix::process::getpid();
    // SIGKILL cannot be caught: nothing after this line runs, as in a power cut.
    rustix::process::kill_process(this, rustix::process::Signal::KILL)
        .expect("a process may kill itself");
}
