//! Broken versions: the old one serves again by itself, with its schema, and that is told and recorded.

use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::load::Load;
use crate::project::{Pace, Project};

/// Promotes a broken version over 1.1.0, and asserts that nothing of it is left but its record.
async fn is_rolled_back(project: &Project, version: &str, why: &str) {
    let before = project.world().await;
    let ran = project.run(&["promote", "--env", "local", "--release", version]).await.exits(1);
    let ran =
        ran.says(&format!("{version} (rel-")).says("FAILED in local and was rolled back").says(why);
    assert_eq!(project.world().await, before, "{}", ran.report());
    project.serves("1.1.0").await;

    let runs = project.json(&["history", "--env", "local", "--limit", "1"]).await;
    let line = &runs[0]["deployment"];
    assert_eq!((&line["version"], &line["status"]), (&json!(version), &json!("rolled_back")));
    assert_eq!((&line["schema_before"], &line["schema_after"]), (&json!(2), &json!(2)));
    let told = project.run(&["history", "--run", runs[0]["run"].as_str().unwrap()]).await.exits(0);
    let told = told.says("incident: promotion of").says("after the rollback: rel-");
    let migrated = told.stdout.contains("applied V0003__create_orders");
    assert_eq!(
        migrated,
        told.stdout.contains("rolled back V0003__create_orders"),
        "{}",
        told.report()
    );
    assert!(migrated, "the migration of this version ran: {}", told.report());
    project.is_settled().await;
}

/// Shows A-RB-1, B-RB-1, C-RB-1, C-RB-2, C-MIG-6 and D-RB-1: whatever is wrong with a version, the one before it serves, the
/// migration that only the new one has is rolled back, an incident is on record, and the command says so.
#[tokio::test(flavor = "multi_thread")]
async fn each_broken_version_is_rolled_back() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    for (version, why) in [
        ("1.2.0-crash", "rollout/backend/raise"),
        ("1.2.0-unhealthy", "rollout/backend/raise"),
        ("1.2.0-no-database", "smoke tests did not pass"),
        ("1.2.0-errors", "FAULT"),
        ("1.2.0-frontend-errors", "FAULT"),
    ] {
        is_rolled_back(&project, version, why).await;
    }
    // One that only needs its time gets it.
    let slow = ["promote", "--env", "local", "--release", "1.2.0-slow-start"];
    project.run(&slow).await.exits(0);
    project.serves("1.2.0-slow-start").await;
}

/// Shows C-OBS-1: when tasks die at their start, how they ended and the last lines that they wrote are in the error, on the console, in
/// the ledger and in `rollout watch`; the secrets that they wrote, too, are nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn why_a_task_died_is_in_the_error_without_its_secrets() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.add_version_with("1.2.1", 3, "FAULT = \"crash-telling-all\"");
    let ran = project.run(&["promote", "--env", "local", "--release", "1.2.1"]).await.exits(1);
    let stage = project.path(".liftlock/local/stage");
    let url = liftlock_stage::database_url(&stage).unwrap();
    let url: reqwest::Url = url.expose_secret().parse().unwrap();
    let password = url.password().unwrap().to_owned();
    let logs = logs(&stage.join("logs"));
    assert!(logs.contains(&password), "the task did write it: {logs}");
    let ended = "EssentialContainerExited: Essential container in task exited; container backend exited with 1";
    let said = "| shop: ?[31mno table baskets in postgres://";
    let ran =
        ran.says("do not stay alive").says(ended).says(said).says("(FAULT=crash-telling-all)");
    let runs = project.json(&["history", "--env", "local", "--limit", "1"]).await;
    let told = project.run(&["history", "--run", runs[0]["run"].as_str().unwrap()]).await.exits(0);
    let told = told.says(ended).says(said);
    let watched = project.run(&["rollout", "watch", "--env", "local", "--once"]).await.exits(0);
    let watched = watched.says(ended).says(said);
    for ran in [ran, told, watched] {
        assert!(!ran.report().contains(&password), "{}", ran.report());
    }
    let ledger = std::fs::read(project.path(".liftlock/local/ledger.db")).unwrap();
    assert!(!String::from_utf8_lossy(&ledger).contains(&password));
}

/// All that the stage's tasks wrote.
fn logs(directory: &std::path::Path) -> String {
    let mut all = String::new();
    for service in std::fs::read_dir(directory).unwrap() {
        for log in std::fs::read_dir(service.unwrap().path()).unwrap() {
            all.push_str(&std::fs::read_to_string(log.unwrap().path()).unwrap());
        }
    }
    all
}

/// Shows D-DEP-1 and D-RB-1: a version that only users break is found with a tenth of them, and nine tenths notice nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_only_users_break_meets_a_tenth_of_them() {
    let Some(project) = Project::serving(Pace::STEADY).await else { return };
    let load = Load::start(&project.url().await);
    load.has_answers(100).await;
    is_rolled_back(&project, "1.2.0-wears-out", "rollout/wave-1/").await;
    let seen = load.stop().await;
    assert!(!seen.failures.is_empty(), "users met it");
    let mine = |failure: &&String| !failure.contains("this version fails some requests");
    let other: Vec<_> = seen.failures.iter().filter(mine).collect();
    assert!(other.is_empty(), "the rollback itself costs no request: {other:#?}");
    let share = seen.failures.len() * 100 / seen.count();
    assert!(share <= 10, "{share} % of {} requests failed", seen.count());

    let load = Load::start(&project.url().await);
    load.has_answers(200).await;
    let after = load.stop().await;
    assert!(after.failures.is_empty(), "all is well again: {:#?}", after.failures);
}

/// Shows D-RB-1 and E-PERF-1: a version that answers everything well, and only takes longer than the one before, is found by comparing
/// the two under the same traffic.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_only_slower_is_found_by_comparison() {
    let Some(project) = Project::serving(Pace { step_bake: 3000, bake: 200 }).await else { return };
    project.compare("backend", "min_requests = 30\npatience = \"30s\"");
    let load = Load::start(&project.url().await);
    load.has_answers(100).await;
    is_rolled_back(&project, "1.2.0-slow", "the new version is slower").await;
    let told = project.run(&["history", "--env", "local", "--limit", "1"]).await.exits(0);
    assert!(told.stdout.contains("rolled back"), "{}", told.report());
    // A good version passes the same comparison.
    project.add_version("1.2.1", 3);
    let ran = project.run(&["promote", "--env", "local", "--release", "1.2.1"]).await.exits(0);
    ran.says("backend: ").says("requests of the new version failed");
    let seen = load.stop().await;
    assert!(seen.failures.is_empty(), "nobody's request failed: {:#?}", seen.failures);
}

/// Shows A-RB-1's condition that no data is never a pass: without traffic there is nothing to compare by, and the environment's file
/// says what becomes of it.
#[tokio::test(flavor = "multi_thread")]
async fn without_traffic_a_comparison_is_inconclusive_and_the_file_says_what_becomes_of_it() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.compare("backend", "patience = \"1s\"");
    let before = project.world().await;
    project.add_version("1.2.1", 3);
    let ran = project.run(&["promote", "--env", "local", "--release", "1.2.1"]).await.exits(1);
    ran.says("inconclusive: backend: ").says("too few to compare").says("analysis.low_traffic");
    assert_eq!(project.world().await, before);
    project.set_pace(Pace::FAST);
    project.compare("backend", "patience = \"1s\"\nlow_traffic = \"breaker\"");
    let ran = project.run(&["promote", "--env", "local", "--release", "1.2.1"]).await.exits(0);
    ran.says("the circuit breaker alone decides");
}

/// Shows D-RB-1 and A-RB-1's condition that no data is never a pass: where nobody asks, requests of Liftlock's own give a comparison its
/// minimum, pass a good version, and find one that is slower; the record says that they were not users'.
#[tokio::test(flavor = "multi_thread")]
async fn synthetic_probes_make_up_for_users_who_are_not_there() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.compare(
        "backend",
        "min_requests = 25\npatience = \"60s\"\nprobes = { path = \"/api/items\", per_second = 10 }",
    );
    is_rolled_back(&project, "1.2.0-slow", "the new version is slower").await;
    project.add_version("1.2.1", 3);
    let ran = project.run(&["promote", "--env", "local", "--release", "1.2.1"]).await.exits(0);
    ran.says("among them Liftlock's own GET /api/items: ").says(" to the new version and ");
    project.serves("1.2.1").await;
}

/// Shows C-MIG-6 and C-RB-2: what would lose data is left, with the command that removes it, and the exit code says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_whose_rollback_would_lose_data_is_left() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let before = project.world().await;
    let apply =
        "create table regions (name text primary key);\ninsert into regions values ('north');\n";
    project.add_migration(4, "create_regions", apply, "drop table regions;\n");
    project.add_version_with("2.0.0-errors", 4, "FAULT = \"errors\"");
    let ran =
        project.run(&["promote", "--env", "local", "--release", "2.0.0-errors"]).await.exits(6);
    let ran = ran
        .says("FAILED in local and was NOT fully rolled back")
        .says("V0004__create_regions stays applied: its rollback would lose table regions: 1 row");
    project.serves("1.1.0").await;
    let after = project.world().await;
    assert_eq!(after.services, before.services, "all but the schema is as before");
    assert_eq!(after.schema, 4);
    assert_eq!(project.last_deployment().await["status"], "stuck");

    let next = ran.stdout.lines().find_map(|line| line.trim().strip_prefix("next")).unwrap();
    let next: Vec<_> = next.split_whitespace().skip(1).collect();
    assert_eq!(next[..2], ["migrate", "rollback"], "{next:?}");
    project.run(&next).await.exits(0);
    assert_eq!(project.world().await, before);
    project.is_settled().await;
}

/// Shows C-MIG-6: an undo that fails stops the way back and says what to do; once that is done, `--resume` goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_undo_that_failed_is_done_once_somebody_has_mended_what_was_in_its_way() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let before = project.world().await;
    let apply = "create table regions (name text primary key);\n\
                 create view region_names as select name from regions;\n";
    project.add_migration(4, "create_regions", apply, "drop table regions;\n");
    project.add_version_with("2.0.0-errors", 4, "FAULT = \"errors\"");
    let ran = project.run(&["promote", "--env", "local", "--release", "2.0.0-errors"]).await;
    ran.exits(6)
        .says("other objects depend on it")
        .says("then: liftlock promote --env local --resume");

    let mut database = project.database().await;
    sqlx::raw_sql("drop view region_names").execute(&mut database).await.unwrap();
    drop(database);
    project.run(&["promote", "--env", "local", "--resume"]).await.exits(1);
    assert_eq!(project.world().await, before);
    project.serves("1.1.0").await;
    project.is_settled().await;
}
