//! A database whose migrations are looked at and changed.

use std::fmt;

use secrecy::SecretString;
use serde::Serialize;
use sqlx::PgConnection;

use crate::check::{Problem, compare};
use crate::connect::{Address, ConnectError};
use crate::current::{Expected, Histories, Known};
use crate::drift::Drift;
use crate::dry_run::Recorder;
use crate::failure::Failure;
use crate::files::{Migration, Migrations};
use crate::history::{self, Applied, Execution};
use crate::outside::half::Half;
use crate::outside::{self, HalfDone};
use crate::pooler;
use crate::refinery;
use crate::session::Watcher;
use crate::settings::Settings;
use crate::transaction::{OwnSession, PREPARE_SESSION, Workbench, session_settings};
use liftlock_model::{MigrationId, Phase};

/// A database whose migrations are looked at and changed, over one connection of its own.
pub struct Database {
    pub(crate) connection: PgConnection,
    pub(crate) watcher: Watcher,
    pub(crate) settings: Settings,
    pub(crate) address: Address,
    pub(crate) url: SecretString,
    /// Notes what each statement does, in a dry-run.
    pub(crate) recorder: Option<Recorder>,
    /// What was read ahead of the next run.
    ahead: Option<Histories>,
    own: Option<OwnSession>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("place", &self.address.place).finish_non_exhaustive()
    }
}

/// Why a database could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("the migrations of database {database} could not be read: {reason}")]
pub struct StatusError {
    pub(crate) database: String,
    pub(crate) reason: String,
}

impl StatusError {
    pub(crate) fn new(database: &str, error: &sqlx::Error) -> Self {
        Self { database: database.to_owned(), reason: crate::failure::reason(error) }
    }
}

/// How files and database stand to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Host, port and database.
    pub database: String,
    /// What the database has, in order.
    pub applied: Vec<Applied>,
    /// What would be applied, in order.
    pub pending: Vec<Pending>,
    /// What a run outside of a transaction left half done.
    pub half_done: Vec<HalfDone>,
    /// Why nothing would be applied; none if all is well.
    pub problems: Vec<Problem>,
    /// How the schema stands to what the last run left.
    pub drift: Drift,
}

impl Status {
    /// Whether a run would find the database as the last one left it. That something is pending is fine.
    pub fn is_fine(&self) -> bool {
        self.problems.is_empty() && self.half_done.is_empty() && !self.drift.is_seen()
    }
}

/// A migration that would be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// Its number.
    pub version: i32,
    /// Its name.
    pub name: String,
    /// When it runs.
    pub phase: Phase,
    /// Whether it runs outside of a transaction.
    pub no_transaction: bool,
    /// Whether it has a verify script.
    pub verified: bool,
}

impl Pending {
    fn of(migration: &Migration) -> Self {
        Self {
            version: migration.id.version,
            name: migration.id.name.clone(),
            phase: migration.phase(),
            no_transaction: migration.up.directives.no_transaction,
            verified: migration.verify.is_some(),
        }
    }

    /// Its number and name.
    pub fn id(&self) -> MigrationId {
        MigrationId { version: self.version, name: self.name.clone() }
    }
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id())?;
        let contract = (self.phase == Phase::Contract).then_some("contract");
        let outside = self.no_transaction.then_some("no transaction");
        let marks: Vec<&str> = contract.into_iter().chain(outside).collect();
        if marks.is_empty() { Ok(()) } else { write!(f, "  ({})", marks.join(", ")) }
    }
}

impl Database {
    /// Connects.
    ///
    /// # Errors
    /// [`ConnectError`] names host and database, never the password, and says what kind of failure it was.
    pub async fn connect(url: &SecretString, settings: Settings) -> Result<Self, ConnectError> {
        let address = Address::parse(url, &settings)?;
        let connection = address.connect_with(&session_settings(&settings)).await?;
        let watcher = Watcher::new(address.clone());
        Ok(Self {
            connection,
            watcher,
            settings,
            address,
            url: url.clone(),
            recorder: None,
            ahead: None,
            own: None,
        })
    }

    /// Host, port and database.
    pub fn place(&self) -> &str {
        &self.address.place
    }

    /// What the database has, in order. Writes nothing.
    ///
    /// # Errors
    /// [`StatusError`] if the history cannot be read.
    pub async fn applied(&mut self) -> Result<Vec<Applied>, StatusError> {
        let applied = history::applied(&mut self.connection).await;
        applied.map_err(|error| StatusError::new(&self.address.place, &error))
    }

    /// Everything that is on record, oldest first, failures included. Writes nothing.
    ///
    /// # Errors
    /// [`StatusError`] if the history cannot be read.
    pub async fn history(&mut self) -> Result<Vec<Execution>, StatusError> {
        history::log(&mut self.connection)
            .await
            .map_err(|error| StatusError::new(&self.address.place, &error))
    }

    /// The first pending migration that must not run as long as an older version may be running: the oldest of the contract
    /// phase. A database without migrations has no older version. Writes nothing.
    ///
    /// # Errors
    /// [`StatusError`] if the history cannot be read.
    pub async fn waits(
        &mut self,
        migrations: &Migrations,
    ) -> Result<Option<MigrationId>, StatusError> {
        self.waits_for(migrations, None).await
    }

    /// The same where the version that serves is known to know the migrations up to `serving`.
    ///
    /// # Errors
    /// [`StatusError`] if the history cannot be read.
    pub async fn waits_for(
        &mut self,
        migrations: &Migrations,
        serving: Option<i32>,
    ) -> Result<Option<MigrationId>, StatusError> {
        if migrations.waits(0).is_none() {
            return Ok(None);
        }
        let newest = refinery::newest(&mut self.connection).await;
        let newest = newest.map_err(|error| StatusError::new(&self.address.place, &error))?;
        let newest = (newest > 0).then_some(newest).into_iter().chain(serving).max();
        let waits = newest.and_then(|newest| migrations.waits(newest));
        Ok(waits.map(|first| first.id.clone()))
    }

    /// Reads what the database has, for the next [`Database::apply`] to look at: to be done while the files are being read.
    /// Writes nothing.
    ///
    /// # Errors
    /// [`StatusError`] if the connection is gone.
    pub async fn read_ahead(&mut self) -> Result<(), StatusError> {
        self.look_ahead(None).await
    }

    /// The same, where files are `known` that it may have.
    pub(crate) async fn look_ahead(&mut self, known: Option<&Known>) -> Result<(), StatusError> {
        let histories = Histories::read(&mut self.connection, known).await;
        let histories = histories.map_err(|error| StatusError::new(&self.address.place, &error))?;
        self.ahead = Some(histories);
        Ok(())
    }

    /// Whether it has what the files hold, and nothing is left to be done. No may also say that this cannot be told quickly.
    /// Writes nothing.
    ///
    /// # Errors
    /// [`StatusError`] if the connection is gone.
    pub async fn is_current(&mut self, migrations: &Migrations) -> Result<bool, StatusError> {
        if self.ahead.is_none() {
            self.read_ahead().await?;
        }
        // What was read ahead is true for one look.
        Ok(self.ahead.take().unwrap_or_default().are_those_of(migrations))
    }

    /// The same of files that are known to make this, by what was read ahead: that, if it has.
    pub(crate) fn has(&self, expected: &Expected) -> Option<&Histories> {
        self.ahead.as_ref().filter(|histories| histories.are(expected))
    }

    /// How files and database stand to each other. Writes nothing.
    ///
    /// # Errors
    /// [`StatusError`] if the history cannot be read.
    pub async fn status(&mut self, migrations: &Migrations) -> Result<Status, StatusError> {
        let applied = self.applied().await?;
        let comparison = compare(migrations, &applied);
        let pending = comparison.pending.into_iter().map(Pending::of).collect();
        let problems = comparison.problems;
        let halves = outside::halves(&mut self.connection).await;
        let halves = halves.map_err(|error| StatusError::new(&self.address.place, &error))?;
        let half_done = halves.values().map(Half::tell).collect();
        let drift = self.drift().await?;
        let database = self.address.place.clone();
        Ok(Status { database, applied, pending, half_done, problems, drift })
    }

    /// The connection, ready for transactions that change something.
    pub(crate) async fn workbench(&mut self) -> Result<Workbench<'_>, Failure> {
        let place = &self.address.place;
        let own = match &mut self.own {
            Some(own) => own,
            none => {
                let failed = |error: &sqlx::Error| Failure::database(place, error);
                // Before anything is set: a setting would stay behind in a pooler's session, for others to stumble over.
                let (pid, limited) =
                    pooler::own_process(&mut self.connection, &self.watcher).await?;
                if !limited {
                    let prepared = sqlx::raw_sql(PREPARE_SESSION).execute(&mut self.connection);
                    prepared.await.map_err(|error| failed(&error))?;
                }
                none.insert(OwnSession { pid, limited, prepared: false, has_tables: false })
            }
        };
        Ok(Workbench {
            connection: &mut self.connection,
            watcher: &mut self.watcher,
            settings: &self.settings,
            recorder: self.recorder.as_mut(),
            place,
            own,
        })
    }
}
