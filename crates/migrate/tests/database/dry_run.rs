//! Dry-runs.

use liftlock_migrate::{Again, Database, DryRunError, Verdict};
use liftlock_model::Exit;
use liftlock_testkit::TestDatabase;
use secrecy::ExposeSecret as _;

use crate::support::{Files, apply, ask, connect, execute, session, settings, tables};

const A: (&str, &str, &str) =
    ("V0001__a", "create table a (id int); insert into a values (1)", "drop table a");

/// Whether the database that a trial was made on is gone.
async fn is_gone(database: &TestDatabase, tried_on: &str) -> bool {
    let name = tried_on.split(' ').find(|word| word.starts_with("liftlock_dry_run_")).unwrap();
    ask(database, &format!("select count(*) from pg_database where datname = '{name}'")).await
        == "0"
}

/// Shows C-MIG-7, C-MIG-5 and W-6: everything is really run, and the database is as before.
#[tokio::test]
async fn a_dry_run_runs_everything_and_leaves_no_trace() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A])).await;
    let files = Files::new(&[
        A,
        (
            "V0002__b",
            "alter table a add b int not null default 0;\ncreate index on a (b)",
            "alter table a drop b",
        ),
        ("V0003__c", "create table c (id int)", "drop table nonsense"),
        ("V0004__d", "create table d (a int)", "select 'nothing'"),
        ("V0005__e", "select 1", "select 1"),
    ]);
    let check = "select count(*) = 2 from pg_attribute where attrelid = 'a'::regclass and attnum > 0 and not attisdropped";
    files.write("V0002__b.verify.sql", check);
    let dry_run = connect(&database).await.dry_run(&files.read()).await.unwrap();
    let [b, c, d, e] = dry_run.migrations.as_slice() else { panic!("{dry_run}") };

    assert!(b.rollback_restores() && b.verified, "{dry_run}");
    assert!(b.schema_change.contains("+column b integer"), "{dry_run}");
    assert_eq!((b.locks[0].table.as_str(), b.locks[0].mode), ("a", "access exclusive"));
    assert_eq!(b.locks[0].blocks, "reads and writes");

    let Verdict::CannotRun { message } = &c.rollback else { panic!("{dry_run}") };
    assert!(
        message.contains("V0003__c.rollback.sql:1: table \"nonsense\" does not exist"),
        "{message}"
    );
    assert!(c.locks.is_empty(), "a new table is in nobody's way");
    assert_eq!(d.rollback, Verdict::DoesNothing, "{dry_run}");
    assert!(
        matches!(&d.again, Again::Fails { message } if message.contains("already exists")),
        "{dry_run}"
    );
    assert!(
        e.rollback_restores(),
        "what follows a wrong rollback is tried all the same: {dry_run}"
    );
    assert_eq!(dry_run.not_tried, []);
    assert_eq!((dry_run.is_clean(), dry_run.exit()), (false, Exit::Failed));

    assert_eq!(tables(&database).await, "a");
    assert_eq!(ask(&database, "select count(*) from refinery_schema_history").await, "1");
    assert!(is_gone(&database, dry_run.tried_on.as_ref().unwrap()).await);
}

/// Shows C-MIG-7: what a trial prepares in its session is in the scripts' hands, too.
#[tokio::test]
async fn a_script_that_drops_what_is_prepared_is_looked_at_all_the_same() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[
        ("V0001__a", "create table a (id int, b int)", "drop table a"),
        (
            "V0002__b",
            "alter table a drop b;\ndeallocate all",
            "deallocate all;\nalter table a add b int",
        ),
        ("V0003__c", "create table c (id int);\ndeallocate all", "deallocate all"),
    ]);
    let dry_run = connect(&database).await.dry_run(&files.read()).await.unwrap();
    let [a, b, c] = dry_run.migrations.as_slice() else { panic!("{dry_run}") };
    assert!(a.rollback_restores() && b.rollback_restores(), "{dry_run}");
    assert!(b.schema_change.contains("-column b integer"), "{dry_run}");
    assert_eq!(c.rollback, Verdict::DoesNothing, "{dry_run}");
}

#[tokio::test]
async fn a_script_that_fails_is_told_and_what_comes_after_it_is_not_tried() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[
        A,
        ("V0002__b", "select\n nonsense", "select 1"),
        ("V0003__c", "select 1", "select 1"),
    ]);
    let dry_run = connect(&database).await.dry_run(&files.read()).await.unwrap();
    assert!(dry_run.migrations[0].rollback_restores(), "{dry_run}");
    assert!(
        dry_run.migrations[1]
            .failure
            .as_ref()
            .unwrap()
            .contains("V0002__b.sql:2: column \"nonsense\""),
        "{dry_run}"
    );
    assert_eq!(dry_run.not_tried[0].version, 3);
    let [finding] = &dry_run.findings[..] else { panic!("{dry_run}") };
    assert_eq!(
        (finding.rule.as_str(), finding.file.as_str(), finding.line),
        ("script-fails", "V0002__b.sql", 2)
    );
    assert!(is_gone(&database, dry_run.tried_on.as_ref().unwrap()).await);
}

#[tokio::test]
async fn nothing_pending_needs_no_trial_and_what_does_not_fit_is_refused() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[A]);
    apply(&database, &files).await;
    let dry_run = connect(&database).await.dry_run(&files.read()).await.unwrap();
    assert_eq!((dry_run.tried_on.clone(), dry_run.exit()), (None, Exit::Done));
    files.write("V0001__a.sql", "select 'changed'");
    let error = connect(&database).await.dry_run(&files.read()).await.unwrap_err();
    assert!(matches!(error, DryRunError::Refused { .. }) && error.exit() == Exit::Usage, "{error}");
}

/// A dry-run that is dropped in the middle, as by a signal, leaves no database either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_dry_run_leaves_no_trace() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[("V0001__slow", "select pg_sleep(60)", "select 1")]);
    let mut liftlock = connect(&database).await;
    let migrations = files.read();
    let sleeps = async {
        let query =
            "select min(datname) from pg_stat_activity where query like 'select pg_sleep(60)%'
                     and datname like 'liftlock_dry_run_%'";
        loop {
            let name = ask(&database, query).await;
            if name != "null" {
                break name;
            }
        }
    };
    let name = tokio::select! {
        done = liftlock.dry_run(&migrations) => panic!("{done:?}"),
        name = sleeps => name,
    };
    assert!(is_gone(&database, &name).await);
}

/// A user who may not make databases: a private server is used. Owners, grants and roles come along.
#[tokio::test]
async fn without_the_right_to_make_databases_a_private_server_is_used() {
    let Some(database) = TestDatabase::new().await else { return };
    let name = database.name();
    let setup = format!(
        "create role humble_{name} login password 'humble'; create role reader_{name};
         grant all on database {name} to humble_{name}; grant all on schema public to humble_{name}"
    );
    execute(&mut session(database.url()).await, &setup).await;
    let url = database.url().expose_secret();
    let at = url.find('@').unwrap();
    let url = format!("postgres://humble_{name}:humble{}", &url[at..]);
    let grant = format!("create table b (id int); grant select on a, b to reader_{name}");
    let files = Files::new(&[
        A,
        ("V0002__b", &grant, &format!("drop table b; revoke select on a from reader_{name}")),
    ]);
    let mut liftlock = Database::connect(&url.into(), settings()).await.unwrap();
    liftlock.apply(&files.read(), Some(1), &mut |_| {}).await.unwrap();
    let dry_run = liftlock.dry_run(&files.read()).await.unwrap();
    assert!(dry_run.is_clean(), "{dry_run}");
    assert!(dry_run.tried_on.as_ref().unwrap().starts_with("a private server"), "{dry_run}");
    assert!(dry_run.notes.iter().any(|note| note.contains("may not make databases")), "{dry_run}");
}
