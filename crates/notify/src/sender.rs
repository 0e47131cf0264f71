//! Sends messages over webhooks.

use std::error::Error;
use std::time::Duration;

use liftlock_environment::config::Notification;
use liftlock_environment::is_loopback;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;

use crate::message::Message;
use crate::retry::{pause, retry_after};
use crate::slack;

/// How long sending one message may take in all, with all attempts: a promotion does not wait for a chat.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why nobody was told. No variant holds the webhook's URL, which is a secret.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NotifyError {
    #[error("no HTTP client can be made on this machine: {reason}")]
    Client { reason: String },
    #[error(
        "channel {channel:?}: its webhook's URL is not an http or https URL; look at the secret that `notifications` names \
         for it in environments/*.toml"
    )]
    Url { channel: String },
    #[error("channel {channel:?}: the webhook cannot be reached ({attempts} attempts): {reason}")]
    Unreachable { channel: String, attempts: u32, reason: String },
    #[error(
        "channel {channel:?}: the webhook gave no answer within {within:?}; the message may have arrived"
    )]
    Late { channel: String, within: Duration },
    #[error(
        "channel {channel:?}: the webhook answered {status} {said:?} ({attempts} attempts){hint}"
    )]
    Refused { channel: String, status: u16, said: String, attempts: u32, hint: &'static str },
}

/// How one attempt failed.
enum Failure {
    /// Nothing was sent, or the server asks to come back: worth another attempt.
    Passing { asked: Option<Duration>, cause: Cause },
    /// Another attempt would fail as well, or tell people twice.
    Lasting(Cause),
}

enum Cause {
    Connection(String),
    Status(StatusCode, String),
}

/// Sends messages over webhooks.
#[derive(Debug, Clone)]
pub struct Sender {
    direct: Client,
    proxied: Client,
    deadline: Duration,
}

impl Sender {
    /// A sender.
    ///
    /// # Errors
    /// [`NotifyError::Client`] if TLS cannot be set up.
    pub fn new() -> Result<Self, NotifyError> {
        // Another part of the process may have installed it already; then that one serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let failed = |error: reqwest::Error| NotifyError::Client { reason: root_cause(&error) };
        Ok(Self {
            direct: client(true).map_err(failed)?,
            proxied: client(false).map_err(failed)?,
            deadline: DEADLINE,
        })
    }

    /// The same with another deadline for each message.
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Tells a channel, within 10 s in all. Tries again when the server is busy, broken or cannot be reached; not after an
    /// answer that did not come, since the message may have arrived. Whether the channel wants to hear of the occasion is
    /// the caller's to ask ([`crate::wants`]).
    ///
    /// # Errors
    /// [`NotifyError`] says what stood in the way; it never holds the URL.
    pub async fn send(
        &self,
        notification: &Notification,
        url: &SecretString,
        message: &Message,
    ) -> Result<(), NotifyError> {
        let Notification::Slack { name: channel, .. } = notification;
        let address = Url::parse(url.expose_secret().trim())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| NotifyError::Url { channel: channel.clone() })?;
        self.deliver(channel, &address, &slack::payload(message)).await
    }

    async fn deliver(
        &self,
        channel: &str,
        address: &Url,
        payload: &Value,
    ) -> Result<(), NotifyError> {
        let deadline = Instant::now() + self.deadline;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let answer = timeout_at(deadline, self.attempt(address, payload)).await;
            let failure = match answer {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(failure)) => failure,
                Err(_) => {
                    return Err(NotifyError::Late {
                        channel: channel.to_owned(),
                        within: self.deadline,
                    });
                }
            };
            match failure {
                Failure::Lasting(cause) => return Err(cause.report(channel, attempts)),
                Failure::Passing { asked, cause } => {
                    let remaining = deadline.saturating_duration_since(Instant::now());
                    match pause(attempts, asked, remaining) {
                        Some(pause) => sleep(pause).await,
                        None => return Err(cause.report(channel, attempts)),
                    }
                }
            }
        }
    }

    async fn attempt(&self, address: &Url, payload: &Value) -> Result<(), Failure> {
        // A webhook on this machine is never behind the proxy that the rest of the world is behind.
        let client = if is_loopback(address) { &self.direct } else { &self.proxied };
        let sent = client.post(address.clone()).json(payload).send().await;
        let response = sent.map_err(|error| {
            let error = error.without_url();
            let cause = Cause::Connection(root_cause(&error));
            if error.is_connect() {
                Failure::Passing { asked: None, cause }
            } else {
                Failure::Lasting(cause)
            }
        })?;
        judge(response, address).await
    }
}

async fn judge(response: Response, address: &Url) -> Result<(), Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let asked = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok())
        .and_then(retry_after);
    let cause = Cause::Status(status, said(response, address).await);
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        Err(Failure::Passing { asked, cause })
    } else {
        Err(Failure::Lasting(cause))
    }
}

/// The beginning of an error's body: Slack sends a word such as `invalid_payload`. A server that echoes the address does not
/// get it into our messages.
async fn said(mut response: Response, address: &Url) -> String {
    let first = response.chunk().await.ok().flatten().unwrap_or_default();
    let text = String::from_utf8_lossy(&first[..first.len().min(1000)]).into_owned();
    let secrets = [address.path().trim_matches('/'), address.query().unwrap_or_default()];
    let text = secrets
        .into_iter()
        .flat_map(|secret| secret.split('/'))
        .filter(|secret| secret.len() >= 6)
        .fold(text, |text, secret| text.replace(secret, "…"));
    let text: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(80).collect();
    text.trim().to_owned()
}

impl Cause {
    fn report(self, channel: &str, attempts: u32) -> NotifyError {
        let channel = channel.to_owned();
        match self {
            Self::Connection(reason) => NotifyError::Unreachable { channel, attempts, reason },
            Self::Status(status, said) => {
                let hint = match status.as_u16() {
                    403 | 404 | 410 => "; make a new webhook and store its URL in the secret",
                    300..=399 => "; redirects are not followed",
                    _ => "",
                };
                NotifyError::Refused { channel, status: status.as_u16(), said, attempts, hint }
            }
        }
    }
}

fn client(direct: bool) -> Result<Client, reqwest::Error> {
    let builder = || {
        let builder = Client::builder()
            .redirect(Policy::none())
            .user_agent(concat!("liftlock/", env!("CARGO_PKG_VERSION")));
        if direct { builder.no_proxy() } else { builder }
    };
    // A machine without any CA certificate can still reach a webhook over plain HTTP.
    builder().build().or_else(|_| builder().tls_certs_only([]).build())
}

/// The last cause of an error, without the layers around it.
fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}
