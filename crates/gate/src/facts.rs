//! What gates are told about the world.

use jiff::Timestamp;
use liftlock_model::{Actor, Deployment, DeploymentStatus, EnvName, ReleaseId, RunKind};
use serde::{Deserialize, Serialize};

/// Everything that gates look at. They read no clock and no ledger themselves.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The environment that the release is to be raised into.
    pub environment: &'a EnvName,
    /// The release.
    pub release: &'a ReleaseId,
    /// The time.
    pub now: Timestamp,
    /// Who asks for the promotion, where it is known. Their own approval does not count.
    pub requester: Option<&'a Actor>,
    /// How deployments of the environment before ended: of all releases, and failures too, since the newest success may have
    /// been undone by them. Those of other environments are passed over. In any order.
    pub proofs: &'a [Proof],
    /// When earlier promotions of this environment began, however they ended; not this one. In any order.
    pub promotions: &'a [Timestamp],
    /// Approvals and rejections for this environment. In any order.
    pub approvals: &'a [Approval],
}

/// How a deployment of a release to an environment ended: what proves a release, or ends its proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Where.
    pub environment: EnvName,
    /// Which release was raised or brought back.
    pub release: ReleaseId,
    /// When it ended.
    pub at: Timestamp,
    /// How it ended.
    pub status: DeploymentStatus,
}

impl Proof {
    /// What a line of the deployment history proves. None for infrastructure and migrations alone: they serve no release.
    pub fn of(deployment: &Deployment) -> Option<Self> {
        matches!(deployment.kind, RunKind::Promotion | RunKind::Rollback).then(|| Self {
            environment: deployment.environment.clone(),
            release: deployment.release.clone(),
            at: deployment.finished,
            status: deployment.status,
        })
    }
}

/// What somebody decided about a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalDecision {
    /// It may go.
    Approved,
    /// It may not.
    Rejected,
}

/// An approval or a rejection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// Which release.
    pub release: ReleaseId,
    /// What they decided.
    pub decision: ApprovalDecision,
    /// What they said.
    pub comment: Option<String>,
}
