//! `migrate`: the database's migrations alone, on an environment's database.

mod backup;

use std::path::PathBuf;

use liftlock_environment::Environment;
use liftlock_environment::config::Database as DatabaseConfig;
use liftlock_ledger::{Draft, Ledger, Location, projection};
use liftlock_migrate::{ConnectErrorKind, Database, Migrations, Ran, RolledBack, Settings, Status};
use liftlock_model::{EnvName, Event, Exit, MigrationId, RunId};
use liftlock_promote::{Hold, proven};

use crate::cli::{Migrate, MigrateCommand};
use crate::commands::Top;
use crate::connect;
use crate::console::{Console, seconds};
use crate::failure::Failure;
use crate::secrets::Secrets;

/// Runs a `migrate` command.
pub(crate) async fn run(top: &Top, ask: Migrate, console: &Console) -> Result<Exit, Failure> {
    match ask.command {
        None if ask.dry_run => {
            dry_run(&Place::of(top, &ask.which.env, console).await?, console).await
        }
        None => apply(&Place::of(top, &ask.which.env, console).await?, ask.contract, console).await,
        Some(MigrateCommand::Status { which }) => {
            status(&Place::of(top, &which.env, console).await?, console).await
        }
        Some(MigrateCommand::Snapshot { which }) => {
            backup::take(&Place::of(top, &which.env, console).await?, console).await
        }
        Some(MigrateCommand::Restore(ask)) => {
            backup::restore(&Place::of(top, &ask.which.env, console).await?, &ask, console).await
        }
        Some(MigrateCommand::Rollback { which, to, steps, accept_data_loss }) => {
            let place = Place::of(top, &which.env, console).await?;
            roll_back(&place, to.as_deref(), steps, accept_data_loss, console).await
        }
    }
}

/// An environment's migrations, database and ledger.
struct Place {
    environment: Environment,
    config: DatabaseConfig,
    migrations: Migrations,
    ledger: Ledger,
    location: Location,
    work: PathBuf,
    stage_directory: PathBuf,
    secrets: Secrets,
    settings: Settings,
}

impl Place {
    async fn of(top: &Top, name: &EnvName, console: &Console) -> Result<Self, Failure> {
        let environment = top.environment(name)?;
        let config = environment.config.database.clone().ok_or_else(|| {
            Failure::usage(format!(
                "environment {name} has no [database]; add it to environments/{name}.toml"
            ))
        })?;
        let directory = environment.path(&config.migrations.directory);
        let migrations =
            Migrations::read(&directory).map_err(|error| Failure::of(Exit::Usage, &error))?;
        let stage_directory = connect::stage_directory(top, &environment);
        if environment.config.infrastructure.engine == liftlock_environment::config::Engine::Stage {
            crate::local::ensure(&environment, &stage_directory, console).await?;
        }
        let settings = liftlock_promote::migration_settings(&environment, top.actor.clone(), None)?;
        let (ledger, location) = connect::ledger(top, &environment).await?;
        let work = connect::work(top, &environment);
        let secrets = Secrets::new(environment.config.aws.clone(), stage_directory.clone());
        Ok(Self {
            environment,
            config,
            migrations,
            ledger,
            location,
            work,
            stage_directory,
            secrets,
            settings,
        })
    }

    /// The database's URL, read from its source.
    async fn url(&self) -> Result<secrecy::SecretString, Failure> {
        liftlock_environment::secret(&self.config.url, self.environment.root(), &self.secrets)
            .await
            .map_err(|error| Failure::of(error.exit(), &error))
    }

    async fn database(&self, run: Option<&RunId>) -> Result<Database, Failure> {
        let url = self.url().await?;
        let settings = Settings { run: run.cloned(), ..self.settings.clone() };
        Database::connect(&url, settings).await.map_err(|error| {
            let exit = match error.kind() {
                ConnectErrorKind::Authentication => Exit::Authentication,
                ConnectErrorKind::Configuration => Exit::Usage,
                ConnectErrorKind::Unreachable => Exit::Failed,
            };
            let source = &self.config.url;
            Failure {
                message: format!("{error}\n  next: look at {source}, where its URL comes from"),
                exit,
            }
        })
    }

    /// Holds the environment while its schema is changed: no promotion or rollback may be at work on it, or half way.
    async fn hold(&self, run: &RunId) -> Result<Hold, Failure> {
        let place = liftlock_promote::Place {
            environment: &self.environment.name,
            ledger: &self.ledger,
            location: &self.location,
            actor: &self.settings.actor,
            work: &self.work,
        };
        Ok(Hold::between_runs(&place, run).await?)
    }

    async fn record(&self, run: &RunId, ran: &[Ran], rollback: bool) -> Result<(), Failure> {
        for one in ran {
            let milliseconds = u64::try_from(one.duration.as_millis()).unwrap_or(u64::MAX);
            self.write(run, Event::MigrationRan { id: one.id.clone(), rollback, milliseconds })
                .await?;
        }
        Ok(())
    }

    async fn write(&self, run: &RunId, event: Event) -> Result<(), Failure> {
        let draft = Draft {
            environment: Some(self.environment.name.clone()),
            run: Some(run.clone()),
            actor: self.settings.actor.clone(),
            event,
            fence: None,
        };
        let written = self.ledger.append(draft).await;
        written.map(drop).map_err(|error| Failure::of(Exit::Failed, &error))
    }
}

async fn dry_run(place: &Place, console: &Console) -> Result<Exit, Failure> {
    let mut database = place.database(None).await?;
    let report = database
        .dry_run(&place.migrations)
        .await
        .map_err(|error| Failure::of(error.exit(), &error))?;
    console.result("dry_run", &report, || report.to_string());
    Ok(report.exit())
}

async fn apply(place: &Place, contract: bool, console: &Console) -> Result<Exit, Failure> {
    let run = RunId::generate();
    let hold = place.hold(&run).await?;
    let applied = apply_held(place, &run, contract, console).await;
    hold.give_back().await;
    let (ran, waits) = applied?;
    console.result("applied", &ran, || match ran.len() {
        0 => "nothing to apply".into(),
        _ => lines("applied", &ran),
    });
    if let Some(first) = waits {
        console.say(&format!(
            "{first} waits, and what is newer with it: it is `phase contract`, and a promotion applies it once no older version is \
             left\n  next: {} migrate --env {} --contract, if none is",
            console.program(),
            place.environment.name
        ));
    }
    Ok(Exit::Done)
}

/// The first migration that waits for an older version to be gone, as far as the ledger knows what serves.
async fn waits(place: &Place, database: &mut Database) -> Result<Option<MigrationId>, Failure> {
    if place.migrations.waits(0).is_none() {
        return Ok(None);
    }
    let entries = liftlock_promote::history(&place.ledger)
        .await
        .map_err(|error| Failure::of(Exit::Failed, &error))?;
    let serving = projection::current(&entries, &place.environment.name)
        .and_then(|current| projection::release(&entries, &current.release));
    let known = serving.iter().flat_map(|release| &release.content.migrations);
    let known = known.map(|stamp| stamp.id.version).max();
    let applied = database.applied().await.map_err(|error| Failure::of(Exit::Failed, &error))?;
    let newest = known.into_iter().chain(applied.iter().map(|one| one.version)).max();
    Ok(newest.and_then(|newest| place.migrations.waits(newest)).map(|first| first.id.clone()))
}

async fn apply_held(
    place: &Place,
    run: &RunId,
    contract: bool,
    console: &Console,
) -> Result<(Vec<Ran>, Option<MigrationId>), Failure> {
    let mut database = place.database(Some(run)).await?;
    let waits = if contract { None } else { waits(place, &mut database).await? };
    let to = waits.as_ref().map(|first| first.version - 1);
    let tried = proven(&place.environment, &mut database, &place.migrations).await;
    let tried =
        tried.map_err(|error| Failure { message: error.to_string(), exit: Exit::Failed })?;
    snapshot_first(place, &mut database, to, run, console).await?;
    let applied = database
        .apply(&place.migrations, to, &mut |progress| console.life(&progress.to_string()))
        .await;
    match applied {
        Ok(ran) => {
            place.record(run, &ran, false).await?;
            if let Some(tried) = tried.filter(|_| !ran.is_empty()) {
                let kept = database.keep_proofs(&place.migrations, &tried).await;
                kept.map_err(|error| Failure::of(error.exit(), &error))?;
            }
            Ok((ran, waits))
        }
        Err(error) => {
            // What was applied before the one that failed stays, and is on record.
            place.record(run, &error.ran, false).await?;
            if !error.ran.is_empty() {
                console.say(&lines("applied", &error.ran));
            }
            Err(Failure::of(error.exit(), &error))
        }
    }
}

/// Takes the snapshot that the environment demands, if something is going to be applied. Without it, nothing is.
async fn snapshot_first(
    place: &Place,
    database: &mut Database,
    to: Option<i32>,
    run: &RunId,
    console: &Console,
) -> Result<(), Failure> {
    let Some(config) = &place.config.snapshot else { return Ok(()) };
    let status = database.status(&place.migrations).await;
    let status = status.map_err(|error| Failure::of(Exit::Failed, &error))?;
    let pending = status.pending.iter().any(|id| to.is_none_or(|to| id.version <= to));
    // What does not fit is refused by apply, with nothing touched.
    if !pending || !status.problems.is_empty() {
        return Ok(());
    }
    match backup::take_held(place, config, run, console).await {
        Ok(taken) => {
            console.life(&format!("snapshot {} is available", taken.id));
            database.note_snapshot(&taken.id);
            Ok(())
        }
        Err(Failure { message, exit }) if config.required => Err(Failure {
            message: format!("no snapshot, so nothing was applied: {message}"),
            exit,
        }),
        Err(Failure { message, .. }) => {
            console.say(&format!(
                "NO SNAPSHOT: {message}; the environment does not require one, so this goes on"
            ));
            Ok(())
        }
    }
}

fn lines(verb: &str, ran: &[Ran]) -> String {
    ran.iter()
        .map(|one| format!("{verb} {} in {}", one.id, seconds(one.duration)))
        .collect::<Vec<_>>()
        .join("\n")
}

async fn status(place: &Place, console: &Console) -> Result<Exit, Failure> {
    let mut database = place.database(None).await?;
    let status = database
        .status(&place.migrations)
        .await
        .map_err(|error| Failure::of(Exit::Failed, &error))?;
    console.result("status", &status, || describe(&status));
    Ok(if status.problems.is_empty() { Exit::Done } else { Exit::Failed })
}

fn describe(status: &Status) -> String {
    let mut lines = vec![status.database.clone()];
    for one in &status.applied {
        let by = one.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let at = one.at.strftime("%Y-%m-%d %H:%M:%S UTC");
        lines.push(format!("  applied  {:<32} {at}{by}", one.id().to_string()));
    }
    lines.extend(status.pending.iter().map(|id| format!("  pending  {id}")));
    lines.extend(status.problems.iter().map(|problem| format!("  PROBLEM  {problem}")));
    lines.join("\n")
}

async fn roll_back(
    place: &Place,
    to: Option<&str>,
    steps: Option<usize>,
    accept_data_loss: bool,
    console: &Console,
) -> Result<Exit, Failure> {
    let run = RunId::generate();
    let hold = place.hold(&run).await?;
    let rolled = roll_back_held(place, &run, to, steps, accept_data_loss, console).await;
    hold.give_back().await;
    let back = rolled?;
    console.result("rolled_back", &back, || match back.ran.len() {
        0 => "nothing was rolled back".into(),
        _ => lines("rolled back", &back.ran),
    });
    match back.refused {
        None => Ok(Exit::Done),
        Some(refused) => Err(Failure {
            message: format!(
                "{} was not rolled back: that would lose {}\n  next: add --accept-data-loss if that is meant{}",
                refused.id,
                refused.losses.join(", "),
                refused
                    .instead()
                    .map(|instead| format!("\n  instead: {instead}"))
                    .unwrap_or_default()
            ),
            exit: Exit::Refused,
        }),
    }
}

async fn roll_back_held(
    place: &Place,
    run: &RunId,
    to: Option<&str>,
    steps: Option<usize>,
    accept_data_loss: bool,
    console: &Console,
) -> Result<RolledBack, Failure> {
    let mut database = place.database(Some(run)).await?;
    let to = match (to, steps) {
        (Some(text), _) => {
            MigrationId::parse_version(text).map_err(|error| Failure::of(Exit::Usage, &error))?
        }
        (None, steps) => {
            let mut applied: Vec<_> = database
                .applied()
                .await
                .map_err(|error| Failure::of(Exit::Failed, &error))?
                .into_iter()
                .map(|one| one.version)
                .collect();
            applied.sort_unstable_by(|a, b| b.cmp(a));
            applied.get(steps.unwrap_or(0)).copied().unwrap_or(0)
        }
    };
    let back = database
        .rollback(to, accept_data_loss, &mut |progress| console.life(&progress.to_string()))
        .await
        .map_err(|error| Failure::of(error.exit(), &error))?;
    place.record(run, &back.ran, true).await?;
    Ok(back)
}
