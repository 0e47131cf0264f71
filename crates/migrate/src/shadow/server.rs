//! A throw-away database on the database's own server.

use std::process::{Command, Stdio};

use liftlock_postgres::Programs;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{AssertSqlSafe, PgConnection};
use url::Url;

use crate::database::Database;

/// How the names of such databases begin.
const PREFIX: &str = "liftlock_dry_run_";
/// What of a URL's parameters libpq does not know, or may not stand in an argument.
const NOT_FOR_PSQL: [&str; 2] = ["statement-cache-capacity", "password"];

/// A database that is dropped with this value.
pub(super) struct OnServer {
    admin: Url,
    name: String,
    programs: Programs,
}

impl OnServer {
    pub(super) async fn make(
        database: &mut Database,
        programs: &Programs,
    ) -> Result<Self, sqlx::Error> {
        let connection = &mut database.connection;
        sweep(connection).await?;
        let name = format!("{PREFIX}{}", unique());
        let like = "select format('encoding %L lc_collate %L lc_ctype %L', pg_encoding_to_char(encoding), datcollate, datctype)
                    from pg_database where datname = current_database()";
        let locale: String = sqlx::query_scalar(like).fetch_one(&mut *connection).await?;
        let invalid = |_| sqlx::Error::Configuration("the database's URL".into());
        let admin = Url::parse(database.url.expose_secret()).map_err(invalid)?;
        // Made before the database is, so that it is dropped also if we are interrupted in the middle.
        let made = Self { admin, name, programs: programs.clone() };
        let sql = format!("create database {} template template0 {locale}", made.name);
        writable(connection, sql).await?;
        Ok(made)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn url(&self) -> SecretString {
        let mut url = self.admin.clone();
        url.set_path(&self.name);
        String::from(url).into()
    }
}

impl Drop for OnServer {
    fn drop(&mut self) {
        // A process, since a future that is dropped in the middle cannot wait for another.
        let mut admin = self.admin.clone();
        let in_query = admin.query_pairs().find(|(key, _)| key == "password");
        let password = in_query.map(|(_, value)| value.into_owned()).or_else(|| {
            admin.password().map(|text| {
                percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
            })
        });
        admin.set_password(None).ok();
        let kept: Vec<(String, String)> = admin.query_pairs().into_owned().collect();
        admin.set_query(None);
        for (key, value) in kept.iter().filter(|(key, _)| !NOT_FOR_PSQL.contains(&key.as_str())) {
            admin.query_pairs_mut().append_pair(key, value);
        }
        let mut command = Command::new(self.programs.path("psql"));
        command.args(["--no-psqlrc", "--quiet", "--no-password", "--command"]);
        command.arg(format!("drop database if exists {} with (force)", self.name));
        command.arg("--dbname").arg(String::from(admin)).env("PGCONNECT_TIMEOUT", "10");
        if let Some(password) = password {
            command.env("PGPASSWORD", password);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let dropped = command.status().is_ok_and(|status| status.success());
        if !dropped {
            // The next dry-run sweeps it away.
            tracing::warn!(database = %self.name, "the throw-away database could not be dropped");
        }
    }
}

/// Runs one statement although the session writes nothing by default.
async fn writable(connection: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    let was: String = sqlx::query_scalar("show default_transaction_read_only")
        .fetch_one(&mut *connection)
        .await?;
    let set = |value: &str| format!("set default_transaction_read_only = {value}");
    sqlx::raw_sql(AssertSqlSafe(set("off"))).execute(&mut *connection).await?;
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await;
    sqlx::raw_sql(AssertSqlSafe(set(&was))).execute(connection).await?;
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
fn unique() -> String {
    let seconds = jiff::Timestamp::now().as_second();
    let mut hash = std::collections::hash_map::DefaultHasher::new();
    std::hash::Hash::hash(
        &(std::process::id(), std::time::Instant::now(), jiff::Timestamp::now()),
        &mut hash,
    );
    format!("{seconds}_{:016x}", std::hash::Hasher::finish(&hash))
}
