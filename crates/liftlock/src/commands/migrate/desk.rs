//! An environment as the place where the commands of one database work.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use async_trait::async_trait;
use liftlock_environment::Environment;
use liftlock_environment::config::{Database as DatabaseConfig, Engine};
use liftlock_migrate::commands::{Desk, End, Failed};
use liftlock_migrate::{Progress, Settings};
use liftlock_model::Exit;
use liftlock_promote::{Alarm, Members, members};
use secrecy::SecretString;

use crate::cli::Where;
use crate::commands::Top;
use crate::connect;
use crate::console::Console;
use crate::failure::Failure;
use crate::secrets::Secrets;

/// An environment's migrations and its database, or one database of its fleet.
pub(super) struct EnvDesk<'a> {
    pub environment: Environment,
    pub config: DatabaseConfig,
    pub settings: Settings,
    pub secrets: Secrets,
    pub stage_directory: PathBuf,
    pub console: &'a Console,
    directory: PathBuf,
    /// Which one of the fleet's.
    database: Option<String>,
    /// Who tells people of what takes long, while something is at work.
    alarm: Mutex<Option<Alarm>>,
}

impl From<Failed> for Failure {
    fn from(Failed { text, exit }: Failed) -> Self {
        Self { message: text, exit }
    }
}

fn failed(Failure { message, exit }: Failure) -> Failed {
    Failed { text: message, exit }
}

impl<'a> EnvDesk<'a> {
    /// Reads the environment's files; touches no database.
    pub(super) fn of(top: &Top, which: &Where, console: &'a Console) -> Result<Self, Failure> {
        let environment = top.environment(&which.env)?;
        let name = &environment.name;
        let config = environment.config.database.clone().ok_or_else(|| {
            Failure::usage(format!(
                "environment {name} has no [database]; add it to environments/{name}.toml"
            ))
        })?;
        if let (None, Some(database)) = (&config.fleet, &which.database) {
            return Err(Failure::usage(format!(
                "environment {name} has one database and no fleet: leave `--database {database}` out, or add [database.fleet] to \
                 environments/{name}.toml"
            )));
        }
        let settings = liftlock_promote::migration_settings(&environment, top.actor.clone(), None)?;
        let stage_directory = connect::stage_directory(top, &environment);
        let secrets = Secrets::new(environment.config.aws.clone(), stage_directory.clone());
        let directory = environment.path(&config.migrations.directory);
        Ok(Self {
            environment,
            config,
            settings,
            secrets,
            stage_directory,
            console,
            directory,
            database: which.database.clone(),
            alarm: Mutex::default(),
        })
    }

    /// Starts the local environment, if that is what this is and it does not run.
    pub(super) async fn ready(&self) -> Result<(), Failure> {
        match self.environment.config.infrastructure.engine {
            Engine::Stage => {
                crate::local::ensure(&self.environment, &self.stage_directory, self.console).await
            }
            Engine::Terraform | Engine::Tofu => Ok(()),
        }
    }

    /// The databases of the fleet; none where there is but one database.
    pub(super) async fn members(&self) -> Result<Option<Members>, Failure> {
        self.ready().await?;
        Ok(members(&self.environment, &self.secrets, &self.settings).await?)
    }

    /// Lets `alarm` hear what happens from now on; none, nobody.
    pub(super) fn arm(&self, alarm: Option<Alarm>) {
        if let Ok(mut armed) = self.alarm.lock() {
            *armed = alarm;
        }
    }

    /// Prints how a command ended.
    pub(super) fn show(&self, kind: &str, end: End) -> Exit {
        self.console.result(kind, &end.json, || end.text);
        end.exit
    }

    /// Which database of the fleet, where there is one.
    pub(super) fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    async fn one(&self) -> Result<SecretString, Failure> {
        let name = &self.environment.name;
        match (self.members().await?, &self.database) {
            (Some(members), Some(database)) => Ok(members.one(database)?.url.clone()),
            (Some(_), None) => Err(Failure::usage(format!(
                "environment {name} has a fleet of databases: say which with --database NAME, or go over all of them\n  next: {} \
                 migrate fleet --env {name}",
                self.console.program()
            ))),
            (None, _) => {
                let source = &self.config.url;
                let root = self.environment.root();
                let url = liftlock_environment::secret(source, root, &self.secrets).await;
                url.map_err(|error| Failure::of(error.exit(), &error))
            }
        }
    }
}

#[async_trait]
impl Desk for EnvDesk<'_> {
    fn directory(&self) -> &Path {
        &self.directory
    }

    fn settings(&self) -> Result<Settings, Failed> {
        Ok(self.settings.clone())
    }

    async fn url(&self) -> Result<SecretString, Failed> {
        self.one().await.map_err(failed)
    }

    fn origin(&self) -> Option<String> {
        Some(self.config.url.to_string())
    }

    fn advice(&self, words: &str) -> String {
        format!("{} migrate {words} --env {}", self.console.program(), self.environment.name)
    }

    fn say(&self, text: &str) {
        self.console.life(text);
    }

    fn hear(&self, database: Option<&str>, progress: &Progress) {
        if let Ok(alarm) = self.alarm.lock()
            && let Some(alarm) = alarm.as_ref()
        {
            alarm.hear(database, progress);
        }
        let text = match database {
            Some(name) => format!("{name}: {progress}"),
            None => progress.to_string(),
        };
        match progress {
            // What a person must not miss.
            Progress::Drift { .. }
            | Progress::Long { .. }
            | Progress::SchemaNotKept { .. }
            | Progress::NotRecorded { .. } => self.console.say(&text),
            _ => self.console.life(&text),
        }
    }

    fn annotate(&self, line: &str) {
        self.console.annotate(line);
    }
}
