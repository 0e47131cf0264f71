//! Many real processes at once on one database.

use std::process::{Child, Command, Output, Stdio};

use liftlock_testkit::TestDatabase;

use crate::program::migrate;
use crate::support::{Files, ask, execute, session};

/// Advisory locks of this database that are held: those of runs, and of nobody else.
const HELD: &str = "select count(*) from pg_locks l join pg_database d on d.oid = l.database
                    where locktype = 'advisory' and datname = current_database()";

/// In transactions and outside of them; each statement leaves its mark in `log` once. `nap` makes sure that runs meet.
fn files() -> Files {
    Files::new(&[
        ("V0001__log", "create table log (n int); create table t (a int)", "drop table log, t"),
        (
            "V0002__nap",
            "insert into t select generate_series(1, 1000); insert into log values (2); select pg_sleep(0.3)",
            "delete from t; delete from log where n = 2",
        ),
        (
            "V0003__outside",
            "-- migrate: no-transaction\ninsert into log values (3);\ncreate index concurrently i on t (a);\n\
             insert into log values (33);\ncreate unique index concurrently u on t (a)",
            "-- migrate: no-transaction\ndrop index concurrently if exists i;\n\
             drop index concurrently if exists u;\ndelete from log where n in (3, 33)",
        ),
        ("V0004__last", "insert into log values (4)", "delete from log where n = 4"),
    ])
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// How many migrations each process applied; all of them must end well.
fn applied(processes: Vec<Child>) -> Vec<u64> {
    let outputs = processes.into_iter().map(|child| child.wait_with_output().unwrap());
    let applied = |Output { status, stdout, stderr }: Output| {
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(0), "{said}");
        let json: serde_json::Value = serde_json::from_slice(&stdout).unwrap();
        json["applied"].as_array().unwrap().len() as u64
    };
    outputs.map(applied).collect()
}

async fn assert_each_once(database: &TestDatabase) {
    let log = "select string_agg(n::text, ' ' order by n) from log";
    assert_eq!(ask(database, log).await, "2 3 4 33");
    let indexes = "select string_agg(indexrelid::regclass || ' ' || indisvalid, ', ' order by indexrelid::regclass::text)
                   from pg_index where indrelid = 't'::regclass";
    assert_eq!(ask(database, indexes).await, "i true, u true");
    let history =
        "select string_agg(version::text, ' ' order by version) from refinery_schema_history";
    assert_eq!(ask(database, history).await, "1 2 3 4");
    let own = "select string_agg(action || ' ' || version, ', ' order by id) from liftlock_schema_history";
    assert_eq!(ask(database, own).await, "apply 1, apply 2, apply 3, apply 4");
    let journal = "select string_agg(event, ' ' order by id) from liftlock_schema_journal";
    let expected = "begun done started done done started done finished";
    assert_eq!(ask(database, journal).await, expected);
    let ended = "select bool_and(succeeded) and count(*) = 1 from liftlock_schema_run";
    assert_eq!(ask(database, ended).await, "true");
    assert_eq!(ask(database, HELD).await, "0", "no lock is left");
}

/// Shows C-MIG-1: two, ten and fifty processes at once, `CREATE INDEX CONCURRENTLY` among what they are to do. All of them end
/// well, and each statement runs once. (Where runs wait for each other in the server, this is a deadlock.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_processes_at_once_each_migration_runs_once() {
    let files = files();
    for count in [2, 10, 50] {
        let Some(database) = TestDatabase::new().await else { return };
        let command = || migrate(&database, &files, &["--wait", "10m", "--output", "json"]);
        let processes: Vec<Child> = (0..count).map(|_| start(command())).collect();
        let applied = applied(processes);
        assert_eq!(applied.iter().sum::<u64>(), 4, "{count} at once: {applied:?}");
        assert_each_once(&database).await;
    }
}

/// Shows C-MIG-1: processes that will not wait longer end with 7, touch nothing and name who holds the database; the one that
/// holds it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_do_not_wait_longer_say_who_holds_the_database() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[
        ("V0001__log", "create table log (n int)", "drop table log"),
        (
            "V0002__held",
            "select pg_advisory_xact_lock(41); insert into log values (2)",
            "delete from log",
        ),
    ]);
    let mut gate = session(database.url()).await;
    execute(&mut gate, "select pg_advisory_lock(41)").await;
    let long = ["--lock-timeout", "5m", "--output", "json"];
    let first = start(migrate(&database, &files, &long));
    let waits = "select count(*) from pg_locks l join pg_database d on d.oid = l.database
                 where locktype = 'advisory' and datname = current_database() and not granted";
    while ask(&database, waits).await == "0" {}

    let others: Vec<Child> =
        (0..10).map(|_| start(migrate(&database, &files, &["--wait", "100ms"]))).collect();
    for child in others {
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(7), "{said}");
        assert!(said.contains("(user postgres, liftlock migrate, alice, from "), "{said}");
    }
    execute(&mut gate, "select pg_advisory_unlock(41)").await;
    assert_eq!(applied(vec![first]), [2]);
    assert_eq!(ask(&database, "select string_agg(n::text, ' ') from log").await, "2");
    assert_eq!(ask(&database, HELD).await, "0", "no lock is left");
}
