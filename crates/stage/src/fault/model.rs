//! What can be said of a fault: what goes wrong, where, how often, and when.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use liftlock_model::ImageDigest;
use serde::{Deserialize, Serialize};

use crate::topology::Colour;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The task's process ends with `exit_code` at its start; one that runs already, or has run for `after_start`, is killed.
    Crash,
    /// The task's process starts only after `delay`: until then nobody listens on its port.
    SlowStart,
    /// The task's memory grows by `mib_per_second` until it is killed for it.
    Memory,
    /// The task's image cannot be pulled.
    ImageMissing,
    /// The cluster has room for no more than `tasks` tasks.
    NoCapacity,
    /// A task waits for `delay` until it gets a place.
    PlacementDelay,
    /// A request is answered with `status` in the task's place.
    Errors,
    /// A request waits for `delay` and up to `jitter` before the task gets it.
    Latency,
    /// A request is never answered.
    Hang,
    /// The connection to the task breaks off.
    Reset,
    /// The task's connections to the database break off, and no new ones come about.
    DatabaseCut,
    /// The database is stopped, for everybody.
    DatabaseDown,
    /// AWS calls are refused with a throttling error: all, or those above `per_second`.
    Throttle,
    /// AWS calls are refused with `code` and `status`, and do nothing.
    ApiError,
    /// AWS calls are read, do nothing, and are never answered.
    ApiHang,
    /// AWS calls wait for `delay` and up to `jitter`.
    ApiLatency,
    /// AWS calls are done, and the answer never comes.
    LostAnswer,
    /// What AWS tells is `delay` behind what was written.
    Lag,
    /// AWS's clock is off `by`.
    ClockSkew,
}

/// What a fault is aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Task,
    Request,
    Call,
    Everything,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 19] = [
        Self::Crash,
        Self::SlowStart,
        Self::Memory,
        Self::ImageMissing,
        Self::NoCapacity,
        Self::PlacementDelay,
        Self::Errors,
        Self::Latency,
        Self::Hang,
        Self::Reset,
        Self::DatabaseCut,
        Self::DatabaseDown,
        Self::Throttle,
        Self::ApiError,
        Self::ApiHang,
        Self::ApiLatency,
        Self::LostAnswer,
        Self::Lag,
        Self::ClockSkew,
    ];

    fn class(self) -> Class {
        match self {
            Self::Crash
            | Self::SlowStart
            | Self::Memory
            | Self::ImageMissing
            | Self::NoCapacity
            | Self::PlacementDelay
            | Self::DatabaseCut => Class::Task,
            Self::Errors | Self::Latency | Self::Hang | Self::Reset => Class::Request,
            Self::Throttle
            | Self::ApiError
            | Self::ApiHang
            | Self::ApiLatency
            | Self::LostAnswer
            | Self::Lag => Class::Call,
            Self::DatabaseDown | Self::ClockSkew => Class::Everything,
        }
    }

    /// The settings of its own.
    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Crash => &["exit_code", "after_start"],
            Self::SlowStart | Self::PlacementDelay | Self::Lag => &["delay"],
            Self::Memory => &["mib_per_second"],
            Self::NoCapacity => &["tasks"],
            Self::Errors => &["status"],
            Self::Latency | Self::ApiLatency => &["delay", "jitter"],
            Self::Throttle => &["per_second"],
            Self::ApiError => &["status", "code"],
            Self::ClockSkew => &["by"],
            _ => &[],
        }
    }

    /// Which of its own settings must be there.
    fn required(self) -> &'static [&'static str] {
        match self {
            Self::SlowStart
            | Self::PlacementDelay
            | Self::Lag
            | Self::Latency
            | Self::ApiLatency => &["delay"],
            Self::ClockSkew => &["by"],
            _ => &[],
        }
    }

    /// Everything that a fault of this kind may say, besides its kind.
    fn takes(self) -> Vec<&'static str> {
        let aims: &[&str] = match self.class() {
            Class::Task if self == Self::NoCapacity => {
                &["service", "colour", "revision", "digest", "version"]
            }
            Class::Task => {
                &["service", "colour", "revision", "digest", "version", "share", "count"]
            }
            Class::Request => {
                &["service", "colour", "revision", "digest", "version", "path", "share", "count"]
            }
            Class::Call if self == Self::Throttle => &["operation", "share", "count"],
            Class::Call => &["operation", "share", "count"],
            Class::Everything => &[],
        };
        ["name", "after", "for"].iter().chain(self.settings()).chain(aims).copied().collect()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = serde_json::to_value(self).ok();
        f.pad(name.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default())
    }
}

/// A length of time, written as `200ms`, `3s` or `-5m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(SignedDuration);

impl Span {
    /// A length from milliseconds.
    pub const fn milliseconds(milliseconds: i64) -> Self {
        Self(SignedDuration::from_millis(milliseconds))
    }

    /// As it is without its sign.
    pub fn length(self) -> Duration {
        self.0.unsigned_abs()
    }

    /// With its sign.
    pub fn signed(self) -> SignedDuration {
        self.0
    }
}

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let read = text.parse().map(Self);
        read.map_err(|_| {
            format!("`{text}` is no length of time: write it like `200ms`, `3s` or `5m`")
        })
    }
}

impl TryFrom<String> for Span {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        format!("{:#}", span.0)
    }
}

/// A fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What people call it; made up if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What goes wrong.
    pub kind: Kind,
    /// Only tasks of this service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only tasks of this colour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colour: Option<Colour>,
    /// Only tasks of this revision of their task definition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// Only tasks that run this image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<ImageDigest>,
    /// Only tasks of this release's version, which their variable `RELEASE_VERSION` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Only requests of these paths, as a load balancer's patterns. The load balancer's health checks are hit only by faults that
    /// name their path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Only these AWS calls: `UpdateService`, `ecs:UpdateService`, `ecs:*` or `Describe*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Which part of them, from 0 to 1; all if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// At most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// From when on, counted from when it was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Span>,
    /// For how long.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Span>,
    /// `crash`: the exit code; 1 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// `crash`: the process runs for so long, and is killed then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_start: Option<Span>,
    /// How long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// How much longer at most, at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Span>,
    /// `memory`: how fast it grows; 64 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mib_per_second: Option<u32>,
    /// `no-capacity`: for how many tasks there is room; none if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,
    /// The HTTP status; 500 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// `api-error`: the error's code; AWS's own for a fault of the service if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// `throttle`: how many calls a second are let through; none if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// `clock-skew`: how far AWS's clock is ahead; behind if negative.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Span>,
}

impl Fault {
    /// A fault of everything that its kind can hit.
    pub fn new(kind: Kind) -> Self {
        Self {
            name: None,
            kind,
            service: None,
            colour: None,
            revision: None,
            digest: None,
            version: None,
            path: None,
            operation: None,
            share: None,
            count: None,
            after: None,
            lasts: None,
            exit_code: None,
            after_start: None,
            delay: None,
            jitter: None,
            mib_per_second: None,
            tasks: None,
            status: None,
            code: None,
            per_second: None,
            by: None,
        }
    }

    /// What it says that does not fit its kind, or makes no sense.
    pub(crate) fn check(&self) -> Result<(), String> {
        let kind = self.kind;
        let said = serde_json::to_value(self).unwrap_or_default();
        let said = said.as_object().cloned().unwrap_or_default();
        let takes = kind.takes();
        if let Some(strange) =
            said.keys().find(|key| *key != "kind" && !takes.contains(&key.as_str()))
        {
            let list = takes.join(", ");
            return Err(format!("a fault of kind {kind} takes no `{strange}`; it takes {list}"));
        }
        if let Some(missing) = kind.required().iter().find(|key| !said.contains_key(**key)) {
            return Err(format!("a fault of kind {kind} needs `{missing}`"));
        }
        if self.name.as_ref().is_some_and(|name| name.is_empty() || name.contains('/')) {
            return Err("a fault's name is not empty and has no `/`".to_owned());
        }
        if self.share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err("`share` is a part of 1, such as 0.3".to_owned());
        }
        if self.per_second.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return Err("`per_second` is more than 0; leave it out to refuse every call".to_owned());
        }
        if self.status.is_some_and(|status| !(400..=599).contains(&status)) {
            return Err("`status` is an error's, 400 to 599".to_owned());
        }
        let spans = [self.after, self.lasts, self.after_start, self.delay, self.jitter];
        if spans.into_iter().flatten().any(|span| span.signed().is_negative()) {
            return Err("only `by` can be less than nothing".to_owned());
        }
        Ok(())
    }
}
