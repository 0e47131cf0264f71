//! Leases: who may change an environment, until when, and the fencing token that makes a late writer harmless.

use std::time::Duration;

use jiff::Timestamp;
use liftlock_model::{Actor, EnvName, Event, RunId};

use crate::append::{append, queue};
use crate::error::Trouble;
use crate::store::Tx;
use crate::{AppendError, Draft, Ledger, ReadError, StoreError};

/// An environment's lease, as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Which environment it is for.
    pub environment: EnvName,
    /// The run that holds it.
    pub run: RunId,
    /// Whose run it is.
    pub actor: Actor,
    /// The fencing token: greater with each new holder, and never given twice.
    pub token: i64,
    /// When the run took it.
    pub since: Timestamp,
    /// When it ends unless it is renewed.
    pub expires: Timestamp,
    /// How long a renewal makes it last.
    pub ttl: Duration,
}

impl Lease {
    /// What an append must carry so that it is refused once the lease is another's.
    pub fn fence(&self) -> Fence {
        Fence { environment: self.environment.clone(), run: self.run.clone(), token: self.token }
    }
}

/// The proof of a lease that an append carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    pub(crate) environment: EnvName,
    pub(crate) run: RunId,
    pub(crate) token: i64,
}

/// Why a lease was not acquired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// Another run, or another process of the same run, holds it.
    #[error(
        "{environment} is held by {run} of {actor} since {since}; its lease ends at {expires} unless it is renewed: wait for it, or \
         look with `liftlock status --env {environment}`"
    )]
    Held {
        /// Which environment.
        environment: EnvName,
        /// The run that holds it.
        run: RunId,
        /// Whose run it is.
        actor: Actor,
        /// Since when.
        since: Timestamp,
        /// Until when, unless it is renewed.
        expires: Timestamp,
    },
    /// The takeover could not be recorded.
    #[error(transparent)]
    Append(AppendError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a lease was not renewed or given back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// It is no longer this run's.
    #[error(
        "{run} no longer holds {environment}{}: `liftlock status --env {environment}` shows what happens there now",
        match by { Some((run, actor)) => format!(", {run} of {actor} took it over"), None => String::new() }
    )]
    Lost {
        /// Which environment.
        environment: EnvName,
        /// The run that lost it.
        run: RunId,
        /// The run that holds it now, and whose it is.
        by: Option<(RunId, Actor)>,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A row of the table of leases. It stays when the lease is given back, so that tokens go on rising.
pub(crate) struct Row {
    pub(crate) token: i64,
    pub(crate) holder: Option<(RunId, Actor)>,
    since: i64,
    expires: i64,
    ttl: i64,
}

impl Row {
    fn lease(&self, environment: &EnvName) -> Option<Lease> {
        let (run, actor) = self.holder.clone()?;
        Some(Lease {
            environment: environment.clone(),
            run,
            actor,
            token: self.token,
            since: Timestamp::from_microsecond(self.since).ok()?,
            expires: Timestamp::from_microsecond(self.expires).ok()?,
            ttl: Duration::from_micros(u64::try_from(self.ttl).ok()?),
        })
    }
}

pub(crate) async fn row(tx: &mut Tx, environment: &EnvName) -> Result<Option<Row>, StoreError> {
    type Columns = (i64, Option<String>, Option<String>, i64, i64, i64);
    let sql =
        "SELECT token, run, actor, since, expires, ttl FROM liftlock_leases WHERE environment = $1";
    let found: Option<Columns> = tx.row(sql, &[environment.as_str().into()]).await?;
    let Some((token, run, actor, since, expires, ttl)) = found else { return Ok(None) };
    let holder = match (run, actor) {
        (Some(run), Some(actor)) => {
            let run = run
                .parse()
                .map_err(|_| tx.trouble(Trouble::Damaged, "a lease names no valid run id"))?;
            Some((run, Actor::new(&actor)))
        }
        _ => None,
    };
    Ok(Some(Row { token, holder, since, expires, ttl }))
}

/// What becomes of a request for a lease. Pure.
enum Decision {
    Grant { token: i64 },
    TakeOver { token: i64, from: RunId },
    Refuse,
}

fn decide(row: Option<&Row>, run: &RunId, now: i64) -> Decision {
    match row {
        None => Decision::Grant { token: 1 },
        Some(Row { token, holder: None, .. }) => Decision::Grant { token: token + 1 },
        Some(Row { expires, .. }) if *expires > now => Decision::Refuse,
        // A run that is resumed after its own lease ran out takes nothing over from anybody, but its former process
        // may still be about: it gets a token of its own too.
        Some(Row { token, holder: Some((from, _)), .. }) if from == run => {
            Decision::Grant { token: token + 1 }
        }
        Some(Row { token, holder: Some((from, _)), .. }) => {
            Decision::TakeOver { token: token + 1, from: from.clone() }
        }
    }
}

impl Ledger {
    /// Takes an environment's lease for a run. A lease that ran out is taken over, which is recorded in the same transaction.
    /// A lease that did not run out is refused even to the same run: its former process may still live.
    ///
    /// # Errors
    /// Another process holds it, or the database failed.
    pub async fn acquire(
        &self,
        environment: &EnvName,
        run: &RunId,
        actor: &Actor,
        ttl: Duration,
    ) -> Result<Lease, AcquireError> {
        let (ledger, environment, run, actor) =
            (self.clone(), environment.clone(), run.clone(), actor.clone());
        self.whole(async move { ledger.take(&environment, &run, &actor, ttl).await }).await
    }

    async fn take(
        &self,
        environment: &EnvName,
        run: &RunId,
        actor: &Actor,
        ttl: Duration,
    ) -> Result<Lease, AcquireError> {
        let _order = self.writing.lock().await;
        let mut tx = self.store.write().await?;
        queue(&mut tx).await?;
        let found = row(&mut tx, environment).await?;
        let now = tx.now().await?;
        let (token, from) = match decide(found.as_ref(), run, now) {
            Decision::Grant { token } => (token, None),
            Decision::TakeOver { token, from } => (token, Some(from)),
            Decision::Refuse => {
                let damaged = || tx.trouble(Trouble::Damaged, "a lease holds an impossible time");
                let held = found.and_then(|row| row.lease(environment)).ok_or_else(damaged)?;
                let Lease { environment, run, actor, since, expires, .. } = held;
                return Err(AcquireError::Held { environment, run, actor, since, expires });
            }
        };
        let lease = write(&mut tx, environment, run, actor, token, now, ttl).await?;
        let takeover = match from {
            None => None,
            Some(from) => {
                let draft = Draft {
                    environment: Some(environment.clone()),
                    run: Some(run.clone()),
                    actor: actor.clone(),
                    event: Event::LeaseTakenOver { from, token },
                    fence: None,
                };
                Some(append(&mut tx, draft).await.map_err(AcquireError::Append)?)
            }
        };
        tx.commit().await?;
        if let Some(entry) = &takeover {
            self.tell(entry);
        }
        Ok(lease)
    }

    /// Makes a lease last for its time from now on. A lease that ran out but that nobody took is renewed too: its token is
    /// still the newest.
    ///
    /// # Errors
    /// The lease is another's now or was given back, or the database failed.
    pub async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        let mut tx = self.store.write().await?;
        queue(&mut tx).await?;
        own(&mut tx, lease).await?;
        let now = tx.now().await?;
        let expires = now + micros(lease.ttl);
        tx.execute(
            "UPDATE liftlock_leases SET expires = $1 WHERE environment = $2",
            &[expires.into(), lease.environment.as_str().into()],
        )
        .await?;
        tx.commit().await?;
        let expires = Timestamp::from_microsecond(expires).unwrap_or(Timestamp::MAX);
        Ok(Lease { expires, ..lease.clone() })
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// The lease is another's now or was given back before, or the database failed.
    pub async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        let mut tx = self.store.write().await?;
        queue(&mut tx).await?;
        own(&mut tx, lease).await?;
        tx.execute(
            "UPDATE liftlock_leases SET run = NULL, actor = NULL WHERE environment = $1",
            &[lease.environment.as_str().into()],
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Who holds an environment. A lease that ran out and that nobody took over since is told too: its `expires` is in
    /// the past.
    ///
    /// # Errors
    /// The database failed.
    pub async fn holder(&self, environment: &EnvName) -> Result<Option<Lease>, ReadError> {
        let mut tx = self.store.read().await?;
        let found = row(&mut tx, environment).await?;
        tx.commit().await?;
        Ok(found.and_then(|row| row.lease(environment)))
    }
}

fn micros(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

async fn own(tx: &mut Tx, lease: &Lease) -> Result<(), LeaseError> {
    match row(tx, &lease.environment).await? {
        Some(row) if row.token == lease.token && row.holder.is_some() => Ok(()),
        row => Err(LeaseError::Lost {
            environment: lease.environment.clone(),
            run: lease.run.clone(),
            by: row.and_then(|row| row.holder),
        }),
    }
}

async fn write(
    tx: &mut Tx,
    environment: &EnvName,
    run: &RunId,
    actor: &Actor,
    token: i64,
    now: i64,
    ttl: Duration,
) -> Result<Lease, StoreError> {
    let row = Row {
        token,
        holder: Some((run.clone(), actor.clone())),
        since: now,
        expires: now.saturating_add(micros(ttl)),
        ttl: micros(ttl),
    };
    tx.execute(
        "INSERT INTO liftlock_leases (environment, token, run, actor, since, expires, ttl) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (environment) DO UPDATE SET token = excluded.token, \
         run = excluded.run, actor = excluded.actor, since = excluded.since, expires = excluded.expires, \
         ttl = excluded.ttl",
        &[
            environment.as_str().into(),
            token.into(),
            run.as_str().into(),
            actor.as_str().into(),
            row.since.into(),
            row.expires.into(),
            row.ttl.into(),
        ],
    )
    .await?;
    row.lease(environment)
        .ok_or_else(|| tx.trouble(Trouble::Other, "the lease would end beyond the calendar"))
}
