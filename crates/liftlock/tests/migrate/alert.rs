//! People are told of a migration that takes long while it is still running.

use liftlock_testkit::{ClosedPort, webhook};
use serde_json::Value;
use tokio::time::timeout;

use crate::project::{DEADLINE, Project, ended, execute};

const ENVIRONMENT: &str = r#"
[database.migrations]
alert_after = "100ms"
lock_timeout = "100s"
statement_timeout = "100s"

[[notifications]]
kind = "slack"
name = "ops"
url = { from = "env", variable = "OPS_WEBHOOK" }
on = ["migration-long"]
"#;

/// Shows C-MIG-10 and A-NOT-1: the message and the ledger's entry are there while the migration still waits, and say for whom.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_migration_is_told_while_it_runs() {
    let quick = ENVIRONMENT.replace("100ms", "1h");
    let Some(mut project) = Project::new(&quick).await else { return };
    let (url, mut messages) = webhook().await;
    project.set("OPS_WEBHOOK", url);
    project.add("V0001__a", "create table a ();", "drop table a;");
    project.run(&["migrate"]).await.exits(0);
    assert!(messages.try_recv().is_err(), "what is quick is nobody's concern");

    project.environment(ENVIRONMENT);
    let mut blocker = project.session().await;
    execute(&mut blocker, "begin; lock table a in access share mode").await;
    project.add("V0002__b", "alter table a add b int;", "alter table a drop b;");
    let mut migrate = project.start(&["migrate"]);
    let message = timeout(DEADLINE, messages.recv()).await.unwrap().unwrap();
    let text = message["text"].as_str().unwrap();
    assert!(text.contains("prod: migration V0002__b takes long and is still running"), "{text}");
    assert!(text.contains("V0002__b.sql") && text.contains("held by"), "{text}");
    // It is told before anything has come of it.
    assert!(migrate.try_wait().unwrap().is_none(), "it has ended");
    let long = project.events("migration_long").await;
    assert_eq!(long.len(), 1, "{long:#?}");
    assert_eq!(long[0]["id"]["version"], 2, "{long:#?}");
    assert_eq!(long[0]["blocked_by"].as_array().unwrap().len(), 1, "{long:#?}");

    execute(&mut blocker, "commit").await;
    ended(migrate).await.exits(0).says("STILL RUNNING");
    assert!(messages.try_recv().is_err(), "it is told once");
    let kinds: Vec<Value> =
        project.ledger().await.into_iter().map(|mut one| one["event"]["kind"].take()).collect();
    let at = |kind: &str| kinds.iter().rposition(|one| one == kind).unwrap();
    assert!(
        at("migration_long") < at("notified") && at("notified") < at("migration_ran"),
        "{kinds:?}"
    );
}

/// A message that cannot be sent is on record, and stops nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_cannot_be_sent_stops_nothing() {
    let Some(mut project) = Project::new(ENVIRONMENT).await else { return };
    let closed = ClosedPort::new();
    project.set("OPS_WEBHOOK", format!("http://{}/hook", closed.address()));
    project.add("V0001__a", "select pg_sleep(1);", "select 1;");
    project.run(&["migrate"]).await.exits(0).says("applied V0001__a");
    let notified = project.events("notified").await;
    assert!(notified[0]["error"].is_string(), "{notified:#?}");
}
