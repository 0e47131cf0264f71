//! Connecting to a database, and why that may fail.

use std::str::FromStr as _;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};

use crate::settings::Settings;
use crate::text::printable;

/// How long the server may take to let us in.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// A setting of no meaning that a connection begins with. Where the session does not have it then, a pooler sits between.
pub(crate) const MARK: &str = "liftlock.direct";
/// Another one, which it has where what limits its transactions holds since its beginning, so that `reset all` leaves it so.
pub(crate) const LIMITED: &str = "liftlock.limited";

/// What kind of failure it was; the exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectErrorKind {
    /// The server knows neither this user nor this password.
    Authentication,
    /// No server answers there, or it takes no connections now.
    Unreachable,
    /// The URL is wrong, or names a database that is not there.
    Configuration,
}

/// Why there is no connection. Nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    kind: ConnectErrorKind,
    message: String,
}

impl ConnectError {
    /// What kind of failure it was.
    pub fn kind(&self) -> ConnectErrorKind {
        self.kind
    }
}

/// Where a database is: everything of its URL but the secret.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) options: PgConnectOptions,
    /// `host:port/database`, for people.
    pub(crate) place: String,
    pub(crate) user: String,
}

impl Address {
    pub(crate) fn parse(url: &SecretString, settings: &Settings) -> Result<Self, ConnectError> {
        let url = url.expose_secret();
        // The parser's own words may repeat the URL, and with it the password.
        let wrong = || {
            ConnectError {
            kind: ConnectErrorKind::Configuration,
            message: "the database's URL is not of the form postgres://user:password@host:port/database: mend it \
                      where it comes from"
                .into(),
        }
        };
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err(wrong());
        }
        let options = PgConnectOptions::from_str(url).map_err(|_| wrong())?;
        let user = printable(options.get_username());
        let database = options.get_database().unwrap_or(options.get_username());
        let place = printable(&format!("{}:{}/{database}", options.get_host(), options.get_port()));
        // A script may say `deallocate all`, and prepared statements would be gone without our knowing.
        let options = options
            .application_name(&settings.application_name())
            .statement_cache_capacity(0)
            .disable_statement_logging();
        Ok(Self { options, place, user })
    }

    pub(crate) async fn connect(&self) -> Result<PgConnection, ConnectError> {
        self.in_time(self.connect_marked(&[])).await
    }

    /// Connects with these settings from the session's beginning, where the server and what is between take them.
    pub(crate) async fn connect_with(
        &self,
        settings: &[(&str, String)],
    ) -> Result<PgConnection, ConnectError> {
        self.in_time(async {
            match self.connect_marked(settings).await {
                // An older server does not know one of them.
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42704") => {
                    self.connect_marked(&[]).await
                }
                connected => connected,
            }
        })
        .await
    }

    async fn in_time(
        &self,
        connect: impl Future<Output = Result<PgConnection, sqlx::Error>>,
    ) -> Result<PgConnection, ConnectError> {
        match tokio::time::timeout(CONNECT_LIMIT, connect).await {
            Ok(connected) => connected.map_err(|error| self.explain(&error)),
            Err(_) => {
                let seconds = CONNECT_LIMIT.as_secs();
                Err(self
                    .error(ConnectErrorKind::Unreachable, &format!("no answer within {seconds} s")))
            }
        }
    }

    async fn connect_marked(
        &self,
        settings: &[(&str, String)],
    ) -> Result<PgConnection, sqlx::Error> {
        let settings = settings.iter().map(|(name, value)| (*name, value.as_str()));
        let marked = self.options.clone().options(settings.chain([(MARK, "on")]));
        match marked.connect().await {
            // PgBouncer's answer to what it does not know.
            Err(sqlx::Error::Database(error))
                if error.message().starts_with("unsupported startup parameter") =>
            {
                self.options.clone().extra_float_digits(None).connect().await
            }
            connected => connected,
        }
    }

    fn explain(&self, error: &sqlx::Error) -> ConnectError {
        let kind = match error {
            sqlx::Error::Database(error) => {
                kind_of_code(error.code().as_deref().unwrap_or_default())
            }
            sqlx::Error::Io(_) => ConnectErrorKind::Unreachable,
            _ => ConnectErrorKind::Configuration,
        };
        let reason = match error {
            sqlx::Error::Database(error) => error.message().to_owned(),
            other => other.to_string(),
        };
        self.error(kind, &reason)
    }

    fn error(&self, kind: ConnectErrorKind, reason: &str) -> ConnectError {
        let Self { place, user, .. } = self;
        let reason = printable(reason);
        let message = match kind {
            ConnectErrorKind::Authentication => format!(
                "database {place} does not let user {user} in: {reason}; check user and password where its URL comes from"
            ),
            ConnectErrorKind::Unreachable => format!(
                "database {place} does not answer: {reason}; check that it runs and can be reached from this machine"
            ),
            ConnectErrorKind::Configuration => {
                format!("database {place} cannot be used: {reason}; check its URL")
            }
        };
        ConnectError { kind, message }
    }
}

/// By SQLSTATE: PostgreSQL's documentation, appendix A.
fn kind_of_code(code: &str) -> ConnectErrorKind {
    match code {
        code if code.starts_with("28") => ConnectErrorKind::Authentication,
        // Too many connections; starting up, shutting down.
        "53300" | "57P01" | "57P02" | "57P03" => ConnectErrorKind::Unreachable,
        _ => ConnectErrorKind::Configuration,
    }
}
