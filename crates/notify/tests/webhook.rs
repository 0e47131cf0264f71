//! Sending to a real server, well and ill.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use liftlock_environment::config::{Notification, Occasion, SecretSource};
use liftlock_notify::{Message, NotifyError, Sender, wants};
use liftlock_testkit::ClosedPort;
use secrecy::SecretString;
use tokio::net::TcpListener;

const SECRET: &str = "T00000000/B00000000/XXXXsecretXXXX";

/// What the server answers next; the last answer stays.
type Script = VecDeque<(StatusCode, Option<&'static str>, String)>;

struct Webhook {
    url: SecretString,
    seen: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

impl Webhook {
    async fn start<const N: usize>(answers: [(u16, Option<&'static str>, &str); N]) -> Self {
        let script: Script = answers
            .into_iter()
            .map(|(status, after, body)| (status.try_into().unwrap(), after, body.to_owned()))
            .collect();
        let script = Arc::new(Mutex::new(script));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        let answer = move |headers: HeaderMap, body: Bytes| async move {
            record.lock().unwrap().push((headers, body));
            let mut script = script.lock().unwrap();
            let last = script.len() == 1;
            let (status, after, body) =
                if last { script[0].clone() } else { script.pop_front().unwrap() };
            let mut headers = HeaderMap::new();
            if let Some(after) = after {
                headers.insert("retry-after", after.parse().unwrap());
            }
            if status.is_redirection() {
                headers.insert("location", "/services/elsewhere".parse().unwrap());
            }
            (status, headers, body)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/services/{SECRET}", listener.local_addr().unwrap()).into();
        let router = Router::new().route("/services/{*rest}", post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    async fn tell(&self) -> Result<(), NotifyError> {
        Sender::new().unwrap().send(&channel(vec![]), &self.url, &message()).await
    }
}

fn channel(on: Vec<Occasion>) -> Notification {
    let url = SecretSource::Env { variable: "SLACK_WEBHOOK".into() };
    Notification::Slack { name: "releases".into(), url, on }
}

fn message() -> Message {
    Message {
        occasion: Occasion::Promoted,
        environment: "prod".parse().unwrap(),
        title: "1.4.0 is in prod".into(),
        text: "by alice & bob".into(),
        fields: vec![("Release".into(), "rel-0123456789ab".into())],
    }
}

/// Whatever can be printed of an error says nothing of the webhook's address.
fn assert_discreet(error: &NotifyError) {
    let mut text = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!("{inner} {inner:?}"));
        cause = inner.source();
    }
    assert!(!text.contains("XXXX") && !text.contains("T00000000"), "{text}");
}

/// Shows A-NOT-1 and E-NOT-1: a message arrives as Slack expects it.
#[tokio::test]
async fn a_message_arrives() {
    let webhook = Webhook::start([(200, None, "ok")]).await;
    webhook.tell().await.unwrap();
    let seen = webhook.seen.lock().unwrap();
    let (headers, body) = &seen[0];
    assert_eq!(headers["content-type"], "application/json");
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    assert_eq!(body["text"], "1.4.0 is in prod\nby alice &amp; bob");
    assert_eq!(body["blocks"][0]["text"]["text"], ":white_check_mark: *1.4.0 is in prod*");
}

/// Shows A-NOT-1: each channel hears of what it asks for.
#[test]
fn channels_choose_their_occasions() {
    assert!(wants(&channel(vec![]), Occasion::Stuck));
    assert!(wants(&channel(vec![Occasion::Stuck]), Occasion::Stuck));
    assert!(!wants(&channel(vec![Occasion::Stuck]), Occasion::Promoted));
}

#[tokio::test]
async fn a_busy_or_broken_server_is_asked_again() {
    let webhook =
        Webhook::start([(429, Some("1"), "rate_limited"), (503, None, ""), (200, None, "ok")])
            .await;
    let start = Instant::now();
    webhook.tell().await.unwrap();
    assert_eq!(webhook.requests(), 3);
    assert!(start.elapsed() >= Duration::from_secs(1), "Retry-After is kept");
}

#[tokio::test]
async fn a_server_that_stays_broken_is_given_up() {
    let webhook = Webhook::start([(500, None, "oh\u{1b}[2J no")]).await;
    let sender = Sender::new().unwrap().with_deadline(Duration::from_secs(1));
    let start = Instant::now();
    let error = sender.send(&channel(vec![]), &webhook.url, &message()).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(5));
    let attempts = webhook.requests();
    assert!(attempts >= 2);
    assert_eq!(
        error.to_string(),
        format!(
            "channel \"releases\": the webhook answered 500 \"oh [2J no\" ({attempts} attempts)"
        )
    );
}

/// A long `Retry-After` does not hold a promotion up.
#[tokio::test]
async fn a_long_wait_is_not_waited() {
    let webhook = Webhook::start([(429, Some("3600"), "")]).await;
    let sender = Sender::new().unwrap().with_deadline(Duration::from_secs(2));
    let start = Instant::now();
    let error = sender.send(&channel(vec![]), &webhook.url, &message()).await.unwrap_err();
    assert!(matches!(error, NotifyError::Refused { status: 429, attempts: 1, .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_refusal_is_final_and_does_not_show_the_address() {
    let echo = format!("no_service /services/{SECRET}");
    let webhook = Webhook::start([(404, None, echo.as_str())]).await;
    let error = webhook.tell().await.unwrap_err();
    assert_eq!(webhook.requests(), 1);
    assert_discreet(&error);
    let text = error.to_string();
    assert!(text.contains("404") && text.contains("no_service"), "{text}");
    assert!(text.ends_with("; make a new webhook and store its URL in the secret"), "{text}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let webhook = Webhook::start([(307, None, ""), (200, None, "ok")]).await;
    let error = webhook.tell().await.unwrap_err();
    assert!(error.to_string().ends_with("redirects are not followed"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_by_its_channel_only() {
    let closed = ClosedPort::new();
    let url = format!("http://{}/services/{SECRET}", closed.address());
    let sender = Sender::new().unwrap().with_deadline(Duration::from_secs(1));
    let error = sender.send(&channel(vec![]), &url.into(), &message()).await.unwrap_err();
    assert_discreet(&error);
    let text = error.to_string();
    assert!(text.contains("releases") && text.contains("Connection refused"), "{text}");
}

/// A server that took the message and does not answer is not told twice.
#[tokio::test]
async fn silence_ends_with_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/services/{SECRET}", listener.local_addr().unwrap());
    let sender = Sender::new().unwrap().with_deadline(Duration::from_millis(300));
    let error = sender.send(&channel(vec![]), &url.into(), &message()).await.unwrap_err();
    assert!(matches!(error, NotifyError::Late { .. }), "{error}");
    assert_discreet(&error);
}

#[tokio::test]
async fn what_is_no_url_is_not_printed() {
    for bad in ["XXXXsecretXXXX", "ftp://host/T00000000", "", "https://"] {
        let url = SecretString::from(bad);
        let sender = Sender::new().unwrap();
        let error = sender.send(&channel(vec![]), &url, &message()).await.unwrap_err();
        assert!(matches!(error, NotifyError::Url { .. }), "{error}");
        assert_discreet(&error);
    }
}
