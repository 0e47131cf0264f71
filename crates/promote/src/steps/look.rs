//! Steps that only look: smoke tests, bakes, and the proof that the requested digest serves.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use liftlock_model::{Event, ImageDigest, Reversal, Sample, ServiceName, StepPlan, Verdict};
use liftlock_probe::SmokeReport;
use liftlock_rollout::{Colour, RolloutError, Target};
use liftlock_saga::{Context, Done, Handle, Probe, Step, StepError, StepErrorKind, Undone};
use secrecy::SecretString;
use url::Url;

use super::traffic::Chosen;
use super::{Frame, step_plan};
use crate::failure;
use crate::serves;

/// Through which listener the application is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    /// The one that shows the new version before users see it.
    Test,
    /// The one that users use.
    Production,
}

/// A step that only looks: it changes nothing, so that it can be repeated and there is nothing to undo.
#[async_trait]
pub(crate) trait Look: Send + Sync {
    fn plan(&self) -> StepPlan;
    /// Looks. What is seen is good when this is a line for people, and bad when it is an error.
    async fn look(&self, cx: &Context<'_>) -> Result<String, StepError>;
}

/// The step that looks.
pub(crate) struct Looking<L>(pub L);

#[async_trait]
impl<L: Look> Step for Looking<L> {
    type Before = ();
    type Output = ();

    fn plan(&self) -> StepPlan {
        self.0.plan()
    }

    async fn observe(&self, _: &Context<'_>) -> Result<(), StepError> {
        Ok(())
    }

    async fn apply(&self, cx: &Context<'_>, (): &()) -> Result<Done<()>, StepError> {
        self.0.look(cx).await.map(|note| Done::new((), note))
    }

    async fn probe(&self, _: &Context<'_>, (): &()) -> Result<Probe<()>, StepError> {
        Ok(Probe::Repeatable)
    }

    async fn undo(&self, _: &Context<'_>, (): &(), _: Option<&()>) -> Result<Undone, StepError> {
        Ok(Undone::whole("only looked"))
    }
}

/// Runs the environment's smoke tests.
pub(crate) struct SmokeTest<'a> {
    pub frame: Frame<'a>,
    pub name: String,
    pub listener: Listener,
}

#[async_trait]
impl Look for SmokeTest<'_> {
    fn plan(&self) -> StepPlan {
        let smoke = &self.frame.site.environment.config.probes.smoke;
        let at = match self.listener {
            Listener::Test => "the test listener: the new version, which no user sees yet",
            Listener::Production => "the production listener",
        };
        step_plan(
            &self.name,
            format!("run {} smoke tests through {at}", smoke.len()),
            Reversal::ReadOnly,
        )
    }

    async fn look(&self, cx: &Context<'_>) -> Result<String, StepError> {
        let urls = self.frame.urls().await?;
        let url = match self.listener {
            Listener::Test => urls.test,
            Listener::Production => urls.production,
        };
        let report = smoke(self.frame.site, &url, &mut |text| cx.life(text)).await?;
        for result in &report.results {
            let event = Event::Observed {
                check: format!("{}: {}", self.name, result.name),
                verdict: result.verdict,
                sample: Sample { size: 1, bad: u64::from(result.verdict != Verdict::Pass) },
                detail: result.detail.clone(),
            };
            self.frame.scribe.write(event).await.map_err(|error| StepError::from_error(&error))?;
        }
        judge(&report, &url)
    }
}

/// Runs the environment's smoke tests at `url`.
pub(crate) async fn smoke(
    site: &crate::Site,
    url: &Url,
    on: &mut (dyn FnMut(&str) + Send),
) -> Result<SmokeReport, StepError> {
    let probes = &site.environment.config.probes;
    let database: Option<SecretString> = match &site.environment.config.database {
        Some(_) => Some(site.database_url().await?),
        None => None,
    };
    Ok(site
        .prober
        .smoke(
            &probes.smoke,
            Some(url),
            database.as_ref(),
            probes.timeout.duration(),
            &mut |result| {
                on(&format!(
                    "{}: {} ({} ms)",
                    result.name,
                    result.verdict,
                    result.latency.as_millis()
                ));
            },
        )
        .await)
}

/// What a smoke report means for a run: only a pass goes on. An environment without smoke tests says so in its file by
/// having none, and goes on with that on record.
pub(crate) fn judge(report: &SmokeReport, url: &Url) -> Result<String, StepError> {
    if report.results.is_empty() {
        return Ok("the environment has no smoke tests".into());
    }
    let bad: Vec<_> =
        report.results.iter().filter(|result| result.verdict != Verdict::Pass).collect();
    if bad.is_empty() {
        return Ok(format!(
            "{} of {} smoke tests passed at {url}",
            report.results.len(),
            report.results.len()
        ));
    }
    let list: Vec<_> = bad
        .iter()
        .map(|result| format!("{}: {}: {}", result.name, result.verdict, result.detail))
        .collect();
    Err(StepError::new(
        StepErrorKind::Failed,
        format!(
            "{} of {} smoke tests did not pass at {url}:\n  {}",
            bad.len(),
            report.results.len(),
            list.join("\n  ")
        ),
    ))
}

/// Looks whether users of a version that came back are answered well (A-RB-2).
pub(crate) struct ErrorRate<'a> {
    pub frame: Frame<'a>,
}

#[async_trait]
impl Look for ErrorRate<'_> {
    fn plan(&self) -> StepPlan {
        let does =
            "see that users are answered: health, and less than 1 % of a hundred requests fail";
        step_plan("rollout/error-rate", does, Reversal::ReadOnly)
    }

    async fn look(&self, _: &Context<'_>) -> Result<String, StepError> {
        let url = self.frame.urls().await?.production;
        serves::judge(&serves::answers(self.frame.site, &url).await, &url)
    }
}

/// The proof: the requested digests were seen serving.
pub(crate) struct SeenServing<'a> {
    pub frame: Frame<'a>,
    pub chosen: BTreeMap<ServiceName, Handle<Chosen>>,
}

#[async_trait]
impl Look for SeenServing<'_> {
    fn plan(&self) -> StepPlan {
        let does = "see that each service's requested digest serves, and nothing else does";
        let mut plan = step_plan("rollout/verify", does, Reversal::ReadOnly);
        plan.details = self
            .chosen
            .keys()
            .filter_map(|service| Some(format!("{service}: {}", self.frame.digest(service).ok()?)))
            .collect();
        plan
    }

    async fn look(&self, cx: &Context<'_>) -> Result<String, StepError> {
        for (service, chosen) in &self.chosen {
            let chosen = cx.output(chosen)?;
            let tasks = self.frame.service(service)?.tasks;
            let digest = self.frame.digest(service)?;
            let target = self.frame.target(service)?;
            seen_serving_soon(target, chosen.colour, digest, tasks)
                .await
                .map_err(failure::rollout)?;
        }
        Ok(format!("{} services serve their requested digests", self.chosen.len()))
    }
}

/// How long a single task may be missing, since one that is being replaced is no proof against a version.
const SOON: Duration = Duration::from_secs(30);

/// Looks until the digest is seen serving, or gives up with what was seen last.
pub(crate) async fn seen_serving_soon(
    target: &dyn Target,
    colour: Colour,
    digest: &ImageDigest,
    tasks: u32,
) -> Result<(), RolloutError> {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        match liftlock_rollout::seen_serving(target, colour, digest, tasks).await {
            Err(RolloutError::NotServing { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            other => return other,
        }
    }
}
