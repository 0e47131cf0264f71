//! The environment's named checks while something is watched: CloudWatch alarms, queries to Prometheus, values of JSON endpoints.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use liftlock_environment::config::{NamedCheck, SecretSource, fill};
use liftlock_model::{Event, ServiceName, Verdict};
use liftlock_probe::{NoReading, Reading};
use liftlock_rollout::{Breaker, Check, Judge, Measured, Standing, Tripped, Wait, Watched, watch};
use liftlock_saga::{Context, Handle, StepError, StepErrorKind};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::Frame;
use super::traffic::Chosen;
use crate::failure;
use crate::site::{AlarmState, Site};

/// All named checks of one wait.
pub(crate) struct NamedChecks<'a> {
    site: &'a Site,
    checks: Vec<One<'a>>,
    began: Instant,
    was_at_the_end: AtomicBool,
    /// Where what changes is told.
    on: &'a (dyn Fn(String) + Send + Sync),
}

/// One check.
struct One<'a> {
    /// `service/check`.
    name: String,
    /// Where it stands in the environment's file.
    key: String,
    rule: &'a NamedCheck,
    source: Source,
    state: Mutex<State>,
}

/// What is asked, with what differs by rollout filled in.
enum Source {
    Prometheus { url: Url, query: String, headers: Vec<(String, SecretString)> },
    Json { url: Url, pointer: String, headers: Vec<(String, SecretString)> },
    Alarm { name: String },
}

struct State {
    judge: Judge,
    next: Instant,
    told: Standing,
}

/// What a check came to.
pub(crate) struct Found {
    name: String,
    key: String,
    judge: Judge,
}

impl<'a> NamedChecks<'a> {
    /// The checks of all services that users are about to meet, or have met, at this share.
    pub(crate) async fn begin(
        frame: &Frame<'a>,
        cx: &Context<'_>,
        chosen: &BTreeMap<ServiceName, Handle<Chosen>>,
        share: u8,
        on: &'a (dyn Fn(String) + Send + Sync),
    ) -> Result<Self, StepError> {
        let began = Instant::now();
        let mut checks = Vec::new();
        for (service, handle) in chosen {
            let rules = &frame.service(service)?.rollout.checks;
            let chosen = cx.output(handle)?;
            if share < 100 && chosen.replaces.is_none() {
                continue;
            }
            for (name, rule) in rules {
                let judge = Judge::new(rule);
                checks.push(One {
                    name: format!("{service}/{name}"),
                    key: format!("services.{service}.rollout.checks.{name}"),
                    rule,
                    source: source(frame, service, &chosen, rule).await?,
                    state: Mutex::new(State { judge, next: began, told: Standing::Good }),
                });
            }
        }
        Ok(Self { site: frame.site, checks, began, was_at_the_end: AtomicBool::new(false), on })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// Looks whenever a check is due, and ends when one turns the rollout back. May be dropped at any time.
    pub(crate) async fn until_bad(&self) {
        loop {
            tokio::time::sleep_until(self.next().await).await;
            let now = Instant::now();
            if self.look(|next| next <= now).await {
                return;
            }
        }
    }

    /// Looks at all once more, as the end of a wait wants. Where the wait was made longer after that, only at what is due, so that bad
    /// looks in a row stay as far apart as the file says. Whether one is bad.
    pub(crate) async fn look_at_the_end(&self) -> bool {
        let (was_at_the_end, now) = (self.was_at_the_end.swap(true, Relaxed), Instant::now());
        self.look(|next| !was_at_the_end || next <= now).await
    }

    /// For how long to go on watching until a check whose end is open is looked at again; none if all ends are known.
    pub(crate) async fn open(&self) -> Option<Duration> {
        let mut next = None::<Instant>;
        for check in &self.checks {
            let state = check.state.lock().await;
            if *state.judge.standing() == Standing::Open {
                next = Some(next.map_or(state.next, |next| next.min(state.next)));
            }
        }
        next.map(|next| next.saturating_duration_since(Instant::now()))
            .map(|left| left.max(Duration::from_millis(50)))
    }

    async fn next(&self) -> Instant {
        let mut next = Instant::now() + Duration::from_secs(3600);
        for check in &self.checks {
            next = next.min(check.state.lock().await.next);
        }
        next
    }

    /// Looks at those that are due, all at once. Whether one is bad.
    async fn look(&self, is_due: impl Fn(Instant) -> bool) -> bool {
        let mut due = Vec::new();
        for check in &self.checks {
            if is_due(check.state.lock().await.next) {
                due.push(self.look_at(check));
            }
        }
        join_all(due).await.into_iter().any(|standing| standing == Standing::Bad)
    }

    async fn look_at(&self, check: &One<'a>) -> Standing {
        let limit = check.rule.timeout.duration();
        let measured = tokio::time::timeout(limit, self.measure(check)).await;
        let measured = measured.unwrap_or_else(|_| {
            Measured::Nothing(format!("no answer within {}", check.rule.timeout))
        });
        let mut state = check.state.lock().await;
        let now = Instant::now();
        state.next = now + check.rule.interval.duration().max(Duration::from_millis(1));
        let standing = state.judge.observe(now - self.began, &measured);
        if standing != state.told {
            (self.on)(format!("check {}: {}", check.name, state.judge.detail()));
            state.told = standing.clone();
        }
        standing
    }

    async fn measure(&self, check: &One<'a>) -> Measured {
        let (prober, limit) = (&self.site.prober, check.rule.timeout.duration());
        match &check.source {
            Source::Prometheus { url, query, headers } => {
                read(prober.prometheus(url, query, headers, limit).await)
            }
            Source::Json { url, pointer, headers } => {
                read(prober.json(url, pointer, headers, limit).await)
            }
            Source::Alarm { name } => {
                let began = self.site.known_alarms.noted().await;
                ringing(name, self.site.alarms.state(name).await, began)
            }
        }
    }

    /// Looks once at everything, and goes on watching while what a check comes to is open. That a check is bad is in what was found.
    pub(crate) async fn last_look(
        &self,
        check: &dyn Check,
        breaker: &mut Breaker,
        wait: &Wait<'_>,
    ) -> Result<Watched, Tripped> {
        let mut length = Duration::ZERO;
        loop {
            let watched = watch(check, breaker, length, wait).await?;
            let bad = tokio::select! {
                biased;
                () = wait.cancel.cancelled() => {
                    return Err(Tripped::Cancelled { watched: self.began.elapsed() });
                }
                bad = self.look_at_the_end() => bad,
            };
            match self.open().await {
                Some(more) if !bad => length = more,
                _ => return Ok(watched),
            }
        }
    }

    /// What each came to by now.
    pub(crate) async fn found(&self) -> Vec<Found> {
        let mut found = Vec::new();
        for One { name, key, state, .. } in &self.checks {
            let judge = state.lock().await.judge.clone();
            found.push(Found { name: name.clone(), key: key.clone(), judge });
        }
        found
    }
}

impl Found {
    /// What is recorded of it.
    pub(crate) fn event(&self, step: &str) -> Event {
        let (verdict, sample) = self.judge.verdict();
        let check = format!("{step}: check {}", self.name);
        Event::Observed { check, verdict, sample, detail: self.judge.detail().to_owned() }
    }

    pub(crate) fn is_bad(&self) -> bool {
        *self.judge.standing() == Standing::Bad
    }

    /// Whether the rollout goes on, with a line for people.
    pub(crate) fn conclude(&self) -> Result<String, StepError> {
        let told = format!("check {}: {}", self.name, self.judge.detail());
        match (self.is_bad(), self.judge.verdict().0) {
            (false, Verdict::Pass) => Ok(told),
            (false, _) => Ok(format!(
                "{told}; inconclusive: the circuit breaker decides, as the environment says"
            )),
            (true, Verdict::Fail) => Err(StepError::new(StepErrorKind::Failed, told)),
            (true, _) => {
                let hint = format!(
                    "see why it has no data, give it more time ({}.patience), or say in the environment's file that {}.no_data is \"breaker\"",
                    self.key, self.key
                );
                let text = format!("inconclusive: {told}");
                Err(StepError::new(StepErrorKind::Failed, text).hint(hint))
            }
        }
    }
}

/// The line of a whole list, or the error of the worst: what failed is the reason, not what was inconclusive beside it.
pub(crate) fn conclude(found: &[Found]) -> Result<Vec<String>, StepError> {
    let failed = found.iter().find(|one| one.judge.verdict().0 == Verdict::Fail);
    if let Some(failed) = failed {
        failed.conclude()?;
    }
    found.iter().map(Found::conclude).collect()
}

fn read(read: Result<Reading, NoReading>) -> Measured {
    match read {
        Ok(Reading { value, at }) => Measured::Value(value, at),
        Err(why) => Measured::Nothing(why.to_string()),
    }
}

/// An alarm that rang before the run says nothing about the new version, neither good nor bad.
fn ringing(name: &str, state: Result<AlarmState, String>, began: Option<Timestamp>) -> Measured {
    let nothing = |why: String| Measured::Nothing(format!("no data: {why}"));
    match state {
        Err(why) => Measured::Nothing(why),
        Ok(AlarmState::Missing) => nothing(format!("there is no alarm {name}")),
        Ok(AlarmState::Unknown) => nothing(format!("the alarm {name} says INSUFFICIENT_DATA")),
        Ok(AlarmState::Quiet) => {
            Measured::Known(true, format!("the alarm {name} is OK"), Timestamp::now())
        }
        Ok(AlarmState::Rings { since: Some(since), .. }) if began.is_some_and(|b| since < b) => {
            nothing(format!("the alarm {name} is in ALARM since {since:.0}, before this run"))
        }
        Ok(AlarmState::Rings { reason, .. }) => {
            let told = format!("the alarm {name} is in ALARM ({reason})");
            Measured::Known(false, told, Timestamp::now())
        }
    }
}

async fn source(
    frame: &Frame<'_>,
    service: &ServiceName,
    chosen: &Chosen,
    rule: &NamedCheck,
) -> Result<Source, StepError> {
    let fill = |text: &str| {
        fill(text, |name| stands_for(frame, service, chosen, name)).map_err(|name| {
            let text =
                format!("`{{{{{name}}}}}` of a check of {service} stands for nothing usable");
            StepError::new(StepErrorKind::Configuration, text)
        })
    };
    let site = frame.site;
    if let Some(prometheus) = &rule.prometheus {
        let headers = headers(site, prometheus.token.as_ref(), &prometheus.headers).await?;
        let query = fill(&prometheus.query)?;
        return Ok(Source::Prometheus { url: prometheus.url.clone(), query, headers });
    }
    if let Some(json) = &rule.json {
        let headers = headers(site, json.token.as_ref(), &json.headers).await?;
        let pointer = json.pointer.clone();
        return Ok(Source::Json { url: json.url.clone(), pointer, headers });
    }
    Ok(Source::Alarm { name: fill(rule.alarm.as_deref().unwrap_or_default())? })
}

/// What a placeholder stands for. A version is free text: one that could end a quoted string in a query is not filled in.
fn stands_for(
    frame: &Frame<'_>,
    service: &ServiceName,
    chosen: &Chosen,
    name: &str,
) -> Option<String> {
    let value = match name {
        "service" => service.to_string(),
        "colour" => chosen.colour.to_string(),
        "baseline_colour" => chosen.colour.other().to_string(),
        "release" => frame.release.id.to_string(),
        "version" => frame.release.content.version.clone(),
        "environment" => frame.site.environment.name.to_string(),
        _ => return None,
    };
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '+' | '/' | ':');
    value.chars().all(fine).then_some(value)
}

async fn headers(
    site: &Site,
    token: Option<&SecretSource>,
    more: &BTreeMap<String, SecretSource>,
) -> Result<Vec<(String, SecretString)>, StepError> {
    let mut headers = Vec::new();
    if let Some(token) = token {
        let token = secret(site, token).await?;
        let value = SecretString::from(format!("Bearer {}", token.expose_secret()));
        headers.push(("authorization".to_owned(), value));
    }
    for (name, value) in more {
        headers.push((name.clone(), secret(site, value).await?));
    }
    Ok(headers)
}

async fn secret(site: &Site, source: &SecretSource) -> Result<SecretString, StepError> {
    liftlock_environment::secret(source, site.environment.root(), site.secrets.as_ref())
        .await
        .map_err(failure::secret)
}

/// Before anything is touched: whether the secrets of all named checks are there. The infrastructure of a first promotion may still have to
/// make those of the Parameter Store.
pub(crate) async fn secrets_are_there(site: &Site, serves: bool) -> Result<(), StepError> {
    let rules = site.environment.config.services.values().flat_map(|s| s.rollout.checks.values());
    for source in rules.flat_map(NamedCheck::secrets) {
        let is_made = serves || !matches!(source, SecretSource::Ssm { .. });
        match secret(site, source).await {
            Err(error) if is_made || error.kind() == StepErrorKind::Authentication => {
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_that_rang_before_says_nothing() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let rings = |since| AlarmState::Rings { reason: "over 5".into(), since };
        let began = Some(at("2026-11-21T10:00:00Z"));
        let seen = |state| ringing("a", Ok(state), began);
        assert!(matches!(seen(AlarmState::Quiet), Measured::Known(true, ..)));
        assert!(matches!(seen(AlarmState::Missing), Measured::Nothing(_)));
        assert!(matches!(seen(AlarmState::Unknown), Measured::Nothing(_)));
        let before = seen(rings(Some(at("2026-11-21T09:59:59Z"))));
        assert!(matches!(before, Measured::Nothing(why) if why.contains("before this run")));
        let since = seen(rings(Some(at("2026-11-21T10:00:01Z"))));
        assert!(matches!(since, Measured::Known(false, ..)));
        assert!(matches!(seen(rings(None)), Measured::Known(false, ..)));
    }
}
