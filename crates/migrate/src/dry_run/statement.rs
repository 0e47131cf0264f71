//! What one statement did on the copy.

use std::collections::BTreeMap;

use serde::Serialize;

use super::surface::Surface;

/// What others cannot do while a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Blocks {
    /// Reads and writes go on; what changes the table itself waits.
    Changes,
    /// Reads go on; writes wait.
    Writes,
    /// Everything waits.
    ReadsAndWrites,
}

/// PostgreSQL's table locks, weakest first (its documentation, 13.3.1).
const MODES: [(&str, &str, &str, Blocks); 8] = [
    (
        "AccessShareLock",
        "access share",
        "nothing but dropping or rewriting the table",
        Blocks::Changes,
    ),
    ("RowShareLock", "row share", "nothing but changes of the table itself", Blocks::Changes),
    (
        "RowExclusiveLock",
        "row exclusive",
        "building indexes and changes of the table itself",
        Blocks::Changes,
    ),
    (
        "ShareUpdateExclusiveLock",
        "share update exclusive",
        "vacuum and changes of the table itself",
        Blocks::Changes,
    ),
    ("ShareLock", "share", "writes", Blocks::Writes),
    ("ShareRowExclusiveLock", "share row exclusive", "writes", Blocks::Writes),
    ("ExclusiveLock", "exclusive", "writes, and reads that lock rows", Blocks::Writes),
    ("AccessExclusiveLock", "access exclusive", "reads and writes", Blocks::ReadsAndWrites),
];

/// A lock on something that was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lock {
    /// The table, view or sequence, with its schema unless that is `public`.
    pub table: String,
    /// The index, where only that is locked: whoever plans a query on the table waits for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// The lock's mode, such as `access exclusive`.
    pub mode: &'static str,
    /// What others cannot do meanwhile, in words.
    pub blocks: &'static str,
    /// The same, for machines.
    pub blocked: Blocks,
    #[serde(skip)]
    pub(crate) rank: usize,
}

impl Lock {
    pub(crate) const SHARE: usize = 4;
    pub(crate) const SHARE_ROW_EXCLUSIVE: usize = 5;

    pub(crate) fn rank(mode: &str) -> Option<usize> {
        MODES.iter().position(|(name, ..)| *name == mode)
    }

    pub(crate) fn new(table: String, rank: usize) -> Self {
        let (_, mode, blocks, blocked) = MODES[rank];
        Self { table, index: None, mode, blocks, blocked, rank }
    }
}

/// Rows that were really written on the copy, whose tables begin empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowsTouched {
    /// The table.
    pub table: String,
    /// Whether it was there before the migration.
    pub existing: bool,
    /// Rows inserted.
    pub inserted: u64,
    /// Rows updated.
    pub updated: u64,
    /// Rows deleted.
    pub deleted: u64,
}

/// How much of a statement's text is kept.
const SHOWN: usize = 4_000;

/// A statement's text, cut where it is very long.
pub(crate) fn cut(sql: &str) -> String {
    match sql.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &sql[..end]),
        None => sql.to_owned(),
    }
}

/// What one statement did on the copy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct StatementTrial {
    /// The script.
    pub file: String,
    /// The line that it begins on. The first line is 1.
    pub line: usize,
    /// The column that it begins at, in characters. The first is 1.
    pub column: usize,
    /// Its text, cut where it is very long.
    pub sql: String,
    /// How long it took on tables without rows.
    pub microseconds: u64,
    /// Locks that it was the first to take, or took more strongly than those before it, on what was there before. They are held to the
    /// end of the transaction.
    pub locks: Vec<Lock>,
    /// Tables that were there and were written anew, every row, with their indexes.
    pub rewritten: Vec<String>,
    /// Tables that were there and were read from end to end.
    pub scanned: Vec<String>,
    /// Tables that were there and were emptied (`TRUNCATE`).
    pub emptied: Vec<String>,
    /// Tables that were there and whose rows it inserts, updates or deletes.
    pub written: Vec<String>,
    /// Rows that it wrote on the copy.
    pub rows: Vec<RowsTouched>,
    /// Whether it ran by itself, outside of the migration's transaction: its locks are held only while it runs.
    pub outside: bool,
    /// Its place among the script's statements, from 0.
    #[serde(skip)]
    pub(crate) index: usize,
    /// Its first words.
    #[serde(skip)]
    pub(crate) opening: String,
    /// What the running version could name after it, where that was asked for.
    #[serde(skip)]
    pub(crate) surface: Option<Surface>,
}

impl StatementTrial {
    /// Whether there is anything to tell.
    pub fn is_quiet(&self) -> bool {
        self.locks.is_empty()
            && self.rewritten.is_empty()
            && self.scanned.is_empty()
            && self.emptied.is_empty()
            && self.rows.is_empty()
    }
}

/// The strongest lock on each table.
pub(crate) fn strongest<'a>(locks: impl Iterator<Item = &'a Lock>) -> Vec<Lock> {
    let mut all: BTreeMap<&str, &Lock> = BTreeMap::new();
    for lock in locks {
        let of_table = all.entry(&lock.table).or_insert(lock);
        if lock.rank > of_table.rank {
            *of_table = lock;
        }
    }
    all.into_values().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_lock_of_a_table_is_told() {
        let locks = ["AccessShareLock", "AccessExclusiveLock", "ShareLock"]
            .map(|mode| Lock::new("a".into(), Lock::rank(mode).unwrap()));
        let [lock] = &strongest(locks.iter())[..] else { panic!("{locks:?}") };
        assert_eq!((lock.mode, lock.blocked), ("access exclusive", Blocks::ReadsAndWrites));
        assert_eq!(Lock::rank("ShareLock"), Some(Lock::SHARE));
        assert_eq!(Lock::rank("ShareRowExclusiveLock"), Some(Lock::SHARE_ROW_EXCLUSIVE));
    }
}
