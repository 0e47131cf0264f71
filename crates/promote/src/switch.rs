//! The dead-man's switch beside a run: put off while the run lives, found by the next one, gone at the end.

use liftlock_model::{Event, Left, Outcome, Record, Sample, ServiceName, StepName, Verdict};
use liftlock_rollout::{Back, Backs, Live};
use liftlock_saga::{End, SagaError, StepErrorKind};
use tokio_util::sync::CancellationToken;

use crate::scribe::Scribe;
use crate::site::Site;
use crate::steps::replace;
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

/// What the switches of an interrupted run give back, if they were armed where its journal ends, or may have been.
pub fn switch_of(records: &[Record]) -> Option<Backs> {
    armed(records).map(|(back, _)| back)
}

fn armed(records: &[Record]) -> Option<(Backs, Stand)> {
    let (mut back, mut stand) = (Backs::new(), Stand::None);
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

/// Arms the switches of an interrupted run again, and says which of them have fired. If one cannot be armed, the run turns back, and so
/// does one whose tasks were being replaced when its switch fired: what the platform makes of both is not what the journal says.
pub(crate) async fn take_up(
    site: &Site,
    scribe: &Scribe,
    records: &[Record],
    stop: &CancellationToken,
) -> Option<String> {
    let (back, stand) = armed(records)?;
    let gone = match stand {
        Stand::Armed => gone(site, &back).await,
        Stand::None | Stand::Perhaps => Gone::default(),
    };
    let why = gone.why();
    if let Some(why) = &why {
        observed(scribe, why).await;
    }
    if gone.services.iter().any(|service| replacing(records, service)) {
        site.switches.lose(why.clone().unwrap_or_default()).await;
        stop.cancel();
    } else if let Err(error) = site.switches.arm(back).await {
        let why = format!("the dead-man's switch cannot be armed again: {error}");
        observed(scribe, &why).await;
        site.switches.lose(why).await;
        stop.cancel();
    }
    why
}

/// Whether the journal says that the tasks of a service were to be replaced.
fn replacing(records: &[Record], service: &ServiceName) -> bool {
    let name = replace::name(service);
    let is_intent = |record: &Record| matches!(record, Record::Intended { .. });
    records
        .iter()
        .any(|record| is_intent(record) && record.step().is_some_and(|step| step.as_str() == name))
}

/// The switches that are not there any more.
#[derive(Debug, Default)]
struct Gone {
    services: Vec<ServiceName>,
    said: Vec<String>,
}

impl Gone {
    fn why(&self) -> Option<String> {
        (!self.said.is_empty()).then(|| self.said.join("; "))
    }
}

/// Which switches are not there any more, and what their services' users are on.
async fn gone(site: &Site, back: &Backs) -> Gone {
    let mut gone = Gone::default();
    let found = match site.switches.look().await {
        Ok(found) => found,
        Err(error) => {
            gone.said.push(format!("the dead-man's switch cannot be looked at: {error}"));
            return gone;
        }
    };
    for (service, back) in back {
        if found.get(service).is_none_or(Option::is_some) {
            continue;
        }
        gone.services.push(service.clone());
        let said = match seen(site, service).await {
            Some(live) => left_behind(back, &live),
            None => "is gone, and its traffic cannot be read".to_owned(),
        };
        gone.said.push(format!("the dead-man's switch of {service} {said}"));
    }
    gone
}

/// What a switch that is gone left.
fn left_behind(back: &Back, live: &Live) -> String {
    match back {
        Back::Weights(weights) if back.is_set(live) => {
            format!("has fired: all its traffic is back on the old version ({weights})")
        }
        Back::Weights(_) => format!("is gone, and its traffic is {}", live.weights),
        Back::Tasks { .. } if back.is_set(live) => {
            format!("has fired: the old version is back, or on its way ({back})")
        }
        Back::Tasks { colour, .. } => {
            let now = live.colour(*colour).task_definition.as_ref();
            let now = now.map_or_else(|| "none".to_owned(), ToString::to_string);
            format!("is gone, and the revision of {colour} is {now}")
        }
    }
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
                "the dead-man's switch is left armed, and gives users the old version back within {} ({})",
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
        let step = failure.step.as_str();
        let is_for_users = step.contains("/shift-") || step.ends_with(replace::STEP);
        let why = lost.filter(|_| stopped).or(fired.filter(|_| is_for_users));
        if let Some(why) = why.filter(|why| !failure.error.contains(why)) {
            failure.kind = StepErrorKind::Failed;
            failure.error = format!("{why} ({})", failure.error);
        }
    }
    Ok(end)
}

/// Whether a run that could not give users the old version back is helped by a switch that does so later: not where nothing is left to
/// give them.
async fn would_help(site: &Site, back: &Backs) -> bool {
    for (service, back) in back {
        let Some(live) = seen(site, service).await else { return true };
        if !back.is_set(&live) && back.would_carry(&live) {
            return true;
        }
    }
    false
}

fn list(back: &Backs) -> String {
    let one = |(service, back): (&ServiceName, &Back)| format!("{service}: {back}");
    back.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use liftlock_rollout::{Colour, ColourState, TaskDefinition, Weights};
    use serde_json::Value;

    use super::*;

    /// A run that died is helped by what its journal says of its switches, wherever it died.
    #[test]
    fn the_journal_tells_whether_they_are_armed() {
        let weights = Back::Weights(Weights::all(Colour::Blue));
        let back: Backs = [("backend".parse().unwrap(), weights)].into();
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
        let first = [intended(ARM, serde_json::to_value(Backs::new()).unwrap()), done(ARM)];
        assert_eq!(armed(&first), None, "nothing served before");
    }

    /// What is said of a switch that is gone is what was seen, not what it was meant to do.
    #[test]
    fn what_a_switch_left_is_said_as_it_is() {
        let revision = |number: u8| TaskDefinition::new(format!("shop-dev-backend:{number}"));
        let state = |number| ColourState {
            task_definition: Some(revision(number)),
            ..ColourState::default()
        };
        let live = |number| Live {
            blue: state(number),
            green: ColourState::default(),
            weights: Weights::all(Colour::Blue),
            test: Colour::Blue,
        };
        let back = Back::Tasks { colour: Colour::Blue, task_definition: revision(7) };
        let said = left_behind(&back, &live(7));
        assert_eq!(
            said,
            "has fired: the old version is back, or on its way (blue with tasks of shop-dev-backend:7)"
        );
        let said = left_behind(&back, &live(8));
        assert_eq!(said, "is gone, and the revision of blue is shop-dev-backend:8");
        let said = left_behind(&Back::Weights(Weights::all(Colour::Green)), &live(7));
        assert_eq!(said, "is gone, and its traffic is blue 100 % / green 0 %");
    }
}
