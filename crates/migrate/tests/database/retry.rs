//! Locks that others hold: migrations and rollbacks are tried again, and what failed for good is on record.

use std::time::Duration;

use liftlock_migrate::{Action, Database, Failure, Progress, ScriptError, Settings};
use liftlock_model::Exit;
use liftlock_testkit::TestDatabase;
use sqlx::PgConnection;

use crate::support::{Files, apply, ask, execute, quiet, session, settings, tables};

const A: (&str, &str, &str) = ("V0001__a", "create table a (id int)", "drop table a");
const B: (&str, &str, &str) = (
    "V0002__b",
    "create table b ();\nalter table a add b int;\nselect 1",
    "alter table a drop b; drop table b",
);

/// Connects with time for retries, and time enough to see who holds a lock.
async fn patient(database: &TestDatabase, budget: Duration) -> Database {
    let settings =
        Settings { lock_timeout: Duration::from_secs(3), lock_retry_budget: budget, ..settings() };
    Database::connect(database.url(), settings).await.unwrap()
}

/// A session of somebody else that has read table a, and has not ended its transaction.
async fn reader(database: &TestDatabase) -> PgConnection {
    let mut other = session(database.url()).await;
    execute(&mut other, "set application_name = 'nightly report'; begin; select count(*) from a")
        .await;
    other
}

/// Ends the reader's transaction when a retry is told of, and keeps what was told.
struct Relief {
    reader: Option<PgConnection>,
    told: Vec<Progress>,
    open: Vec<String>,
    database: TestDatabase,
}

impl Relief {
    async fn of(database: &TestDatabase) -> Self {
        let reader = Some(reader(database).await);
        Self { reader, told: Vec::new(), open: Vec::new(), database: database.clone() }
    }

    fn hear(&mut self, progress: &Progress) {
        self.told.push(progress.clone());
        if !matches!(progress, Progress::Retrying { .. }) {
            return;
        }
        let (Some(mut reader), database) = (self.reader.take(), self.database.clone()) else {
            return;
        };
        let open = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let open = "select count(*) from pg_stat_activity where application_name like 'liftlock migrate%'
                            and datname = current_database() and xact_start is not null and state <> 'active'";
                let open = ask(&database, open).await;
                execute(&mut reader, "commit").await;
                open
            })
        });
        self.open.push(open);
    }

    fn retries(&self) -> Vec<(u32, String)> {
        let of = |progress: &Progress| match progress {
            Progress::Retrying { attempt, by, .. } => {
                Some((*attempt, by.iter().map(|one| one.application.clone()).collect()))
            }
            _ => None,
        };
        self.told.iter().filter_map(of).collect()
    }
}

/// Shows C-MIG-9: a lock that is not to be had takes the whole migration back; it runs again from its beginning once the lock
/// is free, and the history says how often. While it waits, no transaction of ours is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_gets_no_lock_is_tried_again() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A])).await;
    let mut relief = Relief::of(&database).await;
    let mut liftlock = patient(&database, Duration::from_secs(60)).await;
    let files = Files::new(&[A, B]);
    let ran = liftlock.apply(&files.read(), None, &mut |p| relief.hear(p)).await.unwrap();
    assert_eq!((ran[0].attempts, ran[0].statements), (2, 3));
    assert_eq!(relief.retries(), [(1, "nightly report".to_owned())]);
    assert_eq!(relief.open, ["0"], "no transaction is open between attempts");
    assert_eq!(tables(&database).await, "a b");

    // The same on the way back.
    let mut relief = Relief::of(&database).await;
    let back = liftlock.rollback(1, true, &mut |p| relief.hear(p)).await.unwrap();
    assert_eq!((back.ran[0].attempts, relief.retries().len()), (2, 1));
    assert_eq!(tables(&database).await, "a");

    let history = liftlock.history().await.unwrap();
    let told: Vec<_> =
        history.iter().map(|one| (one.action, one.statements, one.attempts)).collect();
    assert_eq!(
        told,
        [
            (Action::Apply, Some(1), Some(1)),
            (Action::Apply, Some(3), Some(2)),
            (Action::Rollback, Some(2), Some(2)),
        ]
    );
}

/// Shows C-MIG-9 and C-MIG-11: when the budget is used up, the error says how often it was tried and who held the lock, and
/// the failure is on record, and not counted as applied.
#[tokio::test]
async fn when_the_budget_is_used_up_it_says_how_often_and_who() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A])).await;
    let _reader = reader(&database).await;
    let mut liftlock = patient(&database, Duration::from_millis(1)).await;
    let files = Files::new(&[A, B]);
    let error = liftlock.apply(&files.read(), None, &mut quiet).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("nightly report") && text.contains("tried 2 times over"), "{text}");
    assert_eq!(error.exit(), Exit::Failed);
    assert!(matches!(error.failure, Failure::GaveUp { attempts: 2, .. }), "{error:?}");

    let history = liftlock.history().await.unwrap();
    let last = history.last().unwrap();
    assert_eq!((last.action, last.id.version, last.attempts), (Action::Failed, 2, Some(2)));
    assert_eq!(last.sqlstate.as_deref(), Some("55P03"));
    let status = liftlock.status(&files.read()).await.unwrap();
    assert_eq!((status.applied.len(), status.pending.len()), (1, 1));
    assert_eq!(status.problems, []);
}

/// A deadlock that hits the migration is no reason to end the run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_tried_again() {
    let Some(database) = TestDatabase::new().await else { return };
    let one = ("V0001__a", "create table a (id int); create table b (id int)", "drop table a, b");
    apply(&database, &Files::new(&[one])).await;
    let mut other = session(database.url()).await;
    // The other session looks for a deadlock much later than ours, so that ours is the one that is ended.
    execute(&mut other, "set deadlock_timeout = '1min'; begin; lock table b").await;
    let two = ("V0002__c", "lock table a; lock table b; create table c ()", "drop table c");
    let files = Files::new(&[one, two]);
    let settings = Settings {
        lock_timeout: Duration::from_secs(30),
        lock_retry_budget: Duration::from_secs(60),
        ..settings()
    };
    let mut liftlock = Database::connect(database.url(), settings).await.unwrap();
    let mut told = Vec::new();
    let migrations = files.read();
    let mut hear = |p: &Progress| told.push(p.clone());
    let cross = async {
        let waits = "select count(*) from pg_locks l join pg_class c on c.oid = l.relation
                     where c.relname = 'b' and not l.granted";
        while ask(&database, waits).await == "0" {}
        execute(&mut other, "lock table a; commit").await;
    };
    let (ran, ()) = tokio::join!(liftlock.apply(&migrations, None, &mut hear), cross);
    assert_eq!(ran.unwrap()[0].attempts, 2);
    let why = told.iter().find_map(|p| match p {
        Progress::Retrying { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(why.unwrap().contains("deadlock detected"), "{told:?}");
}

/// Shows C-MIG-11: a failure is on record with its SQLSTATE, and without the data that the server's words show. That holds for
/// rollbacks, too, and for a history table that an older version made.
#[tokio::test]
async fn a_failure_is_on_record_without_data() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A])).await;
    // As the first version made it.
    execute(
        &mut session(database.url()).await,
        "alter table liftlock_schema_history drop statements, drop attempts, drop sqlstate, drop error,
         add constraint liftlock_schema_history_action_check
             check (action in ('apply', 'rollback', 'adopt', 'replace rollback'))",
    )
    .await;
    let mut liftlock = crate::support::connect(&database).await;
    assert_eq!(liftlock.history().await.unwrap().len(), 1, "an older table can be read");

    let unique = "create table b (mail text unique); insert into b values ('smith@example.com'), ('smith@example.com')";
    let files = Files::new(&[A, ("V0002__b", unique, "select 1")]);
    for sql in [unique, "select 'hunter2'::int", "do $$ begin raise 'smith@example.com'; end $$"] {
        files.write("V0002__b.sql", sql);
        let error = liftlock.apply(&files.read(), None, &mut quiet).await.unwrap_err();
        assert!(matches!(error.failure, Failure::Script { .. }), "{error}");
    }
    let ok = ("V0002__b", "create table b ()", "select 1/0");
    apply(&database, &Files::new(&[A, ok])).await;
    let error = liftlock.rollback(1, false, &mut quiet).await.unwrap_err();
    assert!(
        matches!(error.failure, Failure::Script { source: ScriptError::Sql { .. }, .. }),
        "{error}"
    );

    let history = liftlock.history().await.unwrap();
    let told: Vec<_> =
        history.iter().map(|one| (one.action, one.sqlstate.as_deref().unwrap_or("-"))).collect();
    assert_eq!(
        told,
        [
            (Action::Apply, "-"),
            (Action::Failed, "23505"),
            (Action::Failed, "22P02"),
            (Action::Failed, "P0001"),
            (Action::Apply, "-"),
            (Action::RollbackFailed, "22012"),
        ]
    );
    let kept = serde_json::to_string(&history).unwrap();
    assert!(kept.contains("duplicate key value violates unique constraint"), "{kept}");
    assert!(!kept.contains("smith@example.com") && !kept.contains("hunter2"), "{kept}");
    assert_eq!(ask(&database, "select count(*) from refinery_schema_history").await, "2");
}

/// A failure whose connection the server ended is put on record over another one.
#[tokio::test]
async fn a_failure_is_on_record_even_if_the_connection_is_gone() {
    let Some(database) = TestDatabase::new().await else { return };
    let ends = "create table a (id int); select pg_terminate_backend(pg_backend_pid())";
    let files = Files::new(&[("V0001__a", ends, "drop table a")]);
    let mut liftlock = crate::support::connect(&database).await;
    liftlock.apply(&files.read(), None, &mut quiet).await.unwrap_err();
    let history = crate::support::connect(&database).await.history().await.unwrap();
    let told: Vec<_> =
        history.iter().map(|one| (one.action, one.sqlstate.as_deref().unwrap_or("-"))).collect();
    assert_eq!(told, [(Action::Failed, "57P01")]);
}
