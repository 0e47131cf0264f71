//! One HTTP request and its answer, within limits.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use tokio::time::{Instant, timeout};
use url::Url;

use crate::text::{clean, root_cause};

/// How much of a body is read.
pub(crate) const BODY_LIMIT: usize = 1024 * 1024;

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body's beginning in one line.
    pub(crate) fn excerpt(&self) -> String {
        clean(&String::from_utf8_lossy(&self.body), 120)
    }

    /// The status in words: `503 Service Unavailable`.
    pub(crate) fn status_line(&self) -> String {
        let hint = if self.status.is_redirection() { " (redirects are not followed)" } else { "" };
        format!("{}{hint}", self.status)
    }
}

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("the request cannot be made: {reason}")]
    Request { reason: String },
    #[error("no whole answer within {within:?}")]
    Late { within: Duration },
    #[error("no connection: {reason}")]
    Connect { reason: String },
    #[error("the answer broke off: {reason}")]
    Broken { reason: String },
    #[error("{status}, and a body of more than 1 MiB")]
    Oversized { status: StatusCode },
}

/// Whether connections are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connections {
    /// Each request gets one of its own, so that a load balancer chooses anew.
    Fresh,
    /// Those of one client are used again.
    Reused,
}

/// A client that follows no redirect and asks no proxy: what is looked at is the application itself.
pub(crate) fn client(connections: Connections) -> Result<Client, reqwest::Error> {
    let builder = || {
        Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .user_agent(concat!("liftlock/", env!("CARGO_PKG_VERSION")))
            .pool_max_idle_per_host(if connections == Connections::Fresh { 0 } else { 1 })
    };
    // A machine without any CA certificate can still ask over plain HTTP; HTTPS then fails at the certificate.
    builder().build().or_else(|_| builder().tls_certs_only([]).build())
}

/// Where `path` is under `base`, whose own path stays in front.
pub(crate) fn address(base: &Url, path: &str) -> Result<Url, ExchangeError> {
    let failed = |reason: String| ExchangeError::Request { reason };
    if !matches!(base.scheme(), "http" | "https") {
        return Err(failed(format!("{:?} is neither http nor https", base.scheme())));
    }
    let mut front = base.clone();
    front.set_query(None);
    front.set_fragment(None);
    let text = format!("{}/{}", front.as_str().trim_end_matches('/'), path.trim_start_matches('/'));
    Url::parse(&text).map_err(|error| failed(format!("path {path:?}: {error}")))
}

/// Sends a request and reads the whole answer, all within one limit of time.
pub(crate) async fn exchange(
    request: RequestBuilder,
    within: Duration,
) -> Result<Answer, ExchangeError> {
    timeout(within, async { read(request.send().await.map_err(sending)?).await })
        .await
        .unwrap_or(Err(ExchangeError::Late { within }))
}

async fn read(mut response: Response) -> Result<Answer, ExchangeError> {
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(reading)? {
        if body.len() + chunk.len() > BODY_LIMIT {
            return Err(ExchangeError::Oversized { status });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, body })
}

fn sending(error: reqwest::Error) -> ExchangeError {
    // The address may hold a password.
    let error = error.without_url();
    let reason = root_cause(&error);
    if error.is_connect() {
        ExchangeError::Connect { reason }
    } else if error.is_builder() {
        ExchangeError::Request { reason }
    } else {
        ExchangeError::Broken { reason }
    }
}

fn reading(error: reqwest::Error) -> ExchangeError {
    ExchangeError::Broken { reason: root_cause(&error.without_url()) }
}

/// A measured length of time in whole milliseconds, for messages.
pub(crate) fn milliseconds(since: Instant) -> (Duration, String) {
    let latency = since.elapsed();
    (latency, format!("{} ms", latency.as_millis()))
}
