//! The first migration of a database that never had one: its schema as `pg_dump` tells it, proven on an empty database, written, and
//! recorded as applied where it comes from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use liftlock_model::MigrationId;
use liftlock_postgres::Programs;
use serde::Serialize;
use sqlx::PgConnection;

use super::{BaselineError, Baselined, read};
use crate::apply::finish;
use crate::database::Database;
use crate::failure::Failure;
use crate::files::Migrations;
use crate::history;
use crate::lock;
use crate::progress::Progress;
use crate::schema::Schema;
use crate::shadow::TrialError;
use crate::squash::{Dumped, Known, New, SquashError, WayBack, dump_of, script, ways};

/// How the first migration is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromDatabase {
    /// Its name.
    pub name: String,
    /// Whether it says who owns what is not of the user who runs it.
    pub owners: bool,
    /// Whether nothing is written.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FirstMade {
    /// The migration.
    pub id: MigrationId,
    /// Its files.
    pub files: Vec<PathBuf>,
    /// Whether they were written, and the migration recorded as applied; else this was a dry-run.
    pub written: bool,
    /// Where it was proven to make the same.
    pub proven_on: String,
    /// How many objects are the same.
    pub objects: usize,
    /// How many statements it has.
    pub statements: usize,
    /// How it is taken back.
    pub way_back: WayBack,
    /// What is recorded.
    pub baselined: Baselined,
    /// What people should know.
    pub notes: Vec<String>,
}

impl Database {
    /// Makes the first migration of this database's schema in `directory`, which has none, and records it as applied here, once it is
    /// proven on an empty database that it makes the same. Rows are not in it.
    ///
    /// # Errors
    /// [`BaselineError`]; unless it says otherwise, nothing was written.
    pub async fn baseline_from_database(
        &mut self,
        directory: &Path,
        ask: &FromDatabase,
        on: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<FirstMade, BaselineError> {
        let id = MigrationId { version: 1, name: crate::new::name_of(&ask.name) };
        if id.name.is_empty() {
            return Err(BaselineError::Name { name: ask.name.clone() });
        }
        is_empty(directory)?;
        let applied = history::applied(&mut self.connection).await;
        let applied = applied.map_err(|error| Failure::database(&self.address.place, &error))?;
        if let Some(newest) = applied.last() {
            let (database, newest) = (self.address.place.clone(), newest.version);
            return Err(BaselineError::History { database, newest });
        }
        let seen = self.see(ask).await?;
        let proven = self.prove_first(&id, &seen, ask).await?;
        let database = self.address.place.clone();
        let mut made = FirstMade {
            files: proven.files.keys().map(|name| directory.join(name)).collect(),
            written: false,
            proven_on: proven.place,
            objects: seen.schema.len(),
            statements: seen.dump.statements.len(),
            way_back: proven.way_back,
            baselined: Baselined { database, recorded: vec![], proven: true, column_order: vec![] },
            notes: seen.notes(),
            id,
        };
        if !ask.dry_run {
            made.baselined.recorded =
                self.keep_first(directory, &proven.files, &seen.schema, on).await?;
            made.written = true;
        }
        Ok(made)
    }

    async fn see(&mut self, ask: &FromDatabase) -> Result<Seen, BaselineError> {
        let programs = Programs::find().map_err(TrialError::from)?;
        let place = self.address.place.clone();
        let failed = |error: sqlx::Error| Failure::database(&place, &error);
        let known = Known::read(&mut self.connection).await.map_err(failed)?;
        let roles = roles(&mut self.connection, ask.owners).await.map_err(failed)?;
        let schema = read(&mut self.connection, &place).await?;
        let dump =
            dump_of(&programs, &self.url, &["--schema-only"], &known.left_out(ask.owners)).await;
        let dump = dump.map_err(SquashError::Dump)?;
        if dump.statements.is_empty() {
            return Err(BaselineError::Nothing { database: place });
        }
        Ok(Seen { schema, dump, roles })
    }

    async fn prove_first(
        &mut self,
        id: &MigrationId,
        seen: &Seen,
        ask: &FromDatabase,
    ) -> Result<crate::squash::Proven, BaselineError> {
        let database = self.address.place.clone();
        let new = New {
            id,
            stem: &id.to_string(),
            up: format!(
                "-- What was there before there were migrations, by `migrate baseline --from-database`.\n\n{}{}",
                script::SETTINGS,
                script::text(&seen.dump.statements)
            ),
            head: format!("-- Takes {id} back: all that was there before there were migrations.\n"),
            ways: ways(&seen.dump.drops, &[]),
        };
        let compared = |schema: &Schema| match ask.owners {
            true => schema.clone(),
            false => schema.clone().without_owners(),
        };
        let here = compared(&seen.schema);
        new.prove(self, |made| {
            let difference = Schema::compare(&here, &compared(&made.schema));
            if difference.is_empty() {
                return Ok(());
            }
            let difference = Box::new(difference);
            Err(BaselineError::Unlike { database: database.clone(), difference })
        })
        .await
    }

    /// Writes the files and records the migration, unless the schema has changed since it was read.
    async fn keep_first(
        &mut self,
        directory: &Path,
        files: &BTreeMap<String, String>,
        proven: &Schema,
        on: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<Vec<MigrationId>, BaselineError> {
        let wait = self.settings.wait;
        let mut bench = self.workbench().await?;
        lock::acquire(bench.connection, wait, on).await.map_err(Failure::from)?;
        let place = bench.place.to_owned();
        let kept = async {
            let difference = Schema::compare(proven, &read(bench.connection, &place).await?);
            if !difference.is_empty() {
                let difference = Box::new(difference);
                return Err(BaselineError::Unlike { database: place.clone(), difference });
            }
            write(directory, files)
                .map_err(|source| BaselineError::File { path: directory.to_owned(), source })?;
            let migrations = Migrations::read(directory).map_err(Failure::from)?;
            let wanted: Vec<_> = migrations.all().iter().collect();
            super::record_locked(&mut bench, &migrations, &wanted, 1, None).await
        };
        let kept = kept.await;
        let released = finish(&mut bench, Ok(())).await;
        let kept = kept?;
        released?;
        Ok(kept)
    }
}

/// What the database is.
struct Seen {
    schema: Schema,
    dump: Dumped,
    roles: Vec<String>,
}

impl Seen {
    fn notes(&self) -> Vec<String> {
        if self.roles.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "it needs these roles, which a new server must have first: {}",
            self.roles.join(", ")
        )]
    }
}

/// The roles that a script of the schema names.
async fn roles(connection: &mut PgConnection, owners: bool) -> Result<Vec<String>, sqlx::Error> {
    let roles = sqlx::query_scalar(
        "select distinct r.rolname::text from pg_shdepend s join pg_roles r on r.oid = s.refobjid
         where s.refclassid = 'pg_authid'::regclass and r.rolname <> current_user and r.rolname !~ '^pg_'
           and s.dbid = (select oid from pg_database where datname = current_database())
           and (s.deptype in ('a', 'r') or $1 and s.deptype = 'o')
         order by 1",
    );
    roles.bind(owners).fetch_all(connection).await
}

fn is_empty(directory: &Path) -> Result<(), BaselineError> {
    if directory.symlink_metadata().is_err() {
        return Ok(());
    }
    let migrations = Migrations::read(directory).map_err(Failure::from)?;
    if migrations.all().is_empty() {
        return Ok(());
    }
    Err(BaselineError::Directory { directory: directory.to_owned() })
}

/// Writes files that are not there yet, durably: all of them or none.
fn write(directory: &Path, files: &BTreeMap<String, String>) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut written = Vec::new();
    for (name, text) in files {
        let path = directory.join(name);
        let one = File::create_new(&path).and_then(|mut file| {
            written.push(path);
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all())
        });
        if let Err(error) = one {
            for path in written {
                if let Err(error) = std::fs::remove_file(path) {
                    tracing::warn!(%error, "a file of a migration that was not made is left");
                }
            }
            return Err(error);
        }
    }
    File::open(directory)?.sync_all()
}
