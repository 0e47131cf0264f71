//! How far a journal says that a run has come: a pure reading of its records.

use std::collections::BTreeMap;

use liftlock_model::{Fingerprint, Left, Outcome, Record, StepName, StepPlan};
use serde_json::Value;

/// Why a journal does not make sense, or does not belong to the plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgressError {
    /// The journal was written for another plan.
    #[error(
        "the run was planned as {journalled} and the plan is now {planned}: the release, the migrations, the \
         infrastructure code, the configuration or Liftlock itself changed since it began\n  next: resume with the environment \
         files and the version of Liftlock that it began with"
    )]
    OtherPlan {
        /// The first digits of the fingerprint in the journal.
        journalled: String,
        /// The first digits of the fingerprint of the plan at hand.
        planned: String,
    },
    /// A record names a step that the plan does not have, or comes out of order.
    #[error("the journal's record {index} makes no sense here: {reason}")]
    Disorder {
        /// Its place in the journal, from 0.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// How far one step has come.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum StepState {
    /// It has not begun.
    #[default]
    Untouched,
    /// Its intent is journalled and no result is: it may have acted.
    Intended,
    /// It was done.
    Done,
    /// It failed, and may have acted in part.
    Failed,
    /// It was undone.
    Undone,
}

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// Whether the plan is journalled.
    pub planned: bool,
    /// Each step's state; a step that is not here is untouched.
    pub states: BTreeMap<StepName, StepState>,
    /// What each begun step saw before it acted.
    pub before: BTreeMap<StepName, Value>,
    /// What each done step gave.
    pub outputs: BTreeMap<StepName, Value>,
    /// The step that failed and why; from there on the run unwinds.
    pub failure: Option<(StepName, String)>,
    /// What could not be put back so far.
    pub left: Vec<Left>,
    /// The end, once it is journalled.
    pub finished: Option<Outcome>,
}

impl Progress {
    /// Reads `records`, which a run of the plan `steps` with this fingerprint wrote.
    pub fn read(
        records: &[Record],
        steps: &[StepPlan],
        fingerprint: &Fingerprint,
    ) -> Result<Self, ProgressError> {
        let mut progress = Self::default();
        for (index, record) in records.iter().enumerate() {
            progress.take(record, steps, fingerprint).map_err(|refusal| match refusal {
                Refusal::OtherPlan(journalled) => {
                    ProgressError::OtherPlan { journalled, planned: fingerprint.short().to_owned() }
                }
                Refusal::Disorder(reason) => ProgressError::Disorder { index, reason },
            })?;
        }
        Ok(progress)
    }

    /// A step's state.
    pub fn state(&self, step: &StepName) -> &StepState {
        self.states.get(step).unwrap_or(&StepState::Untouched)
    }

    fn take(
        &mut self,
        record: &Record,
        steps: &[StepPlan],
        fingerprint: &Fingerprint,
    ) -> Result<(), Refusal> {
        if let Record::Planned { fingerprint: journalled, .. } = record {
            if journalled != fingerprint {
                return Err(Refusal::OtherPlan(journalled.short().to_owned()));
            }
            self.planned = true;
            return Ok(());
        }
        if !self.planned {
            return Err(Refusal::Disorder("it stands before the plan".into()));
        }
        if self.finished.is_some() {
            return Err(Refusal::Disorder("it stands after the end".into()));
        }
        if let Some(step) = record.step()
            && !steps.iter().any(|plan| plan.step == *step)
        {
            return Err(Refusal::Disorder(format!("the plan has no step {step}")));
        }
        self.follow(record)
    }

    fn follow(&mut self, record: &Record) -> Result<(), Refusal> {
        match record {
            Record::Planned { .. } => {}
            Record::Intended { step, before } => {
                self.expect(step, &[StepState::Untouched])?;
                self.before.insert(step.clone(), before.clone());
                self.states.insert(step.clone(), StepState::Intended);
            }
            Record::Done { step, output, .. } => {
                self.expect(step, &[StepState::Intended])?;
                self.outputs.insert(step.clone(), output.clone());
                self.states.insert(step.clone(), StepState::Done);
            }
            Record::Failed { step, error } => {
                // A step can fail before its intent, while it looks.
                if *self.state(step) != StepState::Untouched {
                    self.states.insert(step.clone(), StepState::Failed);
                }
                self.failure = Some((step.clone(), error.clone()));
            }
            Record::UndoIntended { step } | Record::UndoFailed { step, .. } => {
                self.expect(step, &[StepState::Intended, StepState::Done, StepState::Failed])?;
            }
            Record::Undone { step, left, .. } => {
                self.expect(step, &[StepState::Intended, StepState::Done, StepState::Failed])?;
                self.left.extend(left.iter().cloned());
                self.states.insert(step.clone(), StepState::Undone);
            }
            // A run that got stuck may be taken up again once somebody has mended what was in the way.
            Record::Finished { outcome: Outcome::Stuck, .. } => {}
            Record::Finished { outcome, .. } => self.finished = Some(*outcome),
        }
        Ok(())
    }

    fn expect(&self, step: &StepName, allowed: &[StepState]) -> Result<(), Refusal> {
        let state = self.state(step);
        if allowed.contains(state) {
            Ok(())
        } else {
            Err(Refusal::Disorder(format!("step {step} is {state:?} there")))
        }
    }
}

enum Refusal {
    OtherPlan(String),
    Disorder(String),
}
