//! What a statement does that runs by itself, outside of the migration's transaction: in a transaction of its own it is looked at in
//! there; else from outside while it runs, and by what is left of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sqlx::{PgConnection, Row as _};

use super::bystander::{Bystanders, Locked};
use super::recorder::{Part, Recorder, ScriptTrace, column, counters, shown};
use super::statement::{Lock, RowsTouched, StatementTrial, cut};
use crate::files::Script;
use crate::script::Statement;
use crate::session::Watcher;

/// To how many tables a statement may be about that names none.
const MOST: usize = 300;

/// File, scans and rows written so far, of everything: what is reported, and what is not yet. PostgreSQL 14 and older report late.
const TOTALS: &str = "
    select c.oid::int8 as oid, c.relfilenode::int8 as file,
           coalesce(pg_catalog.pg_stat_get_numscans(c.oid), 0) + coalesce(pg_catalog.pg_stat_get_xact_numscans(c.oid), 0) as scans,
           coalesce(pg_catalog.pg_stat_get_tuples_inserted(c.oid), 0)
               + coalesce(pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid), 0) as inserted,
           coalesce(pg_catalog.pg_stat_get_tuples_updated(c.oid), 0)
               + coalesce(pg_catalog.pg_stat_get_xact_tuples_updated(c.oid), 0) as updated,
           coalesce(pg_catalog.pg_stat_get_tuples_deleted(c.oid), 0)
               + coalesce(pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid), 0) as deleted
    from pg_catalog.pg_class c where c.oid >= 16384 and c.relkind in ('r', 'm', 'i', 'I')";

/// File and counters.
type Totals = BTreeMap<i64, (i64, [i64; 4])>;

/// A script whose statements run by themselves.
#[derive(Debug, Default)]
pub(super) struct Alone {
    pub(super) trace: ScriptTrace,
    bystanders: Option<Bystanders>,
    totals: Totals,
    locked: Locked,
    start: Option<Instant>,
}

impl Recorder {
    /// A script begins whose statements run by themselves.
    pub(crate) async fn begin_alone(
        &mut self,
        connection: &mut PgConnection,
        watcher: &Watcher,
    ) -> Result<(), sqlx::Error> {
        self.know(connection).await?;
        let bystanders = Bystanders::open(watcher).await;
        self.alone = Some(Alone { bystanders, ..Alone::default() });
        Ok(())
    }

    /// The traces, in order.
    pub(crate) fn into_scripts(self) -> Vec<ScriptTrace> {
        self.alone.map(|alone| alone.trace).into_iter().chain(self.scripts).collect()
    }

    /// A statement begins in a transaction of its own.
    pub(crate) async fn before_inside(
        &mut self,
        connection: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        self.recount(connection).await?;
        self.seen = self.look(connection).await?;
        self.start();
        Ok(())
    }

    /// It has run; its transaction is open still.
    pub(crate) async fn after_inside(
        &mut self,
        connection: &mut PgConnection,
        script: &Script,
        statement: &Statement,
        index: usize,
    ) -> Result<(), sqlx::Error> {
        let took = self.took();
        let now = self.look(connection).await?;
        let part = part(statement, index);
        let trial = self.compare(&now, &part);
        self.keep(connection, trial, script, &part, took).await
    }

    /// A statement begins that has no transaction.
    pub(crate) async fn before_outside(
        &mut self,
        connection: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        let totals = totals(connection).await?;
        self.start();
        if let Some(alone) = &mut self.alone {
            alone.totals = totals;
            alone.locked.clear();
        }
        Ok(())
    }

    /// Does its work, which the session `pid` does.
    pub(crate) async fn observe<T>(
        &mut self,
        work: impl Future<Output = T>,
        pid: i32,
        sql: &str,
    ) -> T {
        let tables = self.about(sql);
        let Some(alone) = &mut self.alone else { return work.await };
        let Some(bystanders) = &mut alone.bystanders else { return work.await };
        let (done, locked) = bystanders.observe(work, pid, &tables).await;
        for (relation, modes) in locked {
            alone.locked.entry(relation).or_default().extend(modes);
        }
        done
    }

    /// It has run.
    pub(crate) async fn after_outside(
        &mut self,
        connection: &mut PgConnection,
        script: &Script,
        statement: &Statement,
        index: usize,
    ) -> Result<(), sqlx::Error> {
        let took = self.took();
        let now = totals(connection).await?;
        let part = part(statement, index);
        let mut trial = StatementTrial {
            line: part.line,
            opening: part.opening.clone(),
            index,
            ..StatementTrial::default()
        };
        let Some(alone) = &self.alone else { return Ok(()) };
        trial.locks = self.locks(&alone.locked, &now);
        self.work_outside(&mut trial, &alone.totals, &now);
        self.keep(connection, trial, script, &part, took).await
    }

    fn start(&mut self) {
        if let Some(alone) = &mut self.alone {
            alone.start = Some(Instant::now());
        }
    }

    fn took(&mut self) -> Duration {
        let start = self.alone.as_mut().and_then(|alone| alone.start.take());
        start.map(|start| start.elapsed()).unwrap_or_default()
    }

    async fn keep(
        &mut self,
        connection: &mut PgConnection,
        mut trial: StatementTrial,
        script: &Script,
        part: &Part,
        took: Duration,
    ) -> Result<(), sqlx::Error> {
        trial.microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        trial.file = script.file.clone();
        trial.sql = cut(&script.sql[part.range.clone()]);
        trial.column = column(&script.sql, part.range.start);
        trial.outside = true;
        if self.watch {
            trial.surface = Some(super::surface::Surface::read(connection).await?);
        }
        if let Some(alone) = &mut self.alone {
            alone.trace.statements.push(trial);
        }
        Ok(())
    }

    /// The strongest lock on each thing that was there before; of an index where its table is not locked as strongly, and where it is
    /// there still.
    fn locks(&self, locked: &Locked, now: &Totals) -> Vec<Lock> {
        let rank = |oid: &i64| locked.get(oid)?.iter().filter_map(|mode| Lock::rank(mode)).max();
        let known = self.known.iter().filter_map(|(oid, known)| Some((oid, known, rank(oid)?)));
        let told = known.filter_map(|(oid, known, rank_here)| {
            let name = shown(Some(&known.name));
            if !matches!(known.kind.as_str(), "i" | "I") {
                return Some(Lock::new(name, rank_here));
            }
            let of_table = rank(&known.of_table).unwrap_or_default();
            let table = shown(self.known.get(&known.of_table).map(|table| &table.name));
            let more = rank_here >= Lock::SHARE && rank_here > of_table && now.contains_key(oid);
            more.then(|| Lock { index: Some(name), ..Lock::new(table, rank_here) })
        });
        told.collect()
    }

    fn work_outside(&self, trial: &mut StatementTrial, before: &Totals, now: &Totals) {
        for (oid, (file, counted)) in now {
            let (Some((file_before, counted_before)), Some(known)) =
                (before.get(oid), self.known.get(oid))
            else {
                continue;
            };
            if !matches!(known.kind.as_str(), "r" | "m") {
                continue;
            }
            let name = shown(Some(&known.name));
            let more = |counter: usize| (counted[counter] - counted_before[counter]).unsigned_abs();
            if file != file_before {
                trial.rewritten.push(name.clone());
            } else if more(0) > 0 {
                trial.scanned.push(name.clone());
            }
            if more(1) + more(2) + more(3) > 0 {
                trial.written.push(name.clone());
                trial.rows.push(RowsTouched {
                    table: name,
                    existing: true,
                    inserted: more(1),
                    updated: more(2),
                    deleted: more(3),
                });
            }
        }
    }

    /// The tables that a statement names, itself or by an index; if it names none, all, as far as that goes.
    fn about(&self, sql: &str) -> BTreeMap<i64, String> {
        let sql = sql.to_lowercase();
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let words: BTreeSet<&str> = sql.split(|c| !word(c)).collect();
        let named = |name: &str| {
            let name = name.rsplit('.').next().unwrap_or(name).trim_matches('"').to_lowercase();
            words.contains(name.as_str()) || (!name.chars().all(word) && sql.contains(&name))
        };
        let table = |oid: &i64| {
            let known = self.known.get(oid).filter(|one| matches!(one.kind.as_str(), "r" | "p"))?;
            Some((*oid, known.name.clone()))
        };
        let all = self.known.iter().filter(|(_, known)| named(&known.name));
        let found: BTreeMap<i64, String> =
            all.flat_map(|(oid, known)| [table(oid), table(&known.of_table)]).flatten().collect();
        if found.is_empty() {
            return self.known.keys().filter_map(table).take(MOST).collect();
        }
        found
    }
}

fn part(statement: &Statement, index: usize) -> Part {
    let (range, line) = (statement.range.clone(), statement.line);
    Part { range, line, opening: statement.opening.to_string(), index }
}

async fn totals(connection: &mut PgConnection) -> Result<Totals, sqlx::Error> {
    let mut totals = Totals::new();
    for row in sqlx::raw_sql(TOTALS).fetch_all(connection).await? {
        totals.insert(row.try_get("oid")?, (row.try_get("file")?, counters(&row)?));
    }
    Ok(totals)
}
