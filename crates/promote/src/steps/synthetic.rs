//! Liftlock's own requests while two versions are compared, so that low traffic is no reason to know nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use liftlock_environment::config::SyntheticProbes;
use liftlock_model::ServiceName;
use liftlock_probe::Prober;
use liftlock_rollout::Urls;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use url::Url;

/// At how many times the rate of one version users' listener is asked at most, to reach the version with the smaller share of it.
const MOST: u32 = 10;
/// How many requests of one kind may wait for their answers; more would only add to what makes them wait.
const UNDER_WAY: usize = 100;

/// The requests of one bake.
pub(crate) struct Synthetic<'a> {
    prober: &'a Prober,
    timeout: Duration,
    streams: Vec<Stream<'a>>,
}

/// Requests of one service through one listener.
struct Stream<'a> {
    service: &'a ServiceName,
    base: Url,
    path: &'a str,
    each: Duration,
    sent: AtomicU64,
    /// To whom, for people.
    to: &'static str,
}

impl<'a> Synthetic<'a> {
    /// None of any service yet.
    pub(crate) fn new(prober: &'a Prober, timeout: Duration) -> Self {
        Self { prober, timeout, streams: Vec::new() }
    }

    /// Adds a service's requests. The test listener leads to the new version alone. Only users' listener leads to the old one, and only with
    /// `old_share` percent of the requests: the others meet the new version.
    pub(crate) fn add(
        &mut self,
        service: &'a ServiceName,
        probes: &'a SyntheticProbes,
        urls: &Urls,
        old_share: u8,
    ) {
        let path = probes.path.as_str();
        let mut stream = |base: &Url, each, to| {
            let (base, sent) = (base.clone(), AtomicU64::new(0));
            self.streams.push(Stream { service, base, path, each, sent, to });
        };
        let each = Duration::from_secs(1) / probes.per_second.max(1);
        stream(&urls.test, each, "the new version");
        if let Some(times) = times(old_share) {
            stream(&urls.production, each.div_f64(times), "users' listener");
        }
    }

    /// Asks, and never ends.
    pub(crate) async fn run(&self) {
        join_all(self.streams.iter().map(|stream| self.one(stream))).await;
        std::future::pending().await
    }

    async fn one(&self, stream: &Stream<'_>) {
        let mut turns = interval_at(Instant::now(), stream.each);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                _ = turns.tick(), if under_way.len() < UNDER_WAY => {
                    stream.sent.fetch_add(1, Relaxed);
                    under_way.push(self.prober.send(&stream.base, stream.path, self.timeout));
                }
                Some(()) = under_way.next() => {}
            }
        }
    }

    /// What was sent, by service, for the record: the sample is not users' alone.
    pub(crate) fn told(&self) -> BTreeMap<ServiceName, String> {
        let mut told: BTreeMap<ServiceName, String> = BTreeMap::new();
        for stream in &self.streams {
            let sent = stream.sent.load(Relaxed);
            let line = told
                .entry(stream.service.clone())
                .or_insert_with(|| format!("among them Liftlock's own GET {}", stream.path));
            let and = if line.contains(" to ") { " and" } else { ":" };
            line.push_str(&format!("{and} {sent} to {}", stream.to));
        }
        told
    }
}

/// How many requests to users' listener reach the old version once; none if it has no share.
fn times(old_share: u8) -> Option<f64> {
    (old_share > 0).then(|| (100.0 / f64::from(old_share)).min(f64::from(MOST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_version_gets_as_many_as_the_new_one_within_reason() {
        assert_eq!((times(100), times(50), times(0)), (Some(1.0), Some(2.0), None));
        assert_eq!(
            times(1),
            Some(10.0),
            "a hundred times as many would be a load test of users' listener"
        );
    }

    #[test]
    fn what_was_sent_is_told() {
        let (prober, service) = (Prober::new().unwrap(), "backend".parse().unwrap());
        let probes = SyntheticProbes { path: "/api/items".into(), per_second: 5 };
        let url = |text: &str| text.parse::<Url>().unwrap();
        let urls = Urls { production: url("http://127.0.0.1:1"), test: url("http://127.0.0.1:2") };
        let mut synthetic = Synthetic::new(&prober, Duration::from_secs(1));
        synthetic.add(&service, &probes, &urls, 90);
        synthetic.streams[0].sent.store(3, Relaxed);
        assert_eq!(
            synthetic.told()["backend"],
            "among them Liftlock's own GET /api/items: 3 to the new version and 0 to users' listener"
        );
    }
}
