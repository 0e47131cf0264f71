//! Holding an environment: a lease in the ledger, and a lock on this machine that tells a dead run from a live one.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use liftlock_ledger::{AcquireError, Fence, Heart, Lease, Ledger, Location, projection};
use liftlock_model::{Actor, EnvName, RunId};
use liftlock_saga::{StepError, StepErrorKind};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::PromoteError;
use crate::run::read_history;

/// The lock's file in an environment's private directory.
const LOCK: &str = "running.lock";
/// How long a lease holds without a heartbeat.
const TTL: Duration = Duration::from_secs(30);
/// How long a run that has this machine's lock may take to its lease, so that whoever is refused is told its name.
const NAMED_WITHIN: Duration = Duration::from_secs(2);
/// How often is looked for that lease.
const LOOK: Duration = Duration::from_millis(20);

/// Which environment is to be held, by whom, and where that is written down.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The environment.
    pub environment: &'a EnvName,
    /// The ledger.
    pub ledger: &'a Ledger,
    /// Where the ledger is.
    pub location: &'a Location,
    /// Who works.
    pub actor: &'a Actor,
    /// The environment's private directory on this machine.
    pub work: &'a Path,
}

/// Whether a run of this machine is at work in the environment with this private directory.
pub fn is_at_work(work: &Path) -> bool {
    let Ok(file) = File::open(work.join(LOCK)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// An environment held by a run.
pub struct Hold {
    ledger: Ledger,
    lease: Lease,
    heart: Heart,
    /// Held until this is dropped; the system frees it when the process dies.
    _lock: File,
}

impl Hold {
    /// Takes the environment for `run`, or says who has it. A lease that a dead process of this machine left behind is
    /// taken at once; of another machine's, only its expiry tells.
    pub(crate) async fn take(place: &Place<'_>, run: &RunId) -> Result<Self, PromoteError> {
        let lock = match lock(place)? {
            Some(lock) => lock,
            None => return Err(busy(place).await),
        };
        let lease = match acquire(place, run).await {
            // The lock is ours and this ledger is of this machine alone: whoever holds the lease is dead.
            Err(PromoteError::Held { .. }) if matches!(place.location, Location::Sqlite(_)) => {
                if let Some(left_behind) =
                    place.ledger.holder(place.environment).await.map_err(unreadable)?
                {
                    place
                        .ledger
                        .release(&left_behind)
                        .await
                        .map_err(|error| unreadable_text(error.to_string()))?;
                }
                acquire(place, run).await?
            }
            other => other?,
        };
        let heart = Heart::start(place.ledger, lease.clone());
        Ok(Self { ledger: place.ledger.clone(), lease, heart, _lock: lock })
    }

    /// Takes the environment for something else than a promotion or rollback, which must not begin in the middle of one.
    ///
    /// # Errors
    /// Another run holds the environment, or was interrupted there; or the ledger cannot be used.
    pub async fn between_runs(place: &Place<'_>, run: &RunId) -> Result<Self, PromoteError> {
        let hold = Self::take(place, run).await?;
        let interrupted = read_history(place.ledger)
            .await
            .map(|entries| projection::unfinished(&entries, place.environment));
        let refusal = match interrupted {
            Ok(None) => return Ok(hold),
            Ok(Some(run)) => {
                PromoteError::Interrupted { environment: place.environment.clone(), run }
            }
            Err(error) => error,
        };
        hold.give_back().await;
        Err(refusal)
    }

    /// Proves to the ledger that this run still holds the environment.
    pub fn fence(&self) -> Fence {
        self.lease.fence()
    }

    /// Asks the run to stop when the lease is lost. The returned task ends with the hold.
    pub(crate) fn stop_when_lost(&self, cancel: &CancellationToken) -> tokio::task::JoinHandle<()> {
        let mut pulse = self.heart.watch();
        let cancel = cancel.clone();
        tokio::spawn(async move {
            let lost =
                |pulse: &liftlock_ledger::Pulse| matches!(pulse, liftlock_ledger::Pulse::Lost(_));
            // A heart that ended without a word renews nothing either.
            pulse.wait_for(lost).await.map(drop).ok();
            cancel.cancel();
        })
    }

    /// Gives the environment free.
    pub async fn give_back(self) {
        self.heart.stop().await;
        // A lease that cannot be given back expires by itself; the run's end is on record already.
        self.ledger.release(&self.lease).await.ok();
    }
}

async fn acquire(place: &Place<'_>, run: &RunId) -> Result<Lease, PromoteError> {
    match place.ledger.acquire(place.environment, run, place.actor, TTL).await {
        Ok(lease) => Ok(lease),
        Err(AcquireError::Held { run, actor, since, expires, .. }) => Err(PromoteError::Held {
            environment: place.environment.clone(),
            run,
            actor,
            since,
            expires,
        }),
        Err(error) => Err(unreadable_text(error.to_string())),
    }
}

fn lock(place: &Place<'_>) -> Result<Option<File>, PromoteError> {
    let path = place.work.join(LOCK);
    let failed = |error: std::io::Error| {
        let message = format!("{}: {error}", path.display());
        PromoteError::Preflight(StepError::new(StepErrorKind::Configuration, message))
    };
    std::fs::create_dir_all(place.work).map_err(failed)?;
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Somebody on this machine has the lock: says who, as far as the ledger knows.
async fn busy(place: &Place<'_>) -> PromoteError {
    let environment = place.environment.clone();
    let deadline = Instant::now() + NAMED_WITHIN;
    loop {
        match place.ledger.holder(&environment).await {
            Ok(Some(lease)) => {
                return PromoteError::Held {
                    environment,
                    run: lease.run,
                    actor: lease.actor,
                    since: lease.since,
                    expires: lease.expires,
                };
            }
            // It has the lock and not the lease yet, or no more.
            Ok(None) if Instant::now() >= deadline => return PromoteError::Busy { environment },
            Ok(None) => tokio::time::sleep(LOOK).await,
            Err(error) => return unreadable(error),
        }
    }
}

fn unreadable(error: liftlock_ledger::ReadError) -> PromoteError {
    unreadable_text(error.to_string())
}

fn unreadable_text(message: String) -> PromoteError {
    PromoteError::Ledger { message, authentication: false }
}
