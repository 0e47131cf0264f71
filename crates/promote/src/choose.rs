//! Choices that the ledger's history decides: pure readings of its entries, save for the last.

use liftlock_gate::{Approval, ApprovalDecision, Proof};
use liftlock_ledger::projection::{self, Decision};
use liftlock_model::{
    ArtifactHash, DeploymentStatus, Entry, EnvName, Event, Outcome, Record, Release, RunId, RunKind,
};

use crate::error::PromoteError;
use crate::release::check_images;
use crate::run::Ask;
use crate::site::Site;
use crate::steps::infrastructure::APPLY;

/// Which release is meant.
pub(crate) fn release(site: &Site, ask: &Ask, entries: &[Entry]) -> Result<Release, PromoteError> {
    let release = match &ask.release {
        Some(id) => projection::release(entries, id)
            .ok_or_else(|| PromoteError::UnknownRelease(id.clone()))?,
        None if ask.kind == RunKind::Rollback => earlier(site, entries)?,
        None => next(site, entries)?,
    };
    check_images(&release.content.images, &site.environment.config.services)?;
    Ok(release)
}

/// The release that the environment before this one has proven; in the first environment, the newest.
fn next(site: &Site, entries: &[Entry]) -> Result<Release, PromoteError> {
    let environment = &site.environment.name;
    if let Some(before) = &site.environment.config.gates.after {
        return crate::run::serving(entries, before).ok_or_else(|| {
            PromoteError::NoRelease(format!(
                "no release has been proven in {before} yet, and {environment} comes after {before}\n  next: liftlock \
                 promote --env {before}"
            ))
        });
    }
    projection::releases(entries).pop().map(|released| released.release).ok_or_else(|| {
        PromoteError::NoRelease(
            "there is no release yet\n  next: liftlock release create --image SERVICE=REPOSITORY@sha256:… --commit SHA"
                .into(),
        )
    })
}

/// The last other release that served here.
fn earlier(site: &Site, entries: &[Entry]) -> Result<Release, PromoteError> {
    let environment = &site.environment.name;
    let current = projection::current(entries, environment).ok_or_else(|| {
        PromoteError::NoRelease(format!("nothing has been deployed to {environment} yet, so there is nothing to roll back\n  next: liftlock status --env {environment}"))
    })?;
    projection::deployments(entries, Some(environment))
        .into_iter()
        .rev()
        .map(|deployed| deployed.deployment)
        .find(|one| one.status == DeploymentStatus::Succeeded && one.release != current.release)
        .and_then(|one| projection::release(entries, &one.release))
        .ok_or_else(|| {
            PromoteError::NoRelease(format!(
                "{} is the only release that {environment} has had; there is none to go back to\n  next: liftlock promote --env {environment} with a release that is good",
                current.release
            ))
        })
}

/// The infrastructure that the last good run left.
pub(crate) fn last_bundle(entries: &[Entry], environment: &EnvName) -> Option<ArtifactHash> {
    let mut good = entries
        .iter()
        .rev()
        .filter(|entry| entry.environment.as_ref() == Some(environment))
        .filter(|entry| {
            matches!(
                &entry.event,
                Event::Journal { record: Record::Finished { outcome: Outcome::Succeeded, .. } }
            )
        });
    good.find_map(|end| {
        entries.iter().filter(|entry| entry.run == end.run).find_map(|entry| match &entry.event {
            Event::Journal { record: Record::Done { step, output, .. } }
                if step.as_str() == APPLY =>
            {
                serde_json::from_value(output.clone()).ok()
            }
            _ => None,
        })
    })
}

/// The last run that began in an environment.
pub(crate) fn last_run(entries: &[Entry], environment: &EnvName) -> Option<RunId> {
    entries
        .iter()
        .rev()
        .filter(|entry| entry.environment.as_ref() == Some(environment))
        .find(|entry| matches!(entry.event, Event::RunStarted { .. }))
        .and_then(|entry| entry.run.clone())
}

/// Whether a run has its line in the history.
pub(crate) fn is_recorded(entries: &[Entry], run: &RunId) -> bool {
    entries.iter().any(|entry| {
        entry.run.as_ref() == Some(run) && matches!(entry.event, Event::DeploymentRecorded { .. })
    })
}

pub(crate) fn proofs(entries: &[Entry]) -> Vec<Proof> {
    projection::deployments(entries, None)
        .iter()
        .filter_map(|deployed| Proof::of(&deployed.deployment))
        .collect()
}

pub(crate) fn approvals(entries: &[Entry], environment: &EnvName) -> Vec<Approval> {
    projection::approvals(entries, Some(environment))
        .into_iter()
        .map(|approval| Approval {
            by: approval.actor,
            at: approval.at,
            release: approval.release,
            decision: match approval.decision {
                Decision::Approved => ApprovalDecision::Approved,
                Decision::Rejected => ApprovalDecision::Rejected,
            },
            comment: approval.comment,
        })
        .collect()
}

/// Whether the release is what the history says serves, and is seen serving now. What cannot be seen does not count: a
/// promotion then goes on and finds out.
pub(crate) async fn already_serves(site: &Site, release: &Release, entries: &[Entry]) -> bool {
    let environment = &site.environment.name;
    let current = projection::current(entries, environment);
    if current.is_none_or(|deployment| deployment.release != release.id) {
        return false;
    }
    for (name, service) in site.environment.services_in_order() {
        let (Some(target), Some(image)) =
            (site.targets.get(name), release.content.images.get(name))
        else {
            return false;
        };
        let Ok(live) = target.live().await else { return false };
        let Some(colour) = live.live_colour() else { return false };
        let seen =
            liftlock_rollout::seen_serving(target.as_ref(), colour, image.digest(), service.tasks)
                .await;
        if live.weights.share(colour) != 100 || seen.is_err() {
            return false;
        }
    }
    true
}
