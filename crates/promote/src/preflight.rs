//! Before a run begins: whether what it will act on lets it in. What is found here touches nothing, opens no incident and
//! needs no way back.

use liftlock_environment::config::{FleetDatabases, OnDrift, SecretSource};
use liftlock_migrate::Database;
use liftlock_model::{RunKind, ServiceName};
use liftlock_rollout::{Live, TargetErrorKind};
use liftlock_saga::{StepError, StepErrorKind};

use crate::failure;
use crate::phases;
use crate::plan::{ACCEPT_DATA_LOSS, KEEP_SCHEMA};
use crate::run::Matter;
use crate::site::Site;
use crate::steps;
use crate::steps::checks::secrets_are_there;
use crate::steps::performance::generator_is_there;
use crate::steps::traffic::refuse_half_way;

/// Looks at everything that the run needs.
///
/// What does not exist yet is no reason to stop a promotion, which may be about to make it: only credentials that are
/// refused, a missing program, a database that served until now and does not answer, and a cloud that does not answer.
pub(crate) async fn check(site: &Site, matter: &Matter) -> Result<(), StepError> {
    site.infrastructure.ready().await?;
    site.known_alarms.note(site.alarms.as_ref()).await;
    if matter.kind != RunKind::Rollback {
        generator_is_there(site).await?;
        secrets_are_there(site, matter.previous.is_some()).await?;
    }
    for (service, live) in cloud(site).await? {
        refuse_half_way(&site.environment.name, service, &live)?;
    }
    let keeps = matter.options.iter().any(|option| option == KEEP_SCHEMA);
    if matter.kind == RunKind::Rollback {
        let back = phases::before_rollback(&matter.release, matter.previous.as_ref())?;
        if let (Some(to), true) = (back, keeps) {
            return Err(phases::cannot_keep(&matter.release, to));
        }
    }
    if keeps {
        return Ok(());
    }
    match database(site, matter).await {
        // A way back must not be barred by a database that is down: the steps say what they could not do.
        Err(error)
            if matter.kind == RunKind::Rollback
                && error.kind() != StepErrorKind::Authentication =>
        {
            Ok(())
        }
        other => other,
    }
}

/// Why a rollback must not begin: it would lose data that nobody gave up, or the schema is older than its release needs.
pub(crate) async fn refuses_way_back(site: &Site, matter: &Matter) -> Option<StepError> {
    let has = |wanted: &str| matter.options.iter().any(|option| option == wanted);
    if matter.kind != RunKind::Rollback
        || site.environment.config.database.is_none()
        || has(KEEP_SCHEMA)
    {
        return None;
    }
    steps::database::refuses_way_back(site, &matter.release, has(ACCEPT_DATA_LOSS)).await
}

/// Why a promotion must not begin: others have changed the schema since the last run, and the environment refuses that. Looked at
/// here, so that no infrastructure was changed by the time that the migrations would refuse.
pub(crate) async fn drifted(site: &Site, matter: &Matter) -> Result<Option<StepError>, StepError> {
    let policy = site.environment.config.database.as_ref().map(|one| one.migrations.drift);
    if matter.kind == RunKind::Rollback || policy != Some(OnDrift::Refuse) {
        return Ok(None);
    }
    let found = match site.members().await {
        Ok(Some(members)) if matter.previous.is_some() => {
            steps::fleet::drifted(site, members).await?
        }
        Ok(Some(members)) => steps::fleet::drifted(site, members).await.unwrap_or_default(),
        Ok(None) => of_the_database(site).await,
        // There may be none yet.
        Err(_) => None,
    };
    let name = &site.environment.name;
    Ok(found.map(|text| {
        StepError::new(StepErrorKind::Failed, text.trim_end().to_owned()).hint(format!(
            "change it back, or take it as it is, on record: liftlock migrate drift --env {name} --accept REASON; \
             `database.migrations.drift` says what this environment does about it"
        ))
    }))
}

/// What others have changed in the schema. What cannot be read now fails in its step.
async fn of_the_database(site: &Site) -> Option<String> {
    let mut connection = site.migrations_database(None).await.ok()?;
    let drift = connection.drift().await.ok()?;
    drift.is_seen().then(|| drift.to_string())
}

/// What a run that goes on needs. Without it its steps would fail, and so would their undoing, which leaves less than now.
pub(crate) async fn check_resume(site: &Site) -> Result<(), StepError> {
    site.infrastructure.ready().await?;
    cloud(site).await?;
    match reach(site, true).await {
        Err(error) if error.kind() == StepErrorKind::Authentication => Err(error),
        _ => Ok(()),
    }
}

/// What each service looks like, save for those that are not there.
async fn cloud(site: &Site) -> Result<Vec<(&ServiceName, Live)>, StepError> {
    let mut seen = Vec::new();
    for (service, target) in &site.targets {
        match target.outline().await {
            Err(error) => match error.kind() {
                TargetErrorKind::Authentication
                | TargetErrorKind::Transient
                | TargetErrorKind::Conflict => {
                    return Err(failure::target(error));
                }
                TargetErrorKind::NotFound | TargetErrorKind::Other => {}
            },
            Ok(live) => seen.push((service, live)),
        }
    }
    Ok(seen)
}

async fn database(site: &Site, matter: &Matter) -> Result<(), StepError> {
    let Some(mut connection) = reach(site, matter.previous.is_some()).await? else { return Ok(()) };
    // What cannot be read now fails in its step.
    if let Ok(applied) = connection.applied().await
        && matter.kind != RunKind::Rollback
    {
        let newest = applied.iter().map(|one| one.version).max().unwrap_or(0);
        phases::before_rollout(&matter.release, matter.previous.as_ref(), newest)?;
    }
    Ok(())
}

/// A connection to the database; none if it need not be there yet.
async fn reach(site: &Site, serves: bool) -> Result<Option<Database>, StepError> {
    let Some(database) = &site.environment.config.database else { return Ok(None) };
    // The infrastructure makes these two: before its first time they are not there.
    let is_made = match &database.url {
        SecretSource::Stage {} => return Ok(None),
        SecretSource::Ssm { .. } => serves,
        SecretSource::Env { .. } | SecretSource::File { .. } | SecretSource::Command { .. } => true,
    };
    // The databases' URLs come from where the infrastructure puts them, too.
    let is_made = match database.fleet.as_ref().map(|fleet| &fleet.databases) {
        Some(FleetDatabases::Ssm { .. }) => serves,
        _ => is_made,
    };
    let url = match site.schema_url().await {
        Err(error) if is_made || error.kind() == StepErrorKind::Authentication => {
            return Err(error);
        }
        Err(_) => return Ok(None),
        Ok(url) => url,
    };
    match site.connect_for_migrations(&url, None).await {
        Err(error) => match error.kind() {
            StepErrorKind::Configuration if !is_made => Ok(None),
            StepErrorKind::Failed | StepErrorKind::Cancelled if !serves => Ok(None),
            _ => Err(error),
        },
        Ok(connection) => Ok(Some(connection)),
    }
}
