//! What the program `migrate` can do on one database can be done on an environment's.

use crate::project::{Project, execute, is_there};

const ORDERS: (&str, &str, &str) =
    ("V0001__orders", "create table orders (id bigint primary key);", "drop table orders;");

/// Shows C-MIG-4, C-MIG-5, C-MIG-7 and W-6: from a new migration to its proof, by environment.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_is_made_checked_tried_applied_and_proven() {
    let Some(project) = Project::new("").await else { return };
    let made = project.run(&["migrate", "new", "orders"]).await.exits(0);
    made.says("V0001__orders.sql").says("migrate check --env prod");
    project.run(&["migrate", "check"]).await.exits(2).says("V0001__orders");

    project.add(ORDERS.0, ORDERS.1, "");
    project.run(&["migrate", "check"]).await.exits(2).says("V0001__orders.rollback.sql");
    project.add(ORDERS.0, ORDERS.1, ORDERS.2);
    project.run(&["migrate", "check"]).await.exits(0);
    project.run(&["migrate", "check", "--rules"]).await.exits(0).says("ban-drop-column");

    let reports = ["--sarif", "dry.sarif", "--markdown", "dry.md"];
    let dry = [&["migrate", "--dry-run"][..], &reports].concat();
    project.run(&dry).await.exits(0).says("V0001__orders");
    let read = |file| std::fs::read_to_string(project.path(file)).unwrap();
    assert!(read("dry.sarif").contains("2.1.0"));
    assert!(read("dry.md").contains("V0001__orders"));
    assert!(!is_there(&mut project.session().await, "orders").await);

    project.run(&["migrate"]).await.exits(0).says("applied V0001__orders");
    let status = project.run(&["migrate", "status", "--history"]).await.exits(0);
    status.says("history, 1 entries").says("by ann");
    project.run(&["migrate", "prove"]).await.exits(0).says("V0001__orders");
    let by_hand = project.events("migrations_by_hand").await;
    assert_eq!(by_hand[0]["command"], "prove", "{by_hand:#?}");
    let entries = project.ledger().await;
    assert!(entries.iter().all(|entry| entry["actor"] == "ann" && entry["run"].is_string()));
}

/// Shows C-MIG-3: what somebody changed by hand is shown, refused, and taken as it is only with a reason, on record. Environment
/// files say what is done about it.
#[tokio::test(flavor = "multi_thread")]
async fn drift_is_shown_refused_and_accepted() {
    let Some(project) = Project::new("").await else { return };
    project.add(ORDERS.0, ORDERS.1, ORDERS.2);
    project.run(&["migrate"]).await.exits(0);
    project.run(&["migrate", "drift"]).await.exits(0);
    execute(&mut project.session().await, "alter table orders add by_hand text").await;
    project.run(&["migrate", "drift"]).await.exits(1).says("by_hand");
    project.run(&["migrate", "status"]).await.exits(1).says("DRIFT");

    project.add("V0002__a", "create table a ();", "drop table a;");
    let refused = project.run(&["migrate"]).await;
    assert_ne!(refused.code, Some(0), "{refused:#?}");
    assert!(!is_there(&mut project.session().await, "a").await);
    project.environment("[database.migrations]\ndrift = \"warn\"\n");
    project.run(&["migrate"]).await.exits(0).says("by_hand").says("applied V0002__a");

    project.environment("");
    execute(&mut project.session().await, "alter table a add again text").await;
    project.run(&["migrate", "drift", "--accept", " "]).await.exits(2);
    project.run(&["migrate", "drift", "--accept", "a hot fix"]).await.exits(0).says("again");
    project.run(&["migrate", "drift"]).await.exits(0);
    let by_hand = project.events("migrations_by_hand").await;
    assert_eq!(by_hand.len(), 1, "{by_hand:#?}");
    assert_eq!(
        (&by_hand[0]["command"], &by_hand[0]["reason"]),
        (&"drift".into(), &"a hot fix".into())
    );
}

/// A database that was there before its migrations, and one that another tool has brought this far.
#[tokio::test(flavor = "multi_thread")]
async fn older_databases_are_taken_over() {
    let Some(project) = Project::new("").await else { return };
    project.add(ORDERS.0, ORDERS.1, ORDERS.2);
    execute(&mut project.session().await, ORDERS.1).await;
    project.run(&["migrate", "baseline", "--at", "V0001"]).await.exits(0).says("recorded 1");
    project.run(&["migrate"]).await.exits(0).says("nothing to apply");
    let by_hand = project.events("migrations_by_hand").await;
    assert_eq!(by_hand[0]["command"], "baseline", "{by_hand:#?}");

    let Some(other) = Project::new("").await else { return };
    other.write("db/V1__orders.sql", ORDERS.1);
    let adopt = ["migrate", "adopt", "--from", "flyway", "--source", "db"];
    let more = ["--missing-rollback", "refuse"];
    let dry = [&adopt[..], &more, &["--dry-run"]].concat();
    other.run(&dry).await.exits(0).says("V0001__orders");
    assert!(!other.path("migrations/V0001__orders.sql").exists());
    other.run(&[&adopt[..], &more].concat()).await.exits(0).says("V0001__orders");
    assert!(other.path("migrations/V0001__orders.sql").exists());
    // It changes no database: nothing is held, and nothing is on record.
    assert!(other.ledger().await.is_empty());
}

/// Many migrations become one, once it is shown on the environment's server to make the same; the database has it already.
#[tokio::test(flavor = "multi_thread")]
async fn many_migrations_become_one() {
    let Some(project) = Project::new("").await else { return };
    project.add(ORDERS.0, ORDERS.1, ORDERS.2);
    project.add(
        "V0002__total",
        "alter table orders add total int;",
        "alter table orders drop total;",
    );
    project.run(&["migrate"]).await.exits(0);
    let squash = ["migrate", "squash", "--to", "V0002"];
    let dry = [&squash[..], &["--dry-run"]].concat();
    project.run(&dry).await.exits(0).says("could be put in place of 2 migrations");
    assert!(project.path("migrations/V0001__orders.sql").exists());
    project.run(&squash).await.exits(0).says("is in place of 2 migrations");
    assert!(project.path("migrations/V0002__squash.sql").exists());
    assert!(!project.path("migrations/V0001__orders.sql").exists());
    project.run(&["migrate"]).await.exits(0).says("nothing to apply");
    assert!(project.events("migrations_by_hand").await.is_empty(), "no database was changed");
}

/// What an environment does not have is said, with what to do.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_environment_does_not_have_is_said() {
    let Some(project) = Project::new("").await else { return };
    project.add(ORDERS.0, ORDERS.1, ORDERS.2);
    project.run(&["migrate", "fleet"]).await.exits(2).says("add [database.fleet]");
    project.run(&["migrate", "status", "--database", "x"]).await.exits(2).says("no fleet");
    project.run(&["migrate", "snapshot", "list"]).await.exits(2).says("makes no archives");
    let resolved =
        project.run(&["migrate", "resolve", "V0001", "--statement", "1", "--done"]).await;
    assert_ne!(resolved.code, Some(0), "nothing is in doubt: {resolved:#?}");
    assert!(project.events("migrations_by_hand").await.is_empty());
    project.environment("[database.snapshot]\nmethod = \"pg_dump\"\ndirectory = \"saved\"\n");
    project.run(&["migrate"]).await.exits(0);
    let list = project.run(&["migrate", "snapshot", "list"]).await.exits(0);
    list.says("shop-prod-");
    project.run(&["migrate", "snapshot", "prune"]).await.exits(0).says("no snapshot's time");
}
