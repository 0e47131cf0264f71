//! Bakes: the new version is watched under traffic, and compared with the old one where the environment wants it.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use liftlock_environment::config;
use liftlock_model::{Event, Reversal, Sample, ServiceName, StepPlan, Verdict};
use liftlock_rollout::{Breaker, Tripped, Wait, Watched, watch};
use liftlock_saga::{Context, Handle, StepError, StepErrorKind};
use tokio::time::Instant;

use super::checks::{self, Found, NamedChecks};
use super::compare::{Comparison, Seen};
use super::look::Look;
use super::traffic::Chosen;
use super::{Frame, step_plan};
use crate::check::LiveCheck;
use crate::failure;

/// Watches the new version under traffic, and turns back when the circuit breaker trips or the new version is worse than the old.
pub(crate) struct Bake<'a> {
    pub frame: Frame<'a>,
    pub name: String,
    pub period: Duration,
    pub share: u8,
    pub chosen: BTreeMap<ServiceName, Handle<Chosen>>,
}

/// How a bake ended early.
enum Stopped<'a> {
    Tripped(Tripped),
    Worse(Vec<Seen<'a>>),
    Check,
}

#[async_trait]
impl Look for Bake<'_> {
    fn plan(&self) -> StepPlan {
        let compares = self.share < 100
            && self.chosen.keys().any(|service| {
                self.frame.service(service).is_ok_and(|service| service.rollout.analysis.is_some())
            });
        let compared = if compares { ", and compare it with the old version" } else { "" };
        let does = match self.period.is_zero() {
            true => format!("look once more at everything, with {} % of the traffic", self.share),
            false => format!(
                "watch it for {} with {} % of the traffic{compared}",
                period(self.period),
                self.share
            ),
        };
        step_plan(&self.name, does, Reversal::ReadOnly)
    }

    async fn look(&self, cx: &Context<'_>) -> Result<String, StepError> {
        if self.share < 100 && nothing_serves(&self.chosen, cx)? {
            return Ok("skipped: no user is on it yet".into());
        }
        let rollouts: Vec<_> = self
            .frame
            .site
            .environment
            .services_in_order()
            .into_iter()
            .map(|(_, s)| &s.rollout)
            .collect();
        let limits = limits(&self.frame)?;
        let check = LiveCheck::new(self.frame.site, self.frame.urls().await?, self.share).await?;
        let chosen = if self.share < 100 { self.chosen.iter().collect() } else { Vec::new() };
        let times = (self.period, limits.interval.duration());
        let comparison = Comparison::begin(&self.frame, cx, chosen, times).await?;
        let on = |text: String| cx.life(&text);
        let start_timeout = rollouts.iter().map(|rollout| rollout.start_timeout.duration()).max();
        let wait = Wait {
            poll: limits.interval.duration(),
            timeout: self.period + start_timeout.unwrap_or_default(),
            cancel: cx.cancelled(),
            on: &on,
        };
        let checks = NamedChecks::begin(&self.frame, cx, &self.chosen, self.share, &on).await?;
        let mut breaker = Breaker::new(&limits);
        let ended =
            self.watch_and_compare(&check, &mut breaker, (&comparison, &checks), &wait).await;
        self.record(ended, &checks.found().await).await
    }
}

impl<'a> Bake<'a> {
    /// Watches for the whole bake, and goes on watching while the numbers to compare by are too few, until patience ends, or while what a
    /// named check comes to is open.
    async fn watch_and_compare(
        &self,
        check: &LiveCheck<'_>,
        breaker: &mut Breaker,
        (comparison, checks): (&Comparison<'a>, &NamedChecks<'_>),
        wait: &Wait<'_>,
    ) -> Result<(Watched, Vec<Seen<'a>>), Stopped<'a>>
    where
        Self: 'a,
    {
        let (start, deadline) =
            (Instant::now(), Instant::now() + self.period + comparison.patience());
        let mut length = self.period;
        let mut sending = std::pin::pin!(comparison.send());
        loop {
            let watched = tokio::select! {
                biased;
                worse = comparison.until_bad(), if !comparison.is_empty() => return Err(Stopped::Worse(worse)),
                () = checks.until_bad(), if !checks.is_empty() => return Err(Stopped::Check),
                () = &mut sending => continue,
                watched = watch(check, breaker, length, wait) => watched.map_err(Stopped::Tripped)?,
            };
            let looks = async { tokio::join!(comparison.look(), checks.look_at_the_end()) };
            let (seen, bad) = tokio::select! {
                biased;
                () = wait.cancel.cancelled() => {
                    return Err(Stopped::Tripped(Tripped::Cancelled { watched: start.elapsed() }));
                }
                looked = looks => looked,
            };
            let is = |verdict| seen.iter().any(|seen| seen.verdict() == verdict);
            if is(Verdict::Fail) {
                return Err(Stopped::Worse(seen));
            }
            if bad {
                return Err(Stopped::Check);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let is_short = is(Verdict::Inconclusive) && !left.is_zero();
            let open = checks.open().await;
            if is_short {
                (wait.on)(format!(
                    "too few requests to compare by yet; waiting for up to {} more",
                    period(left)
                ));
            }
            let next = is_short.then(|| comparison.every().min(left));
            length = match next.into_iter().chain(open).min() {
                Some(length) => length,
                None => return Ok((watched, seen)),
            };
        }
    }

    /// Puts what was seen on record, and says whether the rollout goes on.
    async fn record(
        &self,
        ended: Result<(Watched, Vec<Seen<'_>>), Stopped<'_>>,
        checks: &[Found],
    ) -> Result<String, StepError> {
        let (breaker, seen) = match ended {
            Ok((watched, seen)) => (Some(Ok(watched)), seen),
            Err(Stopped::Tripped(tripped)) => (Some(Err(tripped)), Vec::new()),
            Err(Stopped::Worse(seen)) => (None, seen),
            Err(Stopped::Check) => (None, Vec::new()),
        };
        let watched = breaker.as_ref().map(|watched| observed(&self.name, watched));
        let compared = seen.iter().map(|seen| seen.event(&self.name));
        let checked = checks.iter().map(|found| found.event(&self.name));
        for event in watched.into_iter().chain(compared).chain(checked) {
            self.frame.scribe.write(event).await.map_err(|error| StepError::from_error(&error))?;
        }
        let mut notes = Vec::new();
        if let Some(watched) = breaker {
            let Watched { sample } = watched.map_err(failure::tripped)?;
            let during = match self.period.is_zero() {
                true => String::new(),
                false => format!(", in {}", period(self.period)),
            };
            notes.push(format!("{} looks, {} bad{during}", sample.size, sample.bad));
        }
        // The worst first: what failed is the reason, not what was inconclusive beside it.
        let failed = seen.iter().find(|seen| seen.verdict() == Verdict::Fail);
        for seen in failed.into_iter().chain(&seen) {
            notes.push(seen.conclude()?);
        }
        notes.extend(checks::conclude(checks)?);
        Ok(notes.join("; "))
    }
}

/// A first rollout gives no share below all: there is nothing to watch until then.
pub(super) fn nothing_serves(
    services: &BTreeMap<ServiceName, Handle<Chosen>>,
    cx: &Context<'_>,
) -> Result<bool, StepError> {
    for chosen in services.values() {
        if cx.output(chosen)?.replaces.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// When to turn back: the services of one release are watched as one application.
pub(super) fn limits(frame: &Frame<'_>) -> Result<config::Breaker, StepError> {
    let services = frame.site.environment.services_in_order();
    strictest(services.iter().map(|(_, service)| &service.rollout.breaker)).ok_or_else(|| {
        StepError::new(StepErrorKind::Configuration, "the environment has no service")
    })
}

pub(super) fn observed(bake: &str, watched: &Result<Watched, Tripped>) -> Event {
    let (verdict, sample, detail) = match watched {
        Ok(watched) => {
            (Verdict::Pass, watched.sample.clone(), "the breaker did not trip".to_owned())
        }
        Err(tripped) => {
            let sample = tripped.sample().cloned().unwrap_or(Sample { size: 0, bad: 0 });
            let inconclusive =
                matches!(tripped, Tripped::Inconclusive { .. } | Tripped::Cancelled { .. });
            let verdict = if inconclusive { Verdict::Inconclusive } else { Verdict::Fail };
            (verdict, sample, tripped.to_string())
        }
    };
    Event::Observed { check: bake.to_owned(), verdict, sample, detail }
}

/// The strictest of each limit: a release goes back as soon as any of its services would.
fn strictest<'b>(
    breakers: impl IntoIterator<Item = &'b config::Breaker>,
) -> Option<config::Breaker> {
    breakers.into_iter().cloned().reduce(|a, b| config::Breaker {
        interval: a.interval.min(b.interval),
        health_failures: a.health_failures.min(b.health_failures),
        error_rate: a.error_rate.min(b.error_rate),
        error_rate_for: a.error_rate_for.min(b.error_rate_for),
        database_unreachable_for: a.database_unreachable_for.min(b.database_unreachable_for),
        task_failures: a.task_failures.min(b.task_failures),
    })
}

pub(super) fn period(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds, duration.subsec_millis()) {
        (0, ms) => format!("{ms} ms"),
        (s, 0) if s >= 60 && s % 60 == 0 => format!("{} min", s / 60),
        (s, 0) => format!("{s} s"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use liftlock_environment::Period;

    use super::*;

    #[test]
    fn the_strictest_of_each_limit_counts() {
        let one = config::Breaker { health_failures: 2, ..config::Breaker::default() };
        let other = config::Breaker {
            error_rate: 1.0,
            error_rate_for: Period::from_secs(10),
            ..config::Breaker::default()
        };
        let both = strictest([&one, &other]).unwrap();
        assert_eq!((both.health_failures, both.error_rate), (2, 1.0));
        assert_eq!(both.error_rate_for, Period::from_secs(10));
        assert_eq!(strictest([]), None);
    }
}
