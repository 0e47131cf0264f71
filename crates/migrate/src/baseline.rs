//! A database that was there before its migrations: it is proven to be what they make, and recorded as such.

mod first;

use std::path::PathBuf;
use std::time::Duration;

use liftlock_model::{Exit, MigrationId};
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};

use crate::apply::{finish, settle};
use crate::check::compare;
use crate::connect::ConnectError;
use crate::database::Database;
use crate::failure::{ApplyError, Failure};
use crate::files::{Migration, Migrations};
use crate::history::{self, Action, Applied, Entry};
use crate::lock;
use crate::progress::Progress;
use crate::refinery;
use crate::schema::{Difference, Schema};
use crate::shadow::{Shadow, TrialError};
use crate::squash::SquashError;
use crate::transaction::Workbench;

pub use first::{FirstMade, FromDatabase};

/// Migrations that were recorded as applied without being run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Baselined {
    /// Host, port and database.
    pub database: String,
    /// What was recorded; nothing if the history had it already.
    pub recorded: Vec<MigrationId>,
    /// Whether the schema was compared with what the migrations make.
    pub proven: bool,
    /// What is different in the order of columns alone.
    pub column_order: Vec<String>,
}

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// The database is not what the migrations make.
    #[error(
        "{database} is not what the migrations up to V{at:04} make; - is what they make, + is what is there:\n{difference}\n\
         mend what is different, name another migration, or record it all the same: --unproven REASON"
    )]
    Differs {
        /// Host, port and database.
        database: String,
        /// The migration that was named.
        at: i32,
        /// From what the migrations make to what is there.
        difference: Box<Difference>,
    },
    /// The first migration does not make what the database is.
    #[error(
        "the script does not make what {database} is; - is what is there, + is what it makes:\n{difference}\n\
         nothing was written; if somebody is at work on the schema, run it again; else write V0001 by hand, and record it: \
         `migrate baseline --at V0001`"
    )]
    Unlike {
        /// Host, port and database.
        database: String,
        /// From what is there to what the script makes.
        difference: Box<Difference>,
    },
    /// There are migrations.
    #[error(
        "{} has migrations already: `migrate baseline --at` records which of them the database has", directory.display()
    )]
    Directory {
        /// The directory.
        directory: PathBuf,
    },
    /// The database is empty.
    #[error("{database} holds nothing: begin with `migrate new`")]
    Nothing {
        /// Host, port and database.
        database: String,
    },
    /// The name is none.
    #[error("{name:?} gives no name: expected words of letters and digits")]
    Name {
        /// The name.
        name: String,
    },
    /// The first migration could not be made or tried.
    #[error("no first migration: {0}")]
    First(#[from] Box<SquashError>),
    /// A file could not be written.
    #[error("{} cannot be written: {source}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database has a history.
    #[error("{database} has a history already, up to V{newest:04}: go on with `migrate`")]
    History {
        /// Host, port and database.
        database: String,
        /// The newest migration that is applied.
        newest: i32,
    },
    /// There is no place to make what the migrations make.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// That place does not let us in.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The migrations do not run on an empty database.
    #[error("the migrations do not run on an empty database: {0}")]
    Migrations(Box<ApplyError>),
    /// The database failed us, or its history does not fit.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl BaselineError {
    /// The exit code that a command ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::History { .. }
            | Self::Trial(_)
            | Self::Connect(_)
            | Self::Directory { .. }
            | Self::Nothing { .. }
            | Self::Name { .. } => Exit::Usage,
            Self::Differs { .. }
            | Self::Unlike { .. }
            | Self::Migrations(_)
            | Self::File { .. } => Exit::Failed,
            Self::First(error) => error.exit(),
            Self::Failure(failure) => failure.exit(),
        }
    }
}

impl From<SquashError> for BaselineError {
    fn from(error: SquashError) -> Self {
        Self::First(Box::new(error))
    }
}

impl Database {
    /// Records the migrations up to `at` as applied without running them, once a throw-away database on which they were run
    /// has proven that they make just this schema; or without that, for the reason `unproven`.
    ///
    /// # Errors
    /// [`BaselineError`]; nothing was recorded.
    pub async fn baseline(
        &mut self,
        migrations: &Migrations,
        at: i32,
        unproven: Option<&str>,
        on: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<Baselined, BaselineError> {
        let latest = migrations.latest().unwrap_or(0);
        let first = migrations.all().first().map_or(1, |first| first.id.version);
        if at < first || at > latest {
            return Err(Failure::NoSuchVersion { wanted: at, latest }.into());
        }
        let wanted: Vec<&Migration> =
            migrations.all().iter().filter(|migration| migration.id.version <= at).collect();
        let database = self.address.place.clone();
        let mut done =
            Baselined { database, recorded: vec![], proven: false, column_order: vec![] };
        let mut bench = self.workbench().await?;
        if has_all(&mut bench, migrations, at).await? {
            return Ok(done);
        }
        if unproven.is_none() {
            done.column_order = self.prove(migrations, at).await?;
            done.proven = true;
        }
        let wait = self.settings.wait;
        let mut bench = self.workbench().await?;
        lock::acquire(bench.connection, wait, on).await.map_err(Failure::from)?;
        let recorded = record_locked(&mut bench, migrations, &wanted, at, unproven).await;
        let released = finish(&mut bench, Ok(())).await;
        done.recorded = recorded?;
        released?;
        Ok(done)
    }

    /// Compares the schema with what the migrations make on an empty database. Gives what differs in the order of columns alone.
    async fn prove(
        &mut self,
        migrations: &Migrations,
        at: i32,
    ) -> Result<Vec<String>, BaselineError> {
        let wanted = migrations.all().iter().filter(|migration| migration.id.version <= at);
        let scripts: Vec<_> = wanted.map(|migration| &migration.up).collect();
        let trial = Shadow::empty(self, &scripts).await?;
        let mut made = Self::connect(&trial.url, self.settings.on_a_copy()).await?;
        let applied = made.apply(migrations, Some(at), &mut |_| {}).await;
        applied.map_err(|error| BaselineError::Migrations(Box::new(error)))?;
        let made_schema = read(&mut made.connection, &made.address.place).await?;
        close(made.connection).await;
        let here = read(&mut self.connection, &self.address.place).await?;
        let difference = Schema::compare(&made_schema, &here);
        if difference.is_empty() || difference.only_column_order() {
            return Ok(difference
                .objects()
                .iter()
                .map(|one| format!("{} {}", one.kind, one.name))
                .collect());
        }
        let database = self.address.place.clone();
        Err(BaselineError::Differs { database, at, difference: Box::new(difference) })
    }
}

async fn read(connection: &mut PgConnection, place: &str) -> Result<Schema, Failure> {
    Schema::read(connection).await.map_err(|error| Failure::database(place, &error))
}

async fn close(connection: PgConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "the throw-away database's connection was not closed");
    }
}

/// Whether the history has all of them already; an error if it has others.
async fn has_all(
    bench: &mut Workbench<'_>,
    migrations: &Migrations,
    at: i32,
) -> Result<bool, BaselineError> {
    let applied: Vec<Applied> =
        history::applied(bench.connection).await.map_err(|error| bench.failed(&error))?;
    let Some(newest) = applied.last().map(|one| one.version) else { return Ok(false) };
    let problems = compare(migrations, &applied).problems;
    let database = bench.place.to_owned();
    if !problems.is_empty() {
        return Err(Failure::Refused { database, problems }.into());
    }
    if newest == at { Ok(true) } else { Err(BaselineError::History { database, newest }) }
}

async fn record_locked(
    bench: &mut Workbench<'_>,
    migrations: &Migrations,
    wanted: &[&Migration],
    at: i32,
    unproven: Option<&str>,
) -> Result<Vec<MigrationId>, BaselineError> {
    // Looked at again: another run may have been at work until we had the lock.
    if has_all(bench, migrations, at).await? {
        return Ok(Vec::new());
    }
    let written = record(bench, wanted, unproven).await;
    settle(bench, written).await?;
    Ok(wanted.iter().map(|migration| migration.id.clone()).collect())
}

async fn record(
    bench: &mut Workbench<'_>,
    wanted: &[&Migration],
    unproven: Option<&str>,
) -> Result<(), Failure> {
    bench.begin().await?;
    let reason = match unproven {
        None => "baseline: the schema is what the migrations make".to_owned(),
        Some(reason) => format!("baseline, not proven: {reason}"),
    };
    let written = write(bench, wanted, &reason).await;
    written.map_err(|error| bench.failed(&error))?;
    let nothing = MigrationId { version: 0, name: "history".into() };
    bench.commit(&nothing, "liftlock_schema_history").await
}

async fn write(
    bench: &mut Workbench<'_>,
    wanted: &[&Migration],
    reason: &str,
) -> Result<(), sqlx::Error> {
    history::make(bench.connection).await?;
    for migration in wanted {
        let sql = refinery::record(&migration.id, &migration.up.sql)?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *bench.connection).await?;
        let entry = Entry::of(migration, Action::Adopt, Duration::ZERO);
        let entry = Entry { reason: Some(reason.to_owned()), ..entry };
        entry.write(bench.connection, bench.settings).await?;
    }
    Ok(())
}
