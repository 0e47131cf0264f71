//! The database's snapshot and migrations.

use std::collections::BTreeMap;

use async_trait::async_trait;
use liftlock_environment::config;
use liftlock_migrate::{Migrations, Progress, Ran, Refused, RolledBack};
use liftlock_model::{Event, Left, MigrationStamp, Phase, Release, Reversal, StepPlan};
use liftlock_saga::{Context, Done, Probe, Step, StepError, StepErrorKind, Undone};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Frame, fleet, step_plan};
use crate::announce::Audience;
use crate::backup::{self, BackUp, BackedUp};
use crate::failure;
use crate::long::watched;
use crate::migrations::proven;
use crate::phases;
use crate::site::Site;

/// Takes a snapshot of the database before anything touches it.
pub(crate) struct TakeSnapshot<'a> {
    pub frame: Frame<'a>,
    pub snapshot: &'a config::Snapshot,
}

fn back_up<'a>(
    frame: &'a Frame<'_>,
    config: &'a config::Snapshot,
    purpose: Option<&'static str>,
) -> BackUp<'a> {
    let services = frame.site.environment.config.services.values();
    let poll = services.map(|service| service.rollout.poll.duration()).min();
    BackUp {
        environment: &frame.site.environment,
        config,
        run: frame.scribe.run(),
        purpose,
        release: Some(&frame.release.id),
        poll: poll.unwrap_or(std::time::Duration::from_secs(5)),
    }
}

/// Takes the snapshot, and puts it on record. Where the environment does not require it, why there is none is no error.
async fn take_snapshot(
    frame: &Frame<'_>,
    ask: BackUp<'_>,
    life: &(dyn Fn(&str) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<Result<BackedUp, StepError>, StepError> {
    let on = |text: String| life(&text);
    let database = frame.site.migrations_database(Some(frame.scribe.run())).await;
    match ask.take(Some(frame.site.snapshots.as_ref()), database, &on, cancel).await {
        Ok(taken) => {
            let event = frame.scribe.write(taken.event()).await;
            event.map_err(|error| StepError::from_error(&error))?;
            Ok(Ok(taken))
        }
        Err(error) if ask.config.required || error.kind() == StepErrorKind::Cancelled => Err(error),
        Err(error) => Ok(Err(error)),
    }
}

impl TakeSnapshot<'_> {
    fn ask(&self) -> BackUp<'_> {
        back_up(&self.frame, self.snapshot, None)
    }
}

#[async_trait]
impl Step for TakeSnapshot<'_> {
    type Before = ();
    type Output = String;

    fn plan(&self) -> StepPlan {
        step_plan(
            "database/snapshot",
            self.ask().plan(),
            Reversal::Kept("a snapshot is the way back, and goes when its time is over".into()),
        )
    }

    async fn observe(&self, _: &Context<'_>) -> Result<(), StepError> {
        Ok(())
    }

    async fn apply(&self, cx: &Context<'_>, (): &()) -> Result<Done<String>, StepError> {
        let life = |text: &str| cx.life(text);
        Ok(match take_snapshot(&self.frame, self.ask(), &life, cx.cancelled()).await? {
            Ok(taken) => {
                let note = format!("{} is available", taken.id);
                Done::new(taken.id, note)
            }
            Err(error) => Done::new(
                String::new(),
                format!("NOT taken: {error}; the environment does not require it"),
            ),
        })
    }

    async fn probe(&self, _: &Context<'_>, (): &()) -> Result<Probe<String>, StepError> {
        let ask = self.ask();
        Ok(match ask.is_there(self.frame.site.snapshots.as_ref()).await? {
            true => Probe::Done(Done::new(ask.id(), "was taken")),
            false => Probe::NotDone,
        })
    }

    async fn undo(
        &self,
        _: &Context<'_>,
        (): &(),
        _: Option<&String>,
    ) -> Result<Undone, StepError> {
        Ok(Undone::whole("kept"))
    }
}

/// The newest migration that a database has; 0 for none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SchemaVersion {
    /// Of a fleet: of the one that is furthest.
    pub newest: i32,
    /// Of each database of a fleet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fleet: BTreeMap<String, i32>,
}

pub(crate) async fn schema_version(frame: &Frame<'_>) -> Result<SchemaVersion, StepError> {
    if let Some(members) = frame.site.members().await? {
        let fleet = fleet::newest(frame.site, members).await?;
        return Ok(SchemaVersion { newest: fleet.values().copied().max().unwrap_or(0), fleet });
    }
    let mut database = frame.site.migrations_database(Some(frame.scribe.run())).await?;
    let applied = database.applied().await.map_err(|error| StepError::from_error(&error))?;
    let newest = applied.iter().map(|one| one.version).max().unwrap_or(0);
    Ok(SchemaVersion { newest, fleet: BTreeMap::new() })
}

/// Who is told of migrations that take long.
pub(super) fn audience<'a>(frame: &Frame<'a>) -> Audience<'a> {
    Audience {
        environment: &frame.site.environment,
        secrets: frame.site.secrets.as_ref(),
        scribe: frame.scribe,
        release: Some(frame.release),
    }
}

/// Rolls back, and meanwhile tells who must know of it what takes long.
async fn roll_back(
    frame: &Frame<'_>,
    to: i32,
    accept_data_loss: bool,
    life: &(dyn Fn(&str) + Send + Sync),
) -> Result<RolledBack, StepError> {
    let mut database = frame.site.way_back_database(Some(frame.scribe.run()), frame.reason).await?;
    let back = watched(audience(frame), |alarm| async move {
        let mut tell = |progress: &Progress| {
            alarm.hear(None, progress);
            life(&progress.to_string());
        };
        database.rollback(to, accept_data_loss, &mut tell).await
    });
    match back.await {
        Ok(back) => {
            record(frame, None, &back.ran, true).await?;
            Ok(back)
        }
        Err(error) => {
            record(frame, None, &error.ran, true).await?;
            Err(failure::rollback(error))
        }
    }
}

async fn read(frame: &Frame<'_>, release: &Release) -> Result<Migrations, StepError> {
    let directory = frame.migrations_directory(release).await?;
    Migrations::read(&directory)
        .map_err(|error| StepError::of_kind(StepErrorKind::Configuration, &error))
}

pub(super) async fn record(
    frame: &Frame<'_>,
    database: Option<&str>,
    ran: &[Ran],
    rollback: bool,
) -> Result<(), StepError> {
    for one in ran {
        let milliseconds = u64::try_from(one.duration.as_millis()).unwrap_or(u64::MAX);
        let (id, database) = (one.id.clone(), database.map(str::to_owned));
        let event = Event::MigrationRan { id, database, rollback, milliseconds };
        frame.scribe.write(event).await.map_err(|error| StepError::from_error(&error))?;
    }
    Ok(())
}

/// Applies the release's migrations up to `to`, or all of them, and records each, also when one fails. `snapshot` was taken before.
/// Of a fleet, to those databases that were `seen`, if any were.
async fn apply(
    frame: &Frame<'_>,
    to: Option<i32>,
    seen: &BTreeMap<String, i32>,
    snapshot: Option<&str>,
    life: &(dyn Fn(&str) + Send + Sync),
) -> Result<Vec<Ran>, StepError> {
    let migrations = read(frame, frame.release).await?;
    let members = frame.site.members().await?;
    let mut database = frame.site.migrations_database(Some(frame.scribe.run())).await?;
    if let Some(id) = snapshot {
        database.note_snapshot(id);
    }
    let tried = proven(&frame.site.environment, &mut database, &migrations).await?;
    if let Some(members) = members {
        return fleet::apply(frame, members, &migrations, to, seen, snapshot, life).await;
    }
    let (database, files) = (&mut database, &migrations);
    let applied = watched(audience(frame), |alarm| {
        let database = &mut *database;
        async move {
            let mut tell = |progress: &Progress| {
                alarm.hear(None, progress);
                life(&progress.to_string());
            };
            database.apply(files, to, &mut tell).await
        }
    });
    match applied.await {
        Ok(ran) => {
            record(frame, None, &ran, false).await?;
            if let Some(tried) = tried.filter(|_| !ran.is_empty())
                && let Err(error) = database.keep_proofs(&migrations, &tried).await
            {
                life(&format!("that the rollbacks are proven could not be put on record: {error}"));
            }
            Ok(ran)
        }
        Err(error) => {
            record(frame, None, &error.ran, false).await?;
            Err(failure::apply(error))
        }
    }
}

/// Applies all that is left of the release's migrations, after a snapshot of its own: since the one before the rollout, users
/// have written, and what contract migrations take away is gone.
pub(crate) async fn apply_contract(
    frame: &Frame<'_>,
    life: &(dyn Fn(&str) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<Vec<Ran>, StepError> {
    let migrations = read(frame, frame.release).await?;
    let wanted = migrations.stamps().iter().map(|stamp| stamp.id.version).max().unwrap_or(0);
    let now = schema_version(frame).await?;
    let pending = now.newest < wanted || now.fleet.values().any(|newest| *newest < wanted);
    let demanded = frame.site.environment.config.database.as_ref();
    let snapshot = match demanded.and_then(|database| database.snapshot.as_ref()) {
        Some(config) if pending => {
            let ask = back_up(frame, config, Some("contract"));
            take_snapshot(frame, ask, life, cancel).await?.ok()
        }
        _ => None,
    };
    let taken = snapshot.as_ref().map(|taken| taken.id.as_str());
    apply(frame, None, &BTreeMap::new(), taken, life).await
}

/// Applies the release's migrations that the database does not have yet, but for those of the contract phase.
pub(crate) struct Migrate<'a>(pub Frame<'a>);

#[async_trait]
impl Step for Migrate<'_> {
    type Before = SchemaVersion;
    type Output = SchemaVersion;

    fn plan(&self) -> StepPlan {
        let stamps = &self.0.release.content.migrations;
        let upto = stamps.last().map_or_else(|| "none".to_owned(), |stamp| stamp.id.to_string());
        let undo = "run the rollback scripts of what this run applied, newest first, where that loses no data";
        let mut plan = step_plan(
            "database/migrate",
            format!(
                "apply the migrations up to {upto} that are not applied yet, each in one transaction"
            ),
            Reversal::Undo(undo.into()),
        );
        let detail = |stamp: &MigrationStamp| match stamp.phase {
            Phase::Expand => stamp.id.to_string(),
            Phase::Contract => {
                format!(
                    "{} (contract: not before a release that has it has proven itself)",
                    stamp.id
                )
            }
        };
        plan.details = stamps.iter().map(detail).collect();
        plan
    }

    async fn observe(&self, _: &Context<'_>) -> Result<SchemaVersion, StepError> {
        schema_version(&self.0).await
    }

    async fn apply(
        &self,
        cx: &Context<'_>,
        before: &SchemaVersion,
    ) -> Result<Done<SchemaVersion>, StepError> {
        let to = phases::before_rollout(self.0.release, self.0.previous, before.newest)?;
        let taken = backup::required(&self.0.site.environment, self.0.scribe.run());
        let life = |text: &str| cx.life(text);
        let ran = apply(&self.0, Some(to), &before.fleet, taken.as_deref(), &life).await?;
        let after = schema_version(&self.0).await?;
        let note = match ran.len() {
            0 => format!("nothing to apply: the schema is at V{:04}", after.newest),
            n => format!(
                "applied {n}: the schema went from V{:04} to V{:04}",
                before.newest, after.newest
            ),
        };
        Ok(Done::new(after, note))
    }

    async fn probe(
        &self,
        _: &Context<'_>,
        before: &SchemaVersion,
    ) -> Result<Probe<SchemaVersion>, StepError> {
        let now = schema_version(&self.0).await?;
        let wanted = phases::before_rollout(self.0.release, self.0.previous, before.newest)?;
        // What is missing is applied; what is there is in the history and is not run again.
        if now.newest < wanted || now.fleet.values().any(|newest| *newest < wanted) {
            return Ok(Probe::NotDone);
        }
        let note = format!("was applied: the schema is at V{:04}", now.newest);
        Ok(Probe::Done(Done::new(now, note)))
    }

    async fn undo(
        &self,
        cx: &Context<'_>,
        before: &SchemaVersion,
        _: Option<&SchemaVersion>,
    ) -> Result<Undone, StepError> {
        if !before.fleet.is_empty() {
            return fleet::undo(&self.0, &before.fleet, &|text| cx.life(text)).await;
        }
        let back = roll_back(&self.0, before.newest, false, &|text| cx.life(text)).await?;
        let Some(refused) = back.refused else {
            return Ok(Undone::whole(match back.ran.len() {
                0 => "no migration had been applied".into(),
                n => format!("rolled back {n}: the schema is at V{:04} again", before.newest),
            }));
        };
        let environment = &self.0.site.environment.name;
        let instead = refused.instead().map(|instead| format!("; {instead}")).unwrap_or_default();
        let left = Left {
            what: format!(
                "{} stays applied: its rollback would lose {}{instead}",
                refused.id,
                refused.losses.join(", ")
            ),
            command: format!(
                "liftlock migrate rollback --env {environment} --to V{:04} --accept-data-loss",
                before.newest
            ),
        };
        Ok(Undone {
            left: vec![left],
            note: format!("rolled back {}, kept {}", back.ran.len(), refused.id),
        })
    }
}

/// Why the schema cannot go back to what `release` knows, tried before any user is moved: traffic that moved to the older release
/// and back to the broken one would be the worst of both. None when it can, or when the database does not say.
pub(crate) async fn refuses_way_back(
    site: &Site,
    release: &Release,
    accept_data_loss: bool,
) -> Option<StepError> {
    if let Some(members) = site.members().await.ok()? {
        return fleet::refuses_way_back(site, members, phases::newest(release), accept_data_loss)
            .await;
    }
    let mut database = site.way_back_database(None, None).await.ok()?;
    let applied = database.applied().await.ok()?;
    let now = applied.iter().map(|one| one.version).max().unwrap_or(0);
    let wanted = phases::newest(release);
    if now < wanted {
        let message = format!(
            "the release needs V{wanted:04} and the schema is at V{now:04}: a rollback applies none"
        );
        let environment = &site.environment.name;
        return Some(StepError::new(StepErrorKind::Configuration, message).hint(format!(
            "promote it instead: liftlock promote --env {environment} --release {}",
            release.id
        )));
    }
    if now == wanted || accept_data_loss {
        return None;
    }
    match database.would_lose(wanted).await {
        Ok(refused) => refused.as_ref().map(would_lose),
        Err(error) => Some(failure::rollback(error)),
    }
}

fn would_lose(refused: &Refused) -> StepError {
    loses(&loss(refused))
}

pub(super) fn loss(refused: &Refused) -> String {
    let instead = refused.instead().map(|instead| format!("; {instead}")).unwrap_or_default();
    format!("rolling back {} would lose {}{instead}", refused.id, refused.losses.join(", "))
}

pub(super) fn loses(what: &str) -> StepError {
    StepError::new(StepErrorKind::Failed, what.to_owned()).hint(
        "run it again with --keep-schema (the older release then runs on the newer schema) or with \
         --accept-data-loss",
    )
}

/// Takes the schema back to what an earlier release knows, or needs.
pub(crate) struct RollBackSchema<'a> {
    pub frame: Frame<'a>,
    /// The step's name.
    pub name: &'static str,
    /// The newest migration that stays.
    pub to: i32,
    pub accept_data_loss: bool,
}

#[async_trait]
impl Step for RollBackSchema<'_> {
    type Before = SchemaVersion;
    type Output = SchemaVersion;

    fn plan(&self) -> StepPlan {
        let loss = if self.accept_data_loss {
            "also where that loses data"
        } else {
            "unless that loses data"
        };
        step_plan(
            self.name,
            format!(
                "take the schema back to V{:04}, which the release can live with, {loss}",
                self.to
            ),
            Reversal::Undo("apply those migrations again".into()),
        )
    }

    async fn observe(&self, _: &Context<'_>) -> Result<SchemaVersion, StepError> {
        schema_version(&self.frame).await
    }

    async fn apply(
        &self,
        cx: &Context<'_>,
        before: &SchemaVersion,
    ) -> Result<Done<SchemaVersion>, StepError> {
        if before.newest <= self.to {
            return Ok(Done::new(
                before.clone(),
                format!("the schema is at V{:04} already", before.newest),
            ));
        }
        let life = |text: &str| cx.life(text);
        if !before.fleet.is_empty() {
            fleet::take_back(&self.frame, &before.fleet, self.to, self.accept_data_loss, &life)
                .await?;
        } else {
            let back = roll_back(&self.frame, self.to, self.accept_data_loss, &life).await?;
            if let Some(refused) = back.refused {
                return Err(would_lose(&refused));
            }
        }
        let after = schema_version(&self.frame).await?;
        let note = format!("the schema went from V{:04} to V{:04}", before.newest, after.newest);
        Ok(Done::new(after, note))
    }

    async fn probe(
        &self,
        _: &Context<'_>,
        _: &SchemaVersion,
    ) -> Result<Probe<SchemaVersion>, StepError> {
        let now = schema_version(&self.frame).await?;
        if now.newest > self.to {
            return Ok(Probe::NotDone);
        }
        let note = format!("the schema is at V{:04}", now.newest);
        Ok(Probe::Done(Done::new(now, note)))
    }

    async fn undo(
        &self,
        cx: &Context<'_>,
        before: &SchemaVersion,
        _: Option<&SchemaVersion>,
    ) -> Result<Undone, StepError> {
        // Refused, or failed before it acted. The release before may not even know the newest of these migrations.
        if schema_version(&self.frame).await? == *before {
            return Ok(Undone::whole(format!("the schema is at V{:04} still", before.newest)));
        }
        let Some(previous) = self.frame.previous else {
            return Ok(Undone::whole("nothing served before"));
        };
        let migrations = read(&self.frame, previous).await?;
        let life = |text: &str| cx.life(text);
        if !before.fleet.is_empty() {
            let count = fleet::apply_again(&self.frame, &before.fleet, &migrations, &life).await?;
            return Ok(Undone::whole(format!("applied {count} again over the fleet")));
        }
        let run = Some(self.frame.scribe.run());
        let mut database = self.frame.site.way_back_database(run, self.frame.reason).await?;
        let ran = watched(audience(&self.frame), |alarm| async move {
            let mut tell = |progress: &Progress| {
                alarm.hear(None, progress);
                cx.life(&progress.to_string());
            };
            database.apply(&migrations, Some(before.newest), &mut tell).await
        });
        let ran = ran.await.map_err(failure::apply)?;
        record(&self.frame, None, &ran, false).await?;
        Ok(Undone::whole(format!(
            "applied {} again: the schema is at V{:04}",
            ran.len(),
            before.newest
        )))
    }
}
