//! Runs a script statement by statement inside its transaction, and notes what each statement did to what was there before:
//! locks, rewrites, scans, rows. Asked after each statement, in the same session, since only that one sees its own transaction.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::alone::Alone;
use super::statement::{Lock, RowsTouched, StatementTrial, cut};
use crate::files::Script;
use crate::parts::LEXING;
use crate::transaction::first_refusal;

/// Scripts with more statements are looked at in this many parts.
const MOST: usize = 500;

/// Everything with a name of its own that a statement may lock.
const KNOWN: &str = "
    select c.oid::int8 as oid, pg_catalog.format('%I.%I', n.nspname, c.relname) as name, c.relkind::text as kind,
           c.relfilenode::int8 as file, coalesce(i.indrelid::int8, 0) as of_table,
           pg_catalog.pg_stat_get_xact_numscans(c.oid) as scans,
           pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) as inserted,
           pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) as updated,
           pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) as deleted
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        left join pg_catalog.pg_index i on i.indexrelid = c.oid
    where c.oid >= 16384 and c.relpersistence <> 't' and c.relkind in ('r', 'p', 'm', 'v', 'S', 'f', 'i', 'I')
      and n.nspname not like 'pg_toast%'
      and c.relname <> 'refinery_schema_history' and c.relname not like 'liftlock\\_schema\\_%'";

/// What this session has locked so far. Whatever a transaction reads or writes, it has locked.
const HELD: &str = "
    select l.relation::int8 as oid, l.mode, c.relfilenode::int8 as file, c.relkind::text as kind,
           case when n.oid is not null then pg_catalog.format('%I.%I', n.nspname, c.relname) end as name,
           pg_catalog.pg_stat_get_xact_numscans(l.relation) as scans,
           pg_catalog.pg_stat_get_xact_tuples_inserted(l.relation) as inserted,
           pg_catalog.pg_stat_get_xact_tuples_updated(l.relation) as updated,
           pg_catalog.pg_stat_get_xact_tuples_deleted(l.relation) as deleted
    from pg_catalog.pg_locks l left join pg_catalog.pg_class c on c.oid = l.relation
        left join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where l.pid = pg_catalog.pg_backend_pid() and l.locktype = 'relation' and l.granted and l.relation >= 16384
      and coalesce(c.relname, '') <> 'refinery_schema_history' and coalesce(c.relname, '') not like 'liftlock\\_%'
      and coalesce(n.nspname, '') not like 'pg_toast%' and coalesce(c.relpersistence, 'p') <> 't'";

/// Something that was there before the transaction.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) kind: String,
    file: i64,
    pub(super) of_table: i64,
    /// PostgreSQL counts on from earlier transactions until it finds the time to report.
    counters: [i64; 4],
}

/// What is seen of something locked.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    name: Option<String>,
    kind: String,
    file: Option<i64>,
    /// The strongest lock, as its place in the table of modes.
    rank: usize,
    /// Whether rows may have been written: the lock that `INSERT`, `UPDATE`, `DELETE` and `MERGE` take.
    writes: bool,
    /// Whether its rows were locked, as a foreign key's check locks those that it refers to.
    refers: bool,
    counters: [i64; 4],
}

/// What one script did.
#[derive(Debug, Clone, Default)]
pub(crate) struct ScriptTrace {
    pub(crate) statements: Vec<StatementTrial>,
}

/// Notes what the scripts of one database's transactions do.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(super) known: BTreeMap<i64, Known>,
    pub(super) seen: BTreeMap<i64, Seen>,
    /// The script whose statements run by themselves.
    pub(super) alone: Option<Alone>,
    /// The scripts of the last transaction, in order.
    pub(crate) scripts: Vec<ScriptTrace>,
    /// Where the part begins that runs or has just failed, in bytes of its script.
    pub(crate) offset: Option<usize>,
    /// Whether to read after each statement what the running version can name.
    pub(crate) watch: bool,
}

impl Recorder {
    pub(crate) fn new(watch: bool) -> Self {
        Self { watch, ..Self::default() }
    }

    /// To be called at a transaction's begin.
    pub(crate) fn begin(&mut self) {
        self.scripts.clear();
    }

    /// Reads what is there before the transaction's first script.
    pub(super) async fn know(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.known.clear();
        for row in sqlx::raw_sql(KNOWN).fetch_all(connection).await? {
            let known = Known {
                name: row.try_get("name")?,
                kind: row.try_get("kind")?,
                file: row.try_get("file")?,
                of_table: row.try_get("of_table")?,
                counters: counters(&row)?,
            };
            self.known.insert(row.try_get("oid")?, known);
        }
        Ok(())
    }

    /// Reads the counters and files anew of what was there before.
    pub(super) async fn recount(
        &mut self,
        connection: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        let before = std::mem::take(&mut self.known);
        self.know(connection).await?;
        self.known.retain(|oid, _| before.contains_key(oid));
        Ok(())
    }

    /// Runs a script as the one text that it is would run: in one transaction, up to the first error.
    pub(crate) async fn run(
        &mut self,
        connection: &mut PgConnection,
        script: &Script,
    ) -> Result<Option<String>, sqlx::Error> {
        if self.scripts.is_empty() {
            self.know(connection).await?;
        }
        self.scripts.push(ScriptTrace::default());
        self.seen = self.look(connection).await?;
        let mut refused = None;
        for part in parts(script) {
            self.offset = Some(part.range.start);
            let start = Instant::now();
            let refusal =
                first_refusal(connection, script.sql[part.range.clone()].to_owned()).await?;
            let took = start.elapsed();
            refused = refused.or(refusal);
            let now = self.look(connection).await?;
            let mut trial = self.compare(&now, &part);
            trial.microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            trial.file = script.file.clone();
            trial.sql = cut(&script.sql[part.range.clone()]);
            trial.column = column(&script.sql, part.range.start);
            if self.watch {
                trial.surface = Some(super::surface::Surface::read(connection).await?);
            }
            self.seen = now;
            if let Some(trace) = self.scripts.last_mut() {
                trace.statements.push(trial);
            }
        }
        self.offset = None;
        Ok(refused)
    }

    pub(super) async fn look(
        &self,
        connection: &mut PgConnection,
    ) -> Result<BTreeMap<i64, Seen>, sqlx::Error> {
        let mut all: BTreeMap<i64, Seen> = BTreeMap::new();
        for row in sqlx::raw_sql(HELD).fetch_all(connection).await? {
            let mode: String = row.try_get("mode")?;
            let Some(rank) = Lock::rank(&mode) else { continue };
            let seen = all.entry(row.try_get("oid")?).or_default();
            seen.name = row.try_get("name")?;
            seen.kind = row.try_get::<Option<String>, _>("kind")?.unwrap_or_default();
            seen.file = row.try_get("file")?;
            seen.rank = seen.rank.max(rank);
            seen.writes |= mode == "RowExclusiveLock";
            seen.refers |= mode == "RowShareLock";
            seen.counters = counters(&row)?;
        }
        Ok(all)
    }

    /// What is there now and was not before the statement.
    pub(super) fn compare(&self, now: &BTreeMap<i64, Seen>, part: &Part) -> StatementTrial {
        let mut trial = StatementTrial {
            line: part.line,
            opening: part.opening.clone(),
            index: part.index,
            ..StatementTrial::default()
        };
        let mut index_locks = Vec::new();
        for (oid, seen) in now {
            let (before, known) = (self.seen.get(oid), self.known.get(oid));
            let counted =
                before.map(|before| before.counters).or(known.map(|known| known.counters));
            let counted = counted.unwrap_or_default();
            let more = |counter: usize| seen.counters[counter] - counted[counter];
            let table = matches!(seen.kind.as_str(), "r" | "p" | "m" | "f");
            let rows = RowsTouched {
                table: shown(known.map(|known| &known.name).or(seen.name.as_ref())),
                existing: known.is_some(),
                inserted: more(1).unsigned_abs(),
                updated: more(2).unsigned_abs(),
                deleted: more(3).unsigned_abs(),
            };
            if table && (more(1), more(2), more(3)) != (0, 0, 0) {
                trial.rows.push(rows);
            }
            let Some(known) = known else { continue };
            let name = shown(Some(&known.name));
            let newly = before.is_none_or(|before| seen.rank > before.rank);
            match known.kind.as_str() {
                "i" | "I" if newly => index_locks.push((name, known.of_table, seen.rank)),
                "i" | "I" => {}
                _ if newly => trial.locks.push(Lock::new(name, seen.rank)),
                _ => {}
            }
            self.work(&mut trial, known, seen, before, more(0));
        }
        trial.locks.extend(self.of_indexes(index_locks, now));
        trial
    }

    /// Whether every row had to be written or read.
    fn work(
        &self,
        trial: &mut StatementTrial,
        known: &Known,
        seen: &Seen,
        before: Option<&Seen>,
        scans: i64,
    ) {
        if !matches!(known.kind.as_str(), "r" | "m") {
            return;
        }
        let name = shown(Some(&known.name));
        let file = before.and_then(|before| before.file).unwrap_or(known.file);
        let emptied = trial.opening.starts_with("truncate");
        let moved = seen.file.is_some_and(|now| now != file);
        if moved && emptied {
            trial.emptied.push(name.clone());
        } else if moved {
            trial.rewritten.push(name.clone());
        } else if scans > 0 && !(seen.refers && seen.rank >= Lock::SHARE_ROW_EXCLUSIVE) {
            // The table that a new foreign key refers to is read by its key, not from end to end.
            trial.scanned.push(name.clone());
        }
        if seen.writes && before.is_none_or(|before| !before.writes)
            || scans_and_writes(seen, before)
        {
            trial.written.push(name);
        }
    }

    /// A locked index keeps its table from being planned for; told where the table itself is not locked as strongly.
    fn of_indexes(&self, locks: Vec<(String, i64, usize)>, now: &BTreeMap<i64, Seen>) -> Vec<Lock> {
        let told = locks.into_iter().filter(|(_, table, rank)| {
            *rank >= Lock::SHARE && now.get(table).is_none_or(|table| table.rank < *rank)
        });
        told.map(|(index, table, rank)| {
            let table = shown(self.known.get(&table).map(|known| &known.name));
            Lock { index: Some(index), ..Lock::new(table, rank) }
        })
        .collect()
    }
}

/// The lock that writers take is held already; then only the counters tell.
fn scans_and_writes(seen: &Seen, before: Option<&Seen>) -> bool {
    seen.writes
        && before.is_some_and(|before| before.writes && seen.counters[1..] != before.counters[1..])
}

/// `public` goes without saying.
pub(super) fn shown(name: Option<&String>) -> String {
    let name = name.map_or("a table that is gone", String::as_str);
    name.strip_prefix("public.").unwrap_or(name).to_owned()
}

/// Statements that are run and looked at together: one, where there are not too many.
pub(super) struct Part {
    pub(super) range: Range<usize>,
    pub(super) line: usize,
    pub(super) opening: String,
    /// The place of its first statement, from 0.
    pub(super) index: usize,
}

fn parts(script: &Script) -> Vec<Part> {
    let lower = script.sql.to_lowercase();
    let whole = LEXING.iter().any(|word| lower.contains(word));
    let size = if whole { script.statements.len() } else { script.statements.len().div_ceil(MOST) };
    let chunks = script.statements.chunks(size.max(1));
    chunks
        .enumerate()
        .map(|(number, chunk)| {
            let (first, last) = (&chunk[0], &chunk[chunk.len() - 1]);
            let range = first.range.start..last.range.end;
            Part {
                range,
                line: first.line,
                opening: first.opening.to_string(),
                index: number * size,
            }
        })
        .collect()
}

/// Scans; rows inserted, updated, deleted.
pub(super) fn counters(row: &PgRow) -> Result<[i64; 4], sqlx::Error> {
    let mut counters = [0; 4];
    for (counter, column) in counters.iter_mut().zip(["scans", "inserted", "updated", "deleted"]) {
        *counter = row.try_get::<Option<i64>, _>(column)?.unwrap_or(0);
    }
    Ok(counters)
}

/// The column of a place in a text. The first is 1.
pub(crate) fn column(sql: &str, offset: usize) -> usize {
    let line = sql[..offset].rfind('\n').map_or(0, |at| at + 1);
    1 + sql[line..offset].chars().count()
}
