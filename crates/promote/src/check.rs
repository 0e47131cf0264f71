//! One look at the running application: its health contract, its database, its smoke requests, its alarms.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use liftlock_environment::config::Smoke;
use liftlock_model::Verdict;
use liftlock_probe::{DatabaseState, SmokeResult};
use liftlock_rollout::{Check, Observation, Requests, Urls};
use liftlock_saga::StepError;

use crate::deaths::Deaths;
use crate::site::{Ringing, Site};
use crate::slow::Slow;

/// Looks at the new version, and from the last step on at what users see too.
pub(crate) struct LiveCheck<'a> {
    site: &'a Site,
    urls: Urls,
    /// Whether all traffic is on the new version, so that what users see is the new version.
    whole: bool,
    /// Alarms that rang before the run: they say nothing about the new version.
    known: BTreeSet<String>,
    /// Requests without a body are safe to repeat at every look.
    safe: Vec<Smoke>,
    /// AWS may answer late or not at all; whether the application answers is seen all the same.
    alarms: Slow<'a, Result<Vec<Ringing>, String>>,
    died: Slow<'a, Option<Vec<String>>>,
}

impl<'a> LiveCheck<'a> {
    pub(crate) async fn new(site: &'a Site, urls: Urls, share: u8) -> Result<Self, StepError> {
        let safe = site
            .environment
            .config
            .probes
            .smoke
            .iter()
            .filter(|smoke| is_safe(smoke))
            .cloned()
            .collect();
        let known = site.known_alarms.names().await;
        let deaths = Arc::new(Deaths::of(site));
        let died = Slow::new(move || {
            let deaths = deaths.clone();
            async move { deaths.look().await }.boxed()
        });
        // What cannot be read now is where counting begins later.
        died.look().await;
        let alarms = Slow::new(move || site.alarms.ringing());
        Ok(Self { site, urls, whole: share == 100, known, safe, alarms, died })
    }
}

/// GET and HEAD are safe methods (RFC 9110, section 9.2.1).
pub(crate) fn is_safe(smoke: &Smoke) -> bool {
    matches!(smoke, Smoke::Http { method, body: None, .. } if matches!(method.as_str(), "GET" | "HEAD"))
}

#[async_trait]
impl Check for LiveCheck<'_> {
    async fn look(&self) -> Observation {
        let timeout = self.site.environment.config.probes.timeout.duration();
        let prober = &self.site.prober;
        let mut bad = Vec::new();

        // All at once: a look should take as long as its slowest answer, not as long as all of them.
        let mut quiet = |_: &SmokeResult| {};
        let users = async {
            match self.whole {
                true => Some(prober.health(&self.urls.production, timeout).await),
                false => None,
            }
        };
        let (health, users, deep, report, alarms, died) = tokio::join!(
            prober.health(&self.urls.test, timeout),
            users,
            prober.deep_health(&self.urls.test, timeout),
            prober.smoke(&self.safe, Some(&self.urls.test), None, timeout, &mut quiet),
            self.alarms.look(),
            self.died.look(),
        );
        let is_late = alarms.is_none();
        let alarms = alarms.unwrap_or_else(|| Err("no answer yet".into()));
        let died = died.flatten();
        let mut healthy = health.ok;
        if !health.ok {
            bad.push(format!("{}: {}", self.urls.test, health.detail));
        }
        if let Some(users) = users {
            healthy &= users.ok;
            if !users.ok {
                bad.push(format!("{}: {}", self.urls.production, users.detail));
            }
        }
        let database = match deep.database {
            DatabaseState::Reachable => Some(true),
            DatabaseState::Unreachable => {
                bad.push("the application does not reach its database".into());
                Some(false)
            }
            DatabaseState::Unknown => None,
        };
        let errors = report.results.iter().filter(|result| result.verdict == Verdict::Fail);
        bad.extend(died.iter().flatten().cloned());
        bad.extend(errors.clone().map(|result| format!("{}: {}", result.name, result.detail)));
        let requests =
            Requests { total: report.results.len() as u64, errors: errors.count() as u64 };
        let mut is_blind = false;
        match alarms {
            Ok(alarms) => {
                for alarm in alarms.into_iter().filter(|alarm| !self.known.contains(&alarm.name)) {
                    healthy = false;
                    bad.push(format!("alarm {}: {}", alarm.name, alarm.reason));
                }
            }
            Err(error) => {
                is_blind = true;
                bad.push(format!("alarms unknown: {error}"));
            }
        }
        // Whether a release that answers well is healthy is not known while its alarms cannot be read; that one is not, is.
        let health = (!healthy || !is_blind).then_some(healthy);
        Observation {
            health,
            requests: Some(requests),
            database,
            pending: is_late && health.is_none(),
            died: died.map(|died| u32::try_from(died.len()).unwrap_or(u32::MAX)),
            detail: (!bad.is_empty()).then(|| bad.join("; ")),
        }
    }
}
