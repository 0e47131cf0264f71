//! What is on a database, as the statements of a migration.

use std::time::Duration;

use liftlock_postgres::{FilesError, Programs, sql_text};
use secrecy::SecretString;
use sqlx::{PgConnection, Row as _};

use super::error::SquashError;
use super::made::Made;
use super::script::{LeftOut, drops, statements};
use crate::failure::Failure;

/// How long `pg_dump` may take.
const LIMIT: Duration = Duration::from_secs(300);
/// The history is none of what migrations make.
const WITHOUT_HISTORY: [&str; 2] =
    ["--exclude-table=*.refinery_schema_history", "--exclude-table=*.liftlock_schema_*"];
/// As SQL that anything but psql can run. Rows by a hundred, columns by name.
const ROWS: [&str; 3] = ["--column-inserts", "--rows-per-insert=100", "--no-blobs"];

/// What is on a database, as statements.
pub(crate) struct Dump {
    pub(crate) statements: Vec<String>,
    /// Those that drop it all.
    pub(crate) drops: Vec<String>,
}

/// Dumps what was made, for its own user.
pub(crate) async fn dump(made: &mut Made, programs: &Programs) -> Result<Dump, SquashError> {
    let url = made.url().clone();
    let place = made.database().address.place.clone();
    let known = Known::read(&mut made.database().connection).await;
    let known = known.map_err(|error| Failure::database(&place, &error))?;
    let left_out = known.left_out(true);
    Ok(of(programs, &url, &ROWS, &left_out).await?)
}

/// Dumps a database, with `more` arguments.
pub(crate) async fn of(
    programs: &Programs,
    url: &SecretString,
    more: &[&str],
    left_out: &LeftOut<'_>,
) -> Result<Dump, FilesError> {
    let mut arguments = [&WITHOUT_HISTORY[..], more].concat();
    let plain = sql_text(programs, url, &arguments, LIMIT).await?;
    arguments.push("--clean");
    let clean = sql_text(programs, url, &arguments, LIMIT).await?;
    let (plain, clean) = (statements(&plain, left_out), statements(&clean, left_out));
    Ok(Dump { drops: drops(&clean, &plain), statements: plain })
}

/// What tells what goes without saying.
pub(crate) struct Known {
    /// The user, quoted where that must be.
    pub(crate) user: String,
    /// Extensions whose comments are not those that they come with.
    commented: Vec<String>,
    /// Statements that set sequences to where they begin.
    idle: Vec<String>,
}

impl Known {
    pub(crate) async fn read(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let user = sqlx::query("select quote_ident(current_user)").fetch_one(&mut *connection);
        let user = user.await?.try_get(0)?;
        let commented = sqlx::query_scalar(
            "select quote_ident(e.extname) from pg_extension e left join pg_available_extensions a on a.name = e.extname
             where obj_description(e.oid, 'pg_extension') is distinct from a.comment",
        );
        let idle = sqlx::query_scalar(
            "select format('SELECT pg_catalog.setval(%L, %s, false)', format('%I.%I', schemaname, sequencename), start_value)
             from pg_sequences",
        );
        Ok(Self {
            user,
            commented: commented.fetch_all(&mut *connection).await?,
            idle: idle.fetch_all(connection).await?,
        })
    }

    /// What is left out of a dump: with `owners`, only what says that the user is one.
    pub(crate) fn left_out(&self, owners: bool) -> LeftOut<'_> {
        let user = owners.then_some(self.user.as_str());
        LeftOut { user, commented: &self.commented, idle: &self.idle }
    }
}
