//! Locks and limits: other runs, other sessions, slow statements.

use std::time::Duration;

use liftlock_migrate::{Database, Failure, LockError, Progress, ScriptError, Settings};
use liftlock_model::Exit;
use liftlock_testkit::TestDatabase;

use crate::support::{Files, apply, ask, connect, execute, quiet, session, settings, tables};

const A: (&str, &str, &str) = ("V0001__a", "create table a (id int)", "drop table a");

/// Shows C-MIG-1: twenty times ten runs at once; each migration runs once, and every run ends well.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_runs_at_once_each_migration_runs_once() {
    let files = Files::new(&[
        ("V0001__log", "create table log (n int)", "drop table log"),
        ("V0002__one", "insert into log values (1)", "delete from log where n = 1"),
        ("V0003__two", "insert into log values (2)", "delete from log where n = 2"),
    ]);
    let migrations = files.read();
    for _ in 0..20 {
        let Some(database) = TestDatabase::new().await else { return };
        let mut runs = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let (migrations, database) = (migrations.clone(), database.clone());
            runs.spawn(async move {
                connect(&database).await.apply(&migrations, None, &mut quiet).await
            });
        }
        let ran: usize = runs.join_all().await.into_iter().map(|run| run.unwrap().len()).sum();
        assert_eq!(ran, 3);
        assert_eq!(ask(&database, "select string_agg(n::text, ' ') from log").await, "1 2");
    }
}

/// Another run that does not end: it is named, and nothing is touched.
#[tokio::test]
async fn a_run_that_holds_the_database_is_named() {
    let Some(database) = TestDatabase::new().await else { return };
    let mut other = session(database.url()).await;
    let lock = format!(
        "set application_name = 'liftlock migrate, bob'; select pg_advisory_lock({}, {})",
        i32::from_be_bytes(*b"lift"),
        i32::from_be_bytes(*b"lock")
    );
    execute(&mut other, &lock).await;
    let short = Settings { wait: Duration::from_millis(300), ..settings() };
    let mut told = Vec::new();
    let mut liftlock = Database::connect(database.url(), short).await.unwrap();
    let files = Files::new(&[A]);
    let error =
        liftlock.apply(&files.read(), None, &mut |p| told.push(p.to_string())).await.unwrap_err();
    assert!(matches!(error.failure, Failure::Lock(LockError::Held { .. })), "{error}");
    assert!(error.to_string().contains("liftlock migrate, bob"), "{error}");
    assert_eq!(error.exit(), Exit::Held);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(tables(&database).await, "null");

    // Once it has ended, the same command goes through, and leaves the lock free.
    drop(other);
    liftlock = connect(&database).await;
    liftlock.apply(&files.read(), None, &mut quiet).await.unwrap();
    let held = "select count(*) from pg_locks l join pg_database d on d.oid = l.database
                where locktype = 'advisory' and datname = current_database()";
    assert_eq!(ask(&database, held).await, "0");
}

/// Shows C-MIG-9 and W-3: a table that somebody else holds ends the migration after `lock_timeout`, and who holds it is named.
#[tokio::test]
async fn a_table_that_somebody_holds_ends_the_migration_and_names_the_holder() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A])).await;
    let mut other = session(database.url()).await;
    execute(&mut other, "set application_name = 'nightly report'; begin; select count(*) from a")
        .await;

    let files = Files::new(&[
        A,
        (
            "V0002__b",
            "create table b ();\nalter table a add b int",
            "alter table a drop b; drop table b",
        ),
    ]);
    let mut told = Vec::new();
    // Time enough to look from a second connection, on a busy machine as well.
    let settings = Settings { lock_timeout: Duration::from_secs(3), ..settings() };
    let mut liftlock = Database::connect(database.url(), settings).await.unwrap();
    let error =
        liftlock.apply(&files.read(), None, &mut |p| told.push(p.clone())).await.unwrap_err();
    let Failure::Script { source: ScriptError::LockTimeout { by, .. }, .. } = &error.failure else {
        panic!("{error}")
    };
    assert_eq!(by[0].application, "nightly report");
    assert!(error.to_string().contains("idle in transaction"), "{error}");
    assert!(told.iter().any(|p| matches!(p, Progress::Blocked { .. })), "{told:?}");
    assert_eq!(tables(&database).await, "a", "nothing of it is left");

    execute(&mut other, "commit").await;
    liftlock.apply(&files.read(), None, &mut quiet).await.unwrap();
    // The same on the way back.
    execute(&mut other, "begin; select count(*) from a").await;
    let error = liftlock.rollback(1, false, &mut quiet).await.unwrap_err();
    assert!(error.to_string().contains("nightly report"), "{error}");
    assert_eq!(tables(&database).await, "a b");
}

/// Shows C-MIG-9.
#[tokio::test]
async fn a_statement_that_runs_too_long_is_ended() {
    let Some(database) = TestDatabase::new().await else { return };
    let hasty = Settings { statement_timeout: Duration::from_millis(200), ..settings() };
    let mut liftlock = Database::connect(database.url(), hasty).await.unwrap();
    let files =
        Files::new(&[("V0001__a", "create table a (id int); select pg_sleep(30)", "drop table a")]);
    let error = liftlock.apply(&files.read(), None, &mut quiet).await.unwrap_err();
    let Failure::Script { source: ScriptError::StatementTimeout { .. }, .. } = &error.failure
    else {
        panic!("{error}")
    };
    assert!(error.to_string().contains("longer than 200 ms (statement_timeout)"), "{error}");
    assert_eq!(tables(&database).await, "null");
}

/// A session that the server ends in the middle of a script.
#[tokio::test]
async fn a_connection_that_breaks_leaves_nothing() {
    let Some(database) = TestDatabase::new().await else { return };
    let files =
        Files::new(&[("V0001__a", "create table a (id int); select pg_sleep(30)", "drop table a")]);
    let migrations = files.read();
    let mut liftlock = connect(&database).await;
    let kill = async {
        let query = "select count(*) from (select pg_terminate_backend(pid) from pg_stat_activity
                     where query like '%pg_sleep(30)%' and pid <> pg_backend_pid() and datname = current_database()) t";
        while ask(&database, query).await == "0" {}
    };
    let mut nobody = quiet;
    let (error, ()) = tokio::join!(liftlock.apply(&migrations, None, &mut nobody), kill);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("V0001__a") && text.contains("terminating connection"), "{text}");
    assert_eq!(tables(&database).await, "null");
    assert_eq!(apply(&database, &Files::new(&[A])).await, [1]);
}
