//! Compares each service's new version with its old one while both serve, by what the load balancer counted of both.

use std::time::Duration;

use jiff::Timestamp;
use liftlock_environment::config::{Analysis, LowTraffic};
use liftlock_model::{Event, Sample, ServiceName, Verdict};
use liftlock_rollout::analysis::{Judgement, compare};
use liftlock_rollout::{Colour, Target};
use liftlock_saga::{Context, Handle, StepError, StepErrorKind};

use super::Frame;
use super::synthetic::Synthetic;
use super::traffic::Chosen;
use crate::failure;

/// The comparison of one bake.
pub(crate) struct Comparison<'a> {
    sides: Vec<Side<'a>>,
    /// Since when both serve as they do now.
    began: Timestamp,
    /// How often the numbers are looked at.
    every: Duration,
    /// How often that will be at most.
    looks: u32,
    synthetic: Synthetic<'a>,
}

/// One service whose two versions are compared.
struct Side<'a> {
    service: &'a ServiceName,
    policy: &'a Analysis,
    target: &'a dyn Target,
    new: Colour,
    old: Colour,
}

/// What one look at a service's numbers said.
pub(crate) struct Seen<'a> {
    service: &'a ServiceName,
    low_traffic: LowTraffic,
    /// Why nothing is known, where nothing is.
    judged: Result<Judgement, String>,
    /// What Liftlock itself sent.
    synthetic: Option<String>,
}

impl Seen<'_> {
    pub(crate) fn verdict(&self) -> Verdict {
        self.judged.as_ref().map_or(Verdict::Inconclusive, |judged| judged.verdict)
    }

    fn told(&self) -> String {
        let service = self.service;
        match &self.judged {
            Ok(judged) => {
                let more = self.synthetic.as_ref().map(|text| format!(", {text}"));
                format!("{service}: {}{}", judged.reason, more.unwrap_or_default())
            }
            Err(reason) => {
                format!("{service}: what the load balancer counted is not known: {reason}")
            }
        }
    }

    /// What is recorded of it.
    pub(crate) fn event(&self, bake: &str) -> Event {
        let unknown = || Sample { size: 0, bad: 0 };
        Event::Observed {
            check: format!("{bake}: {} compared with the old version", self.service),
            verdict: self.verdict(),
            sample: self.judged.as_ref().map_or_else(|_| unknown(), |judged| judged.sample.clone()),
            detail: self.told(),
        }
    }

    /// Whether the rollout goes on, with a line for people.
    pub(crate) fn conclude(&self) -> Result<String, StepError> {
        let told = self.told();
        match (self.verdict(), self.low_traffic, &self.judged) {
            (Verdict::Pass, ..) => Ok(told),
            (Verdict::Fail, ..) => Err(StepError::new(StepErrorKind::Failed, told)),
            (Verdict::Inconclusive, LowTraffic::Breaker, Ok(_)) => {
                Ok(format!("{told}; the circuit breaker alone decides, as the environment says"))
            }
            (Verdict::Inconclusive, ..) => {
                let hint = format!(
                    "wait for traffic, give it more time (services.{}.rollout: step_bake, analysis.patience), or say in the environment's file that \
                     analysis.min_requests is lower or analysis.low_traffic is \"breaker\"",
                    self.service
                );
                Err(StepError::new(StepErrorKind::Failed, format!("inconclusive: {told}"))
                    .hint(hint))
            }
        }
    }
}

impl<'a> Comparison<'a> {
    /// The comparison of a bake of this length that begins now: of the services that want one and have an old version.
    pub(crate) async fn begin(
        frame: &Frame<'a>,
        cx: &Context<'_>,
        chosen: Vec<(&'a ServiceName, &'a Handle<Chosen>)>,
        (period, interval): (Duration, Duration),
    ) -> Result<Self, StepError> {
        let site = frame.site;
        let timeout = site.environment.config.probes.timeout.duration();
        let mut synthetic = Synthetic::new(&site.prober, timeout);
        let mut sides = Vec::new();
        for (service, chosen) in chosen {
            let Some(policy) = &frame.service(service)?.rollout.analysis else { continue };
            let chosen = cx.output(chosen)?;
            let Some(old) = chosen.replaces else { continue };
            let target = frame.target(service)?;
            if let Some(probes) = &policy.probes {
                let (weights, _) = target.splits().await.map_err(failure::target)?;
                let share = weights.share(old);
                synthetic.add(service, probes, &frame.urls().await?, share);
            }
            sides.push(Side { service, policy, target, new: chosen.colour, old });
        }
        let finest = sides.iter().map(|side| side.policy.resolution.duration()).max();
        let every = interval.max(finest.unwrap_or_default()).max(Duration::from_millis(100));
        let mut comparison = Self { sides, began: Timestamp::now(), every, looks: 1, synthetic };
        let whole = (period + comparison.patience()).as_secs_f64() / every.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "casts saturate"
        )]
        let looks = whole.ceil() as u32;
        comparison.looks = looks.saturating_add(1);
        Ok(comparison)
    }

    /// True when nothing is compared.
    pub(crate) fn is_empty(&self) -> bool {
        self.sides.is_empty()
    }

    /// How often the numbers are looked at.
    pub(crate) fn every(&self) -> Duration {
        self.every
    }

    /// How long late numbers may be waited for.
    pub(crate) fn patience(&self) -> Duration {
        self.sides.iter().map(|side| side.policy.patience.duration()).max().unwrap_or_default()
    }

    /// Sends the requests that the environment's file wants sent while it compares, and never ends.
    pub(crate) async fn send(&self) {
        self.synthetic.run().await;
    }

    /// Looks at each service's numbers.
    pub(crate) async fn look(&self) -> Vec<Seen<'a>> {
        let mut seen = Vec::new();
        for side in &self.sides {
            seen.push(self.side(side).await);
        }
        seen
    }

    async fn side(&self, side: &Side<'a>) -> Seen<'a> {
        let policy = side.policy;
        let resolution = policy.resolution.duration();
        let span = whole_periods(self.began, Timestamp::now(), resolution);
        let judged = match span {
            None => Ok(compare(policy, self.looks, &Default::default(), &Default::default())),
            Some(span) => {
                let both = tokio::try_join!(
                    side.target.traffic(side.new, span, resolution),
                    side.target.traffic(side.old, span, resolution),
                );
                both.map(|(new, old)| compare(policy, self.looks, &new, &old))
                    .map_err(|error| error.to_string())
            }
        };
        let synthetic = self.synthetic.told().remove(side.service);
        Seen { service: side.service, low_traffic: policy.low_traffic, judged, synthetic }
    }

    /// Looks again and again, and ends when a service's new version is seen to be bad.
    pub(crate) async fn until_bad(&self) -> Vec<Seen<'a>> {
        loop {
            tokio::time::sleep(self.every).await;
            let seen = self.look().await;
            if seen.iter().any(|seen| seen.verdict() == Verdict::Fail) {
                return seen;
            }
        }
    }
}

/// The whole periods between two times: what was counted in a part of one belongs to another split of the traffic too.
fn whole_periods(
    began: Timestamp,
    now: Timestamp,
    resolution: Duration,
) -> Option<(Timestamp, Timestamp)> {
    let step = i64::try_from(resolution.as_secs()).ok().filter(|step| *step > 0)?;
    let from = (began.as_second() + step).div_euclid(step) * step;
    let until = now.as_second().div_euclid(step) * step;
    let span = (Timestamp::from_second(from).ok()?, Timestamp::from_second(until).ok()?);
    (from < until).then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_periods_are_counted() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let minute = Duration::from_secs(60);
        let began = at("2026-11-21T10:00:07.5Z");
        assert_eq!(whole_periods(began, at("2026-11-21T10:01:59Z"), minute), None);
        let two = whole_periods(began, at("2026-11-21T10:03:01Z"), minute);
        assert_eq!(two, Some((at("2026-11-21T10:01:00Z"), at("2026-11-21T10:03:00Z"))));
        let second = Duration::from_secs(1);
        let one = whole_periods(began, at("2026-11-21T10:00:09.2Z"), second);
        assert_eq!(one, Some((at("2026-11-21T10:00:08Z"), at("2026-11-21T10:00:09Z"))));
    }
}
