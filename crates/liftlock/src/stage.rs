//! The stage as the maker of the local environment's infrastructure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use liftlock_environment::Environment;
use liftlock_model::{Exit, Release};
use liftlock_promote::archive::Files;
use liftlock_promote::{Infrastructure, InfrastructurePlan, Signs};
use liftlock_saga::{StepError, StepErrorKind};
use liftlock_stage::{DatabaseTopology, ServeOptions, ServiceTopology, Topology};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// Serves the rehearsal cloud until it is told to stop.
pub(crate) async fn serve(directory: &Path, port: Option<u16>) -> Result<Exit, Failure> {
    let options = ServeOptions { port, ..ServeOptions::new(directory) };
    liftlock_stage::serve(options).await.map_err(|error| Failure::of(Exit::Failed, &error))?;
    Ok(Exit::Done)
}

/// What the environment file says there is on the stage.
pub(crate) fn topology(environment: &Environment) -> Topology {
    let config = &environment.config;
    let services = environment.services_in_order();
    Topology {
        application: config.application.name.clone(),
        environment: environment.name.clone(),
        region: config.aws.region.clone(),
        account: config.aws.account.clone(),
        services: services
            .into_iter()
            .map(|(name, service)| ServiceTopology {
                name: name.clone(),
                repository: service.repository.clone(),
                port: service.port,
                paths: service.paths.clone(),
                priority: priority(environment, name.as_str()),
                tasks: service.tasks,
                health_path: service.health_path.clone(),
                cpu: service.cpu,
                memory: service.memory,
            })
            .collect(),
        database: config.database.as_ref().map(|database| DatabaseTopology {
            instance: database.snapshot.as_ref().and_then(|snapshot| snapshot.instance.clone()),
        }),
    }
}

/// Services with paths are asked before the one that takes all that is left.
fn priority(environment: &Environment, name: &str) -> u32 {
    let mut names: Vec<_> = environment
        .config
        .services
        .iter()
        .map(|(name, service)| (service.paths.is_none(), name))
        .collect();
    names.sort();
    let place = names.iter().position(|(_, other)| other.as_str() == name).unwrap_or(0);
    u32::try_from(place).unwrap_or(0) * 10 + 10
}

/// The file of a bundle that holds the topology.
const FILE: &str = "topology.json";

/// Makes infrastructure by telling the stage what there is.
pub(crate) struct StageInfrastructure {
    wanted: Topology,
    directory: PathBuf,
}

impl StageInfrastructure {
    /// The maker of an environment whose stage runs in a directory.
    pub(crate) fn new(environment: &Environment, directory: &Path) -> Self {
        Self { wanted: topology(environment), directory: directory.to_owned() }
    }
}

#[async_trait]
impl Infrastructure for StageInfrastructure {
    fn maker(&self) -> String {
        "stage".into()
    }

    fn bundle(&self, _: &Release, _: Files) -> Result<Files, StepError> {
        let text = serde_json::to_vec_pretty(&self.wanted)
            .map_err(|error| StepError::from_error(&error))?;
        Ok(Files::from([(PathBuf::from(FILE), text)]))
    }

    async fn plan(&self, bundle: &Files, _: &Signs<'_>) -> Result<InfrastructurePlan, StepError> {
        let wanted = read(bundle)?;
        let now = liftlock_stage::topology(&self.directory)
            .await
            .map_err(|error| StepError::from_error(&error))?;
        let details = difference(now.as_ref(), &wanted);
        let headline = match details.len() {
            0 => "nothing to change".to_owned(),
            n => format!("{n} to change"),
        };
        let saved = serde_json::to_value(&wanted).map_err(|error| StepError::from_error(&error))?;
        Ok(InfrastructurePlan {
            changes: details.len(),
            headline,
            details,
            violations: vec![],
            saved,
        })
    }

    async fn apply(
        &self,
        bundle: &Files,
        plan: &InfrastructurePlan,
        _: &Signs<'_>,
        _: &CancellationToken,
    ) -> Result<String, StepError> {
        let wanted = read(bundle)?;
        liftlock_stage::apply_topology(&self.directory, &wanted)
            .await
            .map_err(|error| StepError::from_error(&error))?;
        Ok(format!("{} changed", plan.changes))
    }
}

fn read(bundle: &Files) -> Result<Topology, StepError> {
    let text = bundle.get(Path::new(FILE)).ok_or_else(|| {
        StepError::new(
            StepErrorKind::Configuration,
            "the infrastructure to go to was not made for the stage",
        )
    })?;
    serde_json::from_slice(text).map_err(|error| StepError::from_error(&error))
}

/// What differs, one line for each service and for the database.
fn difference(now: Option<&Topology>, wanted: &Topology) -> Vec<String> {
    let services = |topology: Option<&Topology>| -> BTreeMap<String, ServiceTopology> {
        let all = topology.map(|topology| topology.services.clone()).unwrap_or_default();
        all.into_iter().map(|service| (service.name.to_string(), service)).collect()
    };
    let (before, after) = (services(now), services(Some(wanted)));
    let mut lines = Vec::new();
    for (name, service) in &after {
        match before.get(name) {
            None => lines.push(format!("create service {name}")),
            Some(old) if old != service => lines.push(format!("update service {name}")),
            Some(_) => {}
        }
    }
    lines.extend(
        before
            .keys()
            .filter(|name| !after.contains_key(*name))
            .map(|name| format!("delete service {name}")),
    );
    if now.map(|now| &now.database) != Some(&wanted.database) {
        lines.push("update the database".into());
    }
    lines
}
