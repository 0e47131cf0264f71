//! Applying.

use std::path::Path;

use liftlock_migrate::{Database, Failure, Migrations, Problem, ScriptError, Settings};
use liftlock_model::{Actor, Exit, RunId};
use liftlock_testkit::TestDatabase;

use crate::support::{Files, apply, ask, connect, execute, quiet, session, settings, tables};

const A: (&str, &str, &str) = ("V0001__a", "create table a (id int)", "drop table a");
const B: (&str, &str, &str) = ("V0002__b", "create table b (id int)", "drop table b");
const C: (&str, &str, &str) = ("V0003__c", "alter table b add c int", "alter table b drop c");

/// Shows C-MIG-1, C-MIG-11 and W-8: in order, each once, with who, when, how long and in which transaction.
#[tokio::test]
async fn migrations_are_applied_in_order_and_recorded() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[C, A, B]);
    let run = RunId::generate();
    let mut told = Vec::new();
    let mut liftlock =
        Database::connect(database.url(), Settings { run: Some(run.clone()), ..settings() })
            .await
            .unwrap();
    let before = liftlock.status(&files.read()).await.unwrap();
    assert_eq!((before.applied.len(), before.pending.len()), (0, 3));

    let ran = liftlock.apply(&files.read(), None, &mut |p| told.push(p.to_string())).await.unwrap();
    assert_eq!(
        ran.iter().map(|r| r.id.to_string()).collect::<Vec<_>>(),
        ["V0001__a", "V0002__b", "V0003__c"]
    );
    assert_eq!(told[0], "applying V0001__a (1 of 3)");
    assert!(told[5].starts_with("applied V0003__c in "), "{told:?}");

    let status = liftlock.status(&files.read()).await.unwrap();
    assert_eq!((status.pending.len(), status.problems.len()), (0, 0));
    let last = &status.applied[2];
    assert_eq!((last.version, last.name.as_str()), (3, "c"));
    assert_eq!(last.by, Some(Actor::new("alice")));
    assert_eq!(last.run, Some(run));
    assert!(last.duration().is_some());
    let kept =
        ask(&database, "select transaction_id from liftlock_schema_history where version = 3")
            .await;
    assert_eq!(kept, ran[2].transaction);
    assert_eq!(apply(&database, &files).await, [] as [i32; 0], "nothing is applied twice");
}

#[tokio::test]
async fn looking_writes_nothing() {
    let Some(database) = TestDatabase::new().await else { return };
    let mut liftlock = connect(&database).await;
    liftlock.status(&Files::new(&[A]).read()).await.unwrap();
    let none = Files::new(&[]);
    liftlock.apply(&none.read(), None, &mut quiet).await.unwrap();
    liftlock.rollback(0, false, &mut quiet).await.unwrap();
    assert_eq!(
        ask(&database, "select count(*) from pg_class where relname like '%schema_history'").await,
        "0"
    );
}

#[tokio::test]
async fn a_run_goes_up_to_the_version_that_is_asked_for() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[A, B, C]);
    let mut liftlock = connect(&database).await;
    let ran = liftlock.apply(&files.read(), Some(2), &mut quiet).await.unwrap();
    assert_eq!(ran.len(), 2);
    let error = liftlock.apply(&files.read(), Some(4), &mut quiet).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no migration V0004: the newest is V0003");
    assert_eq!(error.exit(), Exit::Usage);
    assert_eq!(apply(&database, &files).await, [3]);
}

/// Shows C-MIG-2 and C-MIG-6: what came before stays, the one that failed left nothing, and its place in the file is told.
#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_of_itself() {
    let Some(database) = TestDatabase::new().await else { return };
    let bad =
        "create table half (id int);\ninsert into half values (1);\n\nselect nonsense from half;";
    let files = Files::new(&[A, ("V0002__bad", bad, "drop table half"), C]);
    let error = connect(&database).await.apply(&files.read(), None, &mut quiet).await.unwrap_err();
    assert_eq!(error.ran.len(), 1);
    let text = error.to_string();
    assert!(
        text.contains("V0002__bad.sql:4: column \"nonsense\" does not exist (42703)"),
        "{text}"
    );
    assert_eq!(error.exit(), Exit::Failed);
    assert_eq!(tables(&database).await, "a");
    assert_eq!(ask(&database, "select count(*) from refinery_schema_history").await, "1");

    files.write("V0002__bad.sql", "create table half (id int); create table b (id int)");
    assert_eq!(apply(&database, &files).await, [2, 3], "mended, it goes on");
}

/// Shows C-MIG-3.
#[tokio::test]
async fn the_check_runs_in_the_migrations_own_transaction() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[
        A,
        ("V0002__b", "create table b (id int); insert into b values (1)", "drop table b"),
    ]);
    for (check, expected) in [
        (
            "select count(*) = 2, count(*) as rows from b",
            "the check says no: ?column? = f, rows = 1",
        ),
        ("select null::boolean as fine", "the check says no: fine = null"),
        (
            "select true; select id = 1 from b; select false as third",
            "the check says no: third = f",
        ),
        ("select\n  nonsense", "V0002__b.verify.sql:2: column \"nonsense\" does not exist"),
        ("do $$ begin raise exception 'not good'; end $$", "not good"),
    ] {
        files.write("V0002__b.verify.sql", check);
        let error =
            connect(&database).await.apply(&files.read(), None, &mut quiet).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(tables(&database).await, "a");
    }
    files.write(
        "V0002__b.verify.sql",
        "insert into b values (2); select count(*) = 2 from b; select 'f'",
    );
    let ran = connect(&database).await.apply(&files.read(), None, &mut quiet).await.unwrap();
    assert!(ran[0].verified);
    assert_eq!(
        ask(&database, "select count(*) from b").await,
        "1",
        "what a check writes is taken back"
    );
}

/// Shows C-MIG-6: nothing is touched when files and history do not fit.
#[tokio::test]
async fn what_does_not_fit_the_history_is_refused_before_anything_is_touched() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A, B])).await;

    let changed = Files::new(&[("V0001__a", "create table a (id bigint)", "drop table a"), B, C]);
    let renamed = Files::new(&[("V0001__other", A.1, A.2), B, C]);
    let missing = Files::new(&[A]);
    for (files, expected) in [
        (&changed, "V0001__a was applied, and V0001__a.sql has changed since"),
        (&renamed, "V0001__a was applied, and V0001__other.sql has changed since"),
        (&missing, "V0002__b is applied, and the newest file is V0001"),
    ] {
        let status = connect(&database).await.status(&files.read()).await.unwrap();
        assert_eq!(status.problems.len(), 1, "{status:?}");
        let error =
            connect(&database).await.apply(&files.read(), None, &mut quiet).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.exit(), Exit::Usage);
        assert_eq!(tables(&database).await, "a b");
    }
    // A migration in the middle that was never applied, and one whose file is gone.
    execute(
        &mut session(database.url()).await,
        "delete from refinery_schema_history where version = 1",
    )
    .await;
    let error = connect(&database)
        .await
        .apply(&Files::new(&[A, B]).read(), None, &mut quiet)
        .await
        .unwrap_err();
    let Failure::Refused { problems, .. } = error.failure else { panic!("{error}") };
    assert!(matches!(problems[0], Problem::Below { newest: 2, .. }), "{problems:?}");
}

/// What hides a statement from a look at the words: this is no function's body, but a parameter called `begin` of a type
/// called `atomic`.
const HIDES: &str = "create function hides(begin atomic) returns int language sql as 'select 1'; create table half (id int)";

/// A script that ends its transaction. The plain words are refused with the file (see `files.rs`); what hides them is caught
/// when it happens, and nothing is left. Shows C-MIG-2.
#[tokio::test]
async fn a_script_cannot_end_its_transaction() {
    let Some(database) = TestDatabase::new().await else { return };
    let domain = ("V0001__a", "create table a (id int); create domain atomic as int", "select 1");
    apply(&database, &Files::new(&[domain])).await;
    for statement in
        ["commit", "rollback", "prepare transaction 'p'", "commit and chain", "rollback and chain"]
    {
        for (after, verify) in [("; create table other (id int)", None), ("", None), ("", Some(()))]
        {
            let sql = format!("{HIDES}; {statement}{after}");
            let files = Files::new(&[domain, ("V0002__b", "select 1", "drop table half")]);
            if verify.is_some() {
                files.write("V0002__b.verify.sql", &sql);
            } else {
                files.write("V0002__b.sql", &sql);
            }
            let error =
                connect(&database).await.apply(&files.read(), None, &mut quiet).await.unwrap_err();
            let Failure::Script { source, .. } = &error.failure else { panic!("{sql}: {error}") };
            let ended = matches!(source, ScriptError::EndedTransaction { .. });
            assert!(
                ended || !after.is_empty() || statement.starts_with("prepare"),
                "{sql}: {error}"
            );
            assert_eq!(tables(&database).await, "a", "{sql}: {error}");
            assert_eq!(ask(&database, "select count(*) from refinery_schema_history").await, "1");
        }
    }
}

/// Strings mean what the standard says, even where the database is set to read them in another way, and even if a script sets
/// that: its records are not read as anything but text.
#[tokio::test]
async fn strings_are_read_in_one_way() {
    let Some(database) = TestDatabase::new().await else { return };
    let alter = format!("alter database {} set standard_conforming_strings = off", database.name());
    execute(&mut session(database.url()).await, &alter).await;
    let rollback = "select 'x\\''; drop table a -- ü '";
    let files = Files::new(&[(
        "V0001__a",
        "create table a (id int); select 'x\\''; rollback; --'; set standard_conforming_strings = off",
        rollback,
    )]);
    assert_eq!(apply(&database, &files).await, [1]);
    assert_eq!(tables(&database).await, "a");
    let kept = "select rollback_sql from liftlock_schema_history";
    assert_eq!(ask(&database, kept).await, rollback);
}

/// Constraints can be checked early, which the guard of the transaction does not stand in the way of; and those that are checked
/// when it commits fail it whole.
#[tokio::test]
async fn deferred_constraints_are_the_scripts_own() {
    let Some(database) = TestDatabase::new().await else { return };
    let table = "create table a (id int unique deferrable initially deferred);";
    let fine = format!("{table} insert into a values (1); set constraints all immediate");
    assert_eq!(apply(&database, &Files::new(&[("V0001__a", &fine, "drop table a")])).await, [1]);
    let files = Files::new(&[
        ("V0001__a", &fine, "drop table a"),
        ("V0002__b", "create table b (); insert into a values (1)", "drop table b"),
    ]);
    let error = connect(&database).await.apply(&files.read(), None, &mut quiet).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("V0002__b.sql: duplicate key value violates"), "{text}");
    assert_eq!(tables(&database).await, "a");
}

/// What a script sets for its session does not reach the next one, nor the records.
#[tokio::test]
async fn a_scripts_settings_end_with_it() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[
        (
            "V0001__a",
            "create schema other; set search_path = other; set lock_timeout = 0; create table a ()",
            "select 1",
        ),
        ("V0002__b", "create table b (); select set_config('search_path', '', false)", "select 1"),
        ("V0003__c", "create table c ()", "select 1"),
    ]);
    assert_eq!(apply(&database, &files).await, [1, 2, 3]);
    assert_eq!(tables(&database).await, "b c");
    assert_eq!(ask(&database, "select count(*) from public.refinery_schema_history").await, "3");
}

/// The sample application's own migrations, up, down and up again.
#[tokio::test]
async fn the_sample_migrations_run() {
    let Some(database) = TestDatabase::new().await else { return };
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let migrations = Migrations::read(&top).unwrap();
    let mut liftlock = connect(&database).await;
    let ran = liftlock.apply(&migrations, None, &mut quiet).await.unwrap();
    assert!(ran.iter().any(|one| one.verified));
    assert_eq!(tables(&database).await, "items orders");
    let back = liftlock.rollback(0, false, &mut quiet).await.unwrap();
    assert_eq!((back.ran.len(), back.refused), (ran.len(), None));
    assert_eq!(tables(&database).await, "null");
    liftlock.apply(&migrations, None, &mut quiet).await.unwrap();
}

/// Many are recorded with a prepared statement, which a script may drop, openly or through a function, and no migration fails for it;
/// a role or search path that one sets is gone before it is recorded, and the place of an error is told in the script's own lines.
#[tokio::test]
async fn what_many_scripts_do_to_the_session_does_not_reach_the_records() {
    let Some(database) = TestDatabase::new().await else { return };
    let forgets = "create function forgets() returns void language plpgsql as $$ begin execute 'deall' || 'ocate all'; end $$";
    let files = Files::new(&[
        A,
        ("V0002__b", forgets, "drop function forgets()"),
        ("V0003__c", "select forgets()", "select 1"),
        (
            "V0004__d",
            "create schema s; set search_path = s; create table d (id int)",
            "drop schema s cascade",
        ),
        ("V0005__e", "deallocate all; create table e (id int)", "drop table e"),
        ("V0006__f", "set statement_timeout = 1; create table f (id int)", "drop table f"),
    ]);
    assert_eq!(apply(&database, &files).await, [1, 2, 3, 4, 5, 6]);
    let kept = "select string_agg(version || ' ' || action || ' ' || attempts, ', ' order by id) from liftlock_schema_history";
    assert_eq!(
        ask(&database, kept).await,
        "1 apply 1, 2 apply 1, 3 apply 1, 4 apply 1, 5 apply 1, 6 apply 1"
    );
    let both = "select count(*)::text from liftlock_schema_history l join refinery_schema_history r using (version, name)
                where transaction_id <> '' and database_user = session_user";
    assert_eq!(ask(&database, both).await, "6");
    assert_eq!(tables(&database).await, "a e f", "what is s.d is not in the search path");

    for version in 7..=12 {
        let up = if version == 12 { "select 1;\n\nselect 'ä', wrong" } else { "select 1" };
        files.write(&format!("V00{version:02}__x.sql"), up);
        files.write(&format!("V00{version:02}__x.rollback.sql"), "select 1");
    }
    let failed = connect(&database).await.apply(&files.read(), None, &mut quiet).await.unwrap_err();
    assert_eq!(failed.ran.len(), 5);
    assert!(
        failed.to_string().contains("V0012__x.sql:3: column \"wrong\" does not exist"),
        "{failed}"
    );
}

/// One connection applies many, takes them back and applies them again.
#[tokio::test]
async fn many_are_applied_again_over_the_same_connection() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[]);
    for number in 1..=5 {
        files.write(&format!("V000{number}__t.sql"), &format!("create table t{number} (id int)"));
        files.write(&format!("V000{number}__t.rollback.sql"), &format!("drop table t{number}"));
    }
    let mut liftlock = connect(&database).await;
    for _ in 0..2 {
        let ran = liftlock.apply(&files.read(), None, &mut quiet).await.unwrap();
        assert_eq!(ran.len(), 5);
        assert_eq!(liftlock.rollback(0, true, &mut quiet).await.unwrap().ran.len(), 5);
    }
}

/// A script's `deallocate all` takes prepared statements away; ours go on.
#[tokio::test]
async fn a_script_may_deallocate_what_is_prepared() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[
        ("V0001__a", "create table a (id int); deallocate all", "drop table a; deallocate all"),
        ("V0002__b", "deallocate all; create table b (id int)", "deallocate all; drop table b"),
    ]);
    let mut liftlock = connect(&database).await;
    liftlock.status(&files.read()).await.unwrap();
    let ran = liftlock.apply(&files.read(), None, &mut quiet).await.unwrap();
    assert_eq!(ran.len(), 2);
    assert_eq!(liftlock.rollback(0, true, &mut quiet).await.unwrap().ran.len(), 2);
}

/// What is looked at quickly says the same as the longer look: a run that finds nothing to do misses nothing.
#[tokio::test]
async fn a_database_is_current_only_while_it_has_just_what_the_files_hold() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[
        ("V0001__a", "create table a (id int)", "drop table a"),
        ("V0002__b", "create table b (id int)", "drop table b"),
    ]);
    let current = async || connect(&database).await.is_current(&files.read()).await.unwrap();
    assert!(!current().await, "no tables");
    apply(&database, &files).await;
    assert!(current().await);

    files.write("V0002__b.rollback.sql", "drop table if exists b");
    assert!(!current().await, "a rollback script is to be kept");
    apply(&database, &files).await;
    assert!(current().await);

    files.write("V0001__a.sql", "create table a (id bigint)");
    assert!(!current().await, "a file was changed");
    files.write("V0001__a.sql", "create table a (id int)");
    let unproven = Settings { accept_unproven: true, ..settings() };
    let mut liftlock = Database::connect(database.url(), unproven).await.unwrap();
    liftlock.rollback(1, false, &mut quiet).await.unwrap();
    assert!(!current().await, "one is pending");
    files.write("V0002__b.sql", "create table b (id nonsense)");
    connect(&database).await.apply(&files.read(), None, &mut quiet).await.unwrap_err();
    assert!(!current().await, "one has failed");
    files.write("V0002__b.sql", "create table b (id int)");
    apply(&database, &files).await;
    assert!(current().await, "applied again");

    files.write("V0003__c.sql", "-- migrate: no-transaction\nvacuum a; select nonsense");
    files.write("V0003__c.rollback.sql", "select 1");
    connect(&database).await.apply(&files.read(), None, &mut quiet).await.unwrap_err();
    let two = Files::new(&[
        ("V0001__a", "create table a (id int)", "drop table a"),
        ("V0002__b", "create table b (id int)", "drop table if exists b"),
    ]);
    let half_done = connect(&database).await.is_current(&two.read()).await.unwrap();
    assert!(!half_done, "something is half done");

    let mut other = session(database.url()).await;
    execute(&mut other, "drop table liftlock_schema_journal").await;
    assert!(connect(&database).await.is_current(&two.read()).await.unwrap());
    execute(&mut other, "delete from refinery_schema_history where version = 2").await;
    assert!(!connect(&database).await.is_current(&two.read()).await.unwrap(), "others' deed");
}

/// A script too large to be sent at once is one transaction all the same, and an error in it is told with its line.
#[tokio::test]
async fn a_large_script_runs_whole_or_not_at_all_and_errors_have_their_lines() {
    let Some(database) = TestDatabase::new().await else { return };
    let rows = format!("insert into log values (length('{}'));\n", "x".repeat(60_000));
    let large = format!("create table log (n int);\n{}", rows.repeat(150));
    let files =
        Files::new(&[("V0001__large", &format!("{large}\nselect nonsense"), "drop table log")]);
    let error = connect(&database).await.apply(&files.read(), None, &mut quiet).await.unwrap_err();
    assert!(error.to_string().contains("V0001__large.sql:153: column \"nonsense\""), "{error}");
    assert_eq!(tables(&database).await, "null", "nothing of it is left");

    files.write("V0001__large.sql", &format!("{large}do $$ begin raise 'no'; end $$"));
    let error = connect(&database).await.apply(&files.read(), None, &mut quiet).await.unwrap_err();
    assert!(error.to_string().contains("V0001__large.sql: no"), "its place is not known: {error}");

    files.write("V0001__large.sql", &format!("{large}rollback to savepoint never"));
    connect(&database).await.apply(&files.read(), None, &mut quiet).await.unwrap_err();
    files.write("V0001__large.sql", &large);
    assert_eq!(apply(&database, &files).await, [1]);
    assert_eq!(ask(&database, "select sum(n) from log").await, "9000000");
}
