//! What follows a run's end: the proof that a rollback brought the old version back, the line in the history, the
//! incident.

use jiff::Timestamp;
use liftlock_ledger::Query;
use liftlock_model::{
    Deployment, DeploymentStatus, Event, ImageRef, Left, Outcome, Record, Release, RunId, RunKind,
    Sample, Verdict,
};
use liftlock_saga::{End, StepError};

use crate::run::Matter;
use crate::scribe::Scribe;
use crate::site::Site;
use crate::steps::database::{SchemaVersion, schema_version};
use crate::steps::look::{judge, seen_serving_soon, smoke};

/// What came of a run, once it was looked at.
pub(crate) struct Concluded {
    pub outcome: Outcome,
    pub left: Vec<Left>,
    pub deployment: Deployment,
}

/// Looks at the world after the run, and records it. What cannot be recorded here is recorded by the next run.
pub(crate) async fn conclude(
    site: &Site,
    scribe: &Scribe,
    matter: &Matter,
    end: &End,
) -> Concluded {
    let mut left = end.left.clone();
    // The saga knows no environments.
    let resume = format!("promote --env {} --resume", site.environment.name);
    for one in &mut left {
        one.command = one.command.replace("promote --resume", &resume);
    }
    let mut outcome = end.outcome;
    if end.outcome == Outcome::RolledBack
        && let Some(previous) = &matter.previous
        && let Err(error) = old_version_serves(site, scribe, previous).await
    {
        // A rollback is never reported as one unless the old version was seen serving (A-RB-2).
        outcome = Outcome::Stuck;
        left.push(Left {
            what: format!(
                "everything was undone, but {} is not seen serving: {error}",
                previous.id
            ),
            command: format!("liftlock rollout status --env {}", site.environment.name),
        });
    }
    let deployment = deployment(site, scribe, matter, outcome, &left).await;
    if outcome != Outcome::Succeeded {
        let why = end.failure.as_ref().map_or("it failed", |failure| failure.error.as_str());
        let summary = format!(
            "{} of {} to {} {outcome}: {}",
            matter.kind,
            matter.release.id,
            site.environment.name,
            why.lines().next().unwrap_or_default()
        );
        scribe.write(Event::IncidentOpened { summary }).await.ok();
    }
    // When this cannot be written, the next run finds the end without its line, and writes it then.
    scribe.write(Event::DeploymentRecorded { deployment: deployment.clone() }).await.ok();
    Concluded { outcome, left, deployment }
}

/// Health, smoke tests and the digest of the version before (A-RB-2).
async fn old_version_serves(
    site: &Site,
    scribe: &Scribe,
    previous: &Release,
) -> Result<(), StepError> {
    let frame = crate::steps::Frame {
        site,
        scribe,
        release: previous,
        previous: None,
        previous_bundle: None,
        reason: None,
    };
    let result = async {
        for (name, _) in site.environment.services_in_order() {
            let Some(image) = previous.content.images.get(name).map(ImageRef::digest) else {
                continue;
            };
            let target = site.target(name)?;
            let live = target.outline().await.map_err(crate::failure::target)?;
            let colour =
                live.live_colour().ok_or_else(|| crate::steps::traffic::nothing_serves(name))?;
            // As many tasks as it had, which the environment file may count otherwise by now.
            let tasks = live.colour(colour).desired.max(1);
            seen_serving_soon(target, colour, image, tasks)
                .await
                .map_err(crate::failure::rollout)?;
        }
        let url = frame.urls().await?.production;
        let report = smoke(site, &url, &mut |_| {}).await?;
        judge(&report, &url)
    }
    .await;
    let (verdict, bad, detail) = match &result {
        Ok(note) => (Verdict::Pass, 0, note.clone()),
        Err(error) => (Verdict::Fail, 1, error.to_string()),
    };
    let check = format!("after the rollback: {} serves", previous.id);
    scribe
        .write(Event::Observed { check, verdict, sample: Sample { size: 1, bad }, detail })
        .await
        .ok();
    result.map(|_| ())
}

async fn deployment(
    site: &Site,
    scribe: &Scribe,
    matter: &Matter,
    outcome: Outcome,
    left: &[Left],
) -> Deployment {
    let content = &matter.release.content;
    let schema_after = match site.environment.config.database {
        Some(_) => {
            let frame = matter.frame(site, scribe);
            schema_version(&frame).await.ok().map(|version| version.newest)
        }
        None => None,
    };
    Deployment {
        environment: site.environment.name.clone(),
        kind: matter.kind,
        release: matter.release.id.clone(),
        version: content.version.clone(),
        commit: content.commit.clone(),
        subject: content.subject.clone(),
        pull_request: content.pull_request,
        images: content.images.clone(),
        actor: scribe.actor().clone(),
        started: matter.started,
        finished: Timestamp::now(),
        status: DeploymentStatus::from(outcome),
        previous: matter.previous.as_ref().map(|release| release.id.clone()),
        schema_before: schema_before(site, scribe.run(), matter.kind).await,
        schema_after,
        left: left.to_vec(),
        skipped_canary: matter.skipped_canary(),
    }
}

/// What the schema step saw before it acted.
async fn schema_before(site: &Site, run: &RunId, kind: RunKind) -> Option<i32> {
    let steps: &[&str] = match kind {
        RunKind::Rollback => &["database/roll-back-contract", "database/roll-back"],
        _ => &["database/migrate"],
    };
    let entries = site.ledger.entries(&Query::all().run(run)).await.ok()?;
    let view = liftlock_ledger::projection::run(&entries, run)?;
    view.records.iter().find_map(|record| match record {
        Record::Intended { step: name, before } if steps.contains(&name.as_str()) => {
            serde_json::from_value::<SchemaVersion>(before.clone())
                .ok()
                .map(|version| version.newest)
        }
        _ => None,
    })
}
