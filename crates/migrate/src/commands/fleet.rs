//! `migrate fleet`: many databases, a canary first.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::Settings;
use crate::fleet::{self, FleetOptions, FleetProgress, FleetReport, FleetTarget, Work};
use clap::{ArgGroup, Args};
use serde_json::json;

use super::{Desk, End, Failed, version};

/// Which databases, and how they are gone through.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("which").required(true).args(["list", "query"]))]
pub struct Fleet {
    /// A file with a database on each line: its name, which is put into the URL, or a name and its own URL; - for standard input
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// A query on the URL's database: its first column is a database's name, a second one, if there is, its own URL
    #[arg(long, value_name = "SQL")]
    query: Option<String>,
    /// The database that is migrated alone and first; left out, the first one
    #[arg(long, value_name = "NAME")]
    canary: Option<String>,
    /// How many databases are migrated at once
    #[arg(long, default_value_t = 8, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: u16,
    /// How many databases may fail before no further one is begun
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    max_failures: usize,
    /// How far each wave after the canary goes, in per cent; the last takes the rest
    #[arg(long, default_value = "10,100", value_delimiter = ',', value_name = "PERCENT")]
    waves: Vec<u8>,
    /// Goes no further than this migration, such as V0041
    #[arg(long, value_name = "VERSION", value_parser = version)]
    to: Option<i32>,
    /// Also what is of the contract phase: no version that needs what it takes away is running any more
    #[arg(long)]
    contract: bool,
    /// Only shows how each stands: what is pending, what others have changed; nothing is applied, so that the order does not matter
    #[arg(long, conflicts_with_all = ["to", "contract"])]
    status: bool,
    #[command(flatten)]
    back: FleetRollback,
}

/// How far a fleet is rolled back, where that is asked for.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct FleetRollback {
    /// Rolls each database back to this migration, such as V0041, which stays; 0 keeps none. What is older there is left alone
    #[arg(long, value_name = "VERSION", value_parser = version, conflicts_with_all = ["to", "contract", "status"])]
    rollback_to: Option<i32>,
    /// Rolls back also where that loses data
    #[arg(long, requires = "rollback_to")]
    accept_data_loss: bool,
    /// Rolls back also with scripts that were changed since their migration was applied and that nobody has tried since
    #[arg(long, requires = "rollback_to")]
    accept_unproven: bool,
    /// Why it is rolled back, for the history
    #[arg(long, value_name = "TEXT", requires = "rollback_to")]
    reason: Option<String>,
}

impl FleetRollback {
    /// What is to be done, if it is this.
    pub fn work(&self) -> Option<Work<'static>> {
        let to = self.rollback_to?;
        Some(Work::Rollback { to, accept_data_loss: self.accept_data_loss })
    }

    /// Why, where somebody said so.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// How it is done.
    pub fn settings(&self, settings: Settings) -> Settings {
        let accept_unproven = self.accept_unproven || settings.accept_unproven;
        let reason = self.reason.clone().or_else(|| settings.reason.clone());
        Settings { accept_unproven, reason, ..settings }
    }
}

impl Fleet {
    /// Applies what is pending to all databases, rolls them back, or shows how they stand.
    ///
    /// # Errors
    /// What went wrong, with the exit code.
    pub async fn run(&self, desk: &dyn Desk) -> Result<End, Failed> {
        let targets = self.targets(desk).await?;
        if self.status {
            return fleet_status(desk, targets, &desk.settings()?, self.concurrency.into()).await;
        }
        let how = FleetOptions {
            canary: self.canary.clone(),
            concurrency: self.concurrency.into(),
            max_failures: self.max_failures,
            waves: self.waves.clone(),
        };
        let settings = self.back.settings(desk.settings()?);
        let report = match self.back.work() {
            Some(work) => over_fleet(desk, targets, work, &settings, &how).await?,
            None => {
                let migrations = desk.migrations()?;
                let (to, contract) = (self.to, self.contract);
                let work = Work::Apply { migrations: &migrations, to, contract };
                over_fleet(desk, targets, work, &settings, &how).await?
            }
        };
        Ok(End { text: report.to_string(), exit: report.exit(), json: json!(report) })
    }

    async fn targets(&self, desk: &dyn Desk) -> Result<Vec<FleetTarget>, Failed> {
        let base = desk.url().await;
        if let Some(sql) = &self.query {
            let base = base?;
            let targets = FleetTarget::query(&base, sql, &desk.settings()?).await;
            return targets.map_err(Failed::usage);
        }
        let path = self.list.as_deref().unwrap_or(Path::new("-"));
        let mut text = String::new();
        let readable = match path == Path::new("-") {
            true => std::io::stdin().read_to_string(&mut text).map(drop),
            false => std::fs::read_to_string(path).map(|content| text = content),
        };
        let shown = path.display().to_string();
        readable.map_err(|error| Failed::usage(format!("{shown} cannot be read: {error}")))?;
        FleetTarget::list(&text, &shown, base.ok().as_ref()).map_err(Failed::usage)
    }
}

/// Shows how each database of a fleet stands.
///
/// # Errors
/// If the files or the fleet make no sense.
pub async fn fleet_status(
    desk: &dyn Desk,
    targets: Vec<FleetTarget>,
    settings: &Settings,
    at_once: usize,
) -> Result<End, Failed> {
    let migrations = desk.migrations()?;
    let survey = fleet::survey(targets, &migrations, settings, at_once).await;
    let survey = survey.map_err(Failed::usage)?;
    Ok(End { text: survey.to_string(), exit: survey.exit(), json: json!(survey) })
}

/// Does the work in all databases of a fleet, and tells what happens.
///
/// # Errors
/// If the fleet makes no sense; nothing was touched.
pub async fn over_fleet(
    desk: &dyn Desk,
    targets: Vec<FleetTarget>,
    work: Work<'_>,
    settings: &Settings,
    how: &FleetOptions,
) -> Result<FleetReport, Failed> {
    let tell = |progress: &FleetProgress<'_>| tell(desk, progress);
    fleet::go(targets, work, settings, how, &tell).await.map_err(Failed::usage)
}

fn tell(desk: &dyn Desk, progress: &FleetProgress<'_>) {
    match progress {
        FleetProgress::Database { name, progress } => desk.hear(Some(name), progress),
        other => desk.say(&other.to_string()),
    }
}
