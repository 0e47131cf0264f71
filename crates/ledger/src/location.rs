//! Where a ledger is.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

use crate::OpenError;

/// Where a ledger is: a file of its own, or tables named `liftlock_…` in a PostgreSQL database.
#[derive(Debug, Clone)]
pub enum Location {
    /// A SQLite file; by default `.liftlock/ledger.db`.
    Sqlite(PathBuf),
    /// A PostgreSQL database, by URL. The URL may hold a password, so it is shown without it.
    Postgres(SecretString),
}

impl Default for Location {
    fn default() -> Self {
        Self::Sqlite(PathBuf::from(".liftlock/ledger.db"))
    }
}

/// Reads a PostgreSQL URL. What the parser says is kept out of the message's text as far as it might quote the URL.
pub(crate) fn postgres(url: &SecretString) -> Result<PgConnectOptions, OpenError> {
    let text = url.expose_secret();
    if !(text.starts_with("postgres://") || text.starts_with("postgresql://")) {
        return Err(OpenError::Url);
    }
    let options = text.parse::<PgConnectOptions>().map_err(|_| OpenError::Url)?;
    Ok(options.application_name("liftlock"))
}

/// A PostgreSQL database for people: user, host, port and name, and no password.
pub(crate) fn describe(options: &PgConnectOptions) -> String {
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => options.get_host().to_owned(),
    };
    let user = options.get_username();
    let database = options.get_database().unwrap_or(user);
    format!("postgres://{user}@{host}:{}/{database}", options.get_port())
}
