//! Migrations outside of a transaction.

use std::time::Duration;

use liftlock_migrate::{
    Database, Direction, DriftPolicy, Failure, Progress, Resolution, ScriptError, Settings,
};
use liftlock_model::Exit;
use liftlock_testkit::TestDatabase;

use crate::support::{Files, apply, ask, connect, execute, quiet, session, settings};

const T: (&str, &str, &str) = (
    "V0001__t",
    "create table t (a int); create table log (n int); insert into t values (1), (1)",
    "drop table t; drop table log",
);
const BACK: &str =
    "-- migrate: no-transaction\ndrop index concurrently if exists i;\ndelete from log where n > 1";
const LAST: (&str, &str, &str) =
    ("V0003__last", "insert into log values (9)", "delete from log where n = 9");

const INVALID: &str = "select count(*) from pg_index where not indisvalid";
const LOG: &str = "select string_agg(n::text, ' ' order by n) from log";
/// Indexes of `t`, each with whether it is valid.
const INDEXES: &str =
    "select string_agg(indexrelid::regclass || ' ' || indisvalid, ', ' order by indexrelid::regclass::text)
                       from pg_index where indrelid = 't'::regclass";

/// Where the test itself changes the schema between runs.
async fn connect_ignoring(database: &TestDatabase) -> Database {
    let settings = Settings { drift: DriftPolicy::Ignore, ..settings() };
    Database::connect(database.url(), settings).await.unwrap()
}

/// A script that runs outside of a transaction.
fn outside(statements: &str) -> String {
    format!("-- migrate: no-transaction\n{statements}")
}

/// Shows C-MIG-2: what PostgreSQL would not take in a transaction is told with its place before anything is touched.
#[tokio::test]
async fn what_takes_no_transaction_is_refused_without_the_directive() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[
        ("V0001__a", "create table a (id int);\n\nvacuum a", "drop table a"),
        ("V0002__b", "create index i on a (id)", "-- first\ndrop index concurrently i"),
    ]);
    files.write("V0002__b.verify.sql", "-- migrate: no-transaction\nselect true");
    let error = connect(&database).await.apply(&files.read(), None, &mut quiet).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
    let text = error.to_string();
    for expected in [
        "V0001__a.sql:3: `VACUUM` cannot run in a transaction: add `-- migrate: no-transaction`",
        "V0002__b.rollback.sql:2: `DROP INDEX CONCURRENTLY` cannot run in a transaction",
        "V0002__b.verify.sql:1: a verify script only looks",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(
        ask(&database, "select count(*) from pg_class where relname ~ 'history|^a$'").await,
        "0"
    );
}

/// Shows C-MIG-2 and C-MIG-11: each statement by itself, each on record, and all of it in the history; up, down and up again.
#[tokio::test]
async fn a_script_outside_of_a_transaction_runs_statement_by_statement() {
    let Some(database) = TestDatabase::new().await else { return };
    let up = outside(
        "set work_mem = '5MB';\ncreate index concurrently i on t (a);\n\
         insert into log select 2 where current_setting('work_mem') = '5MB';\nvacuum t;\n\
         create index concurrently on t ((a + 1))",
    );
    let back = format!("{BACK};\ndrop index concurrently if exists t_expr_idx");
    let files = Files::new(&[T, ("V0002__i", &up, &back), LAST]);
    files.write(
        "V0002__i.verify.sql",
        "select count(*) = 2 from pg_index where indrelid = 't'::regclass and indisvalid",
    );
    let mut told = Vec::new();
    let mut liftlock = connect(&database).await;
    for _ in 0..2 {
        let migrations = files.read();
        let ran = liftlock.apply(&migrations, None, &mut |p| told.push(p.to_string())).await;
        assert!(ran.unwrap()[1].verified);
        assert_eq!(ask(&database, INDEXES).await, "i true, t_expr_idx true");
        assert_eq!(ask(&database, LOG).await, "2 9");
        let back = liftlock.rollback(1, true, &mut quiet).await.unwrap();
        assert_eq!((back.ran.len(), back.refused), (2, None));
        assert_eq!(ask(&database, INDEXES).await, "null");
        liftlock.rollback(0, true, &mut quiet).await.unwrap();
    }
    assert!(told.contains(&"V0002__i: statement 5 of 5, line 6".to_owned()), "{told:?}");
    let written = "select string_agg(event || ' ' || coalesce(statement, 0), ', ' order by id)
                   from (select * from liftlock_schema_journal order by id limit 9) j";
    assert_eq!(
        ask(&database, written).await,
        "begun 0, started 2, done 2, done 3, started 4, done 4, started 5, done 5, finished 0"
    );
    let who = "select string_agg(distinct actor || ' ' || database_user, ', ') from liftlock_schema_journal";
    assert_eq!(ask(&database, who).await, "alice postgres");
    let status = liftlock.status(&files.read()).await.unwrap();
    assert_eq!((status.applied.len(), status.half_done.len()), (0, 0));
}

/// A failure: what is half done is cleared away, what was done stays, nothing newer runs, and the next run goes on with the statement
/// that failed. Shows C-MIG-6.
#[tokio::test]
async fn a_statement_that_fails_leaves_no_invalid_index_and_is_run_again() {
    let Some(database) = TestDatabase::new().await else { return };
    let up = outside(
        "insert into log values (2);\ncreate unique index concurrently i on t (a);\ninsert into log values (3)",
    );
    let files = Files::new(&[T, ("V0002__i", &up, BACK), LAST]);
    let mut told = Vec::new();
    let mut liftlock = connect(&database).await;
    for _ in 0..2 {
        let error = liftlock.apply(&files.read(), None, &mut |p| told.push(p.to_string())).await;
        let error = error.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("V0002__i.sql:3: could not create unique index"), "{text}");
        assert!(text.contains("1 of its 3 statements are done and stay so; mend"), "{text}");
        assert!(text.contains("`migrate rollback --to V0001` takes it back"), "{text}");
        assert_eq!(error.exit(), Exit::Stuck);
        assert_eq!(ask(&database, INVALID).await, "0");
        assert_eq!(ask(&database, LOG).await, "2");
    }
    assert!(
        told.contains(&"V0002__i: cleared away the invalid index public.i".to_owned()),
        "{told:?}"
    );
    let status = liftlock.status(&files.read()).await.unwrap();
    assert_eq!((status.half_done[0].direction, status.half_done[0].done), (Direction::Up, 1));
    assert_eq!(status.pending.len(), 2);

    // What ran already must stay as it was.
    let changed = Files::new(&[T, ("V0002__i", &up.replace("(2)", "(4)"), BACK), LAST]);
    let error = liftlock.apply(&changed.read(), None, &mut quiet).await.unwrap_err();
    assert!(
        error.to_string().contains("statement 1 of its file, which ran already, has changed"),
        "{error}"
    );
    assert_eq!(error.exit(), Exit::Usage);

    // What comes after may be mended.
    let mended = Files::new(&[T, ("V0002__i", &up.replace("unique ", ""), BACK), LAST]);
    assert_eq!(apply(&database, &mended).await, [2, 3]);
    assert_eq!(ask(&database, INDEXES).await, "i true");
    assert_eq!(ask(&database, LOG).await, "2 3 9");
}

/// What was done of a migration that cannot go on is taken back. Shows C-MIG-6.
#[tokio::test]
async fn what_is_half_done_can_be_taken_back() {
    let Some(database) = TestDatabase::new().await else { return };
    let up = outside(
        "create index concurrently i on t (a);\ninsert into log values (2);\nselect nonsense",
    );
    for back in [BACK, "drop index if exists i; delete from log where n > 1"] {
        let files = Files::new(&[T, ("V0002__i", &up, back)]);
        let mut liftlock = connect(&database).await;
        let error = liftlock.apply(&files.read(), None, &mut quiet).await.unwrap_err();
        assert!(error.to_string().contains("V0002__i.sql:4: column \"nonsense\""), "{error}");
        let refused = liftlock.rollback(1, false, &mut quiet).await.unwrap().refused.unwrap();
        assert_eq!(refused.losses, ["table log: 1 row"]);
        let back = liftlock.rollback(1, true, &mut quiet).await.unwrap();
        assert_eq!(back.ran[0].id.version, 2);
        assert_eq!(ask(&database, INDEXES).await, "null");
        assert_eq!(liftlock.status(&files.read()).await.unwrap().half_done, []);
        assert_eq!(ask(&database, LOG).await, "null");
    }
}

/// `IF NOT EXISTS` over an invalid index, which another tool left: success is not recorded over it.
#[tokio::test]
async fn an_invalid_index_that_is_in_the_way_is_made_again() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[T])).await;
    let mut other = session(database.url()).await;
    let half = "create unique index concurrently i on t (a)";
    assert!(sqlx::query(half).execute(&mut other).await.is_err());
    assert_eq!(ask(&database, INVALID).await, "1");
    let up = outside("create unique index concurrently if not exists i on t (a)");
    let files = Files::new(&[T, ("V0002__i", &up, BACK)]);
    let error =
        connect_ignoring(&database).await.apply(&files.read(), None, &mut quiet).await.unwrap_err();
    assert!(error.to_string().contains("could not create unique index"), "{error}");
    assert_eq!(error.exit(), Exit::Failed, "nothing of it is left");
    execute(&mut other, "delete from t").await;
    assert!(sqlx::query("alter table t add unique (a); ").execute(&mut other).await.is_ok());
    connect_ignoring(&database).await.apply(&files.read(), None, &mut quiet).await.unwrap();
    assert_eq!(ask(&database, INVALID).await, "0");
}

/// Shows C-MIG-9: work that blocks nobody may wait longer, and not for ever; who is in its way is named.
#[tokio::test]
async fn concurrent_work_has_a_budget_for_waiting_of_its_own() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[T])).await;
    let mut other = session(database.url()).await;
    execute(&mut other, "set application_name = 'nightly report'; begin; insert into t values (7)")
        .await;
    let up = outside("insert into log values (2);\ncreate index concurrently i on t (a)");
    let files = Files::new(&[T, ("V0002__i", &up, BACK)]);
    let tight = Settings {
        lock_timeout: Duration::from_millis(1),
        concurrent_budget: Duration::from_millis(600),
        ..settings()
    };
    let mut told = Vec::new();
    let mut liftlock = Database::connect(database.url(), tight.clone()).await.unwrap();
    let error =
        liftlock.apply(&files.read(), None, &mut |p| told.push(p.clone())).await.unwrap_err();
    let Failure::Outside { source, remains, .. } = &error.failure else { panic!("{error}") };
    let ScriptError::LockBudget { by, line, .. } = &**source else { panic!("{error}") };
    assert_eq!((by[0].application.as_str(), *line), ("nightly report", Some(3)));
    assert_eq!(
        remains[..],
        ["the invalid index public.i"],
        "the same session is in the way of dropping it"
    );
    assert!(told.iter().any(|p| matches!(p, Progress::Blocked { .. })), "{told:?}");
    assert_eq!(error.exit(), Exit::Stuck);

    // Once that has ended, the next run clears it away and goes on. `lock_timeout` does not end it.
    execute(&mut other, "commit; begin; insert into t values (8)").await;
    let patient = Settings { concurrent_budget: Duration::from_secs(60), ..tight };
    let mut liftlock = Database::connect(database.url(), patient).await.unwrap();
    let (blocked, mut is_blocked) = tokio::sync::mpsc::unbounded_channel();
    let mut on = |progress: &Progress| {
        if let Progress::Blocked { .. } = progress {
            blocked.send(()).unwrap();
        }
    };
    let release = async {
        is_blocked.recv().await.unwrap();
        execute(&mut other, "commit").await;
    };
    let migrations = files.read();
    let (ran, ()) = tokio::join!(liftlock.apply(&migrations, None, &mut on), release);
    ran.unwrap();
    assert_eq!(ask(&database, INDEXES).await, "i true");
    assert_eq!(ask(&database, LOG).await, "2");
}

/// Shows C-MIG-1: two runs at once, twenty times. Neither deadlocks, and no index is invalid.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_runs_at_once_do_not_deadlock_with_concurrent_work() {
    let up = outside(
        "insert into log values (2);\ncreate index concurrently i on t (a);\ncreate index concurrently j on t (a);\ninsert into log values (3)",
    );
    let files = Files::new(&[T, ("V0002__i", &up, BACK), LAST]);
    let migrations = files.read();
    for _ in 0..20 {
        let Some(database) = TestDatabase::new().await else { return };
        let mut runs = tokio::task::JoinSet::new();
        for _ in 0..2 {
            let (migrations, database) = (migrations.clone(), database.clone());
            runs.spawn(async move {
                connect(&database).await.apply(&migrations, None, &mut quiet).await
            });
        }
        let ran: usize = runs.join_all().await.into_iter().map(|run| run.unwrap().len()).sum();
        assert_eq!(ran, 3);
        assert_eq!(ask(&database, LOG).await, "2 3 9");
        assert_eq!(ask(&database, INDEXES).await, "i true, j true");
    }
}

/// A partition that is half detached, and an index that was half rebuilt: both are brought to their end.
#[tokio::test]
async fn other_concurrent_work_is_brought_to_its_end() {
    let Some(database) = TestDatabase::new().await else { return };
    let up = "create table t (a int) partition by list (a); create table p partition of t for values in (1);
              create table q (a int primary key)";
    let base = ("V0001__t", up, "drop table t, q");
    apply(&database, &Files::new(&[base])).await;
    let mut reader = session(database.url()).await;
    execute(&mut reader, "begin; select * from t; select * from q").await;
    let up =
        outside("alter table t detach partition p concurrently;\nreindex table concurrently q");
    let back = "alter table t attach partition p for values in (1)";
    let files = Files::new(&[base, ("V0002__p", &up, back)]);
    let tight = Settings { concurrent_budget: Duration::from_millis(400), ..settings() };
    let mut liftlock = Database::connect(database.url(), tight).await.unwrap();
    let error = liftlock.apply(&files.read(), None, &mut quiet).await.unwrap_err();
    assert!(error.to_string().contains("left is the partition p, half detached"), "{error}");
    execute(&mut reader, "commit; begin; select * from q").await;
    let error = liftlock.apply(&files.read(), None, &mut quiet).await.unwrap_err();
    assert!(error.to_string().contains("V0002__p.sql:3: it waited over"), "{error}");
    assert!(error.to_string().contains("left is the invalid index public.q_pkey_cc"), "{error}");
    execute(&mut reader, "commit").await;
    assert_eq!(apply(&database, &files).await, [2]);
    assert_eq!(ask(&database, "select count(*) from pg_inherits").await, "0");
    assert_eq!(
        ask(
            &database,
            "select string_agg(relname, ' ') from pg_class where relname like 'q_pkey%'"
        )
        .await,
        "q_pkey"
    );
}

/// A procedure that commits leaves nothing to see it by: a person says what became of it.
#[tokio::test]
async fn what_cannot_be_seen_is_left_to_a_person() {
    let Some(database) = TestDatabase::new().await else { return };
    let procedure = "create table log (n int); create procedure p() language plpgsql as
        $$ begin insert into log values (2); commit; perform pg_sleep(60); end $$";
    let base = ("V0001__p", procedure, "drop procedure p; drop table log");
    let up = outside("insert into log values (1);\ncall p();\ninsert into log values (3)");
    let files = Files::new(&[base, ("V0002__c", &up, "delete from log")]);
    let migrations = files.read();
    for (resolution, expected) in [(Resolution::Done, "1 2 3"), (Resolution::Again, "1 2 2 3")] {
        let mut liftlock = connect_ignoring(&database).await;
        let kill = async {
            let query = "select count(*) from (select pg_terminate_backend(pid) from pg_stat_activity
                         where query = 'call p()' and state = 'active' and datname = current_database()
                           and (select count(*) from log where n = 2) = 1) t";
            while ask(&database, "select to_regclass('log') is null").await == "true" {}
            while ask(&database, query).await == "0" {}
        };
        let mut nobody = quiet;
        let (error, ()) = tokio::join!(liftlock.apply(&migrations, None, &mut nobody), kill);
        let error = error.unwrap_err();
        assert!(matches!(error.failure, Failure::Interrupted { line: 3, .. }), "{error}");
        assert_eq!(error.exit(), Exit::Stuck);

        let mut liftlock = connect_ignoring(&database).await;
        let doubt = liftlock.apply(&migrations, None, &mut quiet).await.unwrap_err();
        let text = doubt.to_string();
        assert!(text.contains("V0002__c.sql:3: statement 2 of V0002__c was running"), "{text}");
        assert!(text.contains("`migrate resolve V0002 --statement 2 --done`"), "{text}");
        let wrong = liftlock.resolve(2, 1, resolution, &mut quiet).await.unwrap_err();
        assert!(matches!(wrong, Failure::NotInDoubt { .. }), "{wrong}");
        liftlock.resolve(2, 2, resolution, &mut quiet).await.unwrap();
        let fast =
            "create or replace procedure p() language sql as $$ insert into log values (2) $$";
        execute(&mut session(database.url()).await, fast).await;
        liftlock.apply(&migrations, None, &mut quiet).await.unwrap();
        assert_eq!(ask(&database, LOG).await, expected);
        liftlock.rollback(0, true, &mut quiet).await.unwrap();
    }
}
