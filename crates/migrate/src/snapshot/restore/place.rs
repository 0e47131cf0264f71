//! The server that a snapshot is brought back to: its databases, and which of them are ours.

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use url::Url;

use super::Tell;
use crate::connect::{Address, ConnectErrorKind};
use crate::settings::Settings;
use crate::snapshot::error::ArchiveError;
use crate::snapshot::manifest::Manifest;
use crate::snapshot::verify::{create_database, identifier, literal};

/// How the comments begin that say which databases are ours.
const MARK: &str = "liftlock restore: ";
/// "rest" in ASCII: the lock of whoever is at work on a database, whose number is the other half.
const CLASS: i32 = i32::from_be_bytes(*b"rest");

/// How far a database of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// It is being filled, or that was interrupted.
    Restoring,
    /// It has what was saved.
    Restored,
    /// It was restored and is not what was saved.
    Differs,
    /// It was the live one before.
    Before,
}

/// What the comment on a database of ours says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) snapshot: String,
    /// The live database's name.
    pub(super) of: String,
    pub(super) stage: Stage,
    pub(super) at: Timestamp,
}

impl Mark {
    /// The statement that puts it on a database.
    pub(super) fn statement(&self, name: &str) -> Result<String, ArchiveError> {
        let json =
            serde_json::to_string(self).map_err(|error| ArchiveError::Id(error.to_string()))?;
        Ok(format!(
            "comment on database {} is {}",
            identifier(name),
            literal(&format!("{MARK}{json}"))
        ))
    }
}

/// A connection to a database of the server that is not the live one.
pub(super) struct Admin {
    pub(super) connection: PgConnection,
    /// The live database's name.
    pub(super) live: String,
    /// Host and port.
    pub(super) server: String,
    pub(super) settings: Settings,
    url: Url,
}

impl Admin {
    pub(super) async fn connect(
        url: &SecretString,
        settings: &Settings,
    ) -> Result<Self, ArchiveError> {
        let address = Address::parse(url, settings)?;
        let options = &address.options;
        let live = options.get_database().unwrap_or(options.get_username()).to_owned();
        let server = format!("{}:{}", options.get_host(), options.get_port());
        let parsed = Url::parse(url.expose_secret());
        let parsed = parsed.map_err(|_| ArchiveError::Id("the database's URL is wrong".into()))?;
        let mut refused = None;
        for name in ["postgres", "template1"].into_iter().filter(|name| *name != live) {
            let other = url_of(&parsed, name);
            match Address::parse(&other, settings)?.connect().await {
                Ok(connection) => {
                    let settings = settings.clone();
                    let mut admin = Self { connection, live, server, settings, url: parsed };
                    admin.check_rights(&address.user).await?;
                    return Ok(admin);
                }
                // There need not be such a database.
                Err(error) if error.kind() == ConnectErrorKind::Configuration => {
                    refused = Some(error)
                }
                Err(error) => return Err(error.into()),
            }
        }
        let words = refused.map_or_else(String::new, |error| format!(": {error}"));
        Err(ArchiveError::Refused(format!(
            "neither database postgres nor template1 of {server} can be used to make another{words}"
        )))
    }

    pub(super) fn failed(&self, error: &sqlx::Error) -> ArchiveError {
        ArchiveError::database(&self.server, error)
    }

    pub(super) async fn execute(&mut self, sql: String) -> Result<(), ArchiveError> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await;
        done.map(drop).map_err(|error| self.failed(&error))
    }

    async fn check_rights(&mut self, user: &str) -> Result<(), ArchiveError> {
        let may = "select rolcreatedb or rolsuper from pg_roles where rolname = current_user";
        let may: Result<bool, _> = sqlx::query_scalar(may).fetch_one(&mut self.connection).await;
        if may.map_err(|error| self.failed(&error))? {
            return Ok(());
        }
        Err(ArchiveError::Refused(format!(
            "user {user} may not make databases on {}, and a snapshot is restored into a new one: `alter role {} createdb`, or \
             use the URL of a user who may",
            self.server,
            identifier(user)
        )))
    }

    /// The URL of another database of the server.
    pub(super) fn url_of(&self, name: &str) -> SecretString {
        url_of(&self.url, name)
    }

    pub(super) async fn exists(&mut self, name: &str) -> Result<bool, ArchiveError> {
        let there = "select exists (select from pg_database where datname = $1)";
        let there = sqlx::query_scalar(there).bind(name).fetch_one(&mut self.connection).await;
        there.map_err(|error| self.failed(&error))
    }

    /// The databases that restores have made or put aside: name, number and mark.
    pub(super) async fn marks(&mut self) -> Result<Vec<(String, i64, Mark)>, ArchiveError> {
        let rows = sqlx::query(
            "select datname::text, oid::int8, substr(shobj_description(oid, 'pg_database'), length($1) + 1)
             from pg_database where starts_with(shobj_description(oid, 'pg_database'), $1) order by datname desc",
        );
        let rows = rows.bind(MARK).fetch_all(&mut self.connection).await;
        let rows = rows.map_err(|error| self.failed(&error))?;
        let read = |row: &sqlx::postgres::PgRow| {
            let json: String = row.try_get(2).ok()?;
            Some((row.try_get(0).ok()?, row.try_get(1).ok()?, serde_json::from_str(&json).ok()?))
        };
        Ok(rows.iter().filter_map(read).collect())
    }

    /// Whether nobody else is at work on that database; it is then ours until this connection ends.
    pub(super) async fn hold(&mut self, oid: i64) -> Result<bool, ArchiveError> {
        let taken = "select pg_try_advisory_lock($1, ($2::int8 - 2147483648)::int4)";
        let taken = sqlx::query_scalar(taken).bind(CLASS).bind(oid);
        taken.fetch_one(&mut self.connection).await.map_err(|error| self.failed(&error))
    }

    /// Removes what killed restores of the live database left half done, and says what else is there.
    pub(super) async fn clean(&mut self, on: Tell<'_>) -> Result<Vec<String>, ArchiveError> {
        let mut notes = Vec::new();
        let live = self.live.clone();
        for (name, oid, mark) in self.marks().await? {
            if mark.of != live {
                continue;
            }
            let Mark { snapshot, at, .. } = &mark;
            match mark.stage {
                Stage::Restoring if self.hold(oid).await? => {
                    on(format!("removing database {name}, which an interrupted restore of {snapshot} left half done"));
                    self.drop_database(&name).await?;
                }
                Stage::Restoring => notes.push(format!("database {name} is being restored from {snapshot} by another run")),
                Stage::Restored => notes.push(format!("database {name} is there, restored from {snapshot} on {at}")),
                Stage::Differs => notes.push(format!("database {name} is there, restored from {snapshot} on {at}, and differs from it")),
                Stage::Before => notes.push(format!("database {name} is what {live} was before {snapshot} took its place on {at}")),
            }
        }
        Ok(notes)
    }

    /// Makes an empty database like the one that was saved, marks it and holds it.
    pub(super) async fn create(
        &mut self,
        name: &str,
        manifest: &Manifest,
        mark: &Mark,
    ) -> Result<(), ArchiveError> {
        if name.is_empty() || name.len() > 63 {
            return Err(ArchiveError::Refused(format!(
                "{name:?} cannot be a database's name: PostgreSQL takes up to 63 bytes"
            )));
        }
        if self.exists(name).await? {
            return Err(ArchiveError::Refused(format!(
                "database {name} is there already on {}: a snapshot is restored into a new one; choose another name with --into",
                self.server
            )));
        }
        self.execute(create_database(name, &manifest.locale)).await?;
        self.mark(name, mark).await?;
        let oid = sqlx::query_scalar("select oid::int8 from pg_database where datname = $1");
        let oid = oid.bind(name).fetch_one(&mut self.connection).await;
        let oid = oid.map_err(|error| self.failed(&error))?;
        self.hold(oid).await.map(drop)
    }

    pub(super) async fn mark(&mut self, name: &str, mark: &Mark) -> Result<(), ArchiveError> {
        self.execute(mark.statement(name)?).await
    }

    pub(super) async fn drop_database(&mut self, name: &str) -> Result<(), ArchiveError> {
        self.execute(format!("drop database if exists {} with (force)", identifier(name))).await
    }

    /// Gathers the statistics that an archive does not have: without them the first queries would be slow.
    pub(super) async fn analyze(&self, url: &SecretString) -> Result<(), ArchiveError> {
        let analyzed = async {
            let mut connection = PgConnection::connect(url.expose_secret()).await?;
            sqlx::raw_sql("analyze").execute(&mut connection).await?;
            connection.close().await
        };
        analyzed.await.map_err(|error| self.failed(&error))
    }
}

fn url_of(url: &Url, name: &str) -> SecretString {
    let mut url = url.clone();
    let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    url.set_path(&encoded.to_string());
    String::from(url).into()
}

/// `shop_restored_20260131_101500`, within the 63 bytes that PostgreSQL takes.
pub(super) fn beside_name(live: &str, what: &str, now: Timestamp) -> String {
    let end = format!("_{what}_{}", now.strftime("%Y%m%d_%H%M%S"));
    let room = 63 - end.len();
    let cut = (0..=room.min(live.len())).rev().find(|at| live.is_char_boundary(*at)).unwrap_or(0);
    format!("{}{end}", &live[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_urls_lead_to_them() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(beside_name("shop", "restored", now), "shop_restored_19700101_000000");
        let long = beside_name(&"ä".repeat(40), "before_restore", now);
        assert!(long.len() <= 63 && long.ends_with("_before_restore_19700101_000000"), "{long}");
        let url = Url::parse("postgres://u:p%40@h:1/shop?sslmode=require").unwrap();
        assert_eq!(
            url_of(&url, "a b/c").expose_secret(),
            "postgres://u:p%40@h:1/a%20b%2Fc?sslmode=require"
        );
    }
}
