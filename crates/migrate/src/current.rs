//! Whether a database has exactly what the files hold, asked in as few words as can be. Most runs find nothing to do, and are to find that
//! out quickly; what this does not see at once is for the longer look in `apply.rs` and `check.rs` to tell.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, Row as _};

use crate::ask;
use crate::connect::MARK;
use crate::files::Migrations;
use crate::outside;
use crate::refinery;

/// A hash of what each table says as one text: Liftlock's newest word on each migration that is applied, and refinery's. Rows that say of
/// themselves that nothing came of them do not count, nor do those of a newer Liftlock.
const HISTORIES: [&str; 2] = [
    "select encode(sha256(convert_to(coalesce(string_agg(version || ' ' || up_sha256 || ' ' || rollback_sha256 || E'\\n', ''), ''), 'UTF8')), 'hex') from (
        select distinct on (version) version, action, up_sha256, rollback_sha256 from liftlock_schema_history
        where action in ('apply', 'rollback', 'adopt', 'replace rollback', 'prove rollback')
        order by version, id desc) newest where action <> 'rollback'",
    "select encode(sha256(convert_to(coalesce(string_agg(version || ' ' || name || ' ' || checksum || E'\\n', ''), ''), 'UTF8')), 'hex') from (
        select version, name, checksum from refinery_schema_history order by version) applied",
];

/// What is told of all their rows, in any order, in a third of the time: good for knowing again what was looked at, not for knowing what it
/// says.
const DIGEST: &str = "
    select concat_ws(' ',
        (select count(*) || ' ' || sum(hashtextextended(concat_ws(' ', id, action, version, up_sha256, rollback_sha256), 0))
         from liftlock_schema_history),
        (select count(*) || ' ' || sum(hashtextextended(concat_ws(' ', version, name, checksum), 0)) from refinery_schema_history))";

/// Whether our setting of the connection's beginning is there, no pooler having dropped it; which tables there are.
const THERE: &str = "
    select current_setting($mark, true) = 'on' and to_regclass('liftlock_schema_history') is not null
           and to_regclass('refinery_schema_history') is not null,
           to_regclass('liftlock_schema_journal') is not null";

/// What both say of a database that has certain migrations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected(pub(crate) [String; 2]);

impl Expected {
    pub(crate) fn of(migrations: &Migrations) -> Self {
        Self(
            [our_text(migrations), refinery_text(migrations)]
                .map(|text| hex::encode(Sha256::digest(text))),
        )
    }
}

/// What is known of files, without reading them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// What a database that has them says.
    pub(crate) expected: Expected,
    /// The digest of the tables of one that said so.
    pub(crate) digest: Option<String>,
}

/// What both say.
#[derive(Debug, Default)]
pub(crate) struct Histories {
    /// None if it is for the longer look: a table is not there, or may not be read, or a pooler sits between.
    told: Option<Expected>,
    /// The digest of the tables that say so, if it was not known before.
    digest: Option<String>,
    half_done: bool,
}

impl Histories {
    /// Asks for them, or for whether they say what a database did that has the files `known`.
    pub(crate) async fn read(
        connection: &mut PgConnection,
        known: Option<&Known>,
    ) -> Result<Self, sqlx::Error> {
        match Self::try_read(connection, known).await {
            Err(sqlx::Error::Database(_)) => Ok(Self::default()),
            read => read,
        }
    }

    /// In the simple protocol: prepared statements do not survive in every pooler.
    async fn try_read(
        connection: &mut PgConnection,
        known: Option<&Known>,
    ) -> Result<Self, sqlx::Error> {
        let there = THERE.replace("$mark", &format!("'{MARK}'"));
        let there = ask::row(connection, there).await?;
        let (tables, journal): (Option<bool>, bool) = (there.try_get(0)?, there.try_get(1)?);
        if tables != Some(true) {
            return Ok(Self::default());
        }
        let half_done = journal && !outside::halves(connection).await?.is_empty();
        if let Some(Known { expected, digest: Some(digest) }) = known
            && ask::one::<String>(connection, DIGEST.to_owned()).await? == *digest
        {
            return Ok(Self { told: Some(expected.clone()), digest: None, half_done });
        }
        // In one statement: the digest must be that of the rows that were looked at.
        let digest = if known.is_some() { DIGEST } else { "select null::text" };
        let [ours, refinery] = HISTORIES;
        let all =
            ask::row(connection, format!("select ({ours}), ({refinery}), ({digest})")).await?;
        let told = Some(Expected([all.try_get(0)?, all.try_get(1)?]));
        Ok(Self { told, digest: all.try_get(2)?, half_done })
    }

    /// Whether everything is applied as it stands in the files, and nothing is half done.
    pub(crate) fn are_those_of(&self, migrations: &Migrations) -> bool {
        self.told.is_some() && self.are(&Expected::of(migrations))
    }

    /// The same of files that are known to make this.
    pub(crate) fn are(&self, expected: &Expected) -> bool {
        !self.half_done && self.told.as_ref() == Some(expected)
    }

    /// By what to know these tables again, if that is new.
    pub(crate) fn new_digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }
}

fn our_text(migrations: &Migrations) -> String {
    let mut text = String::new();
    for migration in migrations.all() {
        let (up, rollback) = (&migration.up.sha256, &migration.rollback.sha256);
        writeln!(text, "{} {up} {rollback}", migration.id.version)
            .expect("a string takes any text");
    }
    text
}

fn refinery_text(migrations: &Migrations) -> String {
    let mut text = String::new();
    for migration in migrations.all() {
        let (version, name) = (migration.id.version, &migration.id.name);
        let checksum = refinery::checksum(&migration.id, &migration.up.sql);
        writeln!(text, "{version} {name} {checksum}").expect("a string takes any text");
    }
    text
}
