//! What the ledger keeps: one event stream, many views.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Actor, CommitSha, EnvName, ImageRef, Left, Marker, MigrationId, Outcome, Record, Release,
    ReleaseId, RunId, RunKind, Sample, ServiceName, StepName, Verdict,
};

/// The hash of a ledger entry, which covers the hash of the entry before it: SHA-256 over the canonical JSON (RFC 8785)
/// of all its other fields, as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryHash(String);

impl EntryHash {
    /// A hash that was computed or read elsewhere.
    pub fn new(hexadecimal: String) -> Self {
        Self(hexadecimal)
    }

    /// What the first entry names as the one before it: 64 zeros.
    pub fn genesis() -> Self {
        Self("0".repeat(64))
    }

    /// The hash as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One entry of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place: 1, 2, 3 … without gaps.
    pub sequence: i64,
    /// When it was written (UTC, to the microsecond).
    pub at: Timestamp,
    /// Which environment it is about, where it is about one.
    pub environment: Option<EnvName>,
    /// Which run wrote it, where one did.
    pub run: Option<RunId>,
    /// Who.
    pub actor: Actor,
    /// What happened.
    pub event: Event,
    /// The hash of the entry before it.
    pub previous: EntryHash,
    /// The hash of this entry.
    pub hash: EntryHash,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A release was made.
    ReleaseCreated {
        /// The release.
        release: Release,
    },
    /// A run took its environment's lease and begins.
    RunStarted {
        /// What it is for.
        kind: RunKind,
        /// The release that it raises or brings back, where it is about one.
        release: Option<ReleaseId>,
        /// Why, where the person who started it said so.
        reason: Option<String>,
        /// What was asked for beside the ordinary, such as `accept-data-loss`: a resumed run does the same.
        #[serde(default)]
        options: Vec<String>,
    },
    /// A run that had been interrupted goes on.
    RunResumed {
        /// Who had it before.
        interrupted: Actor,
    },
    /// A record of the run's journal.
    Journal {
        /// The record.
        record: Record,
    },
    /// A gate was asked.
    GateEvaluated {
        /// Which gate.
        gate: String,
        /// Pass opens it; fail and inconclusive do not.
        verdict: Verdict,
        /// Why.
        reason: String,
    },
    /// A check looked at the running system.
    Observed {
        /// Which check, of which step.
        check: String,
        /// What it concluded.
        verdict: Verdict,
        /// What that rests on.
        sample: Sample,
        /// For people, in one line.
        detail: String,
    },
    /// Somebody approved a release for an environment.
    Approved {
        /// Which release.
        release: ReleaseId,
        /// What they said.
        comment: Option<String>,
    },
    /// Somebody rejected a release for an environment.
    Rejected {
        /// Which release.
        release: ReleaseId,
        /// What they said.
        comment: Option<String>,
    },
    /// A migration was applied or rolled back.
    MigrationRan {
        /// Which migration.
        id: MigrationId,
        /// In which database of a fleet; none where the environment has but one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        database: Option<String>,
        /// True when it was its rollback script.
        rollback: bool,
        /// How long it took, in milliseconds.
        milliseconds: u64,
    },
    /// A migration had been running for so long that people were to know. It went on.
    MigrationLong {
        /// Which migration.
        id: MigrationId,
        /// In which database of a fleet; none where the environment has but one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        database: Option<String>,
        /// For how many seconds it had been running.
        seconds: u64,
        /// Whose locks it waited for, as the server names them.
        #[serde(default)]
        blocked_by: Vec<String>,
    },
    /// Somebody changed the database's migrations by a command of its own, or what its history says of them.
    MigrationsByHand {
        /// By which command, such as `rollback` or `baseline`.
        command: String,
        /// What was done, in a few lines.
        detail: String,
        /// Why, where the person said so.
        reason: Option<String>,
    },
    /// A snapshot of the database was taken, from which it can be brought back.
    SnapshotTaken {
        /// Its id.
        id: String,
        /// Where it is: its whole name at AWS, or the path of its archive.
        place: String,
        /// The last day on which it is kept; without end if left out.
        keep_until: Option<jiff::civil::Date>,
        /// The place in the database's log, for a recovery to that point; none where the database did not answer.
        marker: Option<Marker>,
    },
    /// A snapshot was brought back.
    SnapshotRestored {
        /// Its id, or the point in time.
        id: String,
        /// Which database or instance has it now.
        place: String,
        /// What the database that it took the place of is called now.
        before: Option<String>,
    },
    /// A rollout paused, and waits for somebody to say how it goes on.
    RolloutPaused {
        /// At which step.
        step: StepName,
        /// The share of traffic that the new version has, in percent.
        share: u8,
        /// For how many seconds at most; then it turns back. Without end if left out.
        at_most: Option<u64>,
    },
    /// Somebody said that a rollout which has paused goes on.
    RolloutResumed {
        /// At which step it had paused.
        step: StepName,
        /// Why, where the person said so.
        reason: Option<String>,
    },
    /// Somebody said that a run turns back.
    RunAborted {
        /// Why.
        reason: String,
    },
    /// Old task definitions of a service were taken out of use after a promotion.
    TaskDefinitionsRetired {
        /// Of which service.
        service: ServiceName,
        /// Which, newest first.
        retired: Vec<String>,
        /// How many are still in use.
        kept: u64,
    },
    /// A deployment ended: one line of the deployment history.
    DeploymentRecorded {
        /// The deployment.
        deployment: Deployment,
    },
    /// An incident was opened, since a rollback happened by itself.
    IncidentOpened {
        /// In one line.
        summary: String,
    },
    /// Somebody was notified, or could not be.
    Notified {
        /// Which channel.
        channel: String,
        /// What went wrong, if anything did.
        error: Option<String>,
    },
    /// A run took over an expired lease of another.
    LeaseTakenOver {
        /// The run that held it.
        from: RunId,
        /// The new fencing token.
        token: i64,
    },
}

/// How a deployment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentStatus {
    /// The release serves.
    Succeeded,
    /// It failed, and the release before it serves again.
    RolledBack,
    /// It failed, and something is left.
    Stuck,
}

impl From<Outcome> for DeploymentStatus {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::RolledBack => Self::RolledBack,
            Outcome::Stuck => Self::Stuck,
        }
    }
}

impl fmt::Display for DeploymentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolled back",
            Self::Stuck => "stuck",
        })
    }
}

/// One line of the deployment history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Where.
    pub environment: EnvName,
    /// What it was for.
    pub kind: RunKind,
    /// Which release.
    pub release: ReleaseId,
    /// The release's version.
    pub version: String,
    /// The release's commit.
    pub commit: CommitSha,
    /// The commit's subject line, where it is known.
    pub subject: Option<String>,
    /// The pull request, where it is known.
    pub pull_request: Option<u64>,
    /// What each service was to run.
    pub images: BTreeMap<ServiceName, ImageRef>,
    /// Who started it.
    pub actor: Actor,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// How it ended.
    pub status: DeploymentStatus,
    /// The release that serves again after a rollback, or that a rollback would bring back.
    pub previous: Option<ReleaseId>,
    /// Newest migration before, where the environment has a database.
    pub schema_before: Option<i32>,
    /// Newest migration after.
    pub schema_after: Option<i32>,
    /// What could not be put back.
    pub left: Vec<Left>,
    /// Why all traffic was moved at once, where somebody chose to skip the shares below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped_canary: Option<String>,
}
