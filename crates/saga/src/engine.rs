//! Runs a saga forward, and turns to unwinding when a step fails.

use async_trait::async_trait;
use liftlock_model::{Fingerprint, Left, Outcome, Record, Reversal, StepName};
use tokio_util::sync::CancellationToken;

use crate::progress::{Progress, ProgressError, StepState};
use crate::step::{AnyStep, Context, Done, Life, Outputs, Probe, Saga};
use crate::unwind::unwind;
use crate::{StepError, StepErrorKind};

/// Why a record could not be written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// Another run has taken over the environment: nothing more may be touched.
    #[error("another run has taken over this environment: {0}")]
    TakenOver(String),
    /// The journal could not be written.
    #[error("the ledger cannot be written: {0}")]
    Unwritable(String),
}

/// Where a run writes down what it intends and what came of it.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Writes a record so that it survives the machine, then returns.
    async fn record(&self, record: Record) -> Result<(), JournalError>;
}

/// How a run is steered and watched from outside.
pub struct Control<'a> {
    /// Cancelled to ask the run to stop and unwind.
    pub cancel: &'a CancellationToken,
    /// Hears signs of life.
    pub life: &'a Life<'a>,
}

/// Why the run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The step that failed.
    pub step: StepName,
    /// Why.
    pub error: String,
    /// What kind of failure it was; `Failed` when a resumed run only knows the text.
    pub kind: StepErrorKind,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// How it ended.
    pub outcome: Outcome,
    /// What made it fail, if it failed.
    pub failure: Option<Failure>,
    /// What could not be put back.
    pub left: Vec<Left>,
}

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SagaError {
    /// The journal does not belong to this plan, or makes no sense.
    #[error(transparent)]
    Progress(#[from] ProgressError),
    /// Another run has taken over; it knows this journal and goes on from it.
    #[error("stopped at step {step}: {reason}")]
    TakenOver {
        /// Where.
        step: StepName,
        /// By whom.
        reason: String,
    },
    /// The journal became unwritable. The run was unwound as far as it could be, and what was done about it is not
    /// recorded: `unwound` says whether all of it succeeded.
    #[error("stopped at step {step}: {reason}; {}", if *.unwound { "everything that had been done was undone, but that is not recorded" } else { "it could not be unwound whole" })]
    Unwritable {
        /// Where.
        step: StepName,
        /// Why.
        reason: String,
        /// Whether everything could be undone.
        unwound: bool,
    },
}

/// Runs `saga` from where `history` says it is, to its end.
///
/// # Errors
///
/// [`SagaError`] when the run could neither finish nor unwind in an orderly way; a failed step is no error but an
/// [`End`].
pub async fn run(
    saga: &Saga<'_>,
    fingerprint: &Fingerprint,
    history: &[Record],
    journal: &dyn Journal,
    control: &Control<'_>,
) -> Result<End, SagaError> {
    let plan = saga.plan();
    let mut progress = Progress::read(history, &plan, fingerprint)?;
    if let Some(outcome) = progress.finished {
        let failure = progress.failure.map(known_failure);
        return Ok(End { outcome, failure, left: progress.left });
    }
    let mut engine = Engine {
        saga,
        journal,
        control,
        outputs: Outputs::default(),
        progress: Progress::default(),
    };
    for (step, output) in &progress.outputs {
        engine.outputs.insert(step.clone(), output.clone());
    }
    if !progress.planned {
        let record = Record::Planned { fingerprint: fingerprint.clone(), steps: plan };
        if let Err(error) = journal.record(record).await {
            let step = StepName::new("plan");
            return Err(match error {
                JournalError::TakenOver(reason) => SagaError::TakenOver { step, reason },
                JournalError::Unwritable(reason) => {
                    SagaError::Unwritable { step, reason, unwound: true }
                }
            });
        }
        progress.planned = true;
    }
    engine.progress = progress;
    engine.drive().await
}

fn known_failure((step, error): (StepName, String)) -> Failure {
    Failure { step, error, kind: StepErrorKind::Failed }
}

pub(crate) struct Engine<'a, 's> {
    pub(crate) saga: &'a Saga<'s>,
    pub(crate) journal: &'a dyn Journal,
    pub(crate) control: &'a Control<'a>,
    pub(crate) outputs: Outputs,
    pub(crate) progress: Progress,
}

/// Why going forward stopped.
enum Halt {
    /// A step failed.
    Failed(Failure),
    /// The journal could not be written.
    Journal(StepName, JournalError),
}

impl Engine<'_, '_> {
    async fn drive(mut self) -> Result<End, SagaError> {
        let failure = match self.progress.failure.clone() {
            Some(known) => known_failure(known),
            None => match self.forward().await {
                Ok(()) => return self.finish(Outcome::Succeeded, None).await,
                Err(Halt::Failed(failure)) => failure,
                Err(Halt::Journal(step, error)) => return Err(self.give_up(step, error).await),
            },
        };
        let journal = self.journal;
        match unwind(&mut self, Some(journal)).await {
            Ok(true) if self.progress.left.is_empty() => {
                self.finish(Outcome::RolledBack, Some(failure)).await
            }
            Ok(_) => self.finish(Outcome::Stuck, Some(failure)).await,
            Err((step, error)) => Err(self.give_up(step, error).await),
        }
    }

    /// The journal is gone: what was done is undone without it, unless another run is already at work here.
    async fn give_up(&mut self, step: StepName, error: JournalError) -> SagaError {
        match error {
            JournalError::TakenOver(reason) => SagaError::TakenOver { step, reason },
            JournalError::Unwritable(reason) => {
                let whole =
                    matches!(unwind(self, None).await, Ok(true)) && self.progress.left.is_empty();
                SagaError::Unwritable { step, reason, unwound: whole }
            }
        }
    }

    async fn finish(
        &mut self,
        outcome: Outcome,
        failure: Option<Failure>,
    ) -> Result<End, SagaError> {
        let left = self.progress.left.clone();
        match self.journal.record(Record::Finished { outcome, left: left.clone() }).await {
            Ok(()) => Ok(End { outcome, failure, left }),
            Err(JournalError::TakenOver(reason)) => {
                Err(SagaError::TakenOver { step: StepName::new("end"), reason })
            }
            // Everything is done and was recorded as such, step by step; only the last line is missing, and the next
            // `--resume` writes it. Unwinding a finished run for want of it would be the greater harm.
            Err(JournalError::Unwritable(reason)) => Err(SagaError::Unwritable {
                step: StepName::new("end"),
                reason,
                unwound: outcome == Outcome::RolledBack,
            }),
        }
    }

    async fn forward(&mut self) -> Result<(), Halt> {
        self.reconcile().await?;
        for step in &self.saga.steps {
            let name = step.plan().step;
            let before = match self.progress.state(&name) {
                StepState::Done => continue,
                StepState::Intended => match self.probe(step.as_ref(), &name).await? {
                    Settled::Done(done) => {
                        self.done(&name, done).await?;
                        continue;
                    }
                    Settled::Repeat => self.progress.before[&name].clone(),
                },
                _ => self.intend(step.as_ref(), &name).await?,
            };
            let result = step.apply(&self.context(&name), &before).await;
            match result {
                Ok(done) => self.done(&name, done).await?,
                Err(error) => return Err(self.fail(name, error).await),
            }
        }
        Ok(())
    }

    /// Before an interrupted run goes on: is the world still as the journal left it? Only the newest step that can be
    /// undone tells, since later steps change what earlier ones did. An unwinding that could not be recorded, or somebody
    /// at the console, may have put it back in the meantime; going on from there would end in a mixture.
    async fn reconcile(&mut self) -> Result<(), Halt> {
        for step in self.saga.steps.iter().rev() {
            let plan = step.plan();
            let state = self.progress.state(&plan.step).clone();
            let began = matches!(state, StepState::Done | StepState::Intended);
            if !began || !matches!(plan.reversal, Reversal::Undo(_)) {
                continue;
            }
            let name = plan.step;
            let before = self.progress.before[&name].clone();
            let probed = step.probe(&self.context(&name), &before).await;
            let error = match (probed, state) {
                // The newest act is there, so all before it is too.
                (Ok(Probe::Done(done)), StepState::Intended) => {
                    return self.done(&name, done).await;
                }
                (Ok(Probe::Done(_)), _) => return Ok(()),
                // It says nothing about what was before it.
                (Ok(Probe::Repeatable), _) | (Ok(Probe::NotDone), StepState::Intended) => continue,
                (Ok(Probe::NotDone), _) => "it is not there any more".to_owned(),
                (Ok(Probe::InDoubt(why)), StepState::Intended) => {
                    return Err(self.fail(name, in_doubt(&why)).await);
                }
                (Ok(Probe::InDoubt(seen)), _) => seen,
                (Err(error), _) => error.to_string(),
            };
            let error = format!(
                "the journal says that this step was done, and the world says otherwise: {error}"
            );
            return Err(self.fail(name, StepError::new(StepErrorKind::Failed, error)).await);
        }
        Ok(())
    }

    /// Looks, and journals the intent. Nothing has been touched when this fails.
    async fn intend(
        &mut self,
        step: &dyn AnyStep,
        name: &StepName,
    ) -> Result<serde_json::Value, Halt> {
        if self.control.cancel.is_cancelled() {
            let error = StepError::new(
                StepErrorKind::Cancelled,
                format!("stopped by request before step {name}"),
            );
            return Err(self.fail(name.clone(), error).await);
        }
        let observed = step.observe(&self.context(name)).await;
        let before = match observed {
            Ok(before) => before,
            Err(error) => return Err(self.fail(name.clone(), error).await),
        };
        self.write(name, Record::Intended { step: name.clone(), before: before.clone() }).await?;
        self.progress.states.insert(name.clone(), StepState::Intended);
        self.progress.before.insert(name.clone(), before.clone());
        Ok(before)
    }

    async fn probe(&mut self, step: &dyn AnyStep, name: &StepName) -> Result<Settled, Halt> {
        let before = self.progress.before[name].clone();
        let probed = step.probe(&self.context(name), &before).await;
        let error = match probed {
            Ok(Probe::Done(done)) => return Ok(Settled::Done(done)),
            Ok(Probe::NotDone | Probe::Repeatable) => return Ok(Settled::Repeat),
            Ok(Probe::InDoubt(why)) => in_doubt(&why),
            Err(error) => error,
        };
        Err(self.fail(name.clone(), error).await)
    }

    async fn done(&mut self, name: &StepName, done: Done<serde_json::Value>) -> Result<(), Halt> {
        let record =
            Record::Done { step: name.clone(), output: done.output.clone(), note: done.note };
        self.write(name, record).await?;
        self.progress.states.insert(name.clone(), StepState::Done);
        self.progress.outputs.insert(name.clone(), done.output.clone());
        self.outputs.insert(name.clone(), done.output);
        Ok(())
    }

    async fn fail(&mut self, name: StepName, error: StepError) -> Halt {
        let failure = Failure { step: name.clone(), error: error.to_string(), kind: error.kind() };
        let record = Record::Failed { step: name.clone(), error: failure.error.clone() };
        if let Err(halt) = self.write(&name, record).await {
            return halt;
        }
        if *self.progress.state(&name) != StepState::Untouched {
            self.progress.states.insert(name.clone(), StepState::Failed);
        }
        self.progress.failure = Some((name, failure.error.clone()));
        Halt::Failed(failure)
    }

    async fn write(&self, name: &StepName, record: Record) -> Result<(), Halt> {
        self.journal.record(record).await.map_err(|error| Halt::Journal(name.clone(), error))
    }

    fn context<'c>(&'c self, step: &'c StepName) -> Context<'c> {
        Context {
            step,
            outputs: &self.outputs,
            cancel: self.control.cancel,
            life: self.control.life,
        }
    }
}

fn in_doubt(why: &str) -> StepError {
    let text = format!("interrupted, and it cannot be told whether it happened: {why}");
    StepError::new(StepErrorKind::Failed, text)
}

/// What a probe settled.
enum Settled {
    Done(Done<serde_json::Value>),
    Repeat,
}
