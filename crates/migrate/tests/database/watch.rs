//! What a long migration tells while it runs.

use std::time::Duration;

use liftlock_migrate::{Database, Progress, Settings};
use liftlock_testkit::TestDatabase;

use crate::support::{Files, ask, execute, quiet, session, settings};

/// Gives a short sign of life often, and is soon called long.
pub(crate) fn impatient() -> Settings {
    Settings {
        progress_every: Duration::from_millis(20),
        alert_after: Duration::from_millis(100),
        statement_timeout: Duration::from_secs(60),
        lock_timeout: Duration::from_secs(60),
        ..settings()
    }
}

/// Shows C-MIG-10: the alert comes while the migration is still running, once, with the statement's line and who blocks it.
#[tokio::test]
async fn a_migration_that_takes_long_is_told_of_while_it_is_still_running() {
    let Some(database) = TestDatabase::new().await else { return };
    let mut other = session(database.url()).await;
    execute(&mut other, "set application_name = 'nightly report'; create table t (id int)").await;
    execute(&mut other, "begin; select count(*) from t").await;
    let up = "-- it waits\n\nalter table t add b int";
    let files = Files::new(&[("V0001__a", up, "alter table t drop b")]);
    let migrations = files.read();
    let mut liftlock = Database::connect(database.url(), impatient()).await.unwrap();
    let (alerts, mut alerted) = tokio::sync::mpsc::unbounded_channel();
    let mut on = |progress: &Progress| {
        if let Progress::Long { .. } = progress {
            alerts.send(progress.clone()).unwrap();
        }
    };
    // Only the alert lets it end: it must come before.
    let watch = async {
        let alert = alerted.recv().await.unwrap();
        execute(&mut other, "commit").await;
        alert
    };
    let (ran, alert) = tokio::join!(liftlock.apply(&migrations, None, &mut on), watch);
    ran.unwrap();
    let Progress::Long { line, ref blocked_by, .. } = alert else { panic!("{alert}") };
    assert_eq!((line, blocked_by[0].application.as_str()), (Some(3), "nightly report"));
    assert!(alert.to_string().contains("STILL RUNNING after"), "{alert}");
    assert!(alerted.try_recv().is_err(), "it is told once");
}

/// Shows C-MIG-10: PostgreSQL's own progress reports are passed on.
#[tokio::test]
async fn a_long_build_of_an_index_tells_how_far_it_is() {
    let Some(database) = TestDatabase::new().await else { return };
    let slow = "create table t as select i from generate_series(1, 50) i;
                create function slow(int) returns int immutable language plpgsql as
                $$ begin perform pg_sleep(0.02); return $1; end $$";
    execute(&mut session(database.url()).await, slow).await;
    let files = Files::new(&[("V0001__a", "create index i on t (slow(i))", "drop index i")]);
    let mut told = Vec::new();
    let mut liftlock = Database::connect(database.url(), impatient()).await.unwrap();
    liftlock.apply(&files.read(), None, &mut |p| told.push(p.clone())).await.unwrap();
    let phases = told.iter().filter_map(|progress| match progress {
        Progress::Running { line: Some(1), phase: Some(phase), .. } => Some(phase.as_str()),
        _ => None,
    });
    assert!(
        phases.into_iter().any(|phase| phase.starts_with("create index: building index")),
        "{told:?}"
    );
    liftlock.apply(&files.read(), None, &mut quiet).await.unwrap();
    assert_eq!(
        ask(&database, "select count(*) from pg_index where indrelid = 't'::regclass").await,
        "1"
    );
}
