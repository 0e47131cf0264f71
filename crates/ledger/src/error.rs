//! What can be wrong with a ledger's database, told apart by what a person would do about it.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// What is wrong with the database, told apart by what a person would do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Trouble {
    /// The file, its directory or the database can be read but not written.
    ReadOnly,
    /// No space is left.
    NoSpace,
    /// The file is no SQLite database, or a damaged one.
    Damaged,
    /// The user or the password is wrong.
    Credentials,
    /// The user lacks a right.
    Denied,
    /// The database does not exist.
    Missing,
    /// Nothing answers there, or not in time.
    Unreachable,
    /// Others held it for too long.
    Busy,
    /// Anything else; the source says what.
    Other,
}

/// An operation on the ledger's database failed.
#[derive(Debug)]
pub struct StoreError {
    place: Arc<str>,
    trouble: Trouble,
    source: Box<dyn Error + Send + Sync>,
}

impl StoreError {
    pub(crate) fn database(place: &Arc<str>, source: sqlx::Error) -> Self {
        Self { place: place.clone(), trouble: classify(&source), source: Box::new(source) }
    }

    pub(crate) fn other(
        place: &Arc<str>,
        trouble: Trouble,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { place: place.clone(), trouble, source: source.into() }
    }

    /// What is wrong.
    pub fn trouble(&self) -> Trouble {
        self.trouble
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        match self.trouble {
            Trouble::ReadOnly => write!(
                f,
                "the ledger {place} cannot be written: make the file and its directory writable for this user, \
                 or name another ledger"
            ),
            Trouble::NoSpace => write!(
                f,
                "no space is left for the ledger {place}: free some, then repeat the command; what was written before is safe"
            ),
            Trouble::Damaged => write!(
                f,
                "the ledger {place} is damaged or no ledger at all: restore it from a backup, or name another ledger"
            ),
            Trouble::Credentials => write!(
                f,
                "the ledger {place} refused the user or the password: correct the ledger's URL"
            ),
            Trouble::Denied => write!(
                f,
                "the user may not use the ledger {place}: grant it the rights on the tables `liftlock_…` \
                 (and CREATE on the schema for the first start)"
            ),
            Trouble::Missing => write!(
                f,
                "the database of the ledger {place} does not exist: create it with `createdb`, or correct the ledger's URL"
            ),
            Trouble::Unreachable => write!(
                f,
                "the ledger {place} does not answer: see whether the server runs and can be reached from here, then repeat the \
                 command; whether the last entry was written, `liftlock history` shows"
            ),
            Trouble::Busy => write!(
                f,
                "the ledger {place} was held by others for too long: repeat the command; if that does not help, look for a \
                 hanging process that has it open"
            ),
            Trouble::Other => {
                write!(f, "the ledger {place} failed: `liftlock audit verify` checks it")
            }
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}

fn classify(error: &sqlx::Error) -> Trouble {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) => Trouble::Unreachable,
        sqlx::Error::PoolTimedOut => Trouble::Busy,
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
                sqlite(code.parse().unwrap_or_default())
            } else {
                postgres(&code)
            }
        }
        _ => Trouble::Other,
    }
}

/// SQLite's result codes (<https://www.sqlite.org/rescode.html>); the low byte of an extended code is the primary one.
fn sqlite(code: i32) -> Trouble {
    // SQLITE_IOERR_SHMSIZE: the file beside the database, which all its users share, cannot grow. Only a full disk does that.
    if code == 4874 {
        return Trouble::NoSpace;
    }
    match code & 0xff {
        3 | 8 | 14 => Trouble::ReadOnly,
        5 | 6 => Trouble::Busy,
        11 | 26 => Trouble::Damaged,
        13 => Trouble::NoSpace,
        _ => Trouble::Other,
    }
}

/// PostgreSQL's SQLSTATEs (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn postgres(code: &str) -> Trouble {
    match code {
        "28P01" | "28000" => Trouble::Credentials,
        "42501" => Trouble::Denied,
        "3D000" => Trouble::Missing,
        "53100" => Trouble::NoSpace,
        "25006" => Trouble::ReadOnly,
        "55P03" | "57014" | "53300" => Trouble::Busy,
        "57P01" | "57P02" | "57P03" => Trouble::Unreachable,
        _ if code.starts_with("08") => Trouble::Unreachable,
        _ => Trouble::Other,
    }
}

/// Why a ledger could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL is none.
    #[error(
        "the ledger's URL is not a PostgreSQL URL: expected `postgres://USER:PASSWORD@HOST:PORT/DATABASE` \
         (special characters in the password percent-encoded)"
    )]
    Url,
    /// The directory could not be made.
    #[error(
        "the ledger's directory {} cannot be made: make it writable for this user, or name another ledger",
        path.display()
    )]
    Directory {
        /// Which directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is something else.
    #[error(
        "{place} is not a Liftlock ledger ({what}); nothing was changed: name another file, or move this one away"
    )]
    NotALedger {
        /// Where.
        place: String,
        /// What there is.
        what: String,
    },
    /// A newer Liftlock made it.
    #[error(
        "the ledger {place} has schema version {found}, and this Liftlock knows versions up to {known}; nothing was changed: \
         install the newer Liftlock that wrote it"
    )]
    Newer {
        /// Where.
        place: String,
        /// Its version.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a ledger could not be opened, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpenErrorKind {
    /// The URL is none.
    Url,
    /// There is something else at that place.
    NotALedger,
    /// A newer Liftlock made it.
    Newer,
    /// The database failed.
    Store(Trouble),
}

impl OpenError {
    /// Why, in one word.
    pub fn kind(&self) -> OpenErrorKind {
        match self {
            Self::Url => OpenErrorKind::Url,
            Self::Directory { source, .. } => OpenErrorKind::Store(match source.kind() {
                std::io::ErrorKind::StorageFull => Trouble::NoSpace,
                _ => Trouble::ReadOnly,
            }),
            Self::NotALedger { .. } => OpenErrorKind::NotALedger,
            Self::Newer { .. } => OpenErrorKind::Newer,
            Self::Store(error) => OpenErrorKind::Store(error.trouble()),
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection, SqliteConnection};

    use super::*;

    /// A real full database: SQLite says the same of a full disk.
    #[tokio::test]
    async fn a_full_disk_is_told_as_such() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let fill = "CREATE TABLE t (b BLOB); PRAGMA max_page_count = 4; INSERT INTO t VALUES (zeroblob(100000));";
        let full = sqlx::raw_sql(fill).execute(&mut connection).await.unwrap_err();
        let error = StoreError::database(&"ledger.db".into(), full);
        assert_eq!(error.trouble(), Trouble::NoSpace);
        assert!(error.to_string().contains("no space is left for the ledger ledger.db"), "{error}");
    }

    #[test]
    fn servers_words_are_told_apart() {
        for (code, trouble) in [
            ("28P01", Trouble::Credentials),
            ("42501", Trouble::Denied),
            ("3D000", Trouble::Missing),
            ("53100", Trouble::NoSpace),
            ("25006", Trouble::ReadOnly),
            ("55P03", Trouble::Busy),
            ("57P03", Trouble::Unreachable),
            ("08006", Trouble::Unreachable),
            ("42P01", Trouble::Other),
        ] {
            assert_eq!(postgres(code), trouble, "{code}");
        }
    }
}
