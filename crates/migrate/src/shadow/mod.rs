//! The shadow: a throw-away copy of a database's schema, with its migration history and nothing else of its rows.

mod copy;
mod history;
pub(crate) mod need;
mod private;
pub(crate) mod reach;
mod server;
mod settings;
pub(crate) mod sizes;

use std::time::Duration;

use liftlock_postgres::{ClusterError, FilesError, Programs};
use secrecy::SecretString;
use sqlx::PgConnection;

use crate::database::Database;
use crate::failure::reason;
use crate::files::Script;
pub(crate) use copy::Dump;
use copy::RestoreError;
pub use need::Copied;
use need::Graph;
use private::Private;
use server::OnServer;

/// How long each of PostgreSQL's programs may take to read or write a schema.
const COPY_LIMIT: Duration = Duration::from_secs(300);

/// Why a trial could not be made. The database itself was not changed.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// Neither the server nor this machine gives us a database.
    #[error(
        "no database to try the migrations on: {why}, and this machine cannot run one: {source}; install PostgreSQL's server here, or \
         let user {user} make databases (`alter role {user} createdb`)"
    )]
    NoPlace {
        /// Why not on the server.
        why: String,
        /// The user.
        user: String,
        /// Why not on this machine.
        source: Box<ClusterError>,
    },
    /// PostgreSQL's programs are not there.
    #[error("a dry-run needs PostgreSQL's own programs: {0}")]
    NotFound(#[from] liftlock_postgres::NotFound),
    /// `pg_dump` refuses servers that are newer than itself.
    #[error(
        "the server is PostgreSQL {server}, and the programs in {directory} are of version {programs}, which cannot read its schema: \
         install the programs of version {server} or later, and name their directory in the variable PG_BIN"
    )]
    TooOld {
        /// The server's major version.
        server: u32,
        /// The programs' major version.
        programs: u32,
        /// Where the programs are.
        directory: String,
    },
    /// The user may not read the schema.
    #[error(
        "user {user} may not read the whole schema of {database}: {reason}; a dry-run needs `usage` on every schema and `select` on \
         every table and sequence: `grant pg_read_all_data to {user}` gives both"
    )]
    Rights {
        /// The user.
        user: String,
        /// Host, port and database.
        database: String,
        /// The server's words.
        reason: String,
    },
    /// The schema could not be copied.
    #[error("the schema could not be copied to try the migrations on it: {0}")]
    Copy(#[from] FilesError),
    /// The database failed us.
    #[error("database {database}: {reason}")]
    Database {
        /// Host, port and database.
        database: String,
        /// What was seen.
        reason: String,
    },
}

/// A throw-away copy. Dropping it removes it, also when the trial fails or is interrupted.
pub(crate) struct Shadow {
    /// Where the trial connects to.
    pub(crate) url: SecretString,
    /// What is not as on the database itself.
    pub(crate) notes: Vec<String>,
    /// What of the schema could not be copied, and why.
    pub(crate) missing: Vec<String>,
    /// What it was made from, if that is kept.
    pub(crate) dump: Option<Dump>,
    /// How much of the schema it has, if it was asked for less than all.
    pub(crate) copied: Option<Copied>,
    /// Why it cannot stand for all of the schema.
    flaw: Option<String>,
    home: Home,
}

enum Home {
    Server(OnServer),
    Private(Private),
}

impl Shadow {
    /// Makes a database with the schema and the migration history of `database`, but none of its other rows: on the same
    /// server if its user may make databases and `scripts` do nothing that all databases of the server share, else on a
    /// private one. With a `dump` the schema is that of the shadow that it is of; without, only what the scripts can reach
    /// is copied if that is all that is `needed`, and can be told.
    pub(crate) async fn like(
        database: &mut Database,
        scripts: &[&Script],
        dump: Option<Dump>,
        needed: bool,
    ) -> Result<Self, TrialError> {
        let content = Content::Schema { dump, scripts: needed.then_some(scripts), copied: None };
        let mut shadow = Self::of(database, scripts, content).await?;
        let Some(flaw) = shadow.flaw.take() else { return Ok(shadow) };
        tracing::debug!(%flaw, "copied again, whole");
        let copied = shadow.copied.take().map(|copied| copied.all_since(flaw));
        let dump = shadow.dump.take().map(Dump::whole);
        drop(shadow);
        Self::of(database, scripts, Content::Schema { dump, scripts: None, copied }).await
    }

    async fn of(
        database: &mut Database,
        scripts: &[&Script],
        content: Content<'_>,
    ) -> Result<Self, TrialError> {
        let programs = Programs::find()?;
        let version = version(database, &programs).await?;
        if let Some(why) = why_not_on_the_server(database, scripts).await? {
            return Self::on_private(database, &programs, why, version, content).await;
        }
        let mut shadow = Self::on_server(database, &programs, content).await?;
        if shadow.missing.is_empty() || shadow.flaw.is_some() {
            return Ok(shadow);
        }
        // A superuser of a private server may copy what this user may not.
        let why =
            format!("user {} may not copy everything on the server itself", database.address.user);
        let (dump, copied) = (shadow.dump.take(), shadow.copied.clone());
        let content = Content::Schema { dump, scripts: None, copied };
        let private = Self::on_private(database, &programs, why, version, content).await;
        let better = private.ok().filter(|other| other.missing.len() < shadow.missing.len());
        Ok(better.unwrap_or(shadow))
    }

    /// Makes an empty database beside `database`, where [`Shadow::like`] would make its copy.
    pub(crate) async fn empty(
        database: &mut Database,
        scripts: &[&Script],
    ) -> Result<Self, TrialError> {
        let programs = Programs::find()?;
        let version = version(database, &programs).await?;
        match why_not_on_the_server(database, scripts).await? {
            None => Self::on_server(database, &programs, Content::Nothing).await,
            Some(why) => {
                Self::on_private(database, &programs, why, version, Content::Nothing).await
            }
        }
    }

    async fn on_server(
        database: &mut Database,
        programs: &Programs,
        content: Content<'_>,
    ) -> Result<Self, TrialError> {
        let url = database.url.clone();
        let limits = content.limits();
        let make = async {
            let server = OnServer::make(database, programs).await?;
            Ok((server, graph(&mut database.connection, limits).await?))
        };
        let (made, read) = tokio::join!(make, content.read(programs, &url));
        let (server, graph) = made.map_err(|error| failed(database, &error))?;
        let content = read.map_err(|error| not_read(database, error))?.limit(graph);
        let url = server.url();
        let (missing, flaw) = content.copy(database, programs, &url).await?;
        let notes = settings::copy(&mut database.connection, &url, server.name(), false).await;
        let (dump, copied) = content.parts();
        Ok(Self { url, notes, missing, dump, copied, flaw, home: Home::Server(server) })
    }

    async fn on_private(
        database: &mut Database,
        programs: &Programs,
        why: String,
        version: (u32, u32),
        content: Content<'_>,
    ) -> Result<Self, TrialError> {
        let user = database.address.user.clone();
        let limits = content.limits();
        let (made, read, graph) = tokio::join!(
            Private::start(),
            content.read(programs, &database.url),
            graph(&mut database.connection, limits)
        );
        let private = made.map_err(|source| TrialError::NoPlace {
            why: why.clone(),
            user,
            source: Box::new(source),
        })?;
        let graph = graph.map_err(|error| failed(database, &error))?;
        let content = read.map_err(|error| not_read(database, error))?.limit(graph);
        let mut notes = vec![different_server(&why, programs.version(), version)];
        let prepared = private.prepare(&mut database.connection, &mut notes).await;
        let made = prepared.map_err(|error| failed(database, &error))?;
        let (missing, flaw) = content.copy(database, programs, &made.admin).await?;
        let (name, admin) = (&made.name, &made.admin);
        notes.extend(settings::copy(&mut database.connection, admin, name, true).await);
        let (dump, copied) = content.parts();
        Ok(Self {
            url: made.trial,
            notes,
            missing,
            dump,
            copied,
            flaw,
            home: Home::Private(private),
        })
    }

    /// Where it is, for people.
    pub(crate) fn place(&self) -> String {
        match &self.home {
            Home::Server(server) => format!("database {} on the same server", server.name()),
            Home::Private(private) => format!("a private server on port {}", private.port()),
        }
    }
}

/// What a shadow begins with.
#[derive(Debug)]
enum Content<'a> {
    /// The schema, which may have been read already, and the migration history.
    Schema {
        dump: Option<Dump>,
        /// Only what these can reach is wanted.
        scripts: Option<&'a [&'a Script]>,
        copied: Option<Copied>,
    },
    Nothing,
}

impl Content<'_> {
    /// Whether it is to be found out what of the schema is wanted.
    fn limits(&self) -> bool {
        matches!(self, Self::Schema { scripts: Some(_), dump: None, .. })
    }

    /// Reads the schema, if that is wanted and not done.
    async fn read(self, programs: &Programs, url: &SecretString) -> Result<Self, FilesError> {
        match self {
            Self::Schema { dump: None, scripts, copied } => {
                Ok(Self::Schema { dump: Dump::read(programs, url).await?, scripts, copied })
            }
            other => Ok(other),
        }
    }

    /// Leaves out what the scripts cannot reach.
    fn limit(self, graph: Option<Graph>) -> Self {
        match (self, graph) {
            (Self::Schema { dump: Some(mut dump), scripts: Some(scripts), .. }, Some(graph)) => {
                let copied = Some(dump.limit(&graph, scripts));
                Self::Schema { dump: Some(dump), scripts: None, copied }
            }
            (other, _) => other,
        }
    }

    /// Gives what could not be copied, and why a copy of a part is not what it should be.
    async fn copy(
        &self,
        database: &mut Database,
        programs: &Programs,
        to: &SecretString,
    ) -> Result<(Vec<String>, Option<String>), TrialError> {
        let Self::Schema { dump, .. } = self else { return Ok((Vec::new(), None)) };
        let copied = copy::restore(dump.as_ref(), programs, &database.url, to).await;
        let missing = copied.map_err(|error| match error {
            RestoreError::Files(error) => not_read(database, error),
            RestoreError::Database(error) => failed(database, &error),
        })?;
        let flaw = match dump {
            Some(dump) => {
                dump.flaw(to, &missing).await.map_err(|error| failed(database, &error))?
            }
            None => None,
        };
        if flaw.is_none() {
            let few = dump.as_ref().and_then(Dump::part).is_some_and(|part| part.is_small());
            let copied = history::copy(&mut database.connection, to, !few).await;
            copied.map_err(|error| failed(database, &error))?;
        }
        Ok((missing, flaw))
    }

    fn parts(self) -> (Option<Dump>, Option<Copied>) {
        match self {
            Self::Schema { dump, copied, .. } => (dump, copied),
            Self::Nothing => (None, None),
        }
    }
}

async fn graph(connection: &mut PgConnection, wanted: bool) -> Result<Option<Graph>, sqlx::Error> {
    match wanted {
        true => Graph::read(connection).await.map(Some),
        false => Ok(None),
    }
}

fn not_read(database: &Database, error: FilesError) -> TrialError {
    match &error {
        FilesError::Failed { program: "pg_dump", reason, .. }
            if reason.contains("permission denied") =>
        {
            TrialError::Rights {
                user: database.address.user.clone(),
                database: database.address.place.clone(),
                reason: crate::text::printable(reason),
            }
        }
        _ => TrialError::Copy(error),
    }
}

fn failed(database: &Database, error: &sqlx::Error) -> TrialError {
    TrialError::Database { database: database.address.place.clone(), reason: reason(error) }
}

/// The server's version, which the programs must be able to read.
async fn version(database: &mut Database, programs: &Programs) -> Result<(u32, u32), TrialError> {
    let asked = sqlx::query_scalar("select current_setting('server_version_num')::int4");
    let number: Result<i32, _> = asked.fetch_one(&mut database.connection).await;
    let number = number.map_err(|error| failed(database, &error))?.unsigned_abs();
    let version = (number / 10_000, number % 10_000);
    readable(version, programs.version(), &programs.directory().display().to_string())?;
    Ok(version)
}

fn readable(server: (u32, u32), programs: (u32, u32), directory: &str) -> Result<(), TrialError> {
    if programs.0 >= server.0 {
        return Ok(());
    }
    let directory = directory.to_owned();
    Err(TrialError::TooOld { server: server.0, programs: programs.0, directory })
}

/// `tried on a private PostgreSQL 17.2 server (the database's own is 15.18): user u may not make databases`.
fn different_server(why: &str, tried: (u32, u32), own: (u32, u32)) -> String {
    let other = if tried == own {
        String::new()
    } else {
        format!(", the database's own is {}.{}", own.0, own.1)
    };
    format!("tried on a private PostgreSQL {}.{} server{other}: {why}", tried.0, tried.1)
}

async fn why_not_on_the_server(
    database: &mut Database,
    scripts: &[&Script],
) -> Result<Option<String>, TrialError> {
    let beyond = scripts.iter().find_map(|script| {
        reach::beyond_database(&script.sql).map(|what| {
            format!("{} has `{what}`, which all databases of a server share", script.file)
        })
    });
    if beyond.is_some() {
        return Ok(beyond);
    }
    let allowed: Result<bool, _> = sqlx::query_scalar(
        "select rolcreatedb or rolsuper from pg_roles where rolname = current_user",
    )
    .fetch_one(&mut database.connection)
    .await;
    let allowed = allowed.map_err(|error| failed(database, &error))?;
    let user = &database.address.user;
    Ok((!allowed).then(|| format!("user {user} may not make databases on the server itself")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_older_than_the_server_are_refused_and_newer_ones_are_told() {
        assert!(
            readable((15, 2), (15, 18), "/x").is_ok() && readable((15, 2), (17, 0), "/x").is_ok()
        );
        let error = readable((16, 2), (15, 18), "/x").unwrap_err().to_string();
        assert!(error.contains("PostgreSQL 16") && error.contains("PG_BIN"), "{error}");
        let note = different_server("because", (15, 18), (16, 2));
        assert_eq!(
            note,
            "tried on a private PostgreSQL 15.18 server, the database's own is 16.2: because"
        );
        assert_eq!(
            different_server("because", (15, 18), (15, 18)),
            "tried on a private PostgreSQL 15.18 server: because"
        );
    }
}
