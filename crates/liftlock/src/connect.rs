//! Connects an environment to its real parts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use liftlock_aws::{Alarm, Alarms, Clients, Credentials, EcsSwitch, EcsTarget, RdsSnapshots};
use liftlock_environment::config::Engine;
use liftlock_environment::{Environment, EnvironmentSecrets, KnownSecrets};
use liftlock_ledger::{Ledger, Location};
use liftlock_model::Exit;
use liftlock_probe::Prober;
use liftlock_promote::emergency::Memories;
use liftlock_promote::{
    AlarmBoard, AlarmState, Infrastructure, KnownAlarms, Ringing, Site, TerraformInfrastructure,
};
use liftlock_rollout::{Revisions, Switch, Switches, Target, TargetError, TargetErrorKind};

use crate::commands::Top;
use crate::console::Console;
use crate::failure::Failure;
use crate::secrets::Secrets;
use crate::{local, stage};

/// Where Liftlock keeps its own files of an environment.
pub(crate) fn work(top: &Top, environment: &Environment) -> PathBuf {
    top.state().join(environment.name.as_str())
}

/// Where the stage of an environment lives.
pub(crate) fn stage_directory(top: &Top, environment: &Environment) -> PathBuf {
    work(top, environment).join("stage")
}

/// The environment with its real parts. The local environment is started if it does not run.
pub(crate) async fn site(
    top: &Top,
    environment: Environment,
    console: &Console,
) -> Result<Site, Failure> {
    let work = work(top, &environment);
    site_in(top, environment, work, console).await
}

/// The same for a dry-run, which holds nothing: it must not write where a run of this machine has its files.
pub(crate) async fn dry_site(
    top: &Top,
    environment: Environment,
    console: &Console,
) -> Result<Site, Failure> {
    let work = work(top, &environment).join("dry-run");
    site_in(top, environment, work, console).await
}

async fn site_in(
    top: &Top,
    environment: Environment,
    work: PathBuf,
    console: &Console,
) -> Result<Site, Failure> {
    let opened = ledger(top, &environment).await?;
    site_with(top, environment, work, opened, console).await
}

/// The environment by what the cloud alone knows, with a ledger of its own on this machine: for when the environment's cannot be used.
pub(crate) async fn site_without_ledger(
    top: &Top,
    environment: Environment,
    console: &Console,
) -> Result<(Site, Memories), Failure> {
    let work = work(top, &environment);
    let location = Location::Sqlite(work.join("emergency.db"));
    let opened = (Ledger::open(&location).await?, location);
    let clients = clients(&environment, &stage_directory(top, &environment), console).await?;
    let prefix = environment.prefix();
    let memories: Memories = environment
        .config
        .services
        .keys()
        .map(|name| {
            let memory: Box<dyn Revisions> = Box::new(EcsTarget::new(&clients, &prefix, name));
            (name.clone(), memory)
        })
        .collect();
    Ok((site_with(top, environment, work, opened, console).await?, memories))
}

async fn site_with(
    top: &Top,
    environment: Environment,
    work: PathBuf,
    (ledger, location): (Ledger, Location),
    console: &Console,
) -> Result<Site, Failure> {
    let stage_directory = stage_directory(top, &environment);
    std::fs::create_dir_all(&work)
        .map_err(|error| Failure::usage(format!("{}: {error}", work.display())))?;
    let aws = environment.config.aws.clone();
    let clients = clients(&environment, &stage_directory, console).await?;
    let infrastructure: Box<dyn Infrastructure> = match environment.config.infrastructure.engine {
        Engine::Stage => Box::new(stage::StageInfrastructure::new(&environment, &stage_directory)),
        Engine::Terraform | Engine::Tofu => {
            Box::new(TerraformInfrastructure::new(&environment, &work.join("terraform")))
        }
    };
    let prefix = environment.prefix();
    let switch = &environment.config.switch;
    let role = switch.role.clone().unwrap_or_else(|| format!("{prefix}-switch"));
    let mut targets: BTreeMap<_, Box<dyn Target>> = BTreeMap::new();
    let mut switches: BTreeMap<_, Box<dyn Switch>> = BTreeMap::new();
    let secrets = || Secrets::with_clients(aws.clone(), stage_directory.clone(), clients.clone());
    let known: Arc<dyn KnownSecrets> = Arc::new(EnvironmentSecrets::new(&environment, secrets()));
    for (name, service) in &environment.config.services {
        let mut target = EcsTarget::new(&clients, &prefix, name).hiding(known.clone());
        if service.rollout.strategy.is_shifted_by_ecs() {
            target = target.shifted_by_ecs(&aws.account, &format!("{prefix}-traffic"));
        }
        let switch = EcsSwitch::new(&target, &aws.account, &role);
        switches.insert(name.clone(), Box::new(switch));
        targets.insert(name.clone(), Box::new(target));
    }
    Ok(Site {
        targets,
        switches: Switches::new(switches, switch.after.duration()),
        snapshots: Box::new(RdsSnapshots::new(&clients)),
        known_alarms: KnownAlarms::default(),
        alarms: Box::new(Board { alarms: Alarms::new(&clients), prefix }),
        secrets: Box::new(secrets()),
        prober: Prober::new().map_err(|error| Failure::of(Exit::Failed, &error))?,
        actor: top.actor.clone(),
        environment,
        ledger,
        location,
        infrastructure,
        work,
    })
}

/// AWS, or the stage in its place, which is started if it does not run.
pub(crate) async fn clients(
    environment: &Environment,
    stage_directory: &Path,
    console: &Console,
) -> Result<Clients, Failure> {
    let aws = &environment.config.aws;
    let clients = match environment.config.infrastructure.engine {
        Engine::Stage => {
            let running = local::start(environment, stage_directory, console).await?;
            let credentials = Credentials::Static {
                access_key: running.access_key.clone(),
                secret: running.secret_key.clone(),
            };
            Clients::connect(aws, Some(&running.endpoint), credentials).await
        }
        Engine::Terraform | Engine::Tofu => Clients::connect(aws, None, Credentials::Chain).await,
    };
    clients.map_err(|error| Failure::of(Exit::Authentication, &error))
}

/// CloudWatch's alarms of one environment.
struct Board {
    alarms: Alarms,
    prefix: String,
}

#[async_trait]
impl AlarmBoard for Board {
    async fn ringing(&self) -> Result<Vec<Ringing>, String> {
        let alarms = self.alarms.in_alarm(&self.prefix).await.map_err(|error| error.to_string())?;
        Ok(alarms
            .into_iter()
            .map(|alarm| Ringing { name: alarm.name, reason: alarm.reason })
            .collect())
    }

    async fn state(&self, name: &str) -> Result<AlarmState, String> {
        let state = self.alarms.state(name).await.map_err(|error| error.to_string())?;
        Ok(match state {
            None => AlarmState::Missing,
            Some(liftlock_aws::AlarmState::Quiet) => AlarmState::Quiet,
            Some(liftlock_aws::AlarmState::Unknown) => AlarmState::Unknown,
            Some(liftlock_aws::AlarmState::Rings(Alarm { reason, since, .. })) => {
                AlarmState::Rings { reason, since }
            }
        })
    }
}

/// An environment's ledger. The local environment has one of its own: what is rehearsed there is nobody's history.
pub(crate) async fn ledger(
    top: &Top,
    environment: &Environment,
) -> Result<(Ledger, Location), Failure> {
    let location = location(top, environment).await?;
    Ok((Ledger::open(&location).await?, location))
}

/// An environment's ledger, unless it would have to be made first.
pub(crate) async fn existing_ledger(
    top: &Top,
    environment: &Environment,
) -> Result<Option<Ledger>, Failure> {
    let location = location(top, environment).await?;
    if matches!(&location, Location::Sqlite(path) if !path.exists()) {
        return Ok(None);
    }
    Ok(Some(Ledger::open(&location).await?))
}

/// The ledger that the environments other than the local one share.
pub(crate) async fn shared_ledger(top: &Top) -> Result<Ledger, Failure> {
    for name in Environment::list(&top.root)? {
        let environment = top.environment(&name)?;
        if environment.config.infrastructure.engine != Engine::Stage {
            return Ok(ledger(top, &environment).await?.0);
        }
    }
    Err(Failure::usage(
        "there is no environment but local ones; their releases are made by `promote`",
    ))
}

/// Each ledger that exists, once.
pub(crate) async fn all_ledgers(top: &Top) -> Result<Vec<Ledger>, Failure> {
    let mut ledgers: Vec<Ledger> = Vec::new();
    for name in Environment::list(&top.root)? {
        let environment = top.environment(&name)?;
        if let Some(ledger) = existing_ledger(top, &environment).await?
            && ledgers.iter().all(|other| other.place() != ledger.place())
        {
            ledgers.push(ledger);
        }
    }
    Ok(ledgers)
}

async fn location(top: &Top, environment: &Environment) -> Result<Location, Failure> {
    let is_stage = environment.config.infrastructure.engine == Engine::Stage;
    match &environment.config.ledger.url {
        Some(source) => {
            let secrets =
                Secrets::new(environment.config.aws.clone(), stage_directory(top, environment));
            let url = liftlock_environment::secret(source, environment.root(), &secrets)
                .await
                .map_err(|error| Failure::of(error.exit(), &error))?;
            Ok(Location::Postgres(url))
        }
        None if is_stage => Ok(Location::Sqlite(work(top, environment).join("ledger.db"))),
        None => Ok(Location::Sqlite(top.state().join("ledger.db"))),
    }
}

/// The exit code of a target that could not be asked.
pub(crate) fn target_exit(error: &TargetError) -> Exit {
    match error.kind() {
        TargetErrorKind::Authentication => Exit::Authentication,
        TargetErrorKind::NotFound | TargetErrorKind::Conflict => Exit::Usage,
        TargetErrorKind::Transient | TargetErrorKind::Other => Exit::Failed,
    }
}
