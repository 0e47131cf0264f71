//! The dead-man's switch beside a run: put off while the run lives, found by the next one, gone at the end.

use liftlock_model::{Event, Left, Outcome, Record, Sample, ServiceName, StepName, Verdict};
use liftlock_rollout::{Back, Live, Weights};
use liftlock_saga::{End, SagaError, StepErrorKind};
use tokio_util::sync::CancellationToken;

use crate::scribe::Scribe;
use crate::site::Site;
use crate::steps::switch::{ARM, DISARM};

/// How a run's switches stand, as far as its journal tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// There are none, or no more.
    None,
    /// They may be armed.
    Perhaps,
    /// They were armed.
    Armed,
}

/// The weights that the switches of an interrupted run give back, if they were armed where its journal ends, or may have been.
pub fn switch_of(records: &[Record]) -> Option<Back> {
    armed(records).map(|(back, _)| back)
}

fn armed(records: &[Record]) -> Option<(Back, Stand)> {
    let (mut back, mut stand) = (Back::new(), Stand::None);
    for record in records {
        match (record.step().map_or("", StepName::as_str), record) {
            (ARM, Record::Intended { before, .. }) => {
                (back, stand) =
                    (serde_json::from_value(before.clone()).unwrap_or_default(), Stand::Perhaps);
            }
            (ARM, Record::Done { .. }) => stand = Stand::Armed,
            (ARM, Record::Undone { .. }) | (DISARM, Record::Done { .. }) => stand = Stand::None,
            (ARM | DISARM, _) => stand = Stand::Perhaps,
            _ => {}
        }
    }
    (stand != Stand::None && !back.is_empty()).then_some((back, stand))
}

/// Arms the switches of an interrupted run again, and says which of them have fired. If one cannot be armed, the run turns back.
pub(crate) async fn take_up(
    site: &Site,
    scribe: &Scribe,
    records: &[Record],
    stop: &CancellationToken,
) -> Option<String> {
    let (back, stand) = armed(records)?;
    let gone = match stand {
        Stand::Armed => gone(site, &back).await,
        Stand::None | Stand::Perhaps => None,
    };
    if let Some(why) = &gone {
        observed(scribe, why).await;
    }
    if let Err(error) = site.switches.arm(back).await {
        let why = format!("the dead-man's switch cannot be armed again: {error}");
        observed(scribe, &why).await;
        site.switches.lose(why).await;
        stop.cancel();
    }
    gone
}

/// Which switches are not there any more, and where their services' traffic is.
async fn gone(site: &Site, back: &Back) -> Option<String> {
    let found = match site.switches.look().await {
        Ok(found) => found,
        Err(error) => return Some(format!("the dead-man's switch cannot be looked at: {error}")),
    };
    let mut said = Vec::new();
    for (service, weights) in back {
        if found.get(service).is_none_or(Option::is_some) {
            continue;
        }
        said.push(match seen(site, service).await {
            Some(live) if live.weights == *weights => format!(
                "the dead-man's switch of {service} has fired: all its traffic is back on the old version ({weights})"
            ),
            Some(live) => {
                format!("the dead-man's switch of {service} is gone, and its traffic is {}", live.weights)
            }
            None => format!("the dead-man's switch of {service} is gone, and its traffic cannot be read"),
        });
    }
    (!said.is_empty()).then(|| said.join("; "))
}

async fn seen(site: &Site, service: &ServiceName) -> Option<Live> {
    site.target(service).ok()?.outline().await.ok()
}

/// Puts what happened to the switches on record, and on the console.
async fn observed(scribe: &Scribe, why: &str) {
    scribe.life(&StepName::new(ARM), why);
    let event = Event::Observed {
        check: ARM.into(),
        verdict: Verdict::Fail,
        sample: Sample { size: 1, bad: 1 },
        detail: why.to_owned(),
    };
    // What follows fails if the ledger cannot be written.
    scribe.write(event).await.ok();
}

/// At the end of a run, whatever the end: no switch is left but where it is still needed, and the reason that is told is the
/// switches' if it was they.
pub(crate) async fn settle(
    site: &Site,
    scribe: &Scribe,
    fired: Option<String>,
    result: Result<End, SagaError>,
) -> Result<End, SagaError> {
    let lost = site.switches.lost().await;
    if let Some(why) = &lost {
        observed(scribe, why).await;
    }
    let is_half_way = match &result {
        // Another run goes on from here, and has them.
        Err(SagaError::TakenOver { .. }) => return result,
        Err(SagaError::Unwritable { unwound, .. }) => !unwound,
        Err(SagaError::Progress(_)) => return result,
        Ok(end) => end.outcome == Outcome::Stuck,
    };
    let left = match site.switches.armed().await {
        Some(back) if is_half_way && would_help(site, &back).await => Some(Left {
            what: format!(
                "the dead-man's switch is left armed, and gives all traffic back to the old version within {} ({})",
                site.environment.config.switch.after,
                list(&back)
            ),
            command: format!("liftlock rollout status --env {}", site.environment.name),
        }),
        Some(_) => site.switches.disarm().await.err().map(|error| Left {
            what: format!("the dead-man's switch could not be taken away: {error}"),
            command: format!("liftlock rollout status --env {}", site.environment.name),
        }),
        None => None,
    };
    let mut end = result?;
    end.left.extend(left);
    if let Some(failure) = &mut end.failure {
        let stopped = failure.kind == StepErrorKind::Cancelled;
        let is_shift = failure.step.as_str().contains("/shift-");
        let why = lost.filter(|_| stopped).or(fired.filter(|_| is_shift));
        if let Some(why) = why.filter(|why| !failure.error.contains(why)) {
            failure.kind = StepErrorKind::Failed;
            failure.error = format!("{why} ({})", failure.error);
        }
    }
    Ok(end)
}

/// Whether a run that could not put the weights back is helped by a switch that does so later: not where nothing is left to give
/// traffic to.
async fn would_help(site: &Site, back: &Back) -> bool {
    for (service, weights) in back {
        let Some(live) = seen(site, service).await else { return true };
        let carries =
            |colour| weights.share(colour) == 0 || live.colour(colour).healthy_targets > 0;
        if live.weights != *weights && liftlock_rollout::Colour::BOTH.into_iter().all(carries) {
            return true;
        }
    }
    false
}

fn list(back: &Back) -> String {
    let one = |(service, weights): (&ServiceName, &Weights)| format!("{service}: {weights}");
    back.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use liftlock_rollout::Colour;
    use serde_json::Value;

    use super::*;

    /// A run that died is helped by what its journal says of its switches, wherever it died.
    #[test]
    fn the_journal_tells_whether_they_are_armed() {
        let back: Back = [("backend".parse().unwrap(), Weights::all(Colour::Blue))].into();
        let intended = |step: &str, before| Record::Intended { step: StepName::new(step), before };
        let done = |step: &str| Record::Done {
            step: StepName::new(step),
            output: Value::Null,
            note: String::new(),
        };
        let undone = |step: &str| Record::Undone {
            step: StepName::new(step),
            left: Vec::new(),
            note: String::new(),
        };
        let steps = [
            (intended("rollout/backend/raise", Value::Null), None),
            (intended(ARM, serde_json::to_value(&back).unwrap()), Some(Stand::Perhaps)),
            (done(ARM), Some(Stand::Armed)),
            (done("rollout/backend/shift-10"), Some(Stand::Armed)),
            (intended(DISARM, Value::Null), Some(Stand::Perhaps)),
            (done(DISARM), None),
            (done("rollout/backend/lower"), None),
            (Record::UndoIntended { step: StepName::new(DISARM) }, Some(Stand::Perhaps)),
            (undone(DISARM), Some(Stand::Perhaps)),
            (undone(ARM), None),
        ];
        let mut records = Vec::new();
        for (record, stand) in steps {
            records.push(record);
            assert_eq!(armed(&records), stand.map(|stand| (back.clone(), stand)), "{records:#?}");
        }
        let first = [intended(ARM, serde_json::to_value(Back::new()).unwrap()), done(ARM)];
        assert_eq!(armed(&first), None, "nothing served before");
    }
}
