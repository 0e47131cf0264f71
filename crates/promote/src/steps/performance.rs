//! A short load on the new version while the old one is still there: quantiles against limits and against the last good release.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use liftlock_environment::config::Performance;
use liftlock_ledger::{Query, projection};
use liftlock_model::{
    Entry, EnvName, Event, Outcome, Record, ReleaseId, Reversal, RunId, ServiceName, StepName,
    StepPlan, Verdict,
};
use liftlock_probe::{LoadError, LoadPlan, Loaded, load};
use liftlock_rollout::performance::{Measures, judge};
use liftlock_rollout::{Breaker, TargetError, Usage, Wait, watch_until};
use liftlock_saga::{Context, Done, Handle, Probe, Step, StepError, StepErrorKind, Undone};
use tokio::time::Instant;
use url::Url;

use super::bake::{limits, observed, period};
use super::checks::{self, NamedChecks};
use super::traffic::Chosen;
use super::{Frame, step_plan};
use crate::check::LiveCheck;
use crate::failure;
use crate::site::Site;

/// How often CloudWatch is asked again for numbers that are not there yet.
const AGAIN: Duration = Duration::from_secs(5);

/// Loads one service, and turns back when it answers worse than it should.
pub(crate) struct LoadTest<'a> {
    pub frame: Frame<'a>,
    pub service: ServiceName,
    pub policy: &'a Performance,
    pub chosen: Handle<Chosen>,
}

fn step(service: &ServiceName) -> String {
    format!("rollout/{service}/performance")
}

#[async_trait]
impl Step for LoadTest<'_> {
    type Before = ();
    /// Kept with the release: what the next one is compared with.
    type Output = Measures;

    fn plan(&self) -> StepPlan {
        let Performance { path, requests_per_second, duration, .. } = self.policy;
        let does = format!(
            "ask GET {path} {requests_per_second} times a second for {duration}, and compare how it answers with the last good release"
        );
        step_plan(step(&self.service), does, Reversal::ReadOnly)
    }

    async fn observe(&self, _: &Context<'_>) -> Result<(), StepError> {
        Ok(())
    }

    async fn apply(&self, cx: &Context<'_>, (): &()) -> Result<Done<Measures>, StepError> {
        let before = self.before().await?;
        let (measures, unread) = self.watched(cx).await?;
        let errors = limits(&self.frame)?.error_rate;
        let mut judged = judge(self.policy, errors, &measures, before.as_ref());
        judged.reason.extend(unread.map(|why| format!(" (reading them failed: {why})")));
        self.write(Event::Observed {
            check: step(&self.service),
            verdict: judged.verdict,
            sample: judged.sample,
            detail: judged.reason.clone(),
        })
        .await?;
        match judged.verdict {
            Verdict::Pass => Ok(Done::new(measures, judged.reason)),
            Verdict::Fail => Err(StepError::new(StepErrorKind::Failed, judged.reason)),
            Verdict::Inconclusive => {
                let text = format!("inconclusive: {}", judged.reason);
                let hint = format!(
                    "give it a longer load or more time for CloudWatch's numbers (services.{}.performance: duration, patience)",
                    self.service
                );
                Err(StepError::new(StepErrorKind::Failed, text).hint(hint))
            }
        }
    }

    async fn probe(&self, _: &Context<'_>, (): &()) -> Result<Probe<Measures>, StepError> {
        Ok(Probe::Repeatable)
    }

    async fn undo(
        &self,
        _: &Context<'_>,
        (): &(),
        _: Option<&Measures>,
    ) -> Result<Undone, StepError> {
        Ok(Undone::whole("only looked"))
    }
}

impl LoadTest<'_> {
    async fn write(&self, event: Event) -> Result<(), StepError> {
        let written = self.frame.scribe.write(event).await;
        written.map(drop).map_err(|error| StepError::from_error(&error))
    }

    /// The load and what tasks used under it, watched as strictly as a bake. With why CloudWatch's numbers could not be read.
    async fn watched(
        &self,
        cx: &Context<'_>,
    ) -> Result<(Measures, Option<TargetError>), StepError> {
        let frame = &self.frame;
        let limits = limits(frame)?;
        let urls = frame.urls().await?;
        let production = urls.production.clone();
        let check = LiveCheck::new(frame.site, urls, 100).await?;
        let on = |text: String| cx.life(&text);
        let wait = Wait {
            poll: limits.interval.duration(),
            timeout: Duration::MAX,
            cancel: cx.cancelled(),
            on: &on,
        };
        let chosen = BTreeMap::from([(self.service.clone(), self.chosen.clone())]);
        let named = NamedChecks::begin(frame, cx, &chosen, 100, &on).await?;
        let mut breaker = Breaker::new(&limits);
        let doing = format!("asking {} times a second", self.policy.requests_per_second);
        let measured = self.measured(cx, &production);
        let ended = tokio::select! {
            biased;
            () = named.until_bad(), if !named.is_empty() => None,
            ended = watch_until(&check, &mut breaker, measured, &doing, &wait) => Some(ended),
        };
        let (measured, seen) = match ended {
            // A load that is through does not say that all is well.
            Some(Ok(measured @ Ok(_))) => {
                (Some(measured), named.last_look(&check, &mut breaker, &wait).await.map(drop))
            }
            Some(Ok(failed)) => (Some(failed), Ok(())),
            Some(Err(tripped)) => (None, Err(tripped)),
            None => (None, Ok(())),
        };
        let step = step(&self.service);
        let found = named.found().await;
        for found in &found {
            self.write(found.event(&step)).await?;
        }
        if let Err(tripped) = seen {
            self.write(observed(&step, &Err(tripped.clone()))).await?;
            return Err(failure::tripped(tripped));
        }
        checks::conclude(&found)?;
        let turned = || StepError::new(StepErrorKind::Failed, "a named check turned bad");
        measured.unwrap_or_else(|| Err(turned()))
    }

    async fn measured(
        &self,
        cx: &Context<'_>,
        base: &Url,
    ) -> Result<(Measures, Option<TargetError>), StepError> {
        let Performance { path, requests_per_second, duration, .. } = self.policy;
        let (per_second, duration) = (*requests_per_second, duration.duration());
        let began = Timestamp::now();
        let loaded = load(&LoadPlan { base, path, per_second, duration }).await;
        let loaded = loaded.map_err(|error| not_loaded(&error))?;
        let (usage, unread) = self.usage(cx, began).await?;
        Ok((measures(self.policy, loaded, usage), unread))
    }

    /// What the tasks used since; waited for only where the file has a limit for it.
    async fn usage(
        &self,
        cx: &Context<'_>,
        began: Timestamp,
    ) -> Result<(Usage, Option<TargetError>), StepError> {
        let target = self.frame.target(&self.service)?;
        let colour = cx.output(&self.chosen)?.colour;
        let deadline = Instant::now() + self.policy.patience.duration();
        loop {
            let seen = target.usage(colour, (began, Timestamp::now())).await;
            // A number that cannot be read is one that is not there.
            let (seen, unread) =
                seen.map_or_else(|error| (Usage::default(), Some(error)), |seen| (seen, None));
            let is_missing = self.policy.cpu.is_some() && seen.cpu.is_none()
                || self.policy.memory.is_some() && seen.memory.is_none();
            let left = deadline.saturating_duration_since(Instant::now());
            if !is_missing || left.is_zero() {
                return Ok((seen, unread.filter(|_| is_missing)));
            }
            cx.life(&format!(
                "waiting for CloudWatch's numbers of processors and memory, for up to {} more",
                period(left)
            ));
            tokio::time::sleep(AGAIN.min(left)).await;
        }
    }

    /// What the release did that served before.
    async fn before(&self) -> Result<Option<Measures>, StepError> {
        let Some(previous) = self.frame.previous else { return Ok(None) };
        let Site { ledger, environment, .. } = self.frame.site;
        let entries = ledger.entries(&Query::all()).await;
        let entries = entries.map_err(|error| StepError::from_error(&error))?;
        Ok(last_good(&entries, &environment.name, &previous.id, &self.service))
    }
}

fn not_loaded(error: &LoadError) -> StepError {
    let kind = match error {
        LoadError::Missing { .. } => StepErrorKind::Configuration,
        LoadError::Failed(_) => StepErrorKind::Failed,
    };
    let error = StepError::of_kind(kind, error);
    match kind {
        StepErrorKind::Configuration => error.hint(
            "install it (cargo install oha --locked --version 1.16.0, brew install oha, or a binary of github.com/hatoo/oha), or \
             take [services.….performance] out",
        ),
        _ => error,
    }
}

/// Before anything is touched: whether the load generator is there, where a service wants it.
pub(crate) async fn generator_is_there(site: &Site) -> Result<(), StepError> {
    let mut services = site.environment.config.services.values();
    if services.all(|service| service.performance.is_none()) {
        return Ok(());
    }
    let found = liftlock_probe::load_generator().await;
    found.map(drop).map_err(|error| not_loaded(&error))
}

fn measures(policy: &Performance, loaded: Loaded, usage: Usage) -> Measures {
    Measures {
        path: policy.path.clone(),
        per_second: policy.requests_per_second,
        length: u64::try_from(policy.duration.duration().as_millis()).unwrap_or(u64::MAX),
        requests: loaded.requests,
        failed: loaded.failed,
        p50: loaded.p50.and_then(microseconds),
        p95: loaded.p95.and_then(microseconds),
        p99: loaded.p99.and_then(microseconds),
        cpu: usage.cpu.map(tenths),
        memory: usage.memory.map(tenths),
    }
}

fn microseconds(seconds: f64) -> Option<u64> {
    let length = Duration::try_from_secs_f64(seconds).ok()?;
    u64::try_from(length.as_micros()).ok()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts saturate, and usage is not below zero"
)]
fn tenths(percent: f64) -> u64 {
    (percent * 10.0).round() as u64
}

/// Pure: what the newest good promotion of this release measured of a service.
fn last_good(
    entries: &[Entry],
    environment: &EnvName,
    release: &ReleaseId,
    service: &ServiceName,
) -> Option<Measures> {
    let step = StepName::new(step(service));
    entries.iter().rev().find_map(|entry| {
        let Event::Journal { record: Record::Done { step: done, output, .. } } = &entry.event
        else {
            return None;
        };
        let run = entry.run.as_ref().filter(|_| *done == step)?;
        let is_good = is_good(entries, run, environment, release);
        is_good.then(|| serde_json::from_value(output.clone()).ok())?
    })
}

fn is_good(entries: &[Entry], run: &RunId, environment: &EnvName, release: &ReleaseId) -> bool {
    projection::run(entries, run).is_some_and(|view| {
        view.release.as_ref() == Some(release)
            && view.environment.as_ref() == Some(environment)
            && matches!(view.finished, Some((Outcome::Succeeded, _)))
    })
}
