//! `migrate`: the database's migrations alone, on an environment's database.

mod check;
mod new;

use std::path::{Path, PathBuf};

use liftlock_environment::Environment;
use liftlock_environment::config::Database as DatabaseConfig;
use liftlock_ledger::{Draft, Ledger, Location, projection};
use liftlock_migrate::{
    ConnectErrorKind, Database, DryRun, Execution, Migrations, Ran, ReportError, RolledBack,
    Settings, Status, To, append_step_summary, write_sarif,
};
use liftlock_model::{EnvName, Event, Exit, MigrationId, RunId};
use liftlock_promote::Hold;

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
            dry_run(&Place::of(top, &ask.which.env, console).await?, &ask, console).await
        }
        None => apply(&Place::of(top, &ask.which.env, console).await?, ask.contract, console).await,
        Some(MigrateCommand::Check(ask)) => check::run(top, &ask, console).await,
        Some(MigrateCommand::New(ask)) => new::run(top, &ask, console),
        Some(MigrateCommand::Status { which, history }) => {
            status(&Place::of(top, &which.env, console).await?, history, console).await
        }
        Some(MigrateCommand::Rollback { which, to, steps, accept_data_loss, reason }) => {
            let mut place = Place::of(top, &which.env, console).await?;
            place.settings.reason = reason;
            let to = how_far(to.as_deref(), steps)?;
            roll_back(&place, to, accept_data_loss, console).await
        }
    }
}

/// What the environment says of its database.
fn config(environment: &Environment) -> Result<DatabaseConfig, Failure> {
    environment.config.database.clone().ok_or_else(|| {
        let name = &environment.name;
        Failure::usage(format!(
            "environment {name} has no [database]; add it to environments/{name}.toml"
        ))
    })
}

/// An environment with its migrations' files.
fn files(top: &Top, name: &EnvName) -> Result<(Environment, DatabaseConfig, Migrations), Failure> {
    let environment = top.environment(name)?;
    let config = config(&environment)?;
    let directory = environment.path(&config.migrations.directory);
    let migrations =
        Migrations::read(&directory).map_err(|error| Failure::of(Exit::Usage, &error))?;
    Ok((environment, config, migrations))
}

/// How migrations run in the environment, by its files.
fn settings(top: &Top, environment: &Environment) -> Result<Settings, Failure> {
    liftlock_promote::migration_settings(environment, top.actor.clone(), None)
        .map_err(|error| Failure::usage(error.to_string()))
}

/// An environment's migrations, database and ledger.
struct Place {
    environment: Environment,
    config: DatabaseConfig,
    migrations: Migrations,
    ledger: Ledger,
    location: Location,
    work: PathBuf,
    secrets: Secrets,
    settings: Settings,
}

impl Place {
    async fn of(top: &Top, name: &EnvName, console: &Console) -> Result<Self, Failure> {
        let (environment, config, migrations) = files(top, name)?;
        let stage_directory = connect::stage_directory(top, &environment);
        if environment.config.infrastructure.engine == liftlock_environment::config::Engine::Stage {
            crate::local::ensure(&environment, &stage_directory, console).await?;
        }
        let settings = settings(top, &environment)?;
        let (ledger, location) = connect::ledger(top, &environment).await?;
        let work = connect::work(top, &environment);
        let secrets = Secrets::new(environment.config.aws.clone(), stage_directory);
        Ok(Self { environment, config, migrations, ledger, location, work, secrets, settings })
    }

    async fn database(&self, run: Option<&RunId>) -> Result<Database, Failure> {
        let url =
            liftlock_environment::secret(&self.config.url, self.environment.root(), &self.secrets)
                .await
                .map_err(|error| Failure::of(error.exit(), &error))?;
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
            let draft = Draft {
                environment: Some(self.environment.name.clone()),
                run: Some(run.clone()),
                actor: self.settings.actor.clone(),
                event: Event::MigrationRan { id: one.id.clone(), rollback, milliseconds },
                fence: None,
            };
            self.ledger.append(draft).await.map_err(|error| Failure::of(Exit::Failed, &error))?;
        }
        Ok(())
    }
}

async fn dry_run(place: &Place, ask: &Migrate, console: &Console) -> Result<Exit, Failure> {
    let mut database = place.database(None).await?;
    let report = database
        .dry_run(&place.migrations)
        .await
        .map_err(|error| Failure::of(error.exit(), &error))?;
    write_reports(&report, ask.sarif.as_deref())
        .map_err(|error| Failure::of(Exit::Usage, &error))?;
    console.result("dry_run", &report, || report.to_string());
    Ok(if ask.strict { report.exit_strict() } else { report.exit() })
}

fn write_reports(report: &DryRun, sarif: Option<&Path>) -> Result<(), ReportError> {
    if let Some(file) = sarif {
        write_sarif(file, &report.findings, &report.directory)?;
    }
    match std::env::var_os("GITHUB_STEP_SUMMARY").filter(|file| !file.is_empty()) {
        Some(file) => append_step_summary(Path::new(&file), report),
        None => Ok(()),
    }
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
    let applied = database
        .apply(&place.migrations, to, &mut |progress| console.life(&progress.to_string()))
        .await;
    match applied {
        Ok(ran) => {
            place.record(run, &ran, false).await?;
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

fn lines(verb: &str, ran: &[Ran]) -> String {
    ran.iter()
        .map(|one| format!("{verb} {} in {}", one.id, seconds(one.duration)))
        .collect::<Vec<_>>()
        .join("\n")
}

async fn status(place: &Place, history: bool, console: &Console) -> Result<Exit, Failure> {
    let mut database = place.database(None).await?;
    let status = database
        .status(&place.migrations)
        .await
        .map_err(|error| Failure::of(Exit::Failed, &error))?;
    let history = match history {
        true => Some(database.history().await.map_err(|error| Failure::of(Exit::Failed, &error))?),
        false => None,
    };
    let shown = Shown { status: &status, history: history.as_deref() };
    console.result("status", &shown, || shown.describe());
    Ok(if status.problems.is_empty() { Exit::Done } else { Exit::Failed })
}

/// What `status` shows.
#[derive(serde::Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    status: &'a Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<&'a [Execution]>,
}

impl Shown<'_> {
    fn describe(&self) -> String {
        let mut lines = vec![describe(self.status)];
        if let Some(history) = self.history {
            lines.push(format!("history, {} entries", history.len()));
            lines.extend(history.iter().map(|one| format!("  {one}")));
        }
        lines.join("\n")
    }
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

fn how_far(to: Option<&str>, steps: Option<u32>) -> Result<To, Failure> {
    match to {
        Some(text) => MigrationId::parse_version(text)
            .map(To::Version)
            .map_err(|error| Failure::of(Exit::Usage, &error)),
        None => Ok(To::Steps(steps.unwrap_or_default())),
    }
}

async fn roll_back(
    place: &Place,
    to: To,
    accept_data_loss: bool,
    console: &Console,
) -> Result<Exit, Failure> {
    let run = RunId::generate();
    let hold = place.hold(&run).await?;
    let rolled = roll_back_held(place, &run, to, accept_data_loss, console).await;
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
                "{} was not rolled back: that would lose {}\n  next: add --accept-data-loss if that is meant",
                refused.id,
                refused.losses.join(", ")
            ),
            exit: Exit::Refused,
        }),
    }
}

async fn roll_back_held(
    place: &Place,
    run: &RunId,
    to: To,
    accept_data_loss: bool,
    console: &Console,
) -> Result<RolledBack, Failure> {
    let mut database = place.database(Some(run)).await?;
    let back = database
        .rollback(to, accept_data_loss, &mut |progress| console.life(&progress.to_string()))
        .await
        .map_err(|error| Failure::of(error.exit(), &error))?;
    place.record(run, &back.ran, true).await?;
    Ok(back)
}
