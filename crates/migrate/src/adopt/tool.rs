//! The tools whose directories and histories can be taken over.

use serde::Serialize;

/// A tool whose migrations can be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    /// `V1__x.sql`, table `refinery_schema_history`.
    Refinery,
    /// `1_x.sql`, or `1_x.up.sql` with `1_x.down.sql`; table `_sqlx_migrations`.
    Sqlx,
    /// `2024-01-01-000000_x/up.sql` and `down.sql`; table `__diesel_schema_migrations`.
    Diesel,
    /// `V1__x.sql` with `U1__x.sql`; table `flyway_schema_history`.
    Flyway,
    /// `20240101000000_x.sql` in two sections; table `schema_migrations`.
    Dbmate,
    /// `1_x.up.sql` with `1_x.down.sql`; table `schema_migrations` with the newest number alone.
    GolangMigrate,
    /// `sqitch.plan` with `deploy`, `revert` and `verify`; schema `sqitch`.
    Sqitch,
}

impl Tool {
    /// Its name, as people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refinery => "refinery",
            Self::Sqlx => "sqlx",
            Self::Diesel => "diesel",
            Self::Flyway => "flyway",
            Self::Dbmate => "dbmate",
            Self::GolangMigrate => "golang-migrate",
            Self::Sqitch => "sqitch",
        }
    }

    /// Where its files are if nobody says otherwise.
    pub fn default_source(self) -> &'static str {
        match self {
            Self::Refinery | Self::Sqlx | Self::Diesel | Self::GolangMigrate => "migrations",
            Self::Flyway => "src/main/resources/db/migration",
            Self::Dbmate => "db/migrations",
            Self::Sqitch => ".",
        }
    }

    /// Its history table if nobody says otherwise.
    pub fn default_table(self) -> &'static str {
        match self {
            Self::Refinery => "refinery_schema_history",
            Self::Sqlx => "_sqlx_migrations",
            Self::Diesel => "__diesel_schema_migrations",
            Self::Flyway => "flyway_schema_history",
            Self::Dbmate | Self::GolangMigrate => "schema_migrations",
            Self::Sqitch => "sqitch.changes",
        }
    }

    /// The query that reads its table, quoted by the caller, into the columns `key`, `checksum`, `at` (microseconds), `by`,
    /// `ms`, `ok`, `kind`, in the order in which things were done. `$1` is the project, which only sqitch has.
    pub(crate) fn history(self, table: &str) -> String {
        let at =
            |column: &str| format!("(extract(epoch from {column}::timestamptz) * 1000000)::int8");
        let nobody = "null::text as by";
        let columns = match self {
            Self::Refinery => format!(
                "version::text as key, checksum, {} as at, {nobody}, null::int8 as ms, true as ok, name as kind",
                at("applied_on")
            ),
            Self::Sqlx => format!(
                "version::text as key, encode(checksum, 'hex') as checksum, {} as at, {nobody},
                 case when execution_time >= 0 then execution_time / 1000000 end as ms, success as ok, '' as kind",
                at("installed_on")
            ),
            Self::Diesel => format!(
                "version as key, null::text as checksum, {} as at, {nobody}, null::int8 as ms, true as ok, '' as kind",
                at("run_on")
            ),
            Self::Flyway => format!(
                "version as key, checksum::text, {} as at, installed_by::text as by, execution_time::int8 as ms,
                 success as ok, type::text as kind",
                at("installed_on")
            ),
            Self::Dbmate => format!(
                "version as key, null::text as checksum, null::int8 as at, {nobody}, null::int8 as ms, true as ok, '' as kind"
            ),
            Self::GolangMigrate => format!(
                "version::text as key, null::text as checksum, null::int8 as at, {nobody}, null::int8 as ms,
                 not dirty as ok, '' as kind"
            ),
            Self::Sqitch => format!(
                "change || '@' || to_char(planned_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as key,
                 script_hash as checksum, {} as at, committer_name as by, null::int8 as ms, true as ok, '' as kind",
                at("committed_at")
            ),
        };
        let order = match self {
            Self::Flyway => "installed_rank",
            Self::Sqitch => "committed_at",
            _ => "version",
        };
        let project = if self == Self::Sqitch { "project = $1" } else { "$1::text is not null" };
        format!("select {columns} from {table} where {project} order by {order}")
    }
}
