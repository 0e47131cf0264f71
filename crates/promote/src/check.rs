//! One look at the running application: its health contract, its database, its smoke requests, its alarms.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use liftlock_environment::config::Smoke;
use liftlock_model::{ServiceName, Verdict};
use liftlock_probe::{DatabaseState, SmokeResult};
use liftlock_rollout::{Check, Observation, Requests, TargetError, Urls};
use liftlock_saga::StepError;

use crate::site::Site;

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
    /// How many tasks of each service's new version had died before.
    died: BTreeMap<ServiceName, usize>,
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
        let died = deaths(site).await.into_iter().flatten();
        let died = died.map(|(service, deaths)| (service, deaths.len())).collect();
        Ok(Self { site, urls, whole: share == 100, known, safe, died })
    }

    /// Why tasks of the new version died since this began to watch, if the platform says.
    async fn died(&self) -> Option<Vec<String>> {
        let mut all = Vec::new();
        for (service, deaths) in deaths(self.site).await? {
            let before = self.died.get(&service).copied().unwrap_or_default();
            // The newest are first.
            let since = deaths.into_iter().rev().skip(before);
            all.extend(since.map(|why| format!("a task of {service} died: {why}")));
        }
        Some(all)
    }
}

/// Why tasks of each service's new version died, newest first: of the colour that the test listener shows. None if any is not known.
async fn deaths(site: &Site) -> Option<Vec<(ServiceName, Vec<String>)>> {
    let looks = site.targets.iter().map(async |(service, target)| {
        let live = target.live().await?;
        Ok::<_, TargetError>((service.clone(), live.colour(live.test).stopped.clone()))
    });
    try_join_all(looks).await.ok()
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
            self.site.alarms.ringing(),
            self.died(),
        );
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
        Observation {
            // Whether a release that answers well is healthy is not known while its alarms cannot be read.
            health: (!healthy || !is_blind).then_some(healthy),
            requests: Some(requests),
            database,
            died: died.map(|died| u32::try_from(died.len()).unwrap_or(u32::MAX)),
            detail: (!bad.is_empty()).then(|| bad.join("; ")),
        }
    }
}
