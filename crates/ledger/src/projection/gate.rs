//! What gates ask: what was proven where, who approved what, and how often promotions began.

use jiff::Timestamp;
use liftlock_model::{Actor, DeploymentStatus, Entry, EnvName, Event, ReleaseId, RunId, RunKind};

/// How a release fared in an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Where.
    pub environment: EnvName,
    /// Which release.
    pub release: ReleaseId,
    /// A promotion or a rollback.
    pub kind: RunKind,
    /// How it ended.
    pub status: DeploymentStatus,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// The run, where the entry names one.
    pub run: Option<RunId>,
}

/// What somebody said of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Yes.
    Approved,
    /// No.
    Rejected,
}

/// What somebody said of a release for an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// For which environment, where the entry names one.
    pub environment: Option<EnvName>,
    /// Of which release.
    pub release: ReleaseId,
    /// Yes or no.
    pub decision: Decision,
    /// What they said.
    pub comment: Option<String>,
}

/// A promotion that began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// When.
    pub at: Timestamp,
    /// The run, where the entry names one.
    pub run: Option<RunId>,
    /// The release.
    pub release: Option<ReleaseId>,
}

/// How releases fared, successes and failures, oldest first.
pub fn proofs(entries: &[Entry]) -> Vec<Proof> {
    super::deployments(entries, None)
        .into_iter()
        .filter(|d| matches!(d.deployment.kind, RunKind::Promotion | RunKind::Rollback))
        .map(|deployed| Proof {
            environment: deployed.deployment.environment,
            release: deployed.deployment.release,
            kind: deployed.deployment.kind,
            status: deployed.deployment.status,
            started: deployed.deployment.started,
            finished: deployed.deployment.finished,
            run: deployed.run,
        })
        .collect()
}

/// What was said of releases, oldest first; of one environment or of all.
pub fn approvals(entries: &[Entry], environment: Option<&EnvName>) -> Vec<Approval> {
    let said = entries.iter().filter_map(|entry| {
        let (release, comment, decision) = match &entry.event {
            Event::Approved { release, comment } => (release, comment, Decision::Approved),
            Event::Rejected { release, comment } => (release, comment, Decision::Rejected),
            _ => return None,
        };
        Some(Approval {
            at: entry.at,
            actor: entry.actor.clone(),
            environment: entry.environment.clone(),
            release: release.clone(),
            decision,
            comment: comment.clone(),
        })
    });
    said.filter(|a| environment.is_none_or(|name| a.environment.as_ref() == Some(name))).collect()
}

/// The promotions that began in an environment, oldest first: what a rate limit counts.
pub fn promotions_started(entries: &[Entry], environment: &EnvName) -> Vec<Started> {
    let here = entries.iter().filter(|entry| entry.environment.as_ref() == Some(environment));
    here.filter_map(|entry| match &entry.event {
        Event::RunStarted { kind: RunKind::Promotion, release, .. } => {
            Some(Started { at: entry.at, run: entry.run.clone(), release: release.clone() })
        }
        _ => None,
    })
    .collect()
}
