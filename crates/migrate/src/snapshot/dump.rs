//! Making an archive: rows and checksums are of the very snapshot that `pg_dump` reads.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use liftlock_model::{Marker, MigrationId};
use liftlock_postgres::{Programs, count_rows, dump_snapshot};
use sqlx::{PgConnection, Row as _};

use super::archives::{Archives, Snapshot, sha256};
use super::census::{self, Depth};
use super::error::ArchiveError;
use super::manifest::{Contents, DumpFile, Locale, Manifest, Sequence, check_id};
use super::marker;
use crate::database::Database;
use crate::schema::Schema;

/// Which archive to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// Where to.
    pub archives: Archives,
    /// Its id: the same id is the same snapshot. Made of database and time if left out.
    pub id: Option<String>,
    /// How many days it is kept; without end if left out.
    pub keep_days: Option<u32>,
    /// Whether each row is read for checksums, or rows are only counted.
    pub checksums: bool,
    /// How long it may take.
    pub timeout: Duration,
}

impl Dump {
    /// Into that directory, kept for seven years (2,557 days), with checksums, within half an hour.
    pub fn into(directory: impl Into<PathBuf>) -> Self {
        Self {
            archives: Archives::new(directory),
            id: None,
            keep_days: Some(2557),
            checksums: true,
            timeout: Duration::from_secs(1800),
        }
    }
}

/// An archive that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Which.
    pub snapshot: Snapshot,
    /// Whether it was there already, under that id.
    pub was_there: bool,
}

impl Database {
    /// Makes an archive of the database, reads it back whole, and keeps it with its manifest. One that is there already
    /// under the id is looked at and taken. The database goes on meanwhile; nothing is written to it but, where the user may,
    /// a restore point in its log.
    ///
    /// # Errors
    /// [`ArchiveError`]; nothing is left then.
    pub async fn dump(&mut self, ask: &Dump) -> Result<Archive, ArchiveError> {
        let programs = Programs::find()?;
        let id = match &ask.id {
            Some(id) => id.clone(),
            None => fresh_id(&self.name(), Timestamp::now()),
        };
        check_id(&id).map_err(ArchiveError::Id)?;
        ask.archives.make()?;
        if let Some(snapshot) = there(ask, &id, self).await? {
            return Ok(Archive { snapshot, was_there: true });
        }
        let work = self.dump_new(ask, &programs, id);
        let done = tokio::time::timeout(ask.timeout, work).await;
        let late = || ArchiveError::Late {
            database: self.place().to_owned(),
            seconds: ask.timeout.as_secs(),
        };
        let snapshot = done.map_err(|_| late())??;
        Ok(Archive { snapshot, was_there: false })
    }

    /// The marker of this moment.
    ///
    /// # Errors
    /// [`ArchiveError::Database`] if the server does not answer.
    pub async fn marker(&mut self, name: &str) -> Result<Marker, ArchiveError> {
        let marker = marker::read(&mut self.connection, name).await;
        marker.map_err(|error| ArchiveError::database(&self.address.place, &error))
    }

    async fn dump_new(
        &mut self,
        ask: &Dump,
        programs: &Programs,
        id: String,
    ) -> Result<Snapshot, ArchiveError> {
        let place = self.address.place.clone();
        let failed = |error: sqlx::Error| ArchiveError::database(&place, &error);
        let partial = ask.archives.partial()?;
        let mut reader = self.address.connect().await?;
        let exported = export(&mut reader).await.map_err(failed)?;
        let marker = self.marker(&format!("liftlock {id}")).await?;
        let newest = self.newest_migration().await?;
        let start = Instant::now();
        let dumping = async {
            dump_snapshot(programs, &self.url, &exported, partial.path(), ask.timeout).await?;
            Ok::<_, ArchiveError>(start.elapsed())
        };
        let depth = if ask.checksums { Depth::Checksums } else { Depth::Rows };
        let looking = async { look(&mut reader, depth).await.map_err(failed) };
        let (took, seen) = tokio::try_join!(dumping, looking)?;
        let read_back = count_rows(programs, partial.path(), ask.timeout).await?;
        compare(&seen.contents, read_back, &place)?;
        let bytes = std::fs::metadata(partial.path());
        let bytes = bytes.map_err(|error| ArchiveError::io(partial.path(), &error))?.len();
        let dump = DumpFile {
            file: format!("{id}.dump"),
            bytes,
            sha256: sha256(partial.path()).await?,
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        };
        let server =
            format!("{}:{}", self.address.options.get_host(), self.address.options.get_port());
        let manifest = Manifest {
            format: Manifest::FORMAT,
            id,
            database: seen.database,
            server,
            server_version: seen.server_version,
            taken_at: marker.time,
            taken_by: self.settings.actor.clone(),
            database_user: self.address.user.clone(),
            run: self.settings.run.clone(),
            keep_until: ask.keep_days.map(|days| keep_until(marker.time, days)),
            newest_migration: newest,
            schema_fingerprint: seen.schema.fingerprint(),
            marker,
            locale: seen.locale,
            roles: seen.roles,
            contents: seen.contents,
            sequences: seen.sequences,
            dump,
        };
        ask.archives.keep(partial, &seen.schema, manifest)
    }

    /// The database's name.
    pub(crate) fn name(&self) -> String {
        let options = &self.address.options;
        options.get_database().unwrap_or(options.get_username()).to_owned()
    }

    async fn newest_migration(&mut self) -> Result<Option<MigrationId>, ArchiveError> {
        let applied = crate::history::applied(&mut self.connection).await;
        let applied =
            applied.map_err(|error| ArchiveError::database(&self.address.place, &error))?;
        Ok(applied.last().map(crate::history::Applied::id))
    }
}

/// The day until which something taken then is kept.
fn keep_until(from: Timestamp, days: u32) -> jiff::civil::Date {
    let from = from.to_zoned(TimeZone::UTC).date();
    from.checked_add(i64::from(days).days()).unwrap_or(jiff::civil::Date::MAX)
}

/// `shop-20260131T101500Z-1a2b3c4d`: tells database and time, and no two are the same.
fn fresh_id(database: &str, now: Timestamp) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let database: String = database.chars().take(60).map(safe).collect();
    format!("{database}-{}-{:08x}", now.strftime("%Y%m%dT%H%M%SZ"), crate::text::unlike())
}

/// The snapshot of that id, if it is there, whole, and of this database.
async fn there(
    ask: &Dump,
    id: &str,
    database: &Database,
) -> Result<Option<Snapshot>, ArchiveError> {
    let found = match ask.archives.find(id) {
        Ok(found) => found,
        Err(ArchiveError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let directory = ask.archives.directory().display();
    if found.manifest.database != database.name() {
        return Err(ArchiveError::Refused(format!(
            "snapshot {id} in {directory} is one of database {}, not of {}: choose another id",
            found.manifest.database,
            database.place()
        )));
    }
    match found.damage().await? {
        None => Ok(Some(found)),
        Some(damage) => Err(ArchiveError::Refused(format!(
            "snapshot {id} is there already and is damaged: {damage}; remove it, or choose another id"
        ))),
    }
}

/// Opens a transaction that sees one state of the database, and gives that state's name.
async fn export(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    let begin = format!("begin isolation level repeatable read read only; {}", census::SETTINGS);
    sqlx::raw_sql(sqlx::AssertSqlSafe(begin)).execute(&mut *connection).await?;
    sqlx::query_scalar("select pg_export_snapshot()").fetch_one(connection).await
}

/// What a manifest tells of the database.
struct Seen {
    database: String,
    server_version: String,
    locale: Locale,
    roles: Vec<String>,
    schema: Schema,
    contents: Vec<Contents>,
    sequences: Vec<Sequence>,
}

async fn look(connection: &mut PgConnection, depth: Depth) -> Result<Seen, sqlx::Error> {
    let row = sqlx::query(
        "select d.datname::text, split_part(current_setting('server_version'), ' ', 1),
                pg_encoding_to_char(d.encoding)::text, d.datcollate::text, d.datctype::text,
                coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale')
         from pg_database d where d.datname = current_database()",
    );
    let row = row.fetch_one(&mut *connection).await?;
    let roles = sqlx::query_scalar(
        "select r.rolname::text from pg_roles r
         where r.rolname !~ '^pg_' and (r.oid = 10 or r.oid in (
             select s.refobjid from pg_shdepend s
             where s.refclassid = 'pg_authid'::regclass
               and s.dbid = (select oid from pg_database where datname = current_database())))
         order by 1",
    );
    let roles = roles.fetch_all(&mut *connection).await?;
    // Before the rows: a sequence may go on meanwhile, and the archive has it where it is later.
    let sequences = census::sequences(connection).await?;
    Ok(Seen {
        database: row.try_get(0)?,
        server_version: row.try_get(1)?,
        locale: Locale {
            encoding: row.try_get(2)?,
            collate: row.try_get(3)?,
            ctype: row.try_get(4)?,
            icu: row.try_get(5)?,
        },
        roles,
        sequences,
        schema: Schema::read(connection).await?,
        contents: census::contents(connection, depth).await?,
    })
}

/// Refuses an archive that does not hold the tables with the rows that were seen.
fn compare(
    seen: &[Contents],
    read_back: std::collections::BTreeMap<String, u64>,
    place: &str,
) -> Result<(), ArchiveError> {
    let tables = seen.iter().filter(|one| one.table != census::LARGE_OBJECTS);
    let differs = tables.filter_map(|one| {
        let (table, rows) = (&one.table, one.rows);
        match read_back.get(table) {
            Some(read) if *read == rows => None,
            Some(read) => Some(format!("table {table} has {read} rows in it instead of {rows}")),
            None => Some(format!("table {table} is missing; it had {rows} rows")),
        }
    });
    let differences: Vec<String> = differs.collect();
    if differences.is_empty() {
        return Ok(());
    }
    Err(ArchiveError::ReadBack { database: place.to_owned(), differences })
}
