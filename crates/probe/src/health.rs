//! The health contract (E-APP-1): what `/health` and `/health/deep` say.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Map, Value};

use crate::exchange::{Answer, ExchangeError};
use crate::text::clean;

/// What the contract requires `/health` to say.
const FIELDS: [&str; 4] = ["status", "environment", "version", "timestamp"];

/// What `/health` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether it answered 200 and a healthy status.
    pub ok: bool,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// Which version serves, where it says so.
    pub version: Option<String>,
    /// Which environment it believes to be in, where it says so.
    pub environment: Option<String>,
    /// Which release serves, where it says so.
    pub release: Option<String>,
    /// How long the answer took.
    pub latency: Duration,
    /// What was seen, in one line.
    pub detail: String,
}

/// Whether the application reaches its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatabaseState {
    /// It does.
    Reachable,
    /// It does not.
    Unreachable,
    /// It gave no answer, or one that says nothing about a database.
    Unknown,
}

/// What `/health/deep` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeepHealth {
    /// Whether it answered 200 and that the database is reachable.
    pub ok: bool,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// What it says of the database.
    pub database: DatabaseState,
    /// How long the answer took.
    pub latency: Duration,
    /// What was seen, in one line.
    pub detail: String,
}

pub(crate) fn read(answer: &Result<Answer, ExchangeError>, latency: Duration) -> Health {
    let fields = fields(answer);
    let text = |name: &str| text(&fields, name);
    let answered = status(answer);
    let healthy = text("status").is_some_and(|status| is_well(&status));
    Health {
        ok: answered == Some(StatusCode::OK.as_u16()) && healthy,
        status: answered,
        version: text("version"),
        environment: text("environment"),
        release: text("release"),
        latency,
        detail: detail(answer, &fields, latency),
    }
}

pub(crate) fn read_deep(answer: &Result<Answer, ExchangeError>, latency: Duration) -> DeepHealth {
    let fields = fields(answer);
    let status = status(answer);
    let database = fields.as_ref().map_or(DatabaseState::Unknown, database);
    let told = match database {
        DatabaseState::Reachable => "database reachable",
        DatabaseState::Unreachable => "database unreachable",
        DatabaseState::Unknown => "says nothing of a database",
    };
    let detail = match answer {
        Ok(answer) => format!("{} in {} ms, {told}", answer.status_line(), latency.as_millis()),
        Err(error) => error.to_string(),
    };
    let ok = status == Some(StatusCode::OK.as_u16()) && database == DatabaseState::Reachable;
    DeepHealth { ok, status, database, latency, detail }
}

fn status(answer: &Result<Answer, ExchangeError>) -> Option<u16> {
    match answer {
        Ok(Answer { status, .. }) | Err(ExchangeError::Oversized { status }) => {
            Some(status.as_u16())
        }
        Err(_) => None,
    }
}

fn fields(answer: &Result<Answer, ExchangeError>) -> Option<Map<String, Value>> {
    serde_json::from_slice(&answer.as_ref().ok()?.body).ok()
}

fn text(fields: &Option<Map<String, Value>>, name: &str) -> Option<String> {
    fields.as_ref()?.get(name)?.as_str().map(|text| clean(text, 100))
}

fn is_well(status: &str) -> bool {
    ["ok", "healthy", "up", "pass"].iter().any(|well| status.eq_ignore_ascii_case(well))
}

/// `"database": "reachable"`, or the same as `"database": { "status": "reachable" }`.
fn database(fields: &Map<String, Value>) -> DatabaseState {
    let told = match fields.get("database") {
        Some(Value::Object(inner)) => inner.get("status").and_then(Value::as_str),
        Some(told) => told.as_str(),
        None => None,
    };
    match told {
        Some(told) if told.eq_ignore_ascii_case("reachable") || is_well(told) => {
            DatabaseState::Reachable
        }
        Some(told)
            if ["unreachable", "unhealthy", "down", "fail", "error"]
                .iter()
                .any(|ill| told.eq_ignore_ascii_case(ill)) =>
        {
            DatabaseState::Unreachable
        }
        _ => DatabaseState::Unknown,
    }
}

fn detail(
    answer: &Result<Answer, ExchangeError>,
    fields: &Option<Map<String, Value>>,
    latency: Duration,
) -> String {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return error.to_string(),
    };
    let line = format!("{} in {} ms", answer.status_line(), latency.as_millis());
    if fields.is_none() {
        return format!("{line}, no JSON object: {:?}", answer.excerpt());
    }
    let said: Vec<String> = ["status", "version", "environment"]
        .iter()
        .filter_map(|name| text(fields, name).map(|text| format!("{name} {text}")))
        .collect();
    let missing: Vec<&str> =
        FIELDS.into_iter().filter(|name| text(fields, name).is_none()).collect();
    let missing = if missing.is_empty() {
        String::new()
    } else {
        format!(" (the contract's {} missing)", missing.join(", "))
    };
    format!("{line}: {}{missing}", said.join(", "))
}
