//! The databases of an environment that has many of one kind.

use liftlock_environment::config::{Fleet, FleetDatabases};
use liftlock_environment::{Environment, SecretStore};
use liftlock_migrate::Settings;
use liftlock_migrate::fleet::{FleetError, FleetOptions, FleetTarget};
use liftlock_saga::{StepError, StepErrorKind};

use crate::failure;

/// The databases of a fleet, and how they are gone through.
#[derive(Debug, Clone)]
pub struct Members {
    /// The databases.
    pub targets: Vec<FleetTarget>,
    /// Canary, waves and limits.
    pub options: FleetOptions,
}

impl Members {
    /// The database of that name.
    ///
    /// # Errors
    /// If there is none.
    pub fn one(&self, name: &str) -> Result<&FleetTarget, StepError> {
        self.targets.iter().find(|target| target.name == name).ok_or_else(|| {
            let such_as = self.targets.first().map(|first| format!(", such as {}", first.name));
            StepError::new(
                StepErrorKind::Configuration,
                format!(
                    "{name} is none of the fleet's {} databases{}",
                    self.targets.len(),
                    such_as.unwrap_or_default()
                ),
            )
        })
    }

    /// The database that stands for all where one is enough to look at.
    ///
    /// # Errors
    /// If the canary is none of them.
    pub fn canary(&self) -> Result<&FleetTarget, StepError> {
        match &self.options.canary {
            Some(name) => self.one(name),
            None => self.targets.first().ok_or_else(|| {
                StepError::new(StepErrorKind::Configuration, "the fleet has no database")
            }),
        }
    }
}

/// The databases of an environment's fleet, as its source names them now; none where it has but one database.
///
/// # Errors
/// If the source cannot be read, or gives nothing.
pub async fn members(
    environment: &Environment,
    secrets: &dyn SecretStore,
    settings: &Settings,
) -> Result<Option<Members>, StepError> {
    let Some(database) = &environment.config.database else { return Ok(None) };
    let Some(fleet) = &database.fleet else { return Ok(None) };
    let base = || async {
        let url = liftlock_environment::secret(&database.url, environment.root(), secrets).await;
        url.map_err(failure::secret)
    };
    let targets = match &fleet.databases {
        FleetDatabases::List { names } => {
            let base = base().await?;
            let targets = names.iter().map(|name| FleetTarget::on_server(&base, name));
            targets.collect::<Result<Vec<_>, _>>().map_err(wrong)?
        }
        FleetDatabases::Query { sql } => {
            FleetTarget::query(&base().await?, sql, settings).await.map_err(wrong)?
        }
        FleetDatabases::Ssm { path } => of_parameters(path, secrets).await?,
    };
    Ok(Some(Members { targets, options: options(fleet) }))
}

/// The parameters right below a path: each is named as its database is called, and holds that one's URL.
async fn of_parameters(
    path: &str,
    secrets: &dyn SecretStore,
) -> Result<Vec<FleetTarget>, StepError> {
    let found = secrets.parameters(path).await.map_err(failure::secret)?;
    if found.is_empty() {
        let origin = format!("the SSM path `{path}`");
        return Err(wrong(FleetError::Empty { origin }));
    }
    let target = |(parameter, url): (String, _)| {
        let name = parameter.rsplit('/').next().unwrap_or(&parameter).to_owned();
        FleetTarget { name, url }
    };
    Ok(found.into_iter().map(target).collect())
}

fn options(fleet: &Fleet) -> FleetOptions {
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    FleetOptions {
        canary: fleet.canary.clone(),
        concurrency: number(fleet.concurrency),
        max_failures: number(fleet.max_failures),
        waves: fleet.waves.clone(),
    }
}

fn wrong(error: FleetError) -> StepError {
    match error {
        FleetError::Connect(error) => failure::connect(error),
        other => StepError::of_kind(StepErrorKind::Configuration, &other),
    }
}
