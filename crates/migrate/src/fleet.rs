//! One set of migrations over many databases: a canary first, then waves, with a limit on how many at once and on how many may
//! fail. Each database keeps its own history, so that a run that was stopped or killed is gone on with by running it again.

mod report;
mod survey;
mod targets;
mod waves;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::database::Database;
use crate::files::Migrations;
use crate::progress::{Progress, Ran};
use crate::rollback::RolledBack;
use crate::settings::Settings;

pub use report::{FleetOutcome, FleetReport, FleetResult};
pub use survey::{Standing, Survey, Surveyed, survey};
pub use targets::{FleetError, FleetTarget};

/// How a fleet is gone through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetOptions {
    /// The database that is migrated alone and first; the first of the targets if left out.
    pub canary: Option<String>,
    /// How many databases are migrated at once after that.
    pub concurrency: usize,
    /// After how many failed databases no further one is begun. 0: the first failure ends it. A canary that fails always ends it.
    pub max_failures: usize,
    /// How far each wave goes, in per cent of the databases after the canary; the last wave takes all that are left.
    pub waves: Vec<u8>,
}

/// What is done with each database of a fleet.
#[derive(Debug, Clone, Copy)]
pub enum Work<'a> {
    /// What is pending is applied.
    Apply {
        /// Of these.
        migrations: &'a Migrations,
        /// Goes no further than this one.
        to: Option<i32>,
        /// Also what is of the contract phase.
        contract: bool,
    },
    /// What is newer than this migration, which stays, is rolled back with the scripts that the database keeps. 0 keeps none.
    Rollback {
        /// The migration.
        to: i32,
        /// Also where that loses data.
        accept_data_loss: bool,
    },
}

impl Default for FleetOptions {
    /// The first target alone, then a tenth, then the rest; eight at once; no failure is tolerated.
    fn default() -> Self {
        Self { canary: None, concurrency: 8, max_failures: 0, waves: vec![10, 100] }
    }
}

/// Hears what happens in which database.
pub type OnFleet<'a> = &'a (dyn Fn(&FleetProgress<'_>) + Send + Sync);

/// Something that happened in a fleet.
#[derive(Debug)]
pub enum FleetProgress<'a> {
    /// A wave begins.
    Wave {
        /// Its number, from 1; 0 is the canary.
        number: usize,
        /// How many there are after the canary.
        of: usize,
        /// How many databases it has.
        databases: usize,
    },
    /// Something happened in one database.
    Database {
        /// Which.
        name: &'a str,
        /// What.
        progress: &'a Progress,
    },
    /// A database is done with, in whatever way.
    Ended {
        /// How.
        result: &'a FleetResult,
        /// How many are done with by now.
        done: usize,
        /// How many there are.
        of: usize,
    },
}

impl fmt::Display for FleetProgress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wave { number: 0, .. } => f.write_str("the canary"),
            Self::Wave { number, of, databases } => {
                write!(f, "wave {number} of {of}: {databases} databases")
            }
            Self::Database { name, progress } => write!(f, "{name}: {progress}"),
            Self::Ended { result, done, of } => {
                write!(f, "[{done}/{of}] {}: {}", result.name, result.outcome)
            }
        }
    }
}

/// Does something with each database of a fleet, at most `at_once` at a time. Gives what came of each, by its name; one that does
/// not let us in is among them.
pub async fn each<T, F: Future<Output = Result<T, String>>>(
    targets: Vec<FleetTarget>,
    settings: &Settings,
    at_once: usize,
    work: impl Fn(String, Database) -> F,
) -> Vec<(String, Result<T, String>)> {
    let work = &work;
    let one = |target: FleetTarget| async move {
        let connected = Database::connect(&target.url, settings.clone()).await;
        let done = match connected {
            Ok(database) => work(target.name.clone(), database).await,
            Err(error) => Err(error.to_string()),
        };
        (target.name, done)
    };
    futures_util::stream::iter(targets).map(one).buffer_unordered(at_once.max(1)).collect().await
}

/// Does the work in every database of a fleet.
///
/// # Errors
/// [`FleetError`] if the fleet makes no sense; nothing was touched. What came of each database is in the [`FleetReport`].
pub async fn go(
    targets: Vec<FleetTarget>,
    work: Work<'_>,
    settings: &Settings,
    options: &FleetOptions,
    on: OnFleet<'_>,
) -> Result<FleetReport, FleetError> {
    let (canary, rest) = targets::canary_first(targets, options.canary.as_deref())?;
    let waves = waves::split(rest, &options.waves)?;
    let (of, count) = (1 + waves.iter().map(Vec::len).sum::<usize>(), waves.len());
    let mut fleet =
        Fleet { work, settings, options, on, report: FleetReport::default(), failed: 0, of };
    for (number, wave) in std::iter::once(vec![canary]).chain(waves).enumerate() {
        if fleet.report.stopped.is_none() {
            on(&FleetProgress::Wave { number, of: count, databases: wave.len() });
        }
        fleet.wave(number, wave).await;
    }
    Ok(fleet.report)
}

/// A fleet at work.
struct Fleet<'a> {
    work: Work<'a>,
    settings: &'a Settings,
    options: &'a FleetOptions,
    on: OnFleet<'a>,
    report: FleetReport,
    failed: usize,
    of: usize,
}

impl Fleet<'_> {
    /// Begins no further database once too many have failed. Those that are under way end in their own time.
    async fn wave(&mut self, number: usize, wave: Vec<FleetTarget>) {
        let mut waiting = VecDeque::from(wave);
        let mut running = FuturesUnordered::new();
        loop {
            while self.report.stopped.is_none() && running.len() < self.options.concurrency.max(1) {
                let Some(target) = waiting.pop_front() else { break };
                running.push(one(target, self.work, self.settings, self.on));
            }
            let Some(result) = running.next().await else { break };
            self.ended(number, result);
        }
        self.report.results.extend(waiting.into_iter().map(|target| FleetResult {
            name: target.name,
            outcome: FleetOutcome::NotTried,
            took: Duration::ZERO,
        }));
    }

    fn ended(&mut self, number: usize, result: FleetResult) {
        if result.outcome.is_failure() {
            self.failed += 1;
            if number == 0 {
                self.report.stopped = Some("the canary failed".into());
            } else if self.failed > self.options.max_failures {
                let (failed, limit) = (self.failed, self.options.max_failures);
                self.report.stopped = Some(format!("{failed} failed, and at most {limit} may"));
            }
        }
        let done = self.report.results.len() + 1;
        (self.on)(&FleetProgress::Ended { result: &result, done, of: self.of });
        self.report.results.push(result);
    }
}

async fn one(
    target: FleetTarget,
    work: Work<'_>,
    settings: &Settings,
    on: OnFleet<'_>,
) -> FleetResult {
    let start = Instant::now();
    let name = target.name.clone();
    let mut tell = |progress: &Progress| on(&FleetProgress::Database { name: &name, progress });
    let outcome = match Database::connect(&target.url, settings.clone()).await {
        Ok(mut database) => match work {
            Work::Apply { migrations, to, contract } => {
                apply_one(&mut database, migrations, to, contract, &mut tell).await
            }
            Work::Rollback { to, accept_data_loss } => {
                roll_back_one(&mut database, to, accept_data_loss, &mut tell).await
            }
        },
        Err(error) => failed(Vec::new(), &error),
    };
    FleetResult { name: target.name, outcome, took: start.elapsed() }
}

fn failed(ran: Vec<Ran>, error: &dyn fmt::Display) -> FleetOutcome {
    FleetOutcome::Failed { ran, error: error.to_string() }
}

async fn apply_one(
    database: &mut Database,
    migrations: &Migrations,
    to: Option<i32>,
    contract: bool,
    tell: &mut (dyn FnMut(&Progress) + Send),
) -> FleetOutcome {
    let waits = match contract {
        true => None,
        false => match database.waits(migrations).await {
            Ok(waits) => waits.filter(|first| to.is_none_or(|to| to >= first.version)),
            Err(error) => return failed(Vec::new(), &error),
        },
    };
    let to = waits.as_ref().map(|first| first.version - 1).or(to);
    match database.apply(migrations, to, tell).await {
        Ok(ran) if ran.is_empty() => FleetOutcome::UpToDate { waits },
        Ok(ran) => FleetOutcome::Applied { ran, waits },
        Err(error) => failed(error.ran, &error.failure),
    }
}

async fn roll_back_one(
    database: &mut Database,
    to: i32,
    accept_data_loss: bool,
    tell: &mut (dyn FnMut(&Progress) + Send),
) -> FleetOutcome {
    // Of a database that never came so far, nothing is newer.
    let newest = match database.applied().await {
        Ok(applied) => applied.iter().map(|one| one.version).max().unwrap_or(0),
        Err(error) => return failed(Vec::new(), &error),
    };
    match database.rollback(to.min(newest), accept_data_loss, tell).await {
        Ok(RolledBack { ran, refused: Some(refused) }) => FleetOutcome::Refused { ran, refused },
        Ok(RolledBack { ran, .. }) => FleetOutcome::RolledBack { ran },
        Err(error) => failed(error.ran, &error.failure),
    }
}
