//! What was released and what was deployed.

use jiff::Timestamp;
use liftlock_model::{
    Actor, Deployment, DeploymentStatus, Entry, EnvName, Event, Release, ReleaseId, RunId, RunKind,
};

/// A release, and when and by whom it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// When it was made.
    pub at: Timestamp,
    /// Who made it.
    pub actor: Actor,
    /// The release.
    pub release: Release,
}

/// A line of the deployment history, and the run that it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// The run, where the entry names one.
    pub run: Option<RunId>,
    /// The deployment.
    pub deployment: Deployment,
}

/// All releases, oldest first; one that was made twice is told once, as it was made first.
pub fn releases(entries: &[Entry]) -> Vec<Released> {
    let mut all: Vec<Released> = Vec::new();
    for entry in entries {
        if let Event::ReleaseCreated { release } = &entry.event
            && !all.iter().any(|known| known.release.id == release.id)
        {
            all.push(Released {
                at: entry.at,
                actor: entry.actor.clone(),
                release: release.clone(),
            });
        }
    }
    all
}

/// A release by its id.
pub fn release(entries: &[Entry], id: &ReleaseId) -> Option<Release> {
    entries.iter().find_map(|entry| match &entry.event {
        Event::ReleaseCreated { release } if release.id == *id => Some(release.clone()),
        _ => None,
    })
}

/// The deployment history, oldest first, of one environment or of all.
pub fn deployments(entries: &[Entry], environment: Option<&EnvName>) -> Vec<Deployed> {
    let deployed = entries.iter().filter_map(|entry| match &entry.event {
        Event::DeploymentRecorded { deployment } => {
            Some(Deployed { run: entry.run.clone(), deployment: deployment.clone() })
        }
        _ => None,
    });
    deployed
        .filter(|deployed| environment.is_none_or(|name| deployed.deployment.environment == *name))
        .collect()
}

/// What serves in an environment: the last promotion or rollback that succeeded. A promotion that failed changes nothing
/// here, since the release before it serves again.
pub fn current(entries: &[Entry], environment: &EnvName) -> Option<Deployment> {
    let serves = |deployment: &Deployment| {
        deployment.status == DeploymentStatus::Succeeded
            && matches!(deployment.kind, RunKind::Promotion | RunKind::Rollback)
    };
    deployments(entries, Some(environment))
        .into_iter()
        .rev()
        .map(|deployed| deployed.deployment)
        .find(serves)
}
