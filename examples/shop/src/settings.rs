//! What the environment says the shop is.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// How long a request waits for a connection to the database.
const ACQUIRE: Duration = Duration::from_secs(3);

/// Which half of the shop this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Backend,
    Frontend,
}

impl Service {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::Frontend => "frontend",
        }
    }
}

/// In which way this version is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Crash,
    CrashTellingAll,
    Unhealthy,
    Errors,
    SlowStart,
    NoDatabase,
    WearsOut,
    Slow,
}

impl FromStr for Fault {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "crash" => Self::Crash,
            "crash-telling-all" => Self::CrashTellingAll,
            "unhealthy" => Self::Unhealthy,
            "errors" => Self::Errors,
            "slow-start" => Self::SlowStart,
            "no-database" => Self::NoDatabase,
            "wears-out" => Self::WearsOut,
            "slow" => Self::Slow,
            other => {
                return Err(format!(
                    "FAULT={other:?} is not known: crash, crash-telling-all, unhealthy, errors, slow-start, no-database, wears-out, \
                     slow"
                ));
            }
        })
    }
}

/// One running shop.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) port: u16,
    pub(crate) service: Service,
    pub(crate) environment: String,
    pub(crate) version: String,
    pub(crate) release: String,
    pub(crate) fault: Option<Fault>,
    pub(crate) deployed_at: Timestamp,
    pub(crate) database: Option<PgPool>,
    requests: AtomicU64,
}

impl Shop {
    pub(crate) fn from_environment() -> Result<Self, String> {
        let text = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let or_unknown = |name: &str| text(name).unwrap_or_else(|| "unknown".to_owned());
        let port = text("PORT").unwrap_or_else(|| "8080".to_owned());
        Ok(Self {
            port: port.parse().map_err(|_| format!("PORT={port:?} is not a port"))?,
            service: match text("SERVICE").as_deref() {
                Some("backend") | None => Service::Backend,
                Some("frontend") => Service::Frontend,
                Some(other) => {
                    return Err(format!("SERVICE={other:?} is neither backend nor frontend"));
                }
            },
            environment: or_unknown("ENVIRONMENT"),
            version: or_unknown("RELEASE_VERSION"),
            release: or_unknown("RELEASE_ID"),
            fault: text("FAULT").map(|fault| fault.parse()).transpose()?,
            deployed_at: Timestamp::now(),
            database: text("DATABASE_URL").map(|url| pool(&url)).transpose()?,
            requests: AtomicU64::new(0),
        })
    }

    /// How many requests came before this one.
    pub(crate) fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether the database answers; none without a database.
    pub(crate) async fn database_answers(&self) -> Option<bool> {
        let pool = self.database.as_ref()?;
        let broken = self.fault == Some(Fault::NoDatabase);
        Some(!broken && sqlx::query("select 1").execute(pool).await.is_ok())
    }
}

/// A pool that connects when it is first used, so that the process starts in milliseconds.
fn pool(url: &str) -> Result<PgPool, String> {
    // The URL holds a password: it is not repeated.
    let options =
        PgConnectOptions::from_str(url).map_err(|_| "DATABASE_URL is not a PostgreSQL URL")?;
    Ok(PgPoolOptions::new().max_connections(4).acquire_timeout(ACQUIRE).connect_lazy_with(options))
}
