//! One statement outside of a transaction: looked at before, watched while it runs, looked at after.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgConnection};

use super::half::{Before, Direction, Event, Mark, Marks, hash};
use super::journal::{AS_OURSELVES, About, BEGIN, Journal};
use super::remains::{self, Found, Remnant};
use super::rule;
use super::trace::Trace;
use crate::failure::{Failure, ScriptError, explain, is_broken, reason};
use crate::files::Script;
use crate::history::fit_to_keep;
use crate::progress::{On, Progress};
use crate::script::Statement;
use crate::transaction::Workbench;
use crate::watch::{Running, Seen, watched};

/// How long cleaning up may wait right after a failure. What is in its way is likely what made the statement fail.
const CLEANING: Duration = Duration::from_secs(3);
/// How much longer the server lets a statement wait than we do.
const NET: Duration = Duration::from_secs(60);

/// A script that runs outside of a transaction.
pub(crate) struct Engine<'r, 'b> {
    pub(crate) bench: &'r mut Workbench<'b>,
    pub(crate) journal: Journal<'r>,
    pub(crate) script: &'r Script,
    pub(crate) marks: Marks,
    pub(crate) since: Instant,
}

/// Why a statement ended badly.
struct Broken {
    error: sqlx::Error,
    seen: Seen,
}

impl From<sqlx::Error> for Broken {
    fn from(error: sqlx::Error) -> Self {
        Self { error, seen: Seen::default() }
    }
}

impl Engine<'_, '_> {
    /// Runs what is not done yet, in order.
    pub(crate) async fn run(&mut self, on: On<'_>) -> Result<(), Failure> {
        let script = self.script;
        let of = script.statements.len();
        for (number, statement) in (1..).zip(&script.statements) {
            let done = matches!(self.marks.get(&number), Some((Mark::Done, _)));
            // What is set for the session is gone with the session that was killed.
            if is_setting(statement) {
                self.bare(number, statement, on).await?;
            } else if !done {
                let id = self.journal.id.clone();
                on(&Progress::Statement { id, number, of, line: statement.line });
                if rule::runs_outside(statement, &script.sql) {
                    self.outside(number, statement, on).await?;
                } else {
                    self.inside(number, statement, on).await?;
                }
            }
        }
        self.all_valid().await
    }

    fn text(&self, statement: &Statement) -> String {
        self.script.sql[statement.range.clone()].to_owned()
    }

    fn about(&self, number: usize, statement: &Statement) -> About {
        Some((number, hash(self.script, statement)))
    }

    async fn bare(
        &mut self,
        number: usize,
        statement: &Statement,
        on: On<'_>,
    ) -> Result<(), Failure> {
        let sql = self.text(statement);
        match self.watch(&sql, statement, None, on).await {
            Ok(()) => Ok(()),
            Err(broken) => Err(self.stopped(number, statement, broken, vec![]).await),
        }
    }

    /// A statement that PostgreSQL takes in a transaction gets one, which also holds its record: it is done with it, or not at all.
    async fn inside(
        &mut self,
        number: usize,
        statement: &Statement,
        on: On<'_>,
    ) -> Result<(), Failure> {
        match self.try_inside(number, statement, on).await {
            Ok(()) => Ok(()),
            Err(broken) => {
                if !is_broken(&broken.error) {
                    self.bench.abort().await;
                }
                Err(self.stopped(number, statement, broken, vec![]).await)
            }
        }
    }

    async fn try_inside(
        &mut self,
        number: usize,
        statement: &Statement,
        on: On<'_>,
    ) -> Result<(), Broken> {
        let (sql, about) = (self.text(statement), self.about(number, statement));
        simple(self.bench.connection, BEGIN).await?;
        let Workbench { connection, recorder, .. } = &mut *self.bench;
        if let Some(recorder) = recorder {
            recorder.before_inside(connection).await?;
        }
        self.watch(&sql, statement, None, on).await?;
        let Workbench { connection, recorder, .. } = &mut *self.bench;
        if let Some(recorder) = recorder {
            recorder.after_inside(connection, self.script, statement, number - 1).await?;
        }
        simple(self.bench.connection, AS_OURSELVES).await?;
        self.journal.write(self.bench.connection, &Event::Done, about, None, None).await?;
        simple(self.bench.connection, "commit").await?;
        self.mark(number, statement, Mark::Done);
        Ok(())
    }

    async fn outside(
        &mut self,
        number: usize,
        statement: &Statement,
        on: On<'_>,
    ) -> Result<(), Failure> {
        let trace = Trace::of(&self.text(statement));
        if self.is_done_already(number, statement, &trace, on).await? {
            return self.note(number, statement, &Event::Done, Some("it was found done")).await;
        }
        let before = remains::before(self.bench.connection, &trace).await;
        let before = before.map_err(|error| self.bench.failed(&error))?;
        self.note(number, statement, &Event::Started(before.clone()), None).await?;
        let sql = self.text(statement);
        let Workbench { connection, recorder, .. } = &mut *self.bench;
        if let Some(recorder) = recorder {
            let looked = recorder.before_outside(connection).await;
            looked.map_err(|error| self.bench.failed(&error))?;
        }
        let ran =
            self.without_limits(&sql, statement, self.bench.settings.concurrent_budget, on).await;
        if let Err(broken) = ran {
            let left = if is_broken(&broken.error) {
                vec![]
            } else {
                self.clean(&trace, &before, statement, on).await
            };
            return Err(self.stopped(number, statement, broken, left).await);
        }
        let Workbench { connection, recorder, .. } = &mut *self.bench;
        if let Some(recorder) = recorder {
            let looked =
                recorder.after_outside(connection, self.script, statement, number - 1).await;
            looked.map_err(|error| self.bench.failed(&error))?;
        }
        let invalid = remains::invalid_of(self.bench.connection, &trace, &before).await;
        if let Some(index) = invalid.map_err(|error| self.bench.failed(&error))? {
            return Err(self.invalid(number, statement, index).await);
        }
        self.note(number, statement, &Event::Done, None).await
    }

    /// Looks what an earlier attempt left of the statement, and clears away what is half done. Whether it is done.
    async fn is_done_already(
        &mut self,
        number: usize,
        statement: &Statement,
        trace: &Trace,
        on: On<'_>,
    ) -> Result<bool, Failure> {
        let started = match self.marks.get(&number) {
            Some((Mark::Started(before), _)) => Some(before.clone()),
            _ => None,
        };
        let before = started.clone().unwrap_or_default();
        let mut found = self.look(trace, &before).await?;
        let half = matches!(found, Found::Half(_));
        if let Found::Half(remnants) = &found {
            for remnant in remnants.clone() {
                self.cure(number, statement, remnant, on).await?;
            }
            found = self.look(trace, &before).await?;
        }
        let taken_back = self.journal.direction == Direction::Rollback
            && matches!(trace, Trace::NoIndex { .. } | Trace::Detached { .. });
        match found {
            Found::Done if started.is_some() || half || taken_back => {
                let (id, line) = (self.journal.id.clone(), statement.line);
                on(&Progress::FoundDone { id, number, line });
                Ok(true)
            }
            Found::Unknown if started.is_some() => Err(Failure::Doubt {
                id: self.journal.id.clone(),
                file: self.script.file.clone(),
                line: statement.line,
                statement: number,
            }),
            _ => Ok(false),
        }
    }

    async fn look(&mut self, trace: &Trace, before: &Before) -> Result<Found, Failure> {
        let found = remains::look(self.bench.connection, trace, before).await;
        found.map_err(|error| self.bench.failed(&error))
    }

    async fn cure(
        &mut self,
        number: usize,
        statement: &Statement,
        remnant: Remnant,
        on: On<'_>,
    ) -> Result<(), Failure> {
        let budget = self.bench.settings.concurrent_budget;
        match self.without_limits(&remnant.cure, statement, budget, on).await {
            Ok(()) => {
                on(&Progress::Cleaned { id: self.journal.id.clone(), what: remnant.what });
                Ok(())
            }
            Err(broken) => Err(self.stopped(number, statement, broken, vec![remnant.what]).await),
        }
    }

    /// Clears away what a failed statement left. Gives what is left all the same.
    async fn clean(
        &mut self,
        trace: &Trace,
        before: &Before,
        statement: &Statement,
        on: On<'_>,
    ) -> Vec<String> {
        let Ok(Found::Half(remnants)) = self.look(trace, before).await else { return vec![] };
        let mut left = Vec::new();
        let budget = CLEANING.min(self.bench.settings.concurrent_budget);
        for Remnant { what, cure } in remnants {
            // What is half detached is not attached again, but brought to its end by the next run.
            let cured = matches!(trace, Trace::Index { .. } | Trace::Rebuilt)
                && self.without_limits(&cure, statement, budget, on).await.is_ok();
            if cured {
                on(&Progress::Cleaned { id: self.journal.id.clone(), what });
            } else {
                left.push(what);
            }
        }
        left
    }

    /// Runs a statement that waits for others without blocking them: its time is not limited, and its waiting is in all.
    async fn without_limits(
        &mut self,
        sql: &str,
        statement: &Statement,
        budget: Duration,
        on: On<'_>,
    ) -> Result<(), Broken> {
        let query = "select current_setting('lock_timeout'), current_setting('statement_timeout')";
        let (lock, time): (String, String) =
            sqlx::query_as(query).fetch_one(&mut *self.bench.connection).await?;
        let waits = rule::needs_no_transaction(statement).is_some();
        // We count what it waits in all, and see for whom; the server's own limit is for the case that we cannot look.
        let server = budget.saturating_add(NET);
        let own = if waits { format!("{}ms", server.as_millis()) } else { lock.clone() };
        simple(self.bench.connection, &limits(&own, "0")).await?;
        let ran = self.watch(sql, statement, waits.then_some(budget), on).await;
        if ran.as_ref().err().is_none_or(|broken| !is_broken(&broken.error)) {
            simple(self.bench.connection, &limits(&lock, &time)).await?;
        }
        ran
    }

    async fn watch(
        &mut self,
        sql: &str,
        statement: &Statement,
        budget: Option<Duration>,
        on: On<'_>,
    ) -> Result<(), Broken> {
        let running = Running {
            id: self.journal.id,
            script: self.script,
            since: self.since,
            line: Some(statement.line),
            budget,
        };
        let Workbench { connection, watcher, settings, own, recorder, .. } = &mut *self.bench;
        // A prepared statement: the server refuses a second one that our look at the text took for a part of the first.
        let work =
            sqlx::query(AssertSqlSafe(sql.to_owned())).persistent(false).execute(&mut **connection);
        let outside = rule::runs_outside(statement, &self.script.sql);
        let (done, seen) = match recorder.as_deref_mut().filter(|_| outside) {
            None => watched(work, watcher, own.pid, settings, &running, on).await,
            Some(recorder) => {
                let work = recorder.observe(work, own.pid, sql);
                watched(work, watcher, own.pid, settings, &running, on).await
            }
        };
        done.map(drop).map_err(|error| Broken { error, seen })
    }

    fn mark(&mut self, number: usize, statement: &Statement, mark: Mark) {
        self.marks.insert(number, (mark, hash(self.script, statement)));
    }

    async fn note(
        &mut self,
        number: usize,
        statement: &Statement,
        event: &Event,
        note: Option<&str>,
    ) -> Result<(), Failure> {
        let about = self.about(number, statement);
        let noted = self.journal.note(self.bench.connection, event, about, note).await;
        noted.map_err(|error| self.interrupted(statement, &error))?;
        let mark = match event {
            Event::Done => Mark::Done,
            Event::Started(before) => Mark::Started(before.clone()),
            _ => Mark::Again,
        };
        self.mark(number, statement, mark);
        Ok(())
    }

    /// What the run ends with after a statement that failed; that is put on record if the connection is still there.
    async fn stopped(
        &mut self,
        number: usize,
        statement: &Statement,
        broken: Broken,
        remains: Vec<String>,
    ) -> Failure {
        if is_broken(&broken.error) {
            return self.interrupted(statement, &broken.error);
        }
        let source = self.explain(statement, broken);
        self.failed(number, statement, source, remains).await
    }

    async fn invalid(&mut self, number: usize, statement: &Statement, index: String) -> Failure {
        let (file, line) = (self.script.file.clone(), statement.line);
        let what = format!("the invalid index {index}");
        self.failed(number, statement, ScriptError::InvalidIndex { file, line, index }, vec![what])
            .await
    }

    async fn failed(
        &mut self,
        number: usize,
        statement: &Statement,
        source: ScriptError,
        remains: Vec<String>,
    ) -> Failure {
        let failure = self.failure(source, remains);
        let (code, why) = fit_to_keep(&failure);
        let note = format!("{why} ({code})");
        let noted = self.note(number, statement, &Event::Failed, Some(&note)).await;
        noted.err().unwrap_or(failure)
    }

    fn failure(&self, source: ScriptError, remains: Vec<String>) -> Failure {
        Failure::Outside {
            id: self.journal.id.clone(),
            direction: self.journal.direction,
            done: self.marks.values().filter(|(mark, _)| *mark == Mark::Done).count(),
            of: self.script.statements.len(),
            remains,
            source: Box::new(source),
        }
    }

    fn interrupted(&self, statement: &Statement, error: &sqlx::Error) -> Failure {
        Failure::Interrupted {
            id: self.journal.id.clone(),
            file: self.script.file.clone(),
            line: statement.line,
            database: self.bench.place.to_owned(),
            reason: reason(error),
        }
    }

    fn explain(&self, statement: &Statement, Broken { error, seen }: Broken) -> ScriptError {
        let begin = Some(statement.range.start);
        let source = explain(&self.script.file, Some(&self.script.sql), begin, &error);
        let ScriptError::Sql { file, line, code, .. } = &source else { return source };
        let waited = rule::needs_no_transaction(statement).is_some();
        let (file, line, by) = (file.clone(), *line, seen.blockers);
        let settings = self.bench.settings;
        match code.as_str() {
            "55P03" | "57014" if waited && (seen.cancelled || code == "55P03") => {
                ScriptError::LockBudget { file, line, after: settings.concurrent_budget, by }
            }
            "55P03" => ScriptError::LockTimeout { file, line, after: settings.lock_timeout, by },
            "57014" if source.to_string().contains("statement timeout") => {
                ScriptError::StatementTimeout { file, line, after: settings.statement_timeout }
            }
            _ => source,
        }
    }

    /// Looks once more at every index that the script makes: no success over an invalid one.
    async fn all_valid(&mut self) -> Result<(), Failure> {
        let script = self.script;
        for (number, statement) in (1..).zip(&script.statements) {
            let trace = Trace::of(&self.text(statement));
            // One without a name was looked at when it was made.
            if !matches!(trace, Trace::Index { name: Some(_), .. }) {
                continue;
            }
            let invalid =
                remains::invalid_of(self.bench.connection, &trace, &Before::default()).await;
            if let Some(index) = invalid.map_err(|error| self.bench.failed(&error))? {
                return Err(self.invalid(number, statement, index).await);
            }
        }
        Ok(())
    }
}

/// Whether a statement only sets something for the session.
fn is_setting(statement: &Statement) -> bool {
    let words: Vec<&str> = statement.opening.split(' ').collect();
    match words[..] {
        ["set", "local" | "transaction" | "constraints", ..] => false,
        ["set" | "reset", ..] => true,
        _ => false,
    }
}

fn limits(lock: &str, statement: &str) -> String {
    format!("set lock_timeout = '{lock}'; set statement_timeout = '{statement}'")
}

async fn simple(connection: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.map(drop)
}
