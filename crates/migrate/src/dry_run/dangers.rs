//! What is dangerous about what a statement did, given how large the database's own tables are. Pure.

use std::collections::BTreeMap;

use super::statement::{Blocks, Lock, StatementTrial};
use crate::finding::Severity;
use crate::shadow::sizes::{Sizes, TableSize};

/// A table that is large on the database is written anew while others wait.
pub(crate) const REWRITE: &str = "rewrite-blocks";
/// A table that is large on the database is read from end to end while others wait.
pub(crate) const SCAN: &str = "scan-blocks";
/// Rows of a large table are written while a lock of an earlier statement keeps others waiting.
pub(crate) const WRITE: &str = "write-under-lock";
/// Rows that the database has go, or change.
pub(crate) const LOSES: &str = "loses-data";

/// Something about a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Danger {
    /// Which statement, from 0.
    pub(crate) statement: usize,
    pub(crate) rule: &'static str,
    pub(crate) severity: Severity,
    pub(crate) message: String,
    pub(crate) help: Option<&'static str>,
}

/// Looks at the statements of one transaction, in order.
pub(crate) fn dangers(statements: &[StatementTrial], sizes: &Sizes) -> Vec<Danger> {
    let mut held: BTreeMap<String, Lock> = BTreeMap::new();
    let mut found = Vec::new();
    for (index, statement) in statements.iter().enumerate() {
        let before = held.clone();
        for lock in &statement.locks {
            let of_table = held.entry(lock.table.clone()).or_insert_with(|| lock.clone());
            if lock.rank > of_table.rank {
                *of_table = lock.clone();
            }
        }
        let look = Look { index, statement, before: &before, held: &held, sizes };
        look.long_work(&mut found);
        look.lost_rows(&mut found);
        if statement.outside {
            held.clear();
        }
    }
    found
}

struct Look<'a> {
    index: usize,
    statement: &'a StatementTrial,
    /// Locks from earlier statements of the transaction.
    before: &'a BTreeMap<String, Lock>,
    /// Those, and this statement's.
    held: &'a BTreeMap<String, Lock>,
    sizes: &'a Sizes,
}

impl Look<'_> {
    fn size(&self, table: &str) -> Option<TableSize> {
        let full = if table.contains('.') { table.to_owned() } else { format!("public.{table}") };
        self.sizes.get(&full).copied()
    }

    fn large(&self, table: &str) -> Option<TableSize> {
        self.size(table).filter(TableSize::is_large)
    }

    fn long_work(&self, found: &mut Vec<Danger>) {
        let rewritten =
            self.statement.rewritten.iter().map(|table| (REWRITE, "writes every row of", table));
        let scanned =
            self.statement.scanned.iter().map(|table| (SCAN, "reads every row of", table));
        let mut tables: Vec<&String> = Vec::new();
        for (rule, does, table) in rewritten.chain(scanned) {
            let Some(size) = self.large(table) else { continue };
            let Some(lock) = self.strongest(self.held) else { continue };
            tables.push(table);
            let message = format!("{does} {table} ({size}) while {}", waits(lock));
            found.push(self.danger(rule, message, help(self.statement, rule)));
        }
        let written = self.statement.written.iter().filter(|table| !tables.contains(table));
        for table in written {
            let Some(size) = self.large(table) else { continue };
            // How many rows it would be is not seen on an empty copy; an insert alone adds some.
            if self.statement.opening.starts_with("insert") {
                continue;
            }
            let Some(lock) = self.strongest(self.before) else { continue };
            let message = format!(
                "writes rows of {table} ({size}; how many is not seen on an empty copy) while {}",
                waits(lock)
            );
            let help = "do it in a migration of its own: the lock of an earlier statement is held until the transaction ends";
            found.push(self.danger(WRITE, message, Some(help)));
        }
    }

    fn strongest<'b>(&self, locks: &'b BTreeMap<String, Lock>) -> Option<&'b Lock> {
        let waiting = locks.values().filter(|lock| lock.blocked != Blocks::Changes);
        let matters = waiting.filter(|lock| self.size(&lock.table).is_some());
        matters.max_by_key(|lock| lock.rank)
    }

    fn lost_rows(&self, found: &mut Vec<Danger>) {
        let held = |table: &String| self.size(table).filter(|size| !size.is_empty());
        for table in &self.statement.emptied {
            if let Some(size) = held(table) {
                let message =
                    format!("empties table {table} ({size}): no rollback script brings that back");
                found.push(self.danger(LOSES, message, None));
            }
        }
        let deletes = self.statement.opening.starts_with("delete");
        for table in
            self.statement.written.iter().filter(|_| !self.statement.opening.starts_with("insert"))
        {
            let Some(size) = held(table) else { continue };
            let does = if deletes { "deletes" } else { "changes" };
            let message = format!(
                "{does} rows of {table} ({size}): the copy has none of them, so whether the rollback brings them back is not known"
            );
            let severity = if deletes { Severity::Warning } else { Severity::Note };
            found.push(Danger { severity, ..self.danger(LOSES, message, None) });
        }
    }

    fn danger(&self, rule: &'static str, message: String, help: Option<&'static str>) -> Danger {
        Danger { statement: self.index, rule, severity: Severity::Warning, message, help }
    }
}

fn waits(lock: &Lock) -> String {
    let what = match lock.blocked {
        Blocks::ReadsAndWrites => "nobody can read or write",
        _ => "nobody can write",
    };
    format!("{what} {} ({} lock)", lock.table, lock.mode)
}

/// What to do instead.
fn help(statement: &StatementTrial, rule: &str) -> Option<&'static str> {
    let sql = statement.sql.to_lowercase();
    let has = |words: &str| sql.split_whitespace().collect::<Vec<_>>().join(" ").contains(words);
    if statement.opening.starts_with("create") && statement.opening.contains("index") {
        return Some(
            "`create index concurrently`, in a migration with `-- migrate: no-transaction`, lets others write",
        );
    }
    if rule == REWRITE {
        return Some(
            "add a new column beside it, fill it in small steps, and take the old one away in a contract migration",
        );
    }
    if has("set not null") {
        return Some(
            "add a check constraint (`x is not null`) with `not valid`, validate it in a later migration, and set not null then: \
             PostgreSQL does not look at the rows again",
        );
    }
    if has("foreign key") || has("references") || has("check") {
        return Some("add the constraint with `not valid`, and validate it in a later migration");
    }
    if has("unique") || has("primary key") {
        return Some(
            "make a unique index with `create index concurrently` first, in a migration with `-- migrate: no-transaction`, and add \
             the constraint `using index`",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(rows: u64) -> Sizes {
        [("public.a".to_owned(), TableSize { rows: Some(rows), bytes: rows * 100 })].into()
    }

    fn lock(mode: &str) -> Lock {
        Lock::new("a".into(), Lock::rank(mode).unwrap())
    }

    fn told(statements: &[StatementTrial], rows: u64) -> Vec<(usize, &'static str)> {
        dangers(statements, &sizes(rows))
            .iter()
            .map(|danger| (danger.statement, danger.rule))
            .collect()
    }

    #[test]
    fn long_work_under_a_lock_is_told_where_the_table_is_large() {
        let rewrite = StatementTrial {
            locks: vec![lock("AccessExclusiveLock")],
            rewritten: vec!["a".into()],
            ..StatementTrial::default()
        };
        assert_eq!(told(std::slice::from_ref(&rewrite), 2_000_000), [(0, REWRITE)]);
        assert_eq!(told(std::slice::from_ref(&rewrite), 2_000), []);
        let [danger] = &dangers(&[rewrite], &sizes(1_200_000))[..] else { panic!() };
        assert_eq!(
            danger.message,
            "writes every row of a (~1.2 million rows, 114 MB) while nobody can read or write a (access exclusive lock)"
        );
        let scan = |mode: &str| StatementTrial {
            locks: vec![lock(mode)],
            scanned: vec!["a".into()],
            ..StatementTrial::default()
        };
        assert_eq!(told(&[scan("ShareLock")], 2_000_000), [(0, SCAN)]);
        assert_eq!(told(&[scan("AccessShareLock")], 2_000_000), []);
        assert_eq!(told(&[scan("ShareUpdateExclusiveLock")], 2_000_000), []);
    }

    #[test]
    fn rows_written_under_an_earlier_lock_are_told_and_under_their_own_are_not() {
        let alter = StatementTrial {
            locks: vec![lock("AccessExclusiveLock")],
            ..StatementTrial::default()
        };
        let update = StatementTrial {
            locks: vec![lock("RowExclusiveLock")],
            written: vec!["a".into()],
            opening: "update a set b".into(),
            ..StatementTrial::default()
        };
        assert_eq!(told(std::slice::from_ref(&update), 2_000_000), [(0, LOSES)]);
        assert_eq!(told(&[alter, update], 2_000_000), [(1, WRITE), (1, LOSES)]);
    }

    #[test]
    fn rows_that_go_are_told() {
        let truncate = StatementTrial { emptied: vec!["a".into()], ..StatementTrial::default() };
        assert_eq!(told(std::slice::from_ref(&truncate), 5), [(0, LOSES)]);
        assert_eq!(told(&[truncate], 0), []);
        let insert = StatementTrial {
            written: vec!["a".into()],
            opening: "insert into a values".into(),
            ..StatementTrial::default()
        };
        assert_eq!(told(&[insert], 5), []);
    }
}
