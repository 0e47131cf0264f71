//! What the journal says of migrations that are half done. Pure.

use std::collections::BTreeMap;
use std::fmt;

use liftlock_model::{ArtifactHash, MigrationChecksum, MigrationId};
use serde::Serialize;

use crate::files::Script;
use crate::script::Statement;

/// Which of a migration's scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The one that makes the change.
    Up,
    /// The one that takes it back.
    Rollback,
}

impl Direction {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Rollback => "rollback",
        }
    }
}

/// A migration that a run outside of a transaction left half done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HalfDone {
    /// Which migration.
    pub id: MigrationId,
    /// Which of its scripts was running last.
    pub direction: Direction,
    /// How many of that script's statements are done.
    pub done: usize,
}

impl fmt::Display for HalfDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, direction, done } = self;
        let back = format!("`migrate rollback --to V{:04}`", id.version - 1);
        match direction {
            Direction::Up => write!(
                f,
                "{id} is half done ({done} of its statements): the next `migrate` goes on with it, {back} takes it back"
            ),
            Direction::Rollback => write!(
                f,
                "{id} is half rolled back ({done} of its rollback script's statements): go on with {back}"
            ),
        }
    }
}

/// What is known of one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It was begun, and nothing is known of its end.
    Started(Before),
    /// It is done.
    Done,
    /// It failed, or somebody said that it is to run again.
    Again,
}

/// Which indexes there were before a statement, by their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Before {
    /// All invalid ones.
    pub(crate) invalid: Vec<i64>,
    /// Those of the statement's table.
    pub(crate) table: Vec<i64>,
}

/// What happened, as a row of the journal tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A script begins for the first time.
    Begun,
    Started(Before),
    Done,
    /// It failed, and what it left was looked at.
    Failed,
    /// Somebody looked, and said that it is to run again.
    Again,
    /// The script is done and the migration is on record.
    Finished,
}

/// A row of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: MigrationId,
    pub(crate) direction: Direction,
    pub(crate) event: Event,
    /// Its number from 1, and the hash of its text.
    pub(crate) statement: Option<(usize, String)>,
    pub(crate) checksum: MigrationChecksum,
    pub(crate) rollback_sql: String,
}

/// The marks of a script's statements, by their numbers from 1, with the hashes of their texts.
pub(crate) type Marks = BTreeMap<usize, (Mark, String)>;

/// A migration that is half done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Half {
    pub(crate) id: MigrationId,
    /// Its scripts when one of them last began.
    pub(crate) checksum: MigrationChecksum,
    pub(crate) rollback_sql: String,
    /// None if it is applied, and only its rollback is half done.
    pub(crate) up: Option<Marks>,
    pub(crate) back: Option<Marks>,
}

impl Half {
    /// What is half done, from all rows in order.
    pub(crate) fn all(rows: Vec<Row>) -> BTreeMap<i32, Self> {
        let mut halves: BTreeMap<i32, Self> = BTreeMap::new();
        for row in rows {
            let version = row.id.version;
            if row.event == Event::Finished {
                halves.remove(&version);
                continue;
            }
            let half = halves.entry(version).or_insert_with(|| Self::new(&row));
            half.add(row);
        }
        halves
    }

    fn new(row: &Row) -> Self {
        let (checksum, rollback_sql) = (row.checksum.clone(), row.rollback_sql.clone());
        Self { id: row.id.clone(), checksum, rollback_sql, up: None, back: None }
    }

    fn add(&mut self, row: Row) {
        let marks = match row.direction {
            Direction::Up => &mut self.up,
            Direction::Rollback => &mut self.back,
        };
        let marks = marks.get_or_insert_default();
        if row.event == Event::Begun {
            (self.id, self.checksum, self.rollback_sql) = (row.id, row.checksum, row.rollback_sql);
            return;
        }
        let Some((number, hash)) = row.statement else { return };
        let mark = match row.event {
            Event::Started(before) => Mark::Started(before),
            Event::Done => Mark::Done,
            Event::Failed | Event::Again | Event::Begun | Event::Finished => Mark::Again,
        };
        marks.insert(number, (mark, hash));
    }

    /// For people.
    pub(crate) fn tell(&self) -> HalfDone {
        let (direction, marks) = match (&self.back, &self.up) {
            (Some(marks), _) => (Direction::Rollback, Some(marks)),
            (None, marks) => (Direction::Up, marks.as_ref()),
        };
        let done = marks.into_iter().flatten().filter(|(_, (mark, _))| *mark == Mark::Done).count();
        HalfDone { id: self.id.clone(), direction, done }
    }
}

/// The hash of a statement's text.
pub(crate) fn hash(script: &Script, statement: &Statement) -> String {
    ArtifactHash::of(&script.sql.as_bytes()[statement.range.clone()]).to_string()
}

/// The first statement that was begun and is not what it was; none if the script can go on.
pub(crate) fn changed(script: &Script, marks: &Marks) -> Option<usize> {
    let kept = |number: usize, kept: &str| {
        let statement = script.statements.get(number - 1);
        statement.is_some_and(|statement| hash(script, statement) == kept)
    };
    let begun = marks.iter().filter(|(_, (mark, _))| *mark != Mark::Again);
    begun
        .map(|(number, (_, hash))| (*number, hash))
        .find(|(n, hash)| !kept(*n, hash))
        .map(|(n, _)| n)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "-- migrate: no-transaction\nselect 1; select 2; select 3";

    fn row(version: i32, direction: Direction, event: Event, statement: Option<usize>) -> Row {
        let script = Script::kept("x.sql".into(), TEXT.into());
        let statement = statement.map(|n| (n, hash(&script, &script.statements[n - 1])));
        let checksum = MigrationChecksum { up: "up".into(), rollback: "back".into() };
        let id = MigrationId { version, name: "x".into() };
        Row { id, direction, event, statement, checksum, rollback_sql: String::new() }
    }

    #[test]
    fn what_is_finished_is_not_half_done() {
        use Direction::{Rollback, Up};
        let rows = vec![
            row(1, Up, Event::Begun, None),
            row(1, Up, Event::Started(Before::default()), Some(1)),
            row(1, Up, Event::Done, Some(1)),
            row(1, Up, Event::Finished, None),
            row(2, Up, Event::Begun, None),
            row(2, Up, Event::Done, Some(1)),
            row(2, Up, Event::Started(Before::default()), Some(2)),
            row(1, Rollback, Event::Begun, None),
            row(1, Rollback, Event::Failed, Some(1)),
        ];
        let halves = Half::all(rows);
        let told: Vec<_> = halves.values().map(|half| half.tell().to_string()).collect();
        assert!(told[0].starts_with("V0001__x is half rolled back (0 of"), "{told:?}");
        assert!(told[1].starts_with("V0002__x is half done (1 of"), "{told:?}");
        let marks = halves[&2].up.as_ref().unwrap();
        assert_eq!(marks[&2].0, Mark::Started(Before::default()));
    }

    #[test]
    fn only_what_has_not_begun_may_be_mended() {
        let marks = |rows| Half::all(rows)[&1].up.clone().unwrap();
        let marks = marks(vec![
            row(1, Direction::Up, Event::Done, Some(1)),
            row(1, Direction::Up, Event::Failed, Some(2)),
        ]);
        let script = |sql: &str| Script::kept("x.sql".into(), sql.into());
        assert_eq!(changed(&script(TEXT), &marks), None);
        assert_eq!(changed(&script("select 1; select 22"), &marks), None);
        assert_eq!(changed(&script("select 11; select 2"), &marks), Some(1));
        assert_eq!(changed(&script(""), &marks), Some(1));
    }
}
