//! Holding an environment: a lease in the ledger, and a lock on this machine that tells a dead run from a live one.

use std::fs::{File, OpenOptions, TryLockError};
use std::time::Duration;

use liftlock_ledger::{AcquireError, Fence, Heart, Lease, Location};
use liftlock_model::RunId;
use liftlock_saga::{StepError, StepErrorKind};
use tokio_util::sync::CancellationToken;

use crate::error::PromoteError;
use crate::site::Site;

/// How long a lease holds without a heartbeat.
const TTL: Duration = Duration::from_secs(30);

/// An environment held by a run.
pub(crate) struct Hold {
    lease: Lease,
    heart: Heart,
    /// Held until this is dropped; the system frees it when the process dies.
    _lock: File,
}

impl Hold {
    /// Takes the environment for `run`, or says who has it. A lease that a dead process of this machine left behind is
    /// taken at once; of another machine's, only its expiry tells.
    pub(crate) async fn take(site: &Site, run: &RunId) -> Result<Self, PromoteError> {
        let lock = match lock(site)? {
            Some(lock) => lock,
            None => return Err(busy(site).await),
        };
        let lease = match acquire(site, run).await {
            // The lock is ours and this ledger is of this machine alone: whoever holds the lease is dead.
            Err(PromoteError::Held { .. }) if matches!(site.location, Location::Sqlite(_)) => {
                if let Some(left_behind) =
                    site.ledger.holder(&site.environment.name).await.map_err(unreadable)?
                {
                    site.ledger
                        .release(&left_behind)
                        .await
                        .map_err(|error| unreadable_text(error.to_string()))?;
                }
                acquire(site, run).await?
            }
            other => other?,
        };
        let heart = Heart::start(&site.ledger, lease.clone());
        Ok(Self { lease, heart, _lock: lock })
    }

    /// Proves to the ledger that this run still holds the environment.
    pub(crate) fn fence(&self) -> Fence {
        self.lease.fence()
    }

    /// Asks the run to stop when the lease is lost. The returned task ends with the hold.
    pub(crate) fn stop_when_lost(&self, cancel: &CancellationToken) -> tokio::task::JoinHandle<()> {
        let mut pulse = self.heart.watch();
        let cancel = cancel.clone();
        tokio::spawn(async move {
            let lost =
                |pulse: &liftlock_ledger::Pulse| matches!(pulse, liftlock_ledger::Pulse::Lost(_));
            if pulse.wait_for(lost).await.is_ok() {
                cancel.cancel();
            }
        })
    }

    /// Gives the environment free.
    pub(crate) async fn give_back(self, site: &Site) {
        self.heart.stop().await;
        // A lease that cannot be given back expires by itself; the run's end is on record already.
        site.ledger.release(&self.lease).await.ok();
    }
}

async fn acquire(site: &Site, run: &RunId) -> Result<Lease, PromoteError> {
    match site.ledger.acquire(&site.environment.name, run, &site.actor, TTL).await {
        Ok(lease) => Ok(lease),
        Err(AcquireError::Held { run, actor, since, expires, .. }) => Err(PromoteError::Held {
            environment: site.environment.name.clone(),
            run,
            actor,
            since,
            expires,
        }),
        Err(error) => Err(unreadable_text(error.to_string())),
    }
}

fn lock(site: &Site) -> Result<Option<File>, PromoteError> {
    let path = site.work.join("running.lock");
    let failed = |error: std::io::Error| {
        let message = format!("{}: {error}", path.display());
        PromoteError::Preflight(StepError::new(StepErrorKind::Configuration, message))
    };
    std::fs::create_dir_all(&site.work).map_err(failed)?;
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Somebody on this machine has the lock: says who, as far as the ledger knows.
async fn busy(site: &Site) -> PromoteError {
    let environment = site.environment.name.clone();
    match site.ledger.holder(&environment).await {
        Ok(Some(lease)) => PromoteError::Held {
            environment,
            run: lease.run,
            actor: lease.actor,
            since: lease.since,
            expires: lease.expires,
        },
        // It has the lock and not the lease yet, or no more.
        Ok(None) => PromoteError::Busy { environment },
        Err(error) => unreadable(error),
    }
}

fn unreadable(error: liftlock_ledger::ReadError) -> PromoteError {
    unreadable_text(error.to_string())
}

fn unreadable_text(message: String) -> PromoteError {
    PromoteError::Ledger { message, authentication: false }
}
