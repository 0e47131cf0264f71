//! Schemas that others change between runs.

use std::process::Command;

use liftlock_migrate::{DriftPolicy, Failure, Progress, Settings};
use liftlock_model::Exit;
use liftlock_testkit::TestDatabase;
use secrecy::ExposeSecret as _;

use crate::support::{Files, apply, ask, connect, execute, quiet, session, settings, tables};

const A: (&str, &str, &str) = ("V0001__a", "create table a (id int)", "drop table a");
const B: (&str, &str, &str) = ("V0002__b", "create table b (id int)", "drop table b");

const RUNS: &str = "select string_agg(concat_ws(' ', action, actor, succeeded, history_after, history_to,
                       case when schema_before <> schema_after then 'changed' end, reason), ', ' order by id)
                    from liftlock_schema_run";

async fn by_hand(database: &TestDatabase, sql: &str) {
    execute(&mut session(database.url()).await, sql).await;
}

/// Shows C-MIG-11: the schema before and after each run is kept, once each, also of one that failed and of rollbacks.
#[tokio::test]
async fn each_run_keeps_the_schema_before_and_after_it() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[A, B]);
    apply(&database, &files).await;
    assert_eq!(apply(&database, &files).await, Vec::<i32>::new());
    connect(&database).await.rollback(0, false, &mut quiet).await.unwrap();
    files.write("V0002__b.sql", "create table b (id int); select 1 / 0");
    let failed = connect(&database).await.apply(&files.read(), None, &mut quiet).await;
    assert_eq!(failed.unwrap_err().ran.len(), 1);
    let runs = "apply alice t 0 2 changed, rollback alice t 2 4 changed, apply alice f 4 6 changed";
    assert_eq!(ask(&database, RUNS).await, runs);
    let snapshots = "select count(*) from liftlock_schema_snapshot";
    assert_eq!(ask(&database, snapshots).await, "3");
    let kept = "select s.schema from liftlock_schema_snapshot s join liftlock_schema_run r on r.schema_after = s.fingerprint
                order by r.id desc limit 1";
    let kept = liftlock_migrate::schema::Schema::from_text(&ask(&database, kept).await).unwrap();
    let live = liftlock_migrate::schema::Schema::read(&mut session(database.url()).await).await;
    assert_eq!(kept, live.unwrap());
}

/// Shows C-MIG-11 and C-MIG-3.
#[tokio::test]
async fn a_schema_that_others_changed_is_shown_and_nothing_is_touched() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[A]);
    apply(&database, &files).await;
    by_hand(&database, "alter table a add by_hand text; create index on a (id)").await;
    let files = Files::new(&[A, B]);
    let refused = connect(&database).await.apply(&files.read(), None, &mut quiet).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused.failure, Failure::Drift(_)) && refused.exit() == Exit::Refused);
    let text = refused.to_string();
    for told in
        ["by alice at ", "+column by_hand text", "index public.a_id_idx (added)", "--accept REASON"]
    {
        assert!(text.contains(told), "{told} is not in {text}");
    }
    let refused = connect(&database).await.rollback(0, true, &mut quiet).await.unwrap_err();
    assert_eq!(refused.exit(), Exit::Refused);
    assert_eq!(tables(&database).await, "a");
    assert!(ask(&database, RUNS).await.ends_with("1 changed"), "a refused run leaves no record");

    let mut seen = Vec::new();
    let policy = |drift| Settings { drift, ..settings() };
    let warned = liftlock_migrate::Database::connect(database.url(), policy(DriftPolicy::Warn));
    let mut listen = |progress: &Progress| seen.push(progress.to_string());
    warned.await.unwrap().apply(&files.read(), None, &mut listen).await.unwrap();
    assert!(seen[0].contains("note: the schema of ") && seen[0].contains("+column by_hand text"));
    by_hand(&database, "drop table b; create table b (id bigint)").await;
    let ignoring = liftlock_migrate::Database::connect(database.url(), policy(DriftPolicy::Ignore));
    ignoring.await.unwrap().rollback(1, false, &mut quiet).await.unwrap();
    let drift = connect(&database).await.drift().await.unwrap();
    assert!(!drift.is_seen() && drift.unknown.is_none(), "{drift}");
}

#[tokio::test]
async fn a_drift_is_accepted_on_record_and_the_next_run_goes_on() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[A]);
    let migrate = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
        command.args(arguments).arg("--directory").arg(files.path());
        command.env("DATABASE_URL", database.url().expose_secret()).env("LIFTLOCK_ACTOR", "bob");
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), text)
    };
    let (code, text) = migrate(&["drift"]);
    assert!(code == 0 && text.contains("no schema is kept yet"), "{text}");
    apply(&database, &files).await;
    assert_eq!(migrate(&["drift"]).0, 0);
    by_hand(&database, "create view v as select id from a").await;
    files.write("V0002__b.sql", B.1);
    files.write("V0002__b.rollback.sql", B.2);
    let (code, text) = migrate(&[]);
    assert!(code == 4 && text.contains("nothing was touched") && text.contains("view public.v"));
    let (code, text) = migrate(&["status"]);
    assert!(code == 1 && text.contains("DRIFT") && text.contains(": 1 object; "), "{text}");
    let (code, text) = migrate(&["drift"]);
    assert!(code == 1 && text.contains("view public.v (added)"), "{text}");
    let (code, text) = migrate(&["drift", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, json["changes"][0]["name"].as_str()), (1, Some("public.v")));
    assert_eq!(migrate(&["drift", "--accept", " "]).0, 2);
    let (code, text) = migrate(&["drift", "--accept", "a view for the auditors"]);
    assert!(code == 0 && text.contains("taken as it is from now on: a view for"), "{text}");
    let (code, text) = migrate(&["drift", "--accept", "again"]);
    assert!(code == 0 && text.contains(" is what the last run (accept by bob at "), "{text}");
    assert_eq!(migrate(&[]).0, 0);
    let runs = ask(&database, RUNS).await;
    let accepted = ", accept bob t 1 1 changed a view for the auditors, apply bob t 1 2 changed";
    assert!(!runs.contains("again") && runs.contains("accept bob t 1 1"), "{runs}");
    assert!(runs.ends_with(", apply bob t 1 2 changed"), "{runs} is not like {accepted}");
}

#[tokio::test]
async fn what_is_no_change_of_the_schema_is_no_drift() {
    let Some(database) = TestDatabase::new().await else { return };
    let parted = "create table a (id int, at date); create index on a (at);
                  create table p (at date primary key) partition by range (at); create index on p (at)";
    let files = Files::new(&[("V0001__a", parted, "drop table a, p")]);
    apply(&database, &files).await;
    let routine = "insert into a select 1, '2020-01-01'; analyze; create temporary table t (id int);
                   create table p1 partition of p for values from ('2020-01-01') to ('2021-01-01');
                   create table p2 (at date not null); alter table p attach partition p2 default;
                   alter role postgres set work_mem = '5MB'; reindex table a; alter role postgres reset work_mem";
    by_hand(&database, routine).await;
    let drift = connect(&database).await.drift().await.unwrap();
    assert!(!drift.is_seen() && drift.since.is_some(), "{drift}");
    by_hand(&database, "alter table p1 add check (at > '2019-01-01')").await;
    let drift = connect(&database).await.drift().await.unwrap();
    assert!(!drift.is_seen(), "{drift}");
    by_hand(&database, "create table free (id int)").await;
    let drift = connect(&database).await.drift().await.unwrap();
    assert_eq!(drift.changes.objects().len(), 1, "{drift}");
}

/// A run that was killed has left what it left: that is not somebody else's change. Nor is a new server's way with words.
#[tokio::test]
async fn what_cannot_be_compared_is_said_and_stops_nothing() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[A]);
    apply(&database, &files).await;
    by_hand(&database, "create table by_hand (id int)").await;
    for (change, told) in [
        ("update liftlock_schema_run set ended_at = null, schema_after = null", "was cut off before"),
        ("update liftlock_schema_run set schema_after = schema_before, server_version = 90600", "was on PostgreSQL 9, "),
        ("update liftlock_schema_run set server_version = current_setting('server_version_num')::int;
          update liftlock_schema_snapshot set schema = replace(schema, '\"format\":1', '\"format\":7')", "kept in format 7"),
    ] {
        by_hand(&database, change).await;
        let drift = connect(&database).await.drift().await.unwrap();
        let reason = drift.unknown.clone().unwrap_or_default();
        assert!(!drift.is_seen() && reason.contains(told), "{change}: {drift}");
    }
    let files = Files::new(&[A, B]);
    let mut seen = Vec::new();
    let mut listen = |progress: &Progress| seen.push(progress.to_string());
    connect(&database).await.apply(&files.read(), None, &mut listen).await.unwrap();
    assert!(seen[0].contains("cannot be told: "), "{seen:?}");
    assert!(connect(&database).await.drift().await.unwrap().unknown.is_none());
}

/// Databases that an older Liftlock migrated go on.
#[tokio::test]
async fn a_database_without_kept_schemas_goes_on() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A])).await;
    by_hand(
        &database,
        "drop table liftlock_schema_run, liftlock_schema_snapshot; create table c (id int)",
    )
    .await;
    assert_eq!(apply(&database, &Files::new(&[A, B])).await, [2]);
    by_hand(&database, "drop table liftlock_schema_run, liftlock_schema_snapshot").await;
    let back = connect(&database).await.rollback(0, false, &mut quiet).await.unwrap();
    assert_eq!(back.ran.len(), 2);
    assert_eq!(ask(&database, RUNS).await, "rollback alice t 2 4 changed");
}
