//! What there is on the stage: what Terraform would make in a cloud.

use liftlock_model::{ApplicationName, EnvName, ServiceName};
use serde::{Deserialize, Serialize};

/// What there is on the stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The application.
    pub application: ApplicationName,
    /// The environment.
    pub environment: EnvName,
    /// The region that the resources' names say.
    pub region: String,
    /// The account that the resources' names say, 12 digits.
    pub account: String,
    /// The services.
    pub services: Vec<ServiceTopology>,
    /// The database, if the application has one.
    pub database: Option<DatabaseTopology>,
}

/// A service: two ECS services and two target groups, blue and green, and a rule on each listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceTopology {
    /// Its name, also its container's.
    pub name: ServiceName,
    /// Its image repository.
    pub repository: String,
    /// The port that the task definition names. On the stage each task gets a port of its own, in `PORT`.
    pub port: u16,
    /// Which request paths are its own, such as `/api/*`; all if left out.
    pub paths: Option<Vec<String>>,
    /// The priority of its rules: lower is asked first; each service its own.
    pub priority: u32,
    /// How many tasks carry full traffic.
    pub tasks: u32,
    /// The path that the load balancer's health check asks.
    pub health_path: String,
    /// CPU units of a task.
    pub cpu: u32,
    /// Memory of a task, in MiB.
    pub memory: u32,
}

/// The database: a private PostgreSQL cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseTopology {
    /// The RDS instance's name; `<application>-<environment>` if left out.
    pub instance: Option<String>,
}

/// One of a service's two colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// The one that is live at first.
    Blue,
    /// The other.
    Green,
}

impl Colour {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Blue, Self::Green];

    /// As it stands in names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }
}

impl Topology {
    /// `<application>-<environment>`: the cluster's, load balancer's and database's name.
    pub fn prefix(&self) -> String {
        format!("{}-{}", self.application, self.environment)
    }

    /// The RDS instance's name.
    pub fn instance(&self) -> Option<String> {
        let database = self.database.as_ref()?;
        Some(database.instance.clone().unwrap_or_else(|| self.prefix()))
    }

    /// The name of a service's ECS service and target group of one colour.
    pub(crate) fn coloured(&self, service: &ServiceTopology, colour: Colour) -> String {
        format!("{}-{}-{}", self.prefix(), service.name, colour.as_str())
    }

    /// The database's name in PostgreSQL, which takes no hyphens unquoted.
    pub(crate) fn database_name(&self) -> String {
        self.application.as_str().replace('-', "_")
    }

    pub(crate) fn parameter(&self, name: &str) -> String {
        format!("/{}/{}/{name}", self.application, self.environment)
    }

    pub(crate) fn service(&self, name: &str) -> Option<&ServiceTopology> {
        self.services.iter().find(|service| service.name.as_str() == name)
    }

    /// The service and colour that a coloured name stands for.
    pub(crate) fn by_coloured(&self, name: &str) -> Option<(&ServiceTopology, Colour)> {
        let all = self.services.iter().flat_map(|s| Colour::BOTH.map(|colour| (s, colour)));
        all.into_iter().find(|(service, colour)| self.coloured(service, *colour) == name)
    }

    /// What contradicts itself.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (at, service) in self.services.iter().enumerate() {
            let earlier = &self.services[..at];
            if earlier.iter().any(|other| other.name == service.name) {
                return Err(format!("two services are called {}", service.name));
            }
            if let Some(other) = earlier.iter().find(|other| other.priority == service.priority) {
                return Err(format!(
                    "services {} and {} have the same priority {}",
                    other.name, service.name, service.priority
                ));
            }
            if !(1..=50_000).contains(&service.priority) {
                return Err(format!("the priority of {} is not 1 to 50000", service.name));
            }
            if !service.health_path.starts_with('/') {
                return Err(format!("the health path of {} does not start with `/`", service.name));
            }
        }
        Ok(())
    }
}
