//! The ledger itself.

use std::fmt;
use std::sync::Arc;

use liftlock_model::Entry;
use tokio::sync::{Mutex, broadcast};

use crate::error::Trouble;
use crate::store::Store;
use crate::{Location, OpenError, StoreError, schema};

/// An append-only, hash-chained event log with leases and artifacts. Clones share one set of connections.
#[derive(Clone)]
pub struct Ledger {
    pub(crate) store: Store,
    pub(crate) appended: broadcast::Sender<Entry>,
    /// Held from a transaction's begin until its entries were told to subscribers: they see them in order.
    pub(crate) writing: Arc<Mutex<()>>,
}

impl Ledger {
    /// Opens a ledger, and makes it (directory, file, tables) where there is none.
    ///
    /// # Errors
    /// What is there is no ledger, one of a newer version, or cannot be reached, read or written; [`OpenError::kind`]
    /// tells which. Nothing was changed then.
    pub async fn open(location: &Location) -> Result<Self, OpenError> {
        let store = schema::open(location).await?;
        let (appended, _) = broadcast::channel(4096);
        Ok(Self { store, appended, writing: Arc::default() })
    }

    /// Where it is, for people; never with a password.
    pub fn place(&self) -> &str {
        &self.store.place
    }

    /// Every entry that this process appends through this ledger or a clone of it, from now on, in order. A receiver that
    /// falls 4096 entries behind is told so, and reads the rest with [`Ledger::entries`].
    pub fn subscribe(&self) -> broadcast::Receiver<Entry> {
        self.appended.subscribe()
    }

    pub(crate) fn tell(&self, entry: &Entry) {
        // An error means that nobody listens, which is fine.
        self.appended.send(entry.clone()).ok();
    }

    /// Runs a change to its end even when the caller stops waiting for it: a caller that is cancelled between commit and
    /// answer must not leave subscribers without an entry that is written.
    pub(crate) async fn whole<T, E>(
        &self,
        change: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match tokio::spawn(change).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(StoreError::other(&self.store.place, Trouble::Other, error).into()),
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("place", &self.store.place).finish_non_exhaustive()
    }
}
