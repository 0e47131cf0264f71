//! Smoke tests: one request or one query each.

use std::time::Duration;

use liftlock_environment::config::Smoke;
use liftlock_model::Verdict;
use reqwest::{Client, Method};
use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

use crate::exchange::{self, Answer, ExchangeError, exchange};
use crate::sql;
use crate::text::clean;

/// How a smoke test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmokeResult {
    /// Its name.
    pub name: String,
    /// Pass, fail, or inconclusive if it could not be run.
    pub verdict: Verdict,
    /// How long it took.
    pub latency: Duration,
    /// What was seen, in one line.
    pub detail: String,
}

/// How all smoke tests ended, in the order in which they stand in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SmokeReport {
    /// One for each test.
    pub results: Vec<SmokeResult>,
}

impl SmokeReport {
    /// Fail if any failed; inconclusive if any could not be run, or if there are none: no data is never a pass.
    pub fn verdict(&self) -> Verdict {
        let any = |verdict| self.results.iter().any(|result| result.verdict == verdict);
        if any(Verdict::Fail) {
            Verdict::Fail
        } else if self.results.is_empty() || any(Verdict::Inconclusive) {
            Verdict::Inconclusive
        } else {
            Verdict::Pass
        }
    }
}

/// What smoke tests are run against.
pub(crate) struct Subject<'a> {
    pub(crate) client: &'a Client,
    pub(crate) base: Option<&'a Url>,
    pub(crate) database: Option<&'a SecretString>,
    pub(crate) timeout: Duration,
}

/// What was concluded, and from what.
pub(crate) type Finding = (Verdict, String);

pub(crate) async fn run(test: &Smoke, subject: &Subject<'_>) -> SmokeResult {
    let start = Instant::now();
    let (name, (verdict, detail)) = match test {
        Smoke::Http { name, .. } => (name, over_http(test, subject).await),
        Smoke::Sql { name, query, equals, within } => {
            let within = within.map_or(subject.timeout, |period| period.duration());
            let finding = match subject.database {
                Some(url) => sql::run(url, query, equals.as_deref(), within).await,
                None => (Verdict::Inconclusive, "not run: the environment has no database".into()),
            };
            (name, finding)
        }
    };
    SmokeResult { name: name.clone(), verdict, latency: start.elapsed(), detail }
}

async fn over_http(test: &Smoke, subject: &Subject<'_>) -> Finding {
    let Smoke::Http { method, path, body, status, contains, within, .. } = test else {
        return (Verdict::Inconclusive, "not run: this is no HTTP test".into());
    };
    let Some(base) = subject.base else {
        return (Verdict::Inconclusive, "not run: there is no URL to ask yet".into());
    };
    let within = within.map_or(subject.timeout, |period| period.duration());
    let Ok(method) = Method::from_bytes(method.to_ascii_uppercase().as_bytes()) else {
        return (Verdict::Inconclusive, format!("not run: {method:?} is no HTTP method"));
    };
    let asked = format!("{method} {}", clean(path, 80));
    let mut request = match exchange::address(base, path) {
        Ok(address) => subject.client.request(method, address),
        Err(error) => return (Verdict::Inconclusive, format!("not run: {error}")),
    };
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.clone());
    }
    let start = Instant::now();
    let answer = exchange(request, within).await;
    let (_, took) = exchange::milliseconds(start);
    let (verdict, seen) = judge(&answer, *status, contains.as_deref(), &took);
    (verdict, format!("{asked}: {seen}"))
}

fn judge(
    answer: &Result<Answer, ExchangeError>,
    status: u16,
    contains: Option<&str>,
    took: &str,
) -> Finding {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error @ ExchangeError::Request { .. }) => {
            return (Verdict::Inconclusive, error.to_string());
        }
        Err(error) => return (Verdict::Fail, error.to_string()),
    };
    if answer.status.as_u16() != status {
        let seen = answer.status_line();
        return (Verdict::Fail, format!("{seen}, expected {status}: {:?}", answer.excerpt()));
    }
    match contains {
        Some(text) if !String::from_utf8_lossy(&answer.body).contains(text) => {
            let seen = answer.excerpt();
            (Verdict::Fail, format!("{status}, without {:?}: {seen:?}", clean(text, 80)))
        }
        _ => (Verdict::Pass, format!("{} in {took}", answer.status_line())),
    }
}
