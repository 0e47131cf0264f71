//! Verifying an archive: it is restored on a private server, and compared with what its manifest says.

use std::time::{Duration, Instant};

use liftlock_postgres::{Cluster, ClusterOptions, FilesError, Owners, Programs, restore_archive};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::archives::Snapshot;
use super::census::{self, Depth};
use super::error::ArchiveError;
use super::manifest::{Locale, Manifest};
use super::shape;
use crate::schema::Schema;

/// What came of verifying a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Which.
    pub id: String,
    /// How many tables were compared.
    pub tables: usize,
    /// How many rows they have.
    pub rows: u64,
    /// What differs; nothing if it is what was saved.
    pub differences: Vec<String>,
    /// What was not compared, and why.
    pub notes: Vec<String>,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

impl Verified {
    pub(super) fn damaged(manifest: &Manifest, damage: String, start: Instant) -> Self {
        let compared = Compared { differences: vec![damage], notes: Vec::new() };
        Self { tables: 0, rows: 0, ..Self::of(manifest, compared, start) }
    }

    pub(super) fn of(manifest: &Manifest, compared: Compared, start: Instant) -> Self {
        let Compared { differences, mut notes } = compared;
        if manifest.contents.iter().any(|one| one.checksum.is_none()) {
            notes.push("rows were counted and not compared: the snapshot has no checksums".into());
        }
        Self {
            id: manifest.id.clone(),
            tables: manifest.contents.len(),
            rows: manifest.rows(),
            differences,
            notes,
            milliseconds: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Restores the snapshot on a private server of this machine, which goes when that is done, and compares it with its manifest:
/// the file, the schema, each table's rows and their values, the sequences.
///
/// # Errors
/// [`ArchiveError`] when that could not be tried.
pub async fn verify(snapshot: &Snapshot, within: Duration) -> Result<Verified, ArchiveError> {
    let start = Instant::now();
    let manifest = &snapshot.manifest;
    if let Some(damage) = snapshot.damage().await? {
        return Ok(Verified::damaged(manifest, damage, start));
    }
    let programs = Programs::find()?;
    let ground = Ground::start(manifest).await?;
    let restored =
        restore_archive(&programs, &ground.url, &snapshot.dump(), Owners::Kept, within).await;
    match restored {
        Ok(()) => {}
        Err(FilesError::Failed { reason, .. }) => {
            let damage = format!("pg_restore cannot restore it: {reason}");
            return Ok(Verified::damaged(manifest, damage, start));
        }
        Err(error) => return Err(error.into()),
    }
    let compared = compare(snapshot, &ground.url, "the private server", Owners::Kept).await?;
    Ok(Verified::of(manifest, compared, start))
}

/// What came of a comparison.
#[derive(Default)]
pub(super) struct Compared {
    /// What is not as it was.
    pub(super) differences: Vec<String>,
    /// What could not be compared, and why.
    pub(super) notes: Vec<String>,
}

/// What differs between a restored database and what was saved.
pub(super) async fn compare(
    snapshot: &Snapshot,
    url: &SecretString,
    place: &str,
    owners: Owners,
) -> Result<Compared, ArchiveError> {
    let manifest = &snapshot.manifest;
    let compared = async {
        let mut connection = PgConnection::connect(url.expose_secret()).await?;
        let begin = format!("begin isolation level repeatable read; {}", census::SETTINGS);
        sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut connection).await?;
        let checksums = manifest.contents.iter().any(|one| one.checksum.is_some());
        let depth = if checksums { Depth::Checksums } else { Depth::Rows };
        let schema = Schema::read(&mut connection).await?;
        let version: String =
            sqlx::query_scalar("show server_version").fetch_one(&mut connection).await?;
        let mut compared = match (owners, major(&version) == major(&manifest.server_version)) {
            (Owners::Kept, true) => shape::compare(snapshot.schema(), &schema),
            (Owners::Dropped, _) => shape::not_compared("owners and rights were left out"),
            (Owners::Kept, false) => shape::not_compared(&format!(
                "it was saved on version {} and restored on {version}",
                manifest.server_version
            )),
        };
        let contents = census::contents(&mut connection, depth).await?;
        let sequences = census::sequences(&mut connection).await?;
        compared.differences.extend(census::differences(&manifest.contents, &contents));
        compared.differences.extend(census::behind(&manifest.sequences, &sequences));
        connection.close().await?;
        Ok(compared)
    };
    compared.await.map_err(|error| ArchiveError::database(place, &error))
}

fn major(version: &str) -> &str {
    version.split(['.', ' ']).next().unwrap_or(version)
}

/// A private server with an empty database like the one that was saved.
struct Ground {
    url: SecretString,
    /// Ends before its directory goes.
    _cluster: Cluster,
    _directory: tempfile::TempDir,
}

impl Ground {
    async fn start(manifest: &Manifest) -> Result<Self, ArchiveError> {
        let directory =
            tempfile::tempdir().map_err(|error| ArchiveError::io(&std::env::temp_dir(), &error))?;
        let options = ClusterOptions {
            durable: false,
            remove_at_end: true,
            ..ClusterOptions::new(directory.path())
        };
        let cluster = Cluster::start(options).await;
        let cluster =
            cluster.map_err(|source| ArchiveError::NoPlace { id: manifest.id.clone(), source })?;
        let prepared = prepare(&cluster.url("postgres"), manifest).await;
        prepared.map_err(|error| ArchiveError::database("the private server", &error))?;
        Ok(Self { url: cluster.url("verified"), _cluster: cluster, _directory: directory })
    }
}

async fn prepare(url: &SecretString, manifest: &Manifest) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(url.expose_secret()).await?;
    let mut statements: Vec<String> = manifest
        .roles
        .iter()
        .filter(|role| *role != "postgres")
        .map(|role| format!("create role {}", identifier(role)))
        .collect();
    // The order of text of the original system may be unknown here; comparing needs none.
    let plain =
        Locale { collate: "C".into(), ctype: "C".into(), icu: None, ..manifest.locale.clone() };
    statements.push(create_database("verified", &plain));
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    }
    connection.close().await
}

/// The statement that makes an empty database with that order of text.
pub(super) fn create_database(name: &str, locale: &Locale) -> String {
    let Locale { encoding, collate, ctype, icu } = locale;
    let icu = icu.as_ref().map(|icu| format!(" locale_provider icu icu_locale {}", literal(icu)));
    format!(
        "create database {} template template0 encoding {} lc_collate {} lc_ctype {}{}",
        identifier(name),
        literal(encoding),
        literal(collate),
        literal(ctype),
        icu.unwrap_or_default()
    )
}

/// A name in SQL.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
