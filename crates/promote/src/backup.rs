//! The snapshot that an environment demands before its schema is changed, by either method.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use liftlock_environment::Environment;
use liftlock_environment::config::{self, SnapshotMethod};
use liftlock_migrate::Database;
use liftlock_migrate::snapshot::{
    Archives, Dump, Marker, SnapshotRequest, SnapshotState, Snapshots, State, take,
};
use liftlock_model::{Event, ReleaseId, RunId};
use liftlock_saga::{StepError, StepErrorKind};
use tokio_util::sync::CancellationToken;

use crate::failure;

/// Which snapshot to take.
#[derive(Debug, Clone, Copy)]
pub struct BackUp<'a> {
    /// Of which environment.
    pub environment: &'a Environment,
    /// How.
    pub config: &'a config::Snapshot,
    /// In which run.
    pub run: &'a RunId,
    /// Which one of the run's it is, where it has more than one.
    pub purpose: Option<&'static str>,
    /// Before which release, where it is for one.
    pub release: Option<&'a ReleaseId>,
    /// How often to look how far it is.
    pub poll: Duration,
}

/// A snapshot that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackedUp {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub place: String,
    /// The last day on which it is kept.
    pub keep_until: Option<Date>,
    /// The place in the database's log, where the database tells.
    pub marker: Option<Marker>,
}

impl BackedUp {
    /// For the ledger.
    pub fn event(&self) -> Event {
        Event::SnapshotTaken {
            id: self.id.clone(),
            place: self.place.clone(),
            keep_until: self.keep_until,
            marker: self.marker.clone(),
        }
    }
}

/// The id of the snapshot that a run has surely taken before it changes the schema; none where the environment demands none.
pub(crate) fn required(environment: &Environment, run: &RunId) -> Option<String> {
    let snapshot = environment.config.database.as_ref()?.snapshot.as_ref()?;
    snapshot.required.then(|| id(environment, run))
}

fn id(environment: &Environment, run: &RunId) -> String {
    format!("{}-{run}", environment.prefix())
}

impl BackUp<'_> {
    /// Its id: the same run and purpose, the same snapshot.
    pub fn id(&self) -> String {
        let purpose = self.purpose.map(|purpose| format!("-{purpose}")).unwrap_or_default();
        format!("{}{purpose}", id(self.environment, self.run))
    }

    /// The instance that RDS makes it of.
    pub fn instance(&self) -> String {
        self.config.instance.clone().unwrap_or_else(|| self.environment.prefix())
    }

    /// The directory of `pg_dump`'s archives.
    pub fn archives(&self) -> Archives {
        let directory = self.config.directory.clone().unwrap_or_default();
        Archives::new(self.environment.path(&directory))
    }

    /// What it is, for people.
    pub fn plan(&self) -> String {
        let days = self.config.keep_days;
        match self.config.method {
            SnapshotMethod::Rds => {
                format!("take a snapshot of {}, kept for {days} days", self.instance())
            }
            SnapshotMethod::PgDump => {
                let archives = self.archives();
                let directory = archives.directory().display();
                format!("save the database with pg_dump in {directory}, kept for {days} days")
            }
        }
    }

    /// Takes it, and waits until it can be restored. One that is there already, of the same run, is the same. `database` tells its
    /// place in its log; RDS needs no more of it, `pg_dump` does, and needs no `snapshots`.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn take(
        &self,
        snapshots: Option<&dyn Snapshots>,
        database: Result<Database, StepError>,
        on: &(dyn Fn(String) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<BackedUp, StepError> {
        match self.config.method {
            SnapshotMethod::Rds => {
                let nobody = "nobody makes snapshots of instances here";
                let snapshots = snapshots
                    .ok_or_else(|| StepError::new(StepErrorKind::Configuration, nobody))?;
                self.take_instance(snapshots, database, on, cancel).await
            }
            SnapshotMethod::PgDump => {
                let mut database = database?;
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => Err(StepError::new(
                        StepErrorKind::Cancelled,
                        format!("cancelled while snapshot {} was made", self.id()),
                    )),
                    taken = self.dump(&mut database, on) => taken,
                }
            }
        }
    }

    async fn take_instance(
        &self,
        snapshots: &dyn Snapshots,
        database: Result<Database, StepError>,
        on: &(dyn Fn(String) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<BackedUp, StepError> {
        let keep_until = self.keep_until();
        let mut tags = BTreeMap::from([
            ("liftlock:run".to_owned(), self.run.to_string()),
            ("liftlock:keep-until".to_owned(), keep_until.to_string()),
        ]);
        tags.extend(self.release.map(|id| ("liftlock:release".to_owned(), id.to_string())));
        let request = SnapshotRequest { id: self.id(), instance: self.instance(), tags };
        // Before it is asked for: a recovery to that point has nothing that the snapshot lacks.
        let marker = match database {
            Ok(mut database) => database.marker(&self.id()).await.map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let marker =
            marker.inspect_err(|error| on(format!("no point-in-time marker: {error}"))).ok();
        let timeout = self.config.timeout.duration();
        let taken = take(snapshots, &request, timeout, self.poll, on, cancel).await;
        let taken = taken.map_err(failure::taking)?;
        Ok(BackedUp { id: taken.id, place: taken.arn, keep_until: Some(keep_until), marker })
    }

    async fn dump(
        &self,
        database: &mut Database,
        on: &(dyn Fn(String) + Send + Sync),
    ) -> Result<BackedUp, StepError> {
        let ask = Dump {
            archives: self.archives(),
            id: Some(self.id()),
            keep_days: Some(self.config.keep_days),
            timeout: self.config.timeout.duration(),
            ..Dump::into("")
        };
        on(format!("snapshot {}: being made by pg_dump", self.id()));
        let made = database.dump(&ask).await.map_err(|error| failure::archive(&error))?;
        let manifest = &made.snapshot.manifest;
        Ok(BackedUp {
            id: manifest.id.clone(),
            place: made.snapshot.dump().display().to_string(),
            keep_until: manifest.keep_until,
            marker: Some(manifest.marker.clone()),
        })
    }

    /// Whether it is there.
    ///
    /// # Errors
    /// What whoever keeps it says.
    pub async fn is_there(&self, snapshots: &dyn Snapshots) -> Result<bool, StepError> {
        Ok(match self.config.method {
            SnapshotMethod::Rds => {
                let state = snapshots.state(&self.id()).await.map_err(failure::snapshot)?;
                matches!(state, Some(SnapshotState::Available { .. }))
            }
            SnapshotMethod::PgDump => {
                self.archives().find(&self.id()).is_ok_and(|found| found.state() == State::There)
            }
        })
    }

    fn keep_until(&self) -> Date {
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        today.checked_add(i64::from(self.config.keep_days).days()).unwrap_or(Date::MAX)
    }
}
