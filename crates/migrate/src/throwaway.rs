//! A database that is there for one trial only.

use std::process::{Command, Stdio};
use std::time::Duration;

use liftlock_postgres::{Cluster, ClusterError, ClusterOptions, FilesError, Programs, copy_schema};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{AssertSqlSafe, PgConnection};
use url::Url;

use crate::database::Database;
use crate::failure::reason;

/// How the names of such databases begin.
const PREFIX: &str = "liftlock_dry_run_";
/// How long each of PostgreSQL's programs may take to read or write a schema.
const COPY_LIMIT: Duration = Duration::from_secs(300);

/// Why a trial could not be made. The database itself was not changed.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// Neither the server nor this machine gives us a database.
    #[error(
        "no database to try the migrations on: the server does not let user {user} make one (`alter role {user} createdb`), and \
         this machine cannot run one: {source}"
    )]
    NoPlace {
        /// The user.
        user: String,
        /// Why not on this machine.
        source: ClusterError,
    },
    /// PostgreSQL's programs are not there.
    #[error("a dry-run needs PostgreSQL's own programs: {0}")]
    NotFound(#[from] liftlock_postgres::NotFound),
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

/// A database that is there for one trial only. Dropping it removes it, also when the trial fails or is interrupted.
pub(crate) struct Throwaway {
    pub(crate) url: SecretString,
    pub(crate) programs: Programs,
    /// What could not be copied.
    pub(crate) notes: Vec<String>,
    home: Home,
}

enum Home {
    /// On the database's own server.
    Server { admin: Url, name: String },
    /// On a cluster of our own, which ends when it is dropped, in a directory that goes with it.
    Private { cluster: Cluster, _directory: tempfile::TempDir },
}

impl Throwaway {
    /// Makes a database with the schema and the migration history of `database`, but none of its other rows.
    pub(crate) async fn like(database: &mut Database) -> Result<Self, TrialError> {
        let programs = Programs::find()?;
        let failed = |database: &Database, error: &sqlx::Error| TrialError::Database {
            database: database.address.place.clone(),
            reason: reason(error),
        };
        let url = database.url.clone();
        let histories =
            histories(&mut database.connection).await.map_err(|error| failed(database, &error))?;
        let allowed: bool = sqlx::query_scalar(
            "select rolcreatedb or rolsuper from pg_roles where rolname = current_user",
        )
        .fetch_one(&mut database.connection)
        .await
        .map_err(|error| failed(database, &error))?;
        let mut trial = if allowed {
            Self::on_server(database, programs).await.map_err(|error| failed(database, &error))?
        } else {
            Self::on_private_cluster(database, programs).await?
        };
        let histories: Vec<&str> = histories.iter().map(String::as_str).collect();
        trial
            .notes
            .extend(copy_schema(&trial.programs, &url, &trial.url, &histories, COPY_LIMIT).await?);
        Ok(trial)
    }

    async fn on_server(database: &mut Database, programs: Programs) -> Result<Self, sqlx::Error> {
        let connection = &mut database.connection;
        sweep(connection).await?;
        let name = format!("{PREFIX}{}", ulid_like());
        let like = "select format('encoding %L lc_collate %L lc_ctype %L', pg_encoding_to_char(encoding), datcollate, datctype)
                    from pg_database where datname = current_database()";
        let locale: String = sqlx::query_scalar(like).fetch_one(&mut *connection).await?;
        writable(connection, format!("create database {name} template template0 {locale}")).await?;
        let invalid = |_| sqlx::Error::Configuration("the database's URL".into());
        let admin = Url::parse(database.url.expose_secret()).map_err(invalid)?;
        let mut url = admin.clone();
        url.set_path(&name);
        let url = SecretString::from(String::from(url));
        Ok(Self { url, programs, notes: Vec::new(), home: Home::Server { admin, name } })
    }

    async fn on_private_cluster(
        database: &mut Database,
        programs: Programs,
    ) -> Result<Self, TrialError> {
        let user = database.address.user.clone();
        let no_place = |source| TrialError::NoPlace { user: user.clone(), source };
        let directory = tempfile::tempdir().map_err(|error| {
            no_place(ClusterError::Directory {
                path: std::env::temp_dir(),
                reason: error.to_string(),
            })
        })?;
        let options = ClusterOptions {
            durable: false,
            remove_at_end: true,
            ..ClusterOptions::new(directory.path())
        };
        let cluster = Cluster::start(options).await.map_err(no_place)?;
        cluster.create_database("trial").await.map_err(no_place)?;
        let url = cluster.url("trial");
        let mut notes = vec![format!(
            "tried on a private PostgreSQL {}.{} server: user {user} may not make databases on the server itself",
            programs.version().0,
            programs.version().1
        )];
        notes.extend(make_roles(database, &url).await);
        let home = Home::Private { cluster, _directory: directory };
        Ok(Self { url, programs, notes, home })
    }

    /// Where it is, for people.
    pub(crate) fn place(&self) -> String {
        match &self.home {
            Home::Server { name, .. } => format!("database {name} on the same server"),
            Home::Private { cluster, .. } => format!("a private server on port {}", cluster.port()),
        }
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        let Home::Server { admin, name } = &self.home else { return };
        // A process, since a future that is dropped in the middle cannot wait for another.
        let mut admin = admin.clone();
        let password = admin.password().map(|text| {
            percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
        });
        admin.set_password(None).ok();
        admin.set_query(None);
        let mut command = Command::new(self.programs.path("psql"));
        command.args(["--no-psqlrc", "--quiet", "--no-password", "--command"]);
        command.arg(format!("drop database if exists {name} with (force)"));
        command.arg("--dbname").arg(String::from(admin)).env("PGCONNECT_TIMEOUT", "10");
        if let Some(password) = password {
            command.env("PGPASSWORD", password);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let dropped = command.status().is_ok_and(|status| status.success());
        if !dropped {
            // The next dry-run sweeps it away.
            tracing::warn!(database = %name, "the throw-away database could not be dropped");
        }
    }
}

/// Which of the history tables are there.
async fn histories(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select c.oid::regclass::text from unnest(array['refinery_schema_history', 'liftlock_schema_history']) as name
         join pg_class c on c.oid = to_regclass(name)",
    )
    .fetch_all(connection)
    .await
}

/// Runs one statement although the session writes nothing by default.
async fn writable(connection: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    let set = |value: &str| format!("set default_transaction_read_only = {value}");
    sqlx::raw_sql(AssertSqlSafe(set("off"))).execute(&mut *connection).await?;
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await;
    sqlx::raw_sql(AssertSqlSafe(set("on"))).execute(connection).await?;
    done.map(drop)
}

/// Removes what a killed dry-run left: databases of that name, older than an hour, that nobody is connected to.
async fn sweep(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let old: Vec<String> = sqlx::query_scalar(
        "select d.datname from pg_database d
         where d.datname ~ ('^' || $1 || '[0-9]+_[0-9a-f]+$')
           and split_part(substr(d.datname, length($1) + 1), '_', 1)::int8 < extract(epoch from now()) - 3600
           and not exists (select from pg_stat_activity a where a.datid = d.oid)",
    )
    .bind(PREFIX)
    .fetch_all(&mut *connection)
    .await?;
    for name in old {
        if let Err(error) = writable(connection, format!("drop database if exists {name}")).await {
            tracing::debug!(%error, database = %name, "left alone");
        }
    }
    Ok(())
}

/// A name that tells its age and that no other dry-run has.
fn ulid_like() -> String {
    let seconds = jiff::Timestamp::now().as_second();
    let mut hash = std::collections::hash_map::DefaultHasher::new();
    std::hash::Hash::hash(
        &(std::process::id(), std::time::Instant::now(), jiff::Timestamp::now()),
        &mut hash,
    );
    format!("{seconds}_{:016x}", std::hash::Hasher::finish(&hash))
}

/// Makes roles of the server's names, so that grants and owners of the schema can be copied. Gives what failed.
async fn make_roles(database: &mut Database, url: &SecretString) -> Vec<String> {
    use sqlx::Connection as _;
    let roles = "select quote_ident(rolname) from pg_roles where rolname !~ '^pg_' and rolname <> 'postgres'";
    let roles: Result<Vec<String>, _> =
        sqlx::query_scalar(roles).fetch_all(&mut database.connection).await;
    let roles = match roles {
        Ok(roles) => roles,
        Err(error) => return vec![format!("roles could not be read: {}", reason(&error))],
    };
    let made = async {
        let mut connection = PgConnection::connect(url.expose_secret()).await?;
        for role in roles {
            sqlx::raw_sql(AssertSqlSafe(format!("create role {role}")))
                .execute(&mut connection)
                .await?;
        }
        connection.close().await
    };
    made.await
        .err()
        .map(|error: sqlx::Error| format!("roles could not be made: {}", reason(&error)))
        .into_iter()
        .collect()
}
