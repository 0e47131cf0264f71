//! Choices that the ledger's history decides: pure readings of its entries, save for the last.

use liftlock_gate::{Approval, ApprovalDecision, Proof};
pub(crate) use liftlock_ledger::projection::last as last_run;
use liftlock_ledger::projection::{self, Decision};
use liftlock_model::{
    ArtifactHash, Deployment, DeploymentStatus, Entry, EnvName, Event, Outcome, Record, Release,
    ReleaseId, RunId, RunKind,
};

use crate::error::PromoteError;
use crate::release::check_images;
use crate::run::Ask;
use crate::site::Site;
use crate::steps::infrastructure::APPLY;

/// Which release is meant.
pub(crate) fn release(site: &Site, ask: &Ask, entries: &[Entry]) -> Result<Release, PromoteError> {
    let release = match &ask.release {
        Some(id) => {
            let release = projection::release(entries, id)
                .ok_or_else(|| PromoteError::UnknownRelease(id.clone()))?;
            if ask.kind == RunKind::Rollback {
                has_served(&site.environment.name, id, entries)?;
            }
            release
        }
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

/// A rollback passes no gates: what it may bring back is only what has passed them here.
fn has_served(
    environment: &EnvName,
    release: &ReleaseId,
    entries: &[Entry],
) -> Result<(), PromoteError> {
    let served = projection::deployments(entries, Some(environment)).into_iter().any(|one| {
        one.deployment.release == *release && one.deployment.status == DeploymentStatus::Succeeded
    });
    if served {
        return Ok(());
    }
    Err(PromoteError::NoRelease(format!(
        "{release} has never served in {environment}, so it cannot be brought back there\n  next: liftlock promote --env \
         {environment} --release {release}, or one of `liftlock history --env {environment}`"
    )))
}

/// The release that served here before the one that serves now.
fn earlier(site: &Site, entries: &[Entry]) -> Result<Release, PromoteError> {
    let environment = &site.environment.name;
    let current = projection::current(entries, environment).ok_or_else(|| {
        PromoteError::NoRelease(format!("nothing has been deployed to {environment} yet, so there is nothing to roll back\n  next: liftlock status --env {environment}"))
    })?;
    let deployments: Vec<_> = projection::deployments(entries, Some(environment))
        .into_iter()
        .map(|deployed| deployed.deployment)
        .collect();
    way_back(&deployments).and_then(|id| projection::release(entries, id)).ok_or_else(|| {
        PromoteError::NoRelease(format!(
            "{environment} has had no release before {}; there is none to go back to\n  next: liftlock promote --env {environment} with a release that is good",
            current.release
        ))
    })
}

/// Where an environment's deployments, oldest first, lead back to. Going back twice goes two releases back: what was
/// rolled back is not gone back to. From a promotion that got stuck, the way back is to what served before it.
fn way_back(deployments: &[Deployment]) -> Option<&ReleaseId> {
    let mut served: Vec<&ReleaseId> = Vec::new();
    for one in deployments.iter().filter(|one| one.status == DeploymentStatus::Succeeded) {
        match served.iter().rposition(|release| **release == one.release) {
            Some(at) if one.kind == RunKind::Rollback => served.truncate(at + 1),
            _ if served.last() == Some(&&one.release) => {}
            _ => served.push(&one.release),
        }
    }
    let is_stuck = deployments.last().is_some_and(|last| {
        last.status == DeploymentStatus::Stuck && last.kind == RunKind::Promotion
    });
    match is_stuck {
        true => served.last().copied(),
        false => served.iter().rev().nth(1).copied(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn release(number: u8) -> ReleaseId {
        format!("rel-{number:012x}").parse().unwrap()
    }

    fn deployed(kind: RunKind, number: u8, status: DeploymentStatus) -> Deployment {
        Deployment {
            environment: "dev".parse().unwrap(),
            kind,
            release: release(number),
            version: number.to_string(),
            commit: "c0ffee00".repeat(5).parse().unwrap(),
            subject: None,
            pull_request: None,
            images: Default::default(),
            actor: liftlock_model::Actor::new("ann"),
            started: jiff::Timestamp::UNIX_EPOCH,
            finished: jiff::Timestamp::UNIX_EPOCH,
            status,
            previous: None,
            schema_before: None,
            schema_after: None,
            left: vec![],
            skipped_canary: None,
        }
    }

    #[test]
    fn the_way_back_is_to_what_served_before() {
        use DeploymentStatus::{RolledBack, Stuck, Succeeded};
        use RunKind::{Promotion, Rollback};
        let back = |runs: &[(RunKind, u8, DeploymentStatus)]| {
            let deployments: Vec<_> = runs
                .iter()
                .map(|(kind, number, status)| deployed(*kind, *number, *status))
                .collect();
            way_back(&deployments).cloned()
        };
        let three =
            [(Promotion, 1, Succeeded), (Promotion, 2, Succeeded), (Promotion, 3, Succeeded)];
        let after = |more: &[_]| back(&[&three[..], more].concat());
        assert_eq!(back(&three[..1]), None);
        assert_eq!(after(&[]), Some(release(2)));
        assert_eq!(after(&[(Rollback, 2, Succeeded)]), Some(release(1)), "back twice is two back");
        assert_eq!(after(&[(Promotion, 4, RolledBack)]), Some(release(2)));
        assert_eq!(after(&[(Promotion, 4, Stuck)]), Some(release(3)), "to what served before it");
        assert_eq!(after(&[(Rollback, 2, Stuck)]), Some(release(2)), "tried again");
        let again = [(Rollback, 1, Succeeded), (Promotion, 3, Succeeded)];
        assert_eq!(after(&again), Some(release(1)));
    }
}
