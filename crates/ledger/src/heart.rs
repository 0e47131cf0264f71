//! The heartbeat that keeps a lease, and tells when it is lost.

use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::{Lease, LeaseError, Ledger};

/// How a heart beats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pulse {
    /// The lease was renewed in time, so far.
    Beating,
    /// The lease is lost, or could not be renewed until it ran out: the text says why. Nothing may be changed any more.
    Lost(String),
}

/// A task that renews a lease every third of its time. [`Heart::stop`] ends it; dropping it ends it too.
#[derive(Debug)]
pub struct Heart {
    pulse: watch::Receiver<Pulse>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Heart {
    /// Starts to renew `lease`, which was acquired or renewed just now.
    pub fn start(ledger: &Ledger, lease: Lease) -> Self {
        let (pulse_sender, pulse) = watch::channel(Pulse::Beating);
        let (stop, stopped) = oneshot::channel();
        let ledger = ledger.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                lost = beat(&ledger, lease) => { pulse_sender.send_replace(Pulse::Lost(lost)); }
                // Also when the heart was dropped.
                _ = stopped => {}
            }
        });
        Self { pulse, stop: Some(stop), task }
    }

    /// The pulse, to be watched elsewhere.
    pub fn watch(&self) -> watch::Receiver<Pulse> {
        self.pulse.clone()
    }

    /// Waits until the lease is lost, and says why. Never returns while the heart beats.
    pub async fn lost(&self) -> String {
        let mut pulse = self.pulse.clone();
        match pulse.wait_for(|pulse| matches!(pulse, Pulse::Lost(_))).await.as_deref() {
            Ok(Pulse::Lost(why)) => why.clone(),
            // The task ended without a word: it panicked, so nobody renews the lease.
            _ => "the task that renews the lease ended".into(),
        }
    }

    /// Stops, and waits until it has stopped. The lease is still held: release it next.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
        (&mut self.task).await.ok();
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Renews until it cannot, and says why. Time is counted from before each renewal was asked for, so that the heart gives up
/// before the database lets another run in, and never after.
async fn beat(ledger: &Ledger, lease: Lease) -> String {
    let ttl = lease.ttl;
    let pause = (ttl / 3).max(Duration::from_millis(1));
    let mut end = Instant::now() + ttl;
    loop {
        tokio::time::sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
        let asked = Instant::now();
        match tokio::time::timeout_at(end, ledger.renew(&lease)).await {
            Ok(Ok(_)) => end = asked + ttl,
            Ok(Err(lost @ LeaseError::Lost { .. })) => return lost.to_string(),
            Ok(Err(error)) if Instant::now() >= end => {
                return format!("the lease ran out, since it could not be renewed: {error}");
            }
            Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(50).min(pause)).await,
            Err(_) => {
                return format!(
                    "the lease ran out, since {} did not answer within {ttl:?}",
                    ledger.place()
                );
            }
        }
    }
}
