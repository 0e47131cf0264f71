//! `pg_dump` and `pg_restore`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use crate::error::says_disk_full;
use crate::programs::Programs;
use crate::run::{self, RunError};
use crate::target::Target;

/// Why a dump could not be made or restored.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The URL is not one of a PostgreSQL database.
    #[error("the database's URL is not of the form postgres://user:password@host:port/database")]
    Url,
    /// The program failed.
    #[error("{program} failed on {place}: {reason}")]
    Failed {
        /// Which program.
        program: &'static str,
        /// Host, port and database.
        place: String,
        /// What it said.
        reason: String,
    },
    /// The file is no whole archive of `pg_dump`.
    #[error("{} cannot be read back: {reason}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What `pg_restore` said.
        reason: String,
    },
    /// The disk is full.
    #[error("there is no space left on the disk that holds {}: free some and run the command again", path.display())]
    DiskFull {
        /// The dump's file.
        path: PathBuf,
    },
}

/// Writes the whole database to the file `to`, in `pg_dump`'s custom format, within a time.
///
/// # Errors
/// [`FilesError`] with the program's words; an incomplete file may be left then.
pub async fn dump(
    programs: &Programs,
    url: &SecretString,
    to: &Path,
    within: Duration,
) -> Result<(), FilesError> {
    let place = absolute(to);
    let run = run_program(programs, "pg_dump", url, within, |command| {
        command.arg("--format=custom").arg("--file").arg(&place);
    });
    run.await.map(drop).map_err(|error| with_path(error, to))
}

/// Restores what [`dump`] wrote into the database, all of it or nothing, within a time. The database must be empty.
///
/// # Errors
/// [`FilesError`] with the program's words; the database is as before then.
pub async fn restore(
    programs: &Programs,
    url: &SecretString,
    from: &Path,
    within: Duration,
) -> Result<(), FilesError> {
    let place = absolute(from);
    let run = run_program(programs, "pg_restore", url, within, |command| {
        command.args(["--exit-on-error", "--single-transaction", "--no-owner"]).arg(&place);
    });
    run.await.map(drop).map_err(|error| with_path(error, from))
}

/// The SQL text that makes the database's schema (`pg_dump --schema-only`) without the tables `except`, within a time.
///
/// # Errors
/// [`FilesError`] with the program's words.
pub async fn schema(
    programs: &Programs,
    url: &SecretString,
    except: &[&str],
    within: Duration,
) -> Result<String, FilesError> {
    let run = run_program(programs, "pg_dump", url, within, |command| {
        command.args(["--schema-only", "--no-owner", "--no-privileges"]);
        command.args(except.iter().map(|table| format!("--exclude-table={table}")));
    });
    run.await.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The SQL text that makes the database's whole schema, with owners and grants, within a time: UTF-8, unless the database holds
/// bytes of no known encoding.
///
/// # Errors
/// [`FilesError`] with the program's words.
pub async fn whole_schema(
    programs: &Programs,
    url: &SecretString,
    within: Duration,
) -> Result<Vec<u8>, FilesError> {
    let run = run_program(programs, "pg_dump", url, within, |command| {
        command.args(["--schema-only", "--encoding=UTF8"]);
    });
    run.await
}

/// The SQL text that `pg_dump` makes of a database in UTF-8, with these further arguments, within a time.
///
/// # Errors
/// [`FilesError`] with the program's words.
pub async fn sql_text(
    programs: &Programs,
    url: &SecretString,
    arguments: &[&str],
    within: Duration,
) -> Result<String, FilesError> {
    let run = run_program(programs, "pg_dump", url, within, |command| {
        command.arg("--encoding=UTF8").args(arguments);
    });
    String::from_utf8(run.await?).map_err(|error| FilesError::Failed {
        program: "pg_dump",
        place: Target::parse(url).map(|target| target.place()).unwrap_or_default(),
        reason: error.to_string(),
    })
}

/// Copies the schema of one database into another, empty one, and the rows of the tables `rows_of`, within a time for each
/// of the four programs that this takes. Gives what could not be copied, in the words of `pg_restore`: owners and
/// extensions that the other database's user may not set, for example.
///
/// # Errors
/// [`FilesError`] if the schema cannot be read, or the other database does not take it at all.
pub async fn copy_schema(
    programs: &Programs,
    from: &SecretString,
    to: &SecretString,
    rows_of: &[&str],
    within: Duration,
) -> Result<Vec<String>, FilesError> {
    let directory = tempfile::tempdir().map_err(|error| FilesError::Failed {
        program: "pg_dump",
        place: "a temporary directory".into(),
        reason: error.to_string(),
    })?;
    let file = directory.path().join("schema");
    let mut flags: Vec<Vec<String>> = vec![vec!["--schema-only".into()]];
    if !rows_of.is_empty() {
        let tables = rows_of.iter().map(|table| format!("--table={table}"));
        flags.push(std::iter::once("--data-only".to_owned()).chain(tables).collect());
    }
    let mut notes = Vec::new();
    for flags in flags {
        let dump = run_program(programs, "pg_dump", from, within, |command| {
            command.arg("--format=custom").arg("--file").arg(&file).args(&flags);
        });
        dump.await.map_err(|error| with_path(error, &file))?;
        let restore = run_program(programs, "pg_restore", to, within, |command| {
            // What is restored statement by statement need not be on disk after each.
            command.arg(&file).env("PGOPTIONS", "-c synchronous_commit=off");
        });
        match restore.await {
            // pg_restore goes on after a statement that fails, and says so at its end.
            Err(FilesError::Failed { reason, .. })
                if reason.contains("errors ignored on restore") =>
            {
                let errors = reason.lines().filter(|line| line.contains("error: could not"));
                notes.extend(
                    errors.map(|line| line.trim_start_matches("pg_restore: error: ").to_owned()),
                );
            }
            other => other.map(drop)?,
        }
    }
    Ok(notes)
}

pub(crate) async fn run_program(
    programs: &Programs,
    program: &'static str,
    url: &SecretString,
    within: Duration,
    arguments: impl FnOnce(&mut tokio::process::Command),
) -> Result<Vec<u8>, FilesError> {
    let target = Target::parse(url).ok_or(FilesError::Url)?;
    let mut command = run::command(&programs.path(program), None);
    target.tell(&mut command);
    arguments(&mut command);
    let ended = run::finish(command, within).await;
    ended.map(|output| output.stdout).map_err(|error: RunError| FilesError::Failed {
        program,
        place: target.place(),
        reason: error.to_string(),
    })
}

pub(crate) fn with_path(error: FilesError, path: &Path) -> FilesError {
    match error {
        FilesError::Failed { reason, .. } if says_disk_full(&reason) => {
            FilesError::DiskFull { path: path.to_owned() }
        }
        other => other,
    }
}

/// The programs run in `/`, so a relative path would mean another place.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
