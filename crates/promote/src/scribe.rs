//! Writes a run's events into the ledger, and tells the console of each.

use async_trait::async_trait;
use liftlock_ledger::{AppendError, Draft, Fence, Ledger};
use liftlock_model::{Actor, Entry, EnvName, Event, Record, RunId, StepName};
use liftlock_saga::{Journal, JournalError};

use crate::fault::Fault;
use crate::report::{Notice, Report};

/// Who writes what about which run.
#[derive(Clone)]
pub struct Scribe {
    ledger: Ledger,
    environment: EnvName,
    run: RunId,
    actor: Actor,
    fence: Option<Fence>,
    report: Report,
    fault: Fault,
}

impl Scribe {
    /// A scribe of a run; with its fence, if it holds the environment's lease.
    pub fn new(
        ledger: Ledger,
        environment: EnvName,
        run: RunId,
        actor: Actor,
        fence: Option<Fence>,
        report: Report,
    ) -> Self {
        Self { ledger, environment, run, actor, fence, report, fault: Fault::from_environment() }
    }

    /// The run.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// Who runs it.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Writes an event.
    ///
    /// # Errors
    /// If the ledger cannot be written, or somebody else holds the environment by now.
    pub async fn write(&self, event: Event) -> Result<Entry, AppendError> {
        let entry = self
            .ledger
            .append(Draft {
                environment: Some(self.environment.clone()),
                run: Some(self.run.clone()),
                actor: self.actor.clone(),
                event,
                fence: self.fence.clone(),
            })
            .await?;
        (self.report)(Notice::Entry(Box::new(entry.clone())));
        Ok(entry)
    }

    /// Gives a sign of life.
    pub(crate) fn life(&self, step: &StepName, text: &str) {
        (self.report)(Notice::Life { step: step.clone(), text: text.to_owned() });
    }
}

#[async_trait]
impl Journal for Scribe {
    async fn record(&self, record: Record) -> Result<(), JournalError> {
        self.fault.before_record();
        let written = self.write(Event::Journal { record }).await;
        self.fault.after_record();
        match written {
            Ok(_) => Ok(()),
            Err(error @ AppendError::Fenced { .. }) => {
                Err(JournalError::TakenOver(error.to_string()))
            }
            Err(error) => Err(JournalError::Unwritable(error.to_string())),
        }
    }
}
