//! Ledgers that were tampered with, that a newer Liftlock made, that are none, or that do not let us in.

use liftlock_testkit::{ClosedPort, TestDatabase};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::database::with;
use super::scene::{COMMIT, SECRET, Scene};

const AWS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret")];
const OTHER: &str = "backend=registry.example/shop/backend@sha256:3333333333333333333333333333333333333333333333333333333333333333";

/// Changes the ledger's database past the ledger.
async fn past(scene: &Scene, sql: &str) {
    let path = scene.path(".liftlock/ledger.db");
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    // Only then is what was written in the file itself.
    connection.close().await.unwrap();
}

/// Shows C-RB-2, so far as it is about the record: the first broken entry is named, and nothing is built on it.
#[tokio::test]
async fn a_ledger_that_was_tampered_with_is_named_and_not_built_upon() {
    let scene = Scene::new();
    let release = scene.release().await;
    let create = ["release", "create", "--image", OTHER, "--commit", COMMIT];
    scene.run(&create[..]).await.exits(0);
    scene.run(&["audit", "verify"]).await.exits(0).prints(&["2 entries, unbroken", "ledger.db"]);
    past(
        &scene,
        "drop trigger liftlock_entries_no_update;
         update liftlock_entries set body = replace(body, '\"tester\"', '\"mallory\"') where sequence = 2",
    )
    .await;
    let words = ["ledger.db was tampered with", "entry 2 is the first broken one", "backup"];
    scene.refused(&["audit", "verify"], &[]).await.exits(1).says(&words);
    let image = OTHER.replace('3', "4");
    let qa = [("LIFTLOCK_ACTOR", "qa-lead")];
    for (arguments, variables) in [
        (&["promote", "--env", "dev"][..], &AWS[..]),
        (&["release", "create", "--image", &image, "--commit", COMMIT], &[]),
        (&["approve", "--env", "prod", "--release", &release], &qa),
    ] {
        scene.refused(arguments, variables).await.exits(2).says(&words);
    }
}

const ALL: [&[&str]; 7] = [
    &["status"],
    &["history"],
    &["audit", "verify"],
    &["audit", "export"],
    &["release", "list"],
    &["promote", "--env", "dev"],
    &["approve", "--env", "prod", "--release", "rel-000000000000"],
];

#[tokio::test]
async fn a_ledger_of_a_newer_version_is_left_alone() {
    let scene = Scene::new();
    scene.release().await;
    past(&scene, "update liftlock_ledger set version = 2").await;
    for arguments in ALL {
        let ran = scene.refused(arguments, &AWS).await.exits(2);
        ran.says(&["ledger.db has schema version 2", "up to 1", "install the newer Liftlock"]);
    }
}

#[tokio::test]
async fn what_is_no_ledger_is_left_alone() {
    let scene = Scene::new();
    scene.write(".liftlock/ledger.db", "Dear diary");
    for arguments in ALL {
        let ran = scene.refused(arguments, &AWS).await.exits(2);
        ran.says(&[
            "ledger.db is not a Liftlock ledger",
            "nothing was changed",
            "move this one away",
        ]);
    }
}

fn on_postgres() -> Scene {
    let scene = Scene::new();
    let text = "[ledger]\nurl = { from = \"env\", variable = \"SHOP_LEDGER_URL\" }\n";
    let base = std::fs::read_to_string(scene.path("environments/base.toml")).unwrap();
    scene.write("environments/base.toml", &format!("{base}\n{text}"));
    scene
}

#[tokio::test]
async fn a_ledger_that_refuses_the_credentials_exits_3() {
    let Some(database) = TestDatabase::new().await else { return };
    let scene = on_postgres();
    let url = with(&database, "intruder", database.name());
    for arguments in ALL {
        let ran = scene.refused(arguments, &[("SHOP_LEDGER_URL", &url)]).await.exits(3);
        ran.says(&["the ledger", database.name(), "refused the user or the password"]);
    }
}

#[tokio::test]
async fn a_ledger_that_does_not_answer_or_is_not_named_is_told() {
    let scene = on_postgres();
    let closed = ClosedPort::new();
    let port = closed.number();
    let url = format!("postgres://shop:{SECRET}@127.0.0.1:{port}/ledger");
    let ran = scene.refused(&["status"], &[("SHOP_LEDGER_URL", &url)]).await.exits(2);
    ran.says(&["the ledger", &format!("127.0.0.1:{port}/ledger")]);
    let ran = scene.refused(&["status"], &[]).await.exits(2);
    ran.says(&["`SHOP_LEDGER_URL` is not set"]);
}
