//! Connections that break at any byte, and processes that are killed at any byte: the next run recovers.
//!
//! `LIFTLOCK_CHAOS_CUTS` is how many places of a conversation are tried (24 if it is not set).

use std::process::{Command, Stdio};

use liftlock_migrate::{ApplyError, Database, Failure, Migrations, Progress, Settings};
use liftlock_testkit::{Fault, FaultProxy, TestDatabase, Way};
use secrecy::{ExposeSecret as _, SecretString};

use crate::support::{Files, ask, connect, quiet, settings};

/// In transactions and outside of them; each leaves its mark in `log` once.
fn files() -> Files {
    Files::new(&[
        ("V0001__t", "create table log (n int); create table t (a int)", "drop table log, t"),
        (
            "V0002__outside",
            "-- migrate: no-transaction\ninsert into log values (2);\ncreate index concurrently i on t (a);\n\
             insert into log values (3);\ncreate unique index concurrently on t ((a + 1))",
            "-- migrate: no-transaction\ndrop index concurrently if exists i;\n\
             drop index concurrently if exists t_expr_idx",
        ),
        (
            "V0003__last",
            "insert into log values (4)",
            "select 'nothing to do: log goes with V0001'",
        ),
    ])
}

/// How many places to try.
fn cuts() -> u64 {
    let wanted = std::env::var("LIFTLOCK_CHAOS_CUTS").ok();
    wanted.and_then(|wanted| wanted.parse().ok()).unwrap_or(24)
}

/// Everything once, nothing half done, and the history says so.
async fn assert_whole(database: &TestDatabase, place: &str) {
    let log = "select string_agg(n::text, ' ' order by n) from log";
    assert_eq!(ask(database, log).await, "2 3 4", "{place}");
    let indexes = "select string_agg(indexrelid::regclass || ' ' || indisvalid, ', ' order by indexrelid::regclass::text)
                   from pg_index where indrelid = 't'::regclass";
    assert_eq!(ask(database, indexes).await, "i true, t_expr_idx true", "{place}");
    let history =
        "select string_agg(version::text, ' ' order by version) from refinery_schema_history";
    assert_eq!(ask(database, history).await, "1 2 3", "{place}");
    let own = "select string_agg(version::text, ' ' order by id) from liftlock_schema_history where action = 'apply'";
    assert_eq!(ask(database, own).await, "1 2 3", "{place}");
    let status = connect(database).await.status(&files().read()).await.unwrap();
    assert!(status.half_done.is_empty() && status.pending.is_empty(), "{place}: {status:?}");
}

/// One run through a proxy. None if it could not even connect.
async fn run(url: &SecretString, migrations: &Migrations) -> Option<Result<usize, ApplyError>> {
    let settings = Settings { lock_retry_budget: std::time::Duration::ZERO, ..settings() };
    let mut database = Database::connect(url, settings).await.ok()?;
    Some(database.apply(migrations, None, &mut quiet).await.map(|ran| ran.len()))
}

/// How many bytes a whole run takes, each way.
async fn measure(migrations: &Migrations) -> Option<[(Way, u64); 2]> {
    let database = TestDatabase::new().await?;
    let proxy = FaultProxy::start(database.url(), None).await;
    assert_eq!(run(&proxy.url(database.url()), migrations).await?.unwrap(), 3);
    Some([Way::ToServer, Way::ToProgram].map(|way| (way, proxy.passed(way))))
}

/// Places of the whole conversation, evenly spread.
fn places(lengths: [(Way, u64); 2], count: u64) -> impl Iterator<Item = (Way, u64)> {
    let total: u64 = lengths.iter().map(|(_, length)| length).sum();
    let step = (total / count).max(1);
    lengths.into_iter().flat_map(move |(way, length)| {
        (1..=length).step_by(usize::try_from(step).unwrap()).map(move |byte| (way, byte))
    })
}

/// Shows C-MIG-2: the connection is cut at any byte of the conversation, either way. The next run goes on, and each statement has run
/// exactly once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_anywhere_leaves_nothing_that_the_next_run_does_not_mend() {
    let migrations = files().read();
    let Some(lengths) = measure(&migrations).await else { return };
    let mut failed = 0;
    for (way, byte) in places(lengths, cuts()) {
        let place = format!("cut after {byte} bytes {way:?} of {lengths:?}");
        let database = TestDatabase::new().await.unwrap();
        let proxy = FaultProxy::start(database.url(), Some((way, byte, Fault::Cut))).await;
        let first = run(&proxy.url(database.url()), &migrations).await;
        drop(proxy);
        failed += u32::from(!matches!(first, Some(Ok(_))));
        let second = connect(&database).await.apply(&migrations, None, &mut quiet).await;
        second.unwrap_or_else(|error| panic!("{place}: {error}; before: {first:?}"));
        assert_whole(&database, &place).await;
    }
    assert!(failed > 0, "no cut had an effect");
}

/// Shows C-MIG-2: a commit whose answer is lost is in doubt, which is said, and the next run goes on from what is true.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_said_to_be_in_doubt() {
    let migrations = files().read();
    let Some(database) = TestDatabase::new().await else { return };
    let (way, mut length) = (Way::ToProgram, 0);
    let proxy = FaultProxy::start(database.url(), None).await;
    let mut through = Database::connect(&proxy.url(database.url()), settings()).await.unwrap();
    // When the last migration is told to be applied, the answer to its commit has just come.
    let mut listen = |progress: &Progress| {
        if matches!(progress, Progress::Applied { .. }) {
            length = proxy.passed(way);
        }
    };
    through.apply(&migrations, None, &mut listen).await.unwrap();
    for byte in (1..=length).rev().step_by(5) {
        let database = TestDatabase::new().await.unwrap();
        let proxy = FaultProxy::start(database.url(), Some((way, byte, Fault::Cut))).await;
        let first = run(&proxy.url(database.url()), &migrations).await;
        let Some(Err(ApplyError { failure: Failure::InDoubt { id, .. }, .. })) = &first else {
            continue;
        };
        assert_eq!(id.version, 3);
        let ran = connect(&database).await.apply(&migrations, None, &mut quiet).await.unwrap();
        assert_eq!(ran.len(), 0, "it had been committed");
        return assert_whole(&database, "a lost answer").await;
    }
    panic!("no commit was in doubt");
}

/// Shows C-MIG-2: the program itself is killed with SIGKILL at any byte of its conversation, and run again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_killed_anywhere_goes_on_when_it_is_run_again() {
    let files = files();
    let migrations = files.read();
    let Some(lengths) = measure(&migrations).await else { return };
    let migrate = |url: &SecretString| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
        command.arg("--directory").arg(files.path()).env("DATABASE_URL", url.expose_secret());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let mut killed = 0;
    for (way, byte) in places(lengths, cuts() / 2) {
        let place = format!("killed after {byte} bytes {way:?} of {lengths:?}");
        let database = TestDatabase::new().await.unwrap();
        let proxy = FaultProxy::start(database.url(), Some((way, byte, Fault::Stall))).await;
        let mut child = migrate(&proxy.url(database.url())).spawn().unwrap();
        // It either gets as far as that byte, or ends before.
        let ended = async {
            while child.try_wait().unwrap().is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = proxy.struck() => killed += 1,
            () = ended => {}
        }
        child.kill().unwrap();
        child.wait().unwrap();
        drop(proxy);
        loop {
            let again = migrate(database.url()).output().unwrap();
            let said = String::from_utf8_lossy(&again.stderr);
            // Of a machine that does a hundred things at once.
            if !said.contains("does not answer: no answer within") {
                assert!(again.status.success(), "{place}: {said}");
                break;
            }
        }
        assert_whole(&database, &place).await;
    }
    assert!(killed > 0, "nothing was killed");
}
