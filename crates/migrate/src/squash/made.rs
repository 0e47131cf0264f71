//! An empty database beside the one that is there, and what is made on it.

use std::collections::BTreeMap;

use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::error::SquashError;
use crate::connect::ConnectError;
use crate::database::Database;
use crate::failure::{ApplyError, Failure};
use crate::files::{Migrations, Script};
use crate::schema::Schema;
use crate::shadow::{Shadow, TrialError};
use crate::snapshot::census::{self, Depth};
use crate::snapshot::{Contents, Sequence};

/// An empty database to make something on.
pub(crate) struct Trial {
    /// Dropped after the connection.
    pub(crate) database: Database,
    pub(crate) shadow: Shadow,
    /// Its schema before anything was made.
    pub(crate) empty: Schema,
}

/// Why an empty database could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Trial(#[from] TrialError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl From<OpenError> for SquashError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Trial(error) => error.into(),
            OpenError::Connect(error) => error.into(),
            OpenError::Failure(error) => error.into(),
        }
    }
}

/// What was made.
pub(crate) struct Made {
    trial: Trial,
    pub(crate) schema: Schema,
    contents: Vec<Contents>,
    sequences: Vec<Sequence>,
}

impl Trial {
    pub(crate) async fn open(
        beside: &mut Database,
        scripts: &[&Script],
    ) -> Result<Self, OpenError> {
        let shadow = Shadow::empty(beside, scripts).await?;
        let mut database = Database::connect(&shadow.url, beside.settings.on_a_copy()).await?;
        let empty = schema(&mut database).await?;
        Ok(Self { database, shadow, empty })
    }

    pub(crate) async fn apply(
        &mut self,
        migrations: &Migrations,
        to: Option<i32>,
    ) -> Result<(), ApplyError> {
        self.database.apply(migrations, to, &mut |_| {}).await.map(drop)
    }

    pub(crate) fn place(&self) -> String {
        self.shadow.place()
    }

    /// Looks at everything that is there, but for the history.
    pub(crate) async fn look(mut self) -> Result<Made, Failure> {
        let place = self.database.address.place.clone();
        let looked = look(&mut self.database.connection).await;
        let (schema, contents, sequences) =
            looked.map_err(|error| Failure::database(&place, &error))?;
        Ok(Made { trial: self, schema, contents, sequences })
    }
}

pub(crate) async fn schema(database: &mut Database) -> Result<Schema, Failure> {
    let read = Schema::read(&mut database.connection).await;
    read.map_err(|error| Failure::database(&database.address.place, &error))
}

async fn look(
    connection: &mut PgConnection,
) -> Result<(Schema, Vec<Contents>, Vec<Sequence>), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(census::SETTINGS)).execute(&mut *transaction).await?;
    let schema = Schema::read(&mut transaction).await?;
    let mut contents = census::contents(&mut transaction, Depth::Checksums).await?;
    contents.retain(|one| !is_history(&one.table));
    let mut sequences = census::sequences(&mut transaction).await?;
    sequences.retain(|one| !is_history(&one.name));
    transaction.rollback().await?;
    Ok((schema, contents, sequences))
}

fn is_history(name: &str) -> bool {
    let name = name.rsplit('.').next().unwrap_or(name);
    name.starts_with("liftlock_schema_") || name == crate::refinery::TABLE
}

impl Made {
    pub(crate) fn url(&self) -> &SecretString {
        &self.trial.shadow.url
    }

    pub(crate) fn database(&mut self) -> &mut Database {
        &mut self.trial.database
    }

    pub(crate) fn trial(&self) -> &Trial {
        &self.trial
    }

    pub(crate) fn into_trial(self) -> Trial {
        self.trial
    }

    pub(crate) fn shadow_notes(&self) -> Vec<String> {
        self.trial.shadow.notes.clone()
    }

    /// The tables with rows, and how many.
    pub(crate) fn rows(&self) -> BTreeMap<String, u64> {
        let with_rows = self.contents.iter().filter(|one| one.rows > 0);
        with_rows.map(|one| (one.table.clone(), one.rows)).collect()
    }

    pub(crate) fn has_rows(&self) -> bool {
        !self.sequences.is_empty() || self.contents.iter().any(|one| one.rows > 0)
    }

    pub(crate) fn has_no_large_objects(&self) -> Result<(), SquashError> {
        match self.contents.iter().find(|one| one.table == census::LARGE_OBJECTS) {
            Some(objects) => Err(SquashError::LargeObjects { count: objects.rows }),
            None => Ok(()),
        }
    }

    /// What is different in rows and sequences.
    pub(crate) fn rows_unlike(&self, other: &Self) -> Vec<String> {
        let mut differences = census::differences(&self.contents, &other.contents);
        if self.sequences != other.sequences {
            let told = |made: &Self| {
                let at = made.sequences.iter().map(|one| format!("{} at {}", one.name, one.last));
                at.collect::<Vec<_>>().join(", ")
            };
            differences.push(format!("sequences: {} instead of {}", told(other), told(self)));
        }
        differences
    }

    /// Whether another run of the same migrations made the same.
    pub(crate) fn is_made_alike(&self, again: &Self) -> Result<(), SquashError> {
        let differences = self.rows_unlike(again);
        if differences.is_empty() { Ok(()) } else { Err(SquashError::Volatile { differences }) }
    }
}
