//! Which statements PostgreSQL takes only outside of a transaction. The one place that knows.

use crate::files::{FileProblem, Migration, Script};
use crate::script::Statement;

/// What a statement is called that cannot run inside a transaction; none if it can. Where only the server can know
/// (`CREATE SUBSCRIPTION` without a slot, `REINDEX TABLE` of a partitioned table), it is left to the server.
pub(crate) fn needs_no_transaction(statement: &Statement) -> Option<&'static str> {
    let words: Vec<&str> = statement.opening.split(' ').collect();
    let concurrently = words.contains(&"concurrently");
    Some(match words[..] {
        ["create", "index", "concurrently", ..]
        | ["create", "unique", "index", "concurrently", ..] => "CREATE INDEX CONCURRENTLY",
        ["drop", "index", "concurrently", ..] => "DROP INDEX CONCURRENTLY",
        ["reindex", ..] if concurrently => "REINDEX CONCURRENTLY",
        ["reindex", .., "database" | "schema" | "system"]
        | ["reindex", "database" | "schema" | "system", ..]
        | ["reindex", "verbose", "database" | "schema" | "system", ..] => "REINDEX SCHEMA",
        ["alter", "table", ..] if concurrently && words.contains(&"detach") => {
            "ALTER TABLE … DETACH PARTITION CONCURRENTLY"
        }
        ["vacuum", ..] => "VACUUM",
        ["cluster"] | ["cluster", "verbose"] => "CLUSTER without a table",
        ["create", "database", ..] => "CREATE DATABASE",
        ["drop", "database", ..] => "DROP DATABASE",
        ["alter", "database", .., "set", "tablespace"]
        | ["alter", "database", .., "set", "tablespace", _] => "ALTER DATABASE … SET TABLESPACE",
        ["create", "tablespace", ..] => "CREATE TABLESPACE",
        ["drop", "tablespace", ..] => "DROP TABLESPACE",
        ["alter", "system", ..] => "ALTER SYSTEM",
        _ => return None,
    })
}

/// Whether a script that runs outside of a transaction gives this statement none of its own: it takes none, or it may end it
/// (a procedure, or a `DO` block, that commits).
pub(crate) fn runs_outside(statement: &Statement, sql: &str) -> bool {
    needs_no_transaction(statement).is_some() || may_commit(statement, sql)
}

fn may_commit(statement: &Statement, sql: &str) -> bool {
    match statement.opening.split(' ').next() {
        Some("call") => true,
        Some("do") => {
            let text = sql[statement.range.clone()].to_lowercase();
            let mut words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            words.any(|word| matches!(word, "commit" | "rollback" | "call"))
        }
        _ => false,
    }
}

/// Statements that the migration's scripts run in a transaction, and that PostgreSQL would not take there.
pub(crate) fn problems(migration: &Migration) -> Vec<FileProblem> {
    let scripts = [Some(&migration.up), Some(&migration.rollback), migration.verify.as_ref()];
    scripts.into_iter().flatten().flat_map(script_problems).collect()
}

fn script_problems(script: &Script) -> Vec<FileProblem> {
    let problem = |line: usize, problem: String| FileProblem {
        file: script.file.clone(),
        line: Some(line),
        problem,
    };
    let verify = script.file.ends_with(".verify.sql");
    if verify && script.directives.no_transaction {
        let what = "a verify script only looks: it runs in a transaction, take `-- migrate: no-transaction` out";
        return vec![problem(1, what.into())];
    }
    let outside = script.directives.no_transaction;
    let found = script.statements.iter().filter_map(|statement| {
        if &*statement.opening == "discard all" {
            let what = "`DISCARD ALL` would let go of the lock that keeps two runs apart: use `RESET ALL`";
            return Some(problem(statement.line, what.into()));
        }
        let name = needs_no_transaction(statement).filter(|_| !outside)?;
        Some(problem(
            statement.line,
            if verify {
                format!("`{name}` cannot run in a transaction, as a verify script does")
            } else {
                format!(
                    "`{name}` cannot run in a transaction: add `-- migrate: no-transaction` above the first statement"
                )
            },
        ))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::inspect;

    fn name(sql: &str) -> Option<&'static str> {
        needs_no_transaction(&inspect(sql).statements[0])
    }

    #[test]
    fn statements_that_take_no_transaction_are_known() {
        for sql in [
            "create index concurrently on t (a)",
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS \"i\" ON s.t (a)",
            "drop index concurrently if exists s.i",
            "reindex index concurrently i",
            "reindex (verbose, concurrently) table t",
            "reindex database concurrently d",
            "reindex (verbose) schema s",
            "reindex system d",
            "alter table if exists only \"T\".s.t detach partition s.p concurrently",
            "vacuum",
            "vacuum (full, analyze) t",
            "cluster",
            "cluster verbose",
            "create database d",
            "drop database if exists d with (force)",
            "alter database d set tablespace x",
            "alter database \"d\" set tablespace \"x\"",
            "create tablespace x location '/x'",
            "drop tablespace x",
            "alter system set work_mem = '1GB'",
        ] {
            assert!(name(sql).is_some(), "{sql}");
        }
    }

    #[test]
    fn statements_that_can_run_in_a_transaction_are_left_alone() {
        for sql in [
            "create index i on t (a)",
            "drop index i",
            "reindex table t",
            "reindex index \"concurrently\"",
            "alter table t detach partition p",
            "alter table t detach partition p finalize",
            "alter table t add column concurrently int",
            "cluster t using i",
            "refresh materialized view concurrently m",
            "alter type e add value 'x'",
            "alter table t validate constraint c",
            "alter database d set work_mem = '1GB'",
            "analyze t",
            "select 'vacuum'",
            "comment on table t is 'create index concurrently'",
            "create subscription s connection '' publication p with (connect = false)",
        ] {
            assert_eq!(name(sql), None, "{sql}");
        }
    }

    #[test]
    fn what_may_commit_by_itself_gets_no_transaction() {
        let outside = |sql: &str| runs_outside(&inspect(sql).statements[0], sql);
        assert!(outside("call p()"));
        assert!(outside("do $$ begin loop update t set a = 1; COMMIT; end loop; end $$"));
        assert!(!outside("do $$ begin perform 1; end $$"));
        assert!(!outside("update t set a = 'commit'"));
        assert!(outside("vacuum"));
    }
}
