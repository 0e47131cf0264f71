//! Undoes what a run did, newest first.

use std::time::Duration;

use liftlock_model::{Left, Record, Reversal, StepName};
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, Journal, JournalError};
use crate::progress::StepState;
use crate::step::{AnyStep, Context, Undone};

/// How often one undo is tried: a load balancer that throttles must not leave users on a broken release.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Undoes every step that acted or may have acted. True when it came to the first step; false when an undo failed, which
/// stops the unwinding there. Without a journal, what is done is not recorded.
pub(crate) async fn unwind(
    engine: &mut Engine<'_, '_>,
    journal: Option<&dyn Journal>,
) -> Result<bool, (StepName, JournalError)> {
    // Undoing is what a request to stop asks for: it must not be stopped by the same request.
    let never = CancellationToken::new();
    for step in engine.saga.steps.iter().rev() {
        let plan = step.plan();
        let name = plan.step;
        let state = engine.progress.state(&name).clone();
        if matches!(state, StepState::Untouched | StepState::Undone) {
            continue;
        }
        let undone = match plan.reversal {
            Reversal::ReadOnly => Undone::whole("only looked"),
            Reversal::Kept(why) => Undone::whole(format!("kept: {why}")),
            Reversal::Irreversible(why) => irreversible(&name, &why),
            Reversal::Undo(_) => {
                write(journal, &name, Record::UndoIntended { step: name.clone() }).await?;
                match attempt(engine, step.as_ref(), &name, &never).await {
                    Ok(undone) => undone,
                    Err(error) => {
                        engine.progress.left.push(Left {
                            what: format!("step {name} could not be undone: {error}"),
                            command: "mend what the message says, then: liftlock promote --resume"
                                .into(),
                        });
                        write(journal, &name, Record::UndoFailed { step: name.clone(), error })
                            .await?;
                        return Ok(false);
                    }
                }
            }
        };
        let record =
            Record::Undone { step: name.clone(), left: undone.left.clone(), note: undone.note };
        write(journal, &name, record).await?;
        engine.progress.left.extend(undone.left);
        engine.progress.states.insert(name, StepState::Undone);
    }
    Ok(true)
}

fn irreversible(name: &StepName, why: &str) -> Undone {
    let left = Left {
        what: format!("step {name} cannot be undone: {why}"),
        command: "see the runbook".into(),
    };
    Undone { left: vec![left], note: format!("cannot be undone: {why}") }
}

async fn attempt(
    engine: &Engine<'_, '_>,
    step: &dyn AnyStep,
    name: &StepName,
    never: &CancellationToken,
) -> Result<Undone, String> {
    let cx =
        Context { step: name, outputs: &engine.outputs, cancel: never, life: engine.control.life };
    let before = &engine.progress.before[name];
    let output = engine.progress.outputs.get(name);
    for left in (0..ATTEMPTS).rev() {
        match step.undo(&cx, before, output).await {
            Ok(undone) => return Ok(undone),
            Err(error) if left == 0 => return Err(error.to_string()),
            Err(error) => {
                cx.life(&format!("undo failed, trying again ({left} left): {error}"));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    unreachable!("the last attempt returns")
}

async fn write(
    journal: Option<&dyn Journal>,
    name: &StepName,
    record: Record,
) -> Result<(), (StepName, JournalError)> {
    match journal {
        Some(journal) => journal.record(record).await.map_err(|error| (name.clone(), error)),
        None => Ok(()),
    }
}
