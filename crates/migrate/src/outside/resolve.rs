//! A person's word on a statement of which nothing can be seen.

use liftlock_model::MigrationId;

use super::half::{Direction, Event, Mark};
use super::journal::{self, Journal};
use crate::apply::{finish, settle};
use crate::database::Database;
use crate::failure::Failure;
use crate::lock;
use crate::progress::Progress;
use crate::transaction::Workbench;

/// What a person says of a statement that was running when its run died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// It was done: the next run goes on after it.
    Done,
    /// It was not done, or does no harm twice: the next run runs it again.
    Again,
}

impl Database {
    /// Puts on record what a person found out about a statement that is in doubt ([`Failure::Doubt`]).
    ///
    /// # Errors
    /// [`Failure`]: that statement is not in doubt, or another run has the database.
    pub async fn resolve(
        &mut self,
        version: i32,
        statement: usize,
        resolution: Resolution,
        on: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<MigrationId, Failure> {
        let wait = self.settings.wait;
        let mut bench = self.workbench().await?;
        lock::acquire(bench.connection, wait, on).await?;
        let resolved = resolve(&mut bench, version, statement, resolution).await;
        let resolved = settle(&mut bench, resolved).await;
        finish(&mut bench, resolved).await
    }
}

async fn resolve(
    bench: &mut Workbench<'_>,
    version: i32,
    statement: usize,
    resolution: Resolution,
) -> Result<MigrationId, Failure> {
    let halves = journal::halves(bench.connection).await.map_err(|error| bench.failed(&error))?;
    let nothing = Failure::NotInDoubt { version, statement };
    let Some(half) = halves.get(&version) else { return Err(nothing) };
    let (direction, marks) = match &half.back {
        Some(marks) => (Direction::Rollback, Some(marks)),
        None => (Direction::Up, half.up.as_ref()),
    };
    let Some((Mark::Started(_), hash)) = marks.and_then(|marks| marks.get(&statement)) else {
        return Err(nothing);
    };
    bench.begin().await?;
    let event = match resolution {
        Resolution::Done => Event::Done,
        Resolution::Again => Event::Again,
    };
    let settings = bench.settings;
    let table = journal::TABLE.to_owned();
    let journal = Journal { table, id: &half.id, direction, checksum: &half.checksum, settings };
    let about = Some((statement, hash.clone()));
    let note = Some("a person looked");
    let written = journal.write(bench.connection, &event, about, None, note).await;
    written.map_err(|error| bench.failed(&error))?;
    bench.commit(&half.id, journal::TABLE).await?;
    Ok(half.id.clone())
}
