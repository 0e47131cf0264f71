//! Copying a schema: the text of `pg_dump`, run in messages of many statements each. `pg_restore` sends them one by one, which
//! takes about twice as long.

use std::ops::Range;

use liftlock_postgres::{FilesError, Programs, copy_schema, whole_schema};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::COPY_LIMIT;
use super::need::{Copied, Graph, Part, part};
use crate::failure::reason;
use crate::files::Script;
use crate::script::inspect;

/// How many statements one message holds. They are one transaction, which may lock only so much.
const MOST: usize = 100;
/// How much of a statement that failed is told.
const TOLD: usize = 80;

/// A database's schema, read once and made as often as it is wanted.
#[derive(Debug)]
pub(crate) struct Dump {
    sql: String,
    statements: Vec<Range<usize>>,
    /// How many of them come first and say how the others are to be read.
    settings: usize,
    /// What of it is made; all, without.
    part: Option<Box<(Part, Vec<Range<usize>>)>>,
}

/// Why a schema could not be made.
pub(super) enum RestoreError {
    Files(FilesError),
    Database(sqlx::Error),
}

impl Dump {
    /// Reads it. Nothing if only `pg_restore` could make it again.
    pub(super) async fn read(
        programs: &Programs,
        url: &SecretString,
    ) -> Result<Option<Self>, FilesError> {
        let bytes = whole_schema(programs, url, COPY_LIMIT).await?;
        Ok(String::from_utf8(bytes).ok().and_then(|text| Self::of(&text)))
    }

    fn of(text: &str) -> Option<Self> {
        let sql = without_restrict(text);
        let looked = inspect(&sql);
        if !looked.problems.is_empty() {
            return None;
        }
        let sets = |opening: &str| {
            opening.starts_with("set ") || opening.starts_with("select pg_catalog set_config")
        };
        let settings = looked.statements.iter().take_while(|one| sets(&one.opening)).count();
        let statements = looked.statements.into_iter().map(|one| one.range).collect();
        Some(Self { sql, statements, settings, part: None })
    }

    /// Makes only what `scripts` can reach from now on, if that can be told.
    pub(super) fn limit(&mut self, graph: &Graph, scripts: &[&Script]) -> Copied {
        match self.part_for(graph, scripts) {
            Ok((part, wanted)) => {
                let copied = part.copied.clone();
                self.part = Some(Box::new((part, wanted)));
                copied
            }
            Err(why) => Copied::all(graph, why),
        }
    }

    fn part_for(
        &self,
        graph: &Graph,
        scripts: &[&Script],
    ) -> Result<(Part, Vec<Range<usize>>), String> {
        let (settings, rest) = self.statements.split_at(self.settings);
        let lexing = |range: &Range<usize>| {
            self.sql[range.clone()].eq_ignore_ascii_case("SET standard_conforming_strings = off")
        };
        if settings.iter().any(lexing) {
            return Err("its strings are not read as the standard says".into());
        }
        let part = part(graph, scripts)?;
        let wanted = part.of_dump(&self.sql, rest)?;
        Ok((part, wanted))
    }

    /// The same, of all of the schema.
    pub(crate) fn whole(self) -> Self {
        Self { part: None, ..self }
    }

    /// What a copy of it has, if that is less than all.
    pub(crate) fn part(&self) -> Option<&Part> {
        self.part.as_ref().map(|part| &part.0)
    }

    /// Makes the schema in an empty database. Gives what could not be made.
    async fn restore(&self, to: &SecretString) -> Result<Vec<String>, sqlx::Error> {
        let mut connection = PgConnection::connect(to.expose_secret()).await?;
        // What is thrown away need not be on disk.
        run(&mut connection, "set synchronous_commit = off").await?;
        let mut missing = Vec::new();
        let (settings, all) = self.statements.split_at(self.settings);
        let rest = self.part.as_ref().map_or(all, |part| &part.1);
        for message in std::iter::once(settings).chain(rest.chunks(MOST)) {
            let texts = message.iter().map(|range| &self.sql[range.clone()]);
            let text = texts.collect::<Vec<_>>().join(";\n");
            match run(&mut connection, &text).await {
                // None of it is done: one by one, then, as far as that goes.
                Err(sqlx::Error::Database(_)) => {
                    for statement in message {
                        let sql = &self.sql[statement.clone()];
                        match run(&mut connection, sql).await {
                            Err(error @ sqlx::Error::Database(_)) => {
                                missing.push(format!("{}: {}", told(sql), reason(&error)));
                            }
                            other => other?,
                        }
                    }
                }
                other => other?,
            }
        }
        connection.close().await?;
        Ok(missing)
    }

    /// Why the copy `to` of a part, where something is `missing`, is not what it should be; nothing if it is.
    pub(super) async fn flaw(
        &self,
        to: &SecretString,
        missing: &[String],
    ) -> Result<Option<String>, sqlx::Error> {
        let Some(part) = self.part() else { return Ok(None) };
        if let Some(missing) = missing.first() {
            return Ok(Some(missing.clone()));
        }
        let mut connection = PgConnection::connect(to.expose_secret()).await?;
        let differs = part.differs(&mut connection).await?;
        connection.close().await?;
        Ok(differs)
    }
}

/// Makes the schema of the database `from` in the empty database `to`. Gives what could not be made.
pub(super) async fn restore(
    dump: Option<&Dump>,
    programs: &Programs,
    from: &SecretString,
    to: &SecretString,
) -> Result<Vec<String>, RestoreError> {
    match dump {
        Some(dump) => dump.restore(to).await.map_err(RestoreError::Database),
        None => {
            let copied = copy_schema(programs, from, to, &[], COPY_LIMIT).await;
            copied.map_err(RestoreError::Files)
        }
    }
}

async fn run(connection: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.map(drop)
}

/// psql's own commands, which fence the text off: `\restrict KEY` at its begin, `\unrestrict KEY` at its end.
fn without_restrict(text: &str) -> String {
    let fence = |line: &str, word: &str| {
        line.strip_prefix(word).map(|key| key.trim().to_owned()).filter(|key| !key.is_empty())
    };
    let comment = |line: &&str| line.is_empty() || line.starts_with("--");
    let Some(key) =
        text.lines().find(|line| !comment(line)).and_then(|line| fence(line, "\\restrict "))
    else {
        return text.to_owned();
    };
    let (begin, end) = (format!("\\restrict {key}\n"), format!("\\unrestrict {key}\n"));
    let text = text.replacen(&begin, "", 1);
    match text.rfind(&end) {
        Some(at) => format!("{}{}", &text[..at], &text[at + end.len()..]),
        None => text,
    }
}

/// The first line of a statement.
fn told(sql: &str) -> String {
    let line = sql.lines().next().unwrap_or_default();
    crate::text::printable(&line.chars().take(TOLD).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_taken_apart() {
        let text = "--\n-- PostgreSQL database dump\n--\n\n\\restrict a1\n\nSET a = 0;\nSELECT pg_catalog.set_config('b', '', false);\n
CREATE FUNCTION f() AS $$ begin; end $$;\nSET c = d;\nCREATE VIEW v AS SELECT '\n\\unrestrict a1x';\n\n\\unrestrict a1\n\n";
        let dump = Dump::of(text).unwrap();
        let statements: Vec<&str> =
            dump.statements.iter().map(|range| &dump.sql[range.clone()]).collect();
        assert_eq!(dump.settings, 2);
        assert_eq!(statements.len(), 5);
        assert_eq!(statements[4], "CREATE VIEW v AS SELECT '\n\\unrestrict a1x'");
        assert!(Dump::of("\\connect elsewhere\n").is_none());
        assert_eq!(Dump::of("SET a = 0; SELECT 1").unwrap().settings, 1);
    }
}
