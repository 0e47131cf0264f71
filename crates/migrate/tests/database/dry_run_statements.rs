//! What a dry-run sees of each statement.

use liftlock_migrate::{Blocks, DryRun, Finding, Severity, StatementTrial};
use liftlock_testkit::TestDatabase;

use crate::support::{Files, apply, connect, execute, session};

const TABLES: (&str, &str, &str) = (
    "V0001__tables",
    "create table users (id int primary key, legacy text);
     create table orders (id int primary key, user_id int, note text, state text);
     create table small (id int)",
    "drop table users, orders, small",
);

/// A database whose tables have rows, and whose server knows how many.
async fn with_rows() -> Option<TestDatabase> {
    let database = TestDatabase::new().await?;
    apply(&database, &Files::new(&[TABLES])).await;
    let rows = "insert into users select i, case when i % 2 = 0 then 'x' end from generate_series(1, 12000) i;
                insert into orders select i, i, 'n', 's' from generate_series(1, 12000) i;
                insert into small values (1); analyze";
    execute(&mut session(database.url()).await, rows).await;
    Some(database)
}

async fn tried(database: &TestDatabase, up: &str, rollback: &str) -> DryRun {
    let files = Files::new(&[TABLES, ("V0002__two", up, rollback)]);
    connect(database).await.dry_run(&files.read()).await.unwrap()
}

fn locks(statement: &StatementTrial) -> Vec<(&str, &str)> {
    let mut locks: Vec<(&str, &str)> =
        statement.locks.iter().map(|lock| (lock.table.as_str(), lock.mode)).collect();
    locks.sort_unstable();
    locks
}

fn rules(run: &DryRun, at_least: Severity) -> Vec<(&str, usize)> {
    let found = run.findings.iter().filter(|finding| finding.severity >= at_least);
    found.map(|finding: &Finding| (finding.rule.as_str(), finding.line)).collect()
}

/// Shows C-MIG-7: each statement is told with its place, the locks that it took on what was there, and whether every row had to be
/// written or read.
#[tokio::test]
async fn each_statement_is_told_with_its_locks_rewrites_and_scans() {
    let Some(database) = with_rows().await else { return };
    let up = "alter table users add column nick text;
create index on orders (note);

  alter table orders alter column id type bigint;
alter table orders alter column note set not null;
alter table orders add constraint fk foreign key (user_id) references users;
create table fresh (id int); alter table fresh add column x int;
alter table small add constraint positive check (id > 0) not valid;
update users set nick = 'x' where legacy is null;
insert into small values (2), (3);
truncate small";
    let run = tried(&database, up, "select 1").await;
    let statements = &run.migrations[0].statements;
    let lines: Vec<usize> = statements.iter().map(|one| one.line).collect();
    assert_eq!(lines, [1, 2, 4, 5, 6, 7, 7, 8, 9, 10, 11], "{run}");
    assert_eq!((statements[2].column, statements[6].column), (3, 30));

    let [add, index, retype, not_null, key, create, alter, not_valid, update, insert, truncate] =
        &statements[..]
    else {
        panic!("{run}")
    };
    assert_eq!(locks(add), [("users", "access exclusive")]);
    assert_eq!(add.locks[0].blocked, Blocks::ReadsAndWrites);
    assert!(
        add.rewritten.is_empty() && add.scanned.is_empty(),
        "a column without a default is free: {run}"
    );
    assert_eq!(
        (locks(index), &index.scanned[..]),
        (vec![("orders", "share")], &["orders".to_owned()][..])
    );
    assert_eq!(locks(retype), [("orders", "access exclusive")]);
    assert_eq!((&retype.rewritten[..], &retype.scanned[..]), (&["orders".to_owned()][..], &[][..]));
    assert_eq!(
        (&not_null.scanned[..], not_null.locks.len()),
        (&["orders".to_owned()][..], 0),
        "held already: {run}"
    );
    assert_eq!(key.scanned, ["orders"], "the other side is read by its key: {run}");
    assert!(create.is_quiet() && alter.is_quiet(), "new tables are in nobody's way: {run}");
    assert_eq!(
        (locks(not_valid), not_valid.scanned.len()),
        (vec![("small", "access exclusive")], 0)
    );
    assert_eq!(update.written, ["users"]);
    assert_eq!(
        (insert.rows[0].table.as_str(), insert.rows[0].inserted, insert.rows[0].existing),
        ("small", 2, true)
    );
    assert_eq!((&truncate.emptied[..], truncate.rewritten.len()), (&["small".to_owned()][..], 0));
}

/// What the trial has seen itself.
fn without_the_lints(run: DryRun) -> DryRun {
    let seen = ["rewrite-blocks", "scan-blocks"];
    let findings = run.findings.into_iter().filter(|one| seen.contains(&one.rule.as_str()));
    DryRun { findings: findings.collect(), ..run }
}

/// What takes long is told by the database's own sizes, with what to do instead; and what is quick is not.
#[tokio::test]
async fn long_work_under_a_lock_is_a_warning_where_the_table_is_large() {
    let Some(database) = with_rows().await else { return };
    let up = "alter table orders alter column id type bigint;\ncreate index on users (legacy);\nalter table small alter id type bigint";
    let down = "alter table orders alter column id type int; drop index users_legacy_idx; alter table small alter id type int";
    let run = without_the_lints(tried(&database, up, down).await);
    assert_eq!(
        rules(&run, Severity::Warning),
        [("rewrite-blocks", 1), ("scan-blocks", 2)],
        "{run}"
    );
    let finding = &run.findings[0].message;
    assert!(finding.starts_with("writes every row of orders (~12,000 rows, "), "{finding}");
    assert!(
        finding.ends_with("while nobody can read or write orders (access exclusive lock)"),
        "{finding}"
    );
    assert!(run.findings[1].help.as_ref().unwrap().contains("create index concurrently"), "{run}");
    assert!(run.is_clean() && run.exit().code() == 0 && run.exit_strict().code() == 1, "{run}");
    assert_eq!(run.sizes["orders"].rows, Some(12_000));

    let allowed = format!("-- migrate: allow rewrite-blocks it is night\n{up}");
    let run = without_the_lints(tried(&database, &allowed, down).await);
    assert_eq!(rules(&run, Severity::Warning), [("scan-blocks", 3)], "{run}");
    assert!(run.findings[0].message.ends_with("(allowed: it is night)"), "{run}");
}

/// Statement by statement, a script does what it does as one text: settings of its session, savepoints, errors at their place.
#[tokio::test]
async fn a_script_behaves_as_the_one_text_that_it_is() {
    let Some(database) = with_rows().await else { return };
    let up = "create schema app; set search_path = app; create table t (id int);
savepoint s; drop table t; rollback to savepoint s; prepare q as select 1; deallocate q; set local role none;
do $$ begin if to_regclass('app.t') is null then raise 'gone'; end if; end $$;
select set_config('my.value', 'x', true), current_setting('my.value', true)";
    let run = tried(&database, up, "drop schema app cascade").await;
    assert!(run.is_clean() && run.migrations[0].rollback_restores(), "{run}");

    let run = tried(&database, "select 1;\nselect 2;\n  select\n nonsense", "select 1").await;
    assert!(run.migrations[0].failure.as_ref().unwrap().contains("V0002__two.sql:4:"), "{run}");
    let run = tried(&database, "select 1;\n\ninsert into users values (1), (1)", "select 1").await;
    assert!(
        run.migrations[0].failure.as_ref().unwrap().contains("V0002__two.sql:3: duplicate key"),
        "{run}"
    );

    let strings = "set standard_conforming_strings = off; create table s (t text); insert into s values ('a\\'); reset all";
    let run = tried(&database, strings, "drop table s").await;
    assert!(run.is_clean(), "the text was read before it was run: {run}");
}

/// What the migration itself deletes is told with what the database holds, and what its rollback would lose.
#[tokio::test]
async fn what_is_lost_is_told_with_what_the_database_holds() {
    let Some(database) = with_rows().await else { return };
    let up = "-- migrate: phase contract
alter table users add column nick text;
alter table users drop column legacy;
delete from orders where id < 10;
create table fresh (id int)";
    let down = "drop table fresh; alter table users drop column nick; alter table users add column legacy text; insert into orders values (1)";
    let run = tried(&database, up, down).await;
    let trial = &run.migrations[0];
    let told: Vec<String> =
        trial.loses.iter().map(|loss| format!("{}: {}", loss.object, loss.holds)).collect();
    assert_eq!(told, ["column users.legacy: ~6,000 rows hold a value"], "{run}");
    let told: Vec<String> = trial
        .rollback_loses
        .iter()
        .map(|loss| format!("{}: {}", loss.object, loss.holds))
        .collect();
    let since = "whatever was written to it since";
    assert_eq!(
        told,
        [format!("table fresh: {since}"), format!("column users.nick: {since}")],
        "{run}"
    );
    assert!(rules(&run, Severity::Warning).contains(&("loses-data", 3)), "{run}");
    assert!(rules(&run, Severity::Warning).contains(&("loses-data", 4)), "{run}");

    let run = tried(&database, "alter table users add column nick text", "drop table users").await;
    let lost = &run.migrations[0].rollback_loses[0];
    assert!(
        lost.today && lost.object == "table users" && lost.holds.starts_with("~12,000 rows, "),
        "{run}"
    );
}

/// Shows C-MIG-7: what runs outside of a transaction is traced statement by statement as well; its locks are those that it took.
#[tokio::test]
async fn what_runs_outside_of_a_transaction_is_traced_too() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[(
        "V0001__a",
        "create table a (id int, n int); create index a_n on a (n);
         create table p (id int) partition by range (id);
         create table p1 partition of p for values from (0) to (10);
         create table log (id int);
         create procedure note_twice() language plpgsql as $$ begin
             insert into log values (1); commit; insert into log values (2); commit; end $$",
        "drop procedure note_twice(); drop table log, p, a",
    )]);
    apply(&database, &files).await;
    files.write(
        "V0002__outside.sql",
        "-- migrate: no-transaction\ncreate index concurrently a_id on a (id);\ndrop index concurrently a_n;\n\
         alter table p detach partition p1 concurrently;\nvacuum a;\nvacuum full a;\ncall note_twice();\n\
         alter table a add note text",
    );
    files.write(
        "V0002__outside.rollback.sql",
        "-- migrate: no-transaction\nalter table a drop note;\ntruncate log;\n\
         alter table p attach partition p1 for values from (0) to (10);\n\
         create index concurrently a_n on a (n);\ndrop index concurrently a_id",
    );
    let run = connect(&database).await.dry_run(&files.read()).await.unwrap();
    let [trial] = &run.migrations[..] else { panic!("{run}") };
    assert!(trial.failure.is_none(), "{run}");
    let told: Vec<String> = trial
        .statements
        .iter()
        .map(|one| {
            let locks = one.locks.iter().map(|lock| format!("{} {}", lock.table, lock.mode));
            let scans = one.scanned.iter().map(|table| format!("reads {table}"));
            let writes = one.rewritten.iter().map(|table| format!("rewrites {table}"));
            let rows =
                one.rows.iter().map(|rows| format!("{} rows of {}", rows.inserted, rows.table));
            let all: Vec<String> = locks.chain(scans).chain(writes).chain(rows).collect();
            format!("{}: {}", one.line, all.join(", "))
        })
        .collect();
    assert_eq!(
        told,
        [
            "2: a share update exclusive, reads a",
            "3: a share update exclusive",
            "4: p share update exclusive, p1 access exclusive",
            "5: a share update exclusive",
            "6: a access exclusive, rewrites a",
            "7: log row exclusive, 2 rows of log",
            "8: a access exclusive",
        ],
        "{run}"
    );
    assert!(trial.statements.iter().all(|one| one.outside && one.microseconds > 0));
    let back: Vec<usize> = trial.rollback_statements.iter().map(|one| one.line).collect();
    assert_eq!(back, [2, 3, 4, 5, 6], "{run}");
    let text =
        "share update exclusive; blocks vacuum and changes of the table itself, while it runs";
    assert!(run.to_string().contains(text), "{run}");
}
