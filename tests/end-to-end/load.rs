//! Users who ask all the time, on several connections that they keep.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::project::{client, until};

/// How many users ask at a time.
const USERS: usize = 8;

/// Requests under way.
pub(crate) struct Load {
    stop: CancellationToken,
    users: JoinSet<()>,
    seen: Arc<Mutex<Seen>>,
    answers: Arc<AtomicUsize>,
}

/// What users saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Requests that were not answered well, each in one line.
    pub failures: Vec<String>,
    /// When a version answered, in the order of the answers.
    versions: Vec<(Instant, String)>,
}

impl Seen {
    /// How many requests there were.
    pub(crate) fn count(&self) -> usize {
        self.failures.len() + self.versions.len()
    }

    /// When this version answered.
    pub(crate) fn times(&self, version: &str) -> Vec<Instant> {
        self.versions.iter().filter(|(_, seen)| seen == version).map(|(at, _)| *at).collect()
    }
}

impl Load {
    /// Starts to ask.
    pub(crate) fn start(url: &str) -> Self {
        let (stop, seen) = (CancellationToken::new(), Arc::new(Mutex::new(Seen::default())));
        let answers = Arc::new(AtomicUsize::new(0));
        let mut users = JoinSet::new();
        for user in 0..USERS {
            let (url, stop, seen) = (url.to_owned(), stop.clone(), seen.clone());
            let answers = answers.clone();
            users.spawn(async move {
                let client = client();
                for turn in user.. {
                    if stop.is_cancelled() {
                        return;
                    }
                    let result = ask(&client, &url, turn).await;
                    let mut seen = seen.lock().unwrap();
                    match result {
                        Ok(version) => seen.versions.push((Instant::now(), version)),
                        Err(failure) => seen.failures.push(failure),
                    }
                    drop(seen);
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { stop, users, seen, answers }
    }

    /// How many requests have been answered, well or not.
    pub(crate) fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    /// Waits until so many requests have been answered.
    pub(crate) async fn has_answers(&self, count: usize) {
        until("users have answers", async || self.answers() >= count).await;
    }

    /// Lets each user finish, and says what was seen.
    pub(crate) async fn stop(mut self) -> Seen {
        self.stop.cancel();
        while let Some(ended) = self.users.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// One request of a mix that touches both services and the database; the version that answered.
async fn ask(client: &reqwest::Client, url: &str, turn: usize) -> Result<String, String> {
    let request = match turn % 4 {
        0 => client.get(url),
        1 => client.get(format!("{url}api/items")),
        2 => client
            .post(format!("{url}api/items"))
            .header("content-type", "application/json")
            .body("{\"name\":\"bought under load\"}"),
        _ => client.get(format!("{url}health")),
    };
    let answer = request.send().await.map_err(|error| format!("turn {turn}: {error:?}"))?;
    let status = answer.status();
    let body = answer.text().await.map_err(|error| format!("turn {turn}: {error:?}"))?;
    if !status.is_success() {
        return Err(format!("turn {turn}: {status}: {body}"));
    }
    let version = match turn % 4 {
        0 => body.split("<title>Shop ").nth(1).and_then(|rest| rest.split('<').next()),
        3 => {
            let health: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
            return Ok(health["version"].as_str().unwrap_or_default().to_owned());
        }
        _ => Some("not told"),
    };
    version.map(str::to_owned).ok_or_else(|| format!("turn {turn}: no version in {body}"))
}
