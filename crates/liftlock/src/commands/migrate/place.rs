//! An environment's database with its ledger: what is changed by hand happens while the environment is held, and is on record.

use std::path::PathBuf;
use std::sync::Arc;

use liftlock_ledger::{Ledger, Location};
use liftlock_migrate::commands::{Desk, End};
use liftlock_migrate::{Database, Ran, Settings};
use liftlock_model::{Event, RunId};
use liftlock_promote::{Audience, Hold, Scribe, watched};
use secrecy::SecretString;

use super::desk::EnvDesk;
use crate::cli::Where;
use crate::commands::Top;
use crate::connect;
use crate::console::Console;
use crate::failure::Failure;

/// An environment's database and ledger.
pub(super) struct Place<'a> {
    pub desk: EnvDesk<'a>,
    pub ledger: Ledger,
    location: Location,
    work: PathBuf,
}

impl<'a> Place<'a> {
    pub(super) async fn of(
        top: &Top,
        which: &Where,
        console: &'a Console,
    ) -> Result<Self, Failure> {
        Self::around(top, EnvDesk::of(top, which, console)?).await
    }

    pub(super) async fn around(top: &Top, desk: EnvDesk<'a>) -> Result<Self, Failure> {
        desk.ready().await?;
        let (ledger, location) = connect::ledger(top, &desk.environment).await?;
        let work = connect::work(top, &desk.environment);
        Ok(Self { desk, ledger, location, work })
    }

    pub(super) fn desk(&self) -> &dyn Desk {
        &self.desk
    }

    /// The database's URL, read from its source.
    pub(super) async fn url(&self) -> Result<SecretString, Failure> {
        Ok(self.desk.url().await?)
    }

    pub(super) async fn database(&self, run: Option<&RunId>) -> Result<Database, Failure> {
        let settings = Settings { run: run.cloned(), ..self.desk.settings.clone() };
        Ok(self.desk().connect_with(settings).await?)
    }

    /// Does `work` while the environment is held: no promotion or rollback may be at work on it, or half way. People are told of
    /// migrations that take long.
    pub(super) async fn held<T>(
        &mut self,
        work: impl AsyncFnOnce(&Self, &RunId) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let run = RunId::generate();
        self.desk.settings.run = Some(run.clone());
        let place = &*self;
        let hold = place.hold(&run).await?;
        let scribe = Scribe::new(
            place.ledger.clone(),
            place.desk.environment.name.clone(),
            run.clone(),
            place.desk.settings.actor.clone(),
            Some(hold.fence()),
            Arc::new(|_| {}),
        );
        let audience = Audience {
            environment: &place.desk.environment,
            secrets: &place.desk.secrets,
            scribe: &scribe,
            release: None,
        };
        let done = watched(audience, |alarm| async {
            place.desk.arm(Some(alarm));
            let done = work(place, &run).await;
            place.desk.arm(None);
            done
        })
        .await;
        hold.give_back().await;
        done
    }

    async fn hold(&self, run: &RunId) -> Result<Hold, Failure> {
        let place = liftlock_promote::Place {
            environment: &self.desk.environment.name,
            ledger: &self.ledger,
            location: &self.location,
            actor: &self.desk.settings.actor,
            work: &self.work,
        };
        Ok(Hold::between_runs(&place, run).await?)
    }

    pub(super) async fn record(
        &self,
        run: &RunId,
        database: Option<&str>,
        ran: &[Ran],
        rollback: bool,
    ) -> Result<(), Failure> {
        for one in ran {
            let milliseconds = u64::try_from(one.duration.as_millis()).unwrap_or(u64::MAX);
            let (id, database) = (one.id.clone(), database.map(str::to_owned));
            self.write(run, Event::MigrationRan { id, database, rollback, milliseconds }).await?;
        }
        Ok(())
    }

    /// Puts on record what a command did to the migrations, or to what the history says of them.
    pub(super) async fn note(
        &self,
        run: &RunId,
        command: &str,
        end: &End,
        reason: Option<&str>,
    ) -> Result<(), Failure> {
        let (command, detail) = (command.to_owned(), end.text.clone());
        let reason = reason.map(str::to_owned);
        self.write(run, Event::MigrationsByHand { command, detail, reason }).await
    }

    pub(super) async fn write(&self, run: &RunId, event: Event) -> Result<(), Failure> {
        let draft = liftlock_ledger::Draft {
            environment: Some(self.desk.environment.name.clone()),
            run: Some(run.clone()),
            actor: self.desk.settings.actor.clone(),
            event,
            fence: None,
        };
        let written = self.ledger.append(draft).await;
        written.map(drop).map_err(|error| Failure::of(liftlock_model::Exit::Failed, &error))
    }
}
