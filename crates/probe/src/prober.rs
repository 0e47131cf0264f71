//! Asks the running application.

use std::time::Duration;

use jiff::Timestamp;
use liftlock_environment::config::Smoke;
use reqwest::Client;
use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

use crate::exchange::{self, Connections, ExchangeError, address, exchange};
use crate::health::{self, DeepHealth, Health};
use crate::measure::{self, NoReading, Reading};
use crate::smoke::{self, SmokeReport, SmokeResult, Subject};
use crate::text::root_cause;

/// Why no prober can be made.
#[derive(Debug, thiserror::Error)]
#[error("no HTTP client can be made on this machine: {reason}")]
pub struct ProberError {
    reason: String,
}

/// Asks the running application: its health, and smoke tests.
#[derive(Debug, Clone)]
pub struct Prober {
    fresh: Client,
}

impl Prober {
    /// A prober.
    ///
    /// # Errors
    /// [`ProberError`] if TLS cannot be set up.
    pub fn new() -> Result<Self, ProberError> {
        // Another part of the process may have installed it already; then that one serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let fresh = exchange::client(Connections::Fresh)
            .map_err(|error| ProberError { reason: root_cause(&error) })?;
        Ok(Self { fresh })
    }

    /// Asks `/health` once, over a connection of its own, within `timeout` in all.
    pub async fn health(&self, base: &Url, timeout: Duration) -> Health {
        let (answer, latency) = self.get(base, "/health", timeout).await;
        health::read(&answer, latency)
    }

    /// Asks `/health/deep` once, over a connection of its own, within `timeout` in all.
    pub async fn deep_health(&self, base: &Url, timeout: Duration) -> DeepHealth {
        let (answer, latency) = self.get(base, "/health/deep", timeout).await;
        health::read_deep(&answer, latency)
    }

    /// Runs smoke tests one after another, also after one failed, and shows each result to `each` as it is there.
    /// `timeout` is for each test that names no time of its own.
    pub async fn smoke(
        &self,
        tests: &[Smoke],
        base: Option<&Url>,
        database: Option<&SecretString>,
        timeout: Duration,
        each: &mut (dyn FnMut(&SmokeResult) + Send),
    ) -> SmokeReport {
        // A client for these tests only: its connections are used again among them, and none is left from before.
        let client = match exchange::client(Connections::Reused) {
            Ok(client) => client,
            Err(_) => self.fresh.clone(),
        };
        let subject = Subject { client: &client, base, database, timeout };
        let mut report = SmokeReport::default();
        for test in tests {
            let result = smoke::run(test, &subject).await;
            each(&result);
            report.results.push(result);
        }
        report
    }

    /// Sends one GET, as a user would, over a connection of its own, and reads the answer; what it is is the load balancer's to count.
    pub async fn send(&self, base: &Url, path: &str, timeout: Duration) {
        // A request that fails is counted where it failed.
        drop(self.get(base, path, timeout).await);
    }

    /// Asks Prometheus one instant query, over a connection of its own, within `timeout` in all. The headers' values are secrets; no
    /// redirect is followed with them.
    pub async fn prometheus(
        &self,
        base: &Url,
        query: &str,
        headers: &measure::Headers,
        timeout: Duration,
    ) -> Result<Reading, NoReading> {
        let limit = format!("{}ms", timeout.as_millis().max(1));
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("query", query)
            .append_pair("timeout", &limit)
            .finish();
        let kind = "application/x-www-form-urlencoded";
        let request =
            self.fresh.post(measure::query(base)?).header("content-type", kind).body(form);
        measure::read_prometheus(&measure::ask(request, headers, timeout).await?)
    }

    /// Asks a URL that answers with JSON, and takes the value at the pointer (RFC 6901); the rest as [`Prober::prometheus`].
    pub async fn json(
        &self,
        url: &Url,
        pointer: &str,
        headers: &measure::Headers,
        timeout: Duration,
    ) -> Result<Reading, NoReading> {
        let request = self.fresh.get(url.clone()).header("accept", "application/json");
        let answer = measure::ask(request, headers, timeout).await?;
        measure::read_json(&answer, pointer, Timestamp::now())
    }

    async fn get(
        &self,
        base: &Url,
        path: &str,
        timeout: Duration,
    ) -> (Result<exchange::Answer, ExchangeError>, Duration) {
        let start = Instant::now();
        let answer = match address(base, path) {
            Ok(address) => exchange(self.fresh.get(address), timeout).await,
            Err(error) => Err(error),
        };
        (answer, start.elapsed())
    }
}
