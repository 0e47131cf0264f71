//! What a promotion would do, tried as far as it can be tried without effect.

use liftlock_gate::Evaluation;
use liftlock_migrate::{DryRun, Migrations};
use liftlock_model::{Actor, Fingerprint, Release, RunId, RunKind, StepPlan};
use liftlock_saga::StepError;
use serde::Serialize;

use crate::error::PromoteError;
use crate::gate::{evaluate_gates, evaluate_way_back, skip_canary};
use crate::infrastructure::InfrastructurePlan;
use crate::run::{Ask, Matter, read_history};
use crate::scribe::Scribe;
use crate::site::Site;
use crate::{choose, plan};

/// What a run would do.
#[derive(Debug, Serialize)]
pub struct Preview {
    /// The release that it would be about.
    pub release: Release,
    /// The fingerprint of the plan.
    pub fingerprint: Fingerprint,
    /// What the gates say now.
    pub gates: Vec<Evaluation>,
    /// Each step.
    pub steps: Vec<StepPlan>,
    /// What the infrastructure's plan says.
    pub infrastructure: Tried<InfrastructurePlan>,
    /// What the migrations did to a copy of the database.
    pub migrations: Tried<DryRun>,
}

/// Something that was tried without effect, or could not be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tried<T> {
    /// It was tried.
    Done(T),
    /// It could not be tried; the text says why.
    CouldNot(String),
    /// The environment has no such thing.
    Nothing,
}

/// Says what `ask` would do, and touches nothing.
pub async fn preview(
    site: &Site,
    ask: &Ask,
    life: &(dyn Fn(&str) + Send + Sync),
) -> Result<Preview, PromoteError> {
    let entries = read_history(&site.ledger).await?;
    let release = choose::release(site, ask, &entries)?;
    let is_promotion = ask.kind == RunKind::Promotion;
    let gates = match is_promotion {
        true => {
            let mut gates = evaluate_gates(site, &release.id, &entries);
            gates.extend(skip_canary(&site.environment, ask));
            gates
        }
        false => evaluate_way_back(site, ask, &release.id, &entries),
    };
    let matter = Matter::of(ask, release, &entries, &site.environment.name);
    let report: crate::Report = std::sync::Arc::new(|_| {});
    let scribe = Scribe::new(
        site.ledger.clone(),
        site.environment.name.clone(),
        RunId::generate(),
        Actor::new(site.actor.as_str()),
        None,
        report,
    );
    let frame = matter.frame(site, &scribe);
    let saga = plan::saga(matter.kind, &matter.options, frame);
    let fingerprint = plan::fingerprint(matter.kind, &matter.options, &frame, &saga);
    let steps = saga.plan();
    let (infrastructure, migrations) = match is_promotion {
        true => try_parts(site, &matter.release, life).await,
        // It applies neither, and what its rollback scripts would lose depends on rows, which a copy has not.
        false => (
            Tried::Nothing,
            Tried::CouldNot(
                "rolling back is not tried; where it would lose data it refuses".into(),
            ),
        ),
    };
    let release = matter.release.clone();
    Ok(Preview { release, fingerprint, gates, steps, infrastructure, migrations })
}

async fn try_parts(
    site: &Site,
    release: &Release,
    life: &(dyn Fn(&str) + Send + Sync),
) -> (Tried<InfrastructurePlan>, Tried<DryRun>) {
    life("planning the infrastructure");
    let infrastructure = tried(plan_infrastructure(site, release, life).await);
    life("trying the migrations on a copy");
    let migrations = match &site.environment.config.database {
        Some(_) => tried(try_migrations(site, release).await),
        None => Tried::Nothing,
    };
    (infrastructure, migrations)
}

fn tried<T>(result: Result<T, StepError>) -> Tried<T> {
    match result {
        Ok(done) => Tried::Done(done),
        Err(error) => Tried::CouldNot(error.to_string()),
    }
}

async fn plan_infrastructure(
    site: &Site,
    release: &Release,
    life: &(dyn Fn(&str) + Send + Sync),
) -> Result<InfrastructurePlan, StepError> {
    let code = crate::steps::stored_files(site, &release.content.infrastructure_archive).await?;
    let bundle = site.infrastructure.bundle(release, code)?;
    site.infrastructure.plan(&bundle, life).await
}

async fn try_migrations(site: &Site, release: &Release) -> Result<DryRun, StepError> {
    let directory = crate::steps::migrations_directory(site, release).await?;
    let migrations = Migrations::read(&directory).map_err(|error| StepError::from_error(&error))?;
    let mut database = site.migrations_database(None).await?;
    database.dry_run(&migrations).await.map_err(|error| StepError::from_error(&error))
}
