//! An environment with its real parts: everything that a run acts on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use liftlock_environment::{Environment, SecretStore};
use liftlock_ledger::{Ledger, Location};
use liftlock_migrate::snapshot::Snapshots;
use liftlock_migrate::{DriftPolicy, Settings};
use liftlock_model::{Actor, RunId, ServiceName};
use liftlock_probe::Prober;
use liftlock_rollout::{Switches, Target};
use liftlock_saga::{StepError, StepErrorKind};
use secrecy::SecretString;
use tokio::sync::Mutex;

use crate::failure;
use crate::fleet::{Members, members};
use crate::hold::Place;
use crate::infrastructure::Infrastructure;

/// An environment with its real parts.
pub struct Site {
    /// What its files say.
    pub environment: Environment,
    /// The ledger.
    pub ledger: Ledger,
    /// Where the ledger is.
    pub location: Location,
    /// Who makes its infrastructure.
    pub infrastructure: Box<dyn Infrastructure>,
    /// Each service's traffic and tasks.
    pub targets: BTreeMap<ServiceName, Box<dyn Target>>,
    /// What gives traffic back when a run is gone.
    pub switches: Switches,
    /// The database's snapshots.
    pub snapshots: Box<dyn Snapshots>,
    /// Alarms of the environment.
    pub alarms: Box<dyn AlarmBoard>,
    /// Which alarms rang when the run began.
    pub known_alarms: KnownAlarms,
    /// Where secrets come from.
    pub secrets: Box<dyn SecretStore>,
    /// Asks the running application.
    pub prober: Prober,
    /// Who runs this.
    pub actor: Actor,
    /// A private directory for files of runs: saved plans, unpacked releases.
    pub work: PathBuf,
}

/// An alarm that rings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ringing {
    /// Its name.
    pub name: String,
    /// Why, as the alarm itself says.
    pub reason: String,
}

/// How an alarm stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlarmState {
    /// OK.
    Quiet,
    /// ALARM.
    Rings {
        /// Why, as the alarm itself says.
        reason: String,
        /// Since when, where that is told.
        since: Option<Timestamp>,
    },
    /// INSUFFICIENT_DATA.
    Unknown,
    /// There is no alarm of this name.
    Missing,
}

/// The alarms that rang when a run began: they say nothing about what the run did since. Read once for the whole run, since an
/// alarm that its first users set off may ring only while more of them are on the way.
#[derive(Debug, Default)]
pub struct KnownAlarms(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    names: BTreeSet<String>,
    noted: Option<Timestamp>,
}

impl KnownAlarms {
    /// Looks, at the beginning of a run. A board that cannot be read knows none.
    pub(crate) async fn note(&self, board: &dyn AlarmBoard) {
        let ringing = board.ringing().await.unwrap_or_default();
        let names = ringing.into_iter().map(|alarm| alarm.name).collect();
        *self.0.lock().await = Known { names, noted: Some(Timestamp::now()) };
    }

    pub(crate) async fn names(&self) -> BTreeSet<String> {
        self.0.lock().await.names.clone()
    }

    /// When that was; none in a run that goes on where another was interrupted.
    pub(crate) async fn noted(&self) -> Option<Timestamp> {
        self.0.lock().await.noted
    }
}

/// Shows which alarms of the environment ring.
#[async_trait::async_trait]
pub trait AlarmBoard: Send + Sync {
    /// The alarms in state ALARM now.
    async fn ringing(&self) -> Result<Vec<Ringing>, String>;

    /// How the alarm of this whole name stands, be it the environment's own or not.
    async fn state(&self, name: &str) -> Result<AlarmState, String>;
}

impl Site {
    /// What is held while something changes here.
    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            environment: &self.environment.name,
            ledger: &self.ledger,
            location: &self.location,
            actor: &self.actor,
            work: &self.work,
        }
    }

    /// The database's URL, read from its source now: it may not exist before the infrastructure does.
    pub async fn database_url(&self) -> Result<SecretString, StepError> {
        let Some(database) = &self.environment.config.database else {
            return Err(StepError::new(
                StepErrorKind::Configuration,
                format!("environment {} has no [database]", self.environment.name),
            ));
        };
        liftlock_environment::secret(&database.url, self.environment.root(), self.secrets.as_ref())
            .await
            .map_err(failure::secret)
    }

    /// The databases of the environment's fleet; none where it has but one database.
    pub(crate) async fn members(&self) -> Result<Option<Members>, StepError> {
        let settings = self.migration_settings(None)?;
        members(&self.environment, self.secrets.as_ref(), &settings).await
    }

    pub(crate) fn migration_settings(&self, run: Option<&RunId>) -> Result<Settings, StepError> {
        crate::migrations::migration_settings(&self.environment, self.actor.clone(), run)
    }

    /// The URL of the database that has the schema; of a fleet, its canary's.
    pub(crate) async fn schema_url(&self) -> Result<SecretString, StepError> {
        match self.members().await? {
            Some(members) => Ok(members.canary()?.url.clone()),
            None => self.database_url().await,
        }
    }

    /// A connection for migrations; of a fleet, to its canary.
    pub async fn migrations_database(
        &self,
        run: Option<&RunId>,
    ) -> Result<liftlock_migrate::Database, StepError> {
        self.connect_for_migrations(&self.schema_url().await?, run).await
    }

    /// A connection to take migrations back. What somebody changed by hand in the schema meanwhile, perhaps to help, is told
    /// and bars no way back.
    pub(crate) async fn way_back_database(
        &self,
        run: Option<&RunId>,
        reason: Option<&str>,
    ) -> Result<liftlock_migrate::Database, StepError> {
        let url = self.schema_url().await?;
        self.connect_with(&url, self.way_back_settings(run, reason)?).await
    }

    pub(crate) fn way_back_settings(
        &self,
        run: Option<&RunId>,
        reason: Option<&str>,
    ) -> Result<Settings, StepError> {
        let settings = self.migration_settings(run)?;
        let drift = match settings.drift {
            DriftPolicy::Refuse => DriftPolicy::Warn,
            other => other,
        };
        Ok(Settings { drift, reason: reason.map(str::to_owned), ..settings })
    }

    pub(crate) async fn connect_for_migrations(
        &self,
        url: &SecretString,
        run: Option<&RunId>,
    ) -> Result<liftlock_migrate::Database, StepError> {
        self.connect_with(url, self.migration_settings(run)?).await
    }

    async fn connect_with(
        &self,
        url: &SecretString,
        settings: Settings,
    ) -> Result<liftlock_migrate::Database, StepError> {
        let database = self.environment.config.database.as_ref();
        liftlock_migrate::Database::connect(url, settings).await.map_err(|error| {
            let error = failure::connect(error);
            match database {
                Some(database) => {
                    error.hint(format!("look at {}, where its URL comes from", database.url))
                }
                None => error,
            }
        })
    }

    /// A service's target.
    pub fn target(&self, service: &ServiceName) -> Result<&dyn Target, StepError> {
        self.targets.get(service).map(AsRef::as_ref).ok_or_else(|| {
            StepError::new(
                StepErrorKind::Configuration,
                format!("environment {} has no service {service}", self.environment.name),
            )
        })
    }
}

impl Site {
    /// Where users reach the application.
    pub async fn url(&self) -> Result<url::Url, StepError> {
        crate::steps::urls(self).await.map(|urls| urls.production)
    }
}
