//! Applying and rolling back outside of a transaction.

use std::time::Instant;

use liftlock_model::{MigrationChecksum, MigrationId};

use super::engine::Engine;
use super::half::{Direction, Event, Half, Mark, Marks, changed};
use super::journal::{self, Journal};
use super::rule;
use crate::apply::settle;
use crate::failure::Failure;
use crate::files::{Migration, Script};
use crate::progress::{On, Ran};
use crate::settings::Settings;
use crate::transaction::{Transaction, Workbench};

/// What begins, and what is known of it.
pub(crate) struct Begin<'a> {
    pub(crate) id: &'a MigrationId,
    pub(crate) direction: Direction,
    pub(crate) checksum: &'a MigrationChecksum,
    pub(crate) script: &'a Script,
    pub(crate) rollback_sql: &'a str,
    pub(crate) half: Option<&'a Half>,
}

impl<'a> Begin<'a> {
    fn journal(&self, table: &str, settings: &'a Settings) -> Journal<'a> {
        let (table, id, direction, checksum) =
            (table.to_owned(), self.id, self.direction, self.checksum);
        Journal { table, id, direction, checksum, settings }
    }

    fn marks(&self) -> Option<&Marks> {
        self.half.and_then(|half| match self.direction {
            Direction::Up => half.up.as_ref(),
            Direction::Rollback => half.back.as_ref(),
        })
    }
}

/// Why a run cannot go on where others stopped; none if it can. `pending` are in order.
pub(crate) fn refusal<'a>(
    halves: impl Iterator<Item = &'a Half>,
    pending: &[&Migration],
) -> Option<Failure> {
    for half in halves {
        let Some(marks) = half.up.as_ref().filter(|_| half.back.is_none()) else {
            return Some(Failure::HalfDone(half.tell()));
        };
        let Some(migration) = pending.iter().find(|one| one.id.version == half.id.version) else {
            return Some(Failure::HalfDone(half.tell()));
        };
        let begun = marks.values().any(|(mark, _)| *mark != Mark::Again);
        let outside = migration.up.directives.no_transaction;
        let place = match changed(&migration.up, marks) {
            Some(number) => Some(number),
            None => (begun && !outside).then_some(1),
        };
        if let Some(statement) = place {
            return Some(Failure::ChangedHalf { half: half.tell(), statement });
        }
    }
    None
}

/// A script that ran to its end and is not on record yet.
pub(crate) struct Executed {
    table: String,
    pub(crate) since: Instant,
}

/// Runs a script outside of a transaction, from where an earlier run stopped.
pub(crate) async fn execute(
    bench: &mut Workbench<'_>,
    begin: &Begin<'_>,
    on: On<'_>,
) -> Result<Executed, Failure> {
    let since = Instant::now();
    let begun = begin_script(bench, begin).await;
    let table = settle(bench, begun).await?;
    let journal = begin.journal(&table, bench.settings);
    let marks = begin.marks().cloned().unwrap_or_default();
    let mut engine = Engine { bench, journal, script: begin.script, marks, since };
    engine.open().await?;
    let ran = engine.run(on).await;
    let closed = engine.close().await;
    ran.and(closed)?;
    Ok(Executed { table, since })
}

impl Executed {
    /// What ran, to be put on record in `transaction`.
    pub(crate) fn ran(&self, begin: &Begin<'_>, transaction: &Transaction, attempts: u32) -> Ran {
        Ran {
            id: begin.id.clone(),
            duration: self.since.elapsed(),
            verified: false,
            transaction: transaction.number.clone(),
            statements: begin.script.statements.len(),
            attempts,
        }
    }

    /// Notes in the transaction that puts the migration on record that nothing of it is half done, and commits.
    pub(crate) async fn commit(
        &self,
        bench: &mut Workbench<'_>,
        begin: &Begin<'_>,
    ) -> Result<(), Failure> {
        let journal = begin.journal(&self.table, bench.settings);
        let finished = journal.write(bench.connection, &Event::Finished, None, None, None).await;
        finished.map_err(|error| bench.failed(&error))?;
        bench.commit(begin.id, &begin.script.file).await
    }
}

/// The same failure, of a check or a record that came after the script's end: the script is not taken back.
pub(crate) fn after_script(begin: &Begin<'_>, failure: Failure) -> Failure {
    let of = begin.script.statements.len();
    match failure {
        Failure::Script { id, source } => Failure::Outside {
            id,
            direction: begin.direction,
            done: of,
            of,
            remains: vec![],
            source: Box::new(source),
        },
        other => other,
    }
}

/// Makes the journal if it is not there, and notes that the script begins. Gives the journal's name.
async fn begin_script(bench: &mut Workbench<'_>, begin: &Begin<'_>) -> Result<String, Failure> {
    bench.begin().await?;
    let written = async {
        journal::create(bench.connection).await?;
        let name = journal::name(bench.connection).await?;
        let table = name.ok_or(sqlx::Error::RowNotFound)?;
        let journal = begin.journal(&table, bench.settings);
        let sql = Some(begin.rollback_sql);
        journal.write(bench.connection, &Event::Begun, None, sql, None).await?;
        Ok(table)
    };
    let table = written.await.map_err(|error: sqlx::Error| bench.failed(&error))?;
    bench.commit(begin.id, journal::TABLE).await?;
    Ok(table)
}

impl Engine<'_, '_> {
    /// Lets the session write, with the limits that a script may change for itself.
    async fn open(&mut self) -> Result<(), Failure> {
        let settings = self.bench.settings;
        let open = format!(
            "set default_transaction_read_only = off; set lock_timeout = '{}ms'; set statement_timeout = '{}ms'",
            settings.lock_timeout.as_millis(),
            settings.statement_timeout.as_millis()
        );
        self.bench.execute(open).await?;
        let Workbench { connection, recorder, watcher, .. } = &mut *self.bench;
        let Some(recorder) = recorder else { return Ok(()) };
        let begun = recorder.begin_alone(connection, watcher).await;
        begun.map_err(|error| self.bench.failed(&error))
    }

    /// Takes back whatever the script set for its session.
    async fn close(&mut self) -> Result<(), Failure> {
        self.bench.execute(CLOSE).await
    }
}

const CLOSE: &str = "reset session authorization; reset role; reset all;
    set default_transaction_read_only = on; set client_connection_check_interval = '1s'";

/// What a script does inside of transactions, without what is done already: for a look at what it would lose. Lines stay.
/// None if there is nothing of that kind.
pub(crate) fn inside_only(script: &Script, half: Option<&Half>) -> Option<Script> {
    let marks = half.and_then(|half| half.back.as_ref());
    let mut sql = script.sql.clone().into_bytes();
    let mut kept = 0;
    for (number, statement) in (1..).zip(&script.statements) {
        let done =
            marks.and_then(|marks| marks.get(&number)).is_some_and(|(m, _)| *m == Mark::Done);
        if !done && !rule::runs_outside(statement, &script.sql) {
            kept += 1;
            continue;
        }
        for byte in &mut sql[statement.range.clone()] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
    let sql = String::from_utf8(sql).ok().filter(|_| kept > 0)?;
    Some(Script::kept(script.file.clone(), sql))
}
