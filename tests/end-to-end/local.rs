//! A healthy release in the local environment: from nothing, under load, and back.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::load::Load;
use crate::project::{Pace, Project, get};

/// The steps of a promotion in the order in which people see them.
const STEPS: [&str; 28] = [
    "infrastructure/plan",
    "infrastructure/apply",
    "database/snapshot",
    "database/migrate",
    "rollout/backend/register",
    "rollout/backend/test-listener",
    "rollout/backend/raise",
    "rollout/frontend/register",
    "rollout/frontend/test-listener",
    "rollout/frontend/raise",
    "rollout/smoke-before-traffic",
    "rollout/arm-switch",
    "rollout/backend/shift-10",
    "rollout/frontend/shift-10",
    "rollout/wave-1/smoke",
    "rollout/wave-1/bake",
    "rollout/backend/shift-50",
    "rollout/frontend/shift-50",
    "rollout/wave-2/smoke",
    "rollout/wave-2/bake",
    "rollout/backend/shift-100",
    "rollout/frontend/shift-100",
    "rollout/wave-3/smoke",
    "rollout/wave-3/bake",
    "rollout/verify",
    "rollout/disarm-switch",
    "rollout/backend/lower",
    "rollout/frontend/lower",
];

fn git(directory: &Path, arguments: &[&str]) -> String {
    let names = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
    let mut command = Command::new("git");
    let output = command.args(names).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// One command in a project where nothing has ever run: everything is started, the first version is brought up, the next
/// one is promoted over it, and each command that people look with shows it.
///
/// Shows W-3, W-4, W-5, C-MIG-1, C-MIG-8, E-APP-1, E-RB-2, E-DATA-1, C-AUD-1, C-AUD-3, C-AUD-4 and C-AUD-5.
#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_project_serves_its_newest_version_after_one_command() {
    let Some(project) = Project::new(Pace::FAST).await else { return };
    git(&project.path(""), &["init", "--quiet", "--initial-branch=main"]);
    git(&project.path(""), &["add", "migrations", "environments", "examples"]);
    git(&project.path(""), &["commit", "--quiet", "--message=Sell things"]);
    let commit = git(&project.path(""), &["rev-parse", "HEAD"]);

    let ran = project.run(&["promote", "--env", "local"]).await.exits(0);
    let steps = |text: &str| -> Vec<String> {
        let done = text.lines().filter_map(|line| line.trim_start().strip_prefix("✓ "));
        done.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    };
    let (baseline, newer) = ran.stdout.split_once("1.1.0 is ").unwrap();
    assert!(baseline.starts_with("local is new: bringing up 1.0.0 first"), "{}", ran.report());
    assert_eq!(steps(baseline), STEPS);
    assert_eq!(steps(newer), STEPS);
    let url = newer.lines().find_map(|line| line.trim().strip_prefix("url")).unwrap().trim();

    assert_eq!(url, project.url().await, "the URL that is printed is the one that serves");
    project.serves("1.1.0").await;
    let (status, deep) = get(&format!("{url}health/deep")).await;
    assert_eq!(status, 200);
    let deep: Value = serde_json::from_str(&deep).unwrap();
    assert_eq!(deep["database"], "reachable");
    assert_eq!(deep["environment"], "local");

    history_tells_it(&project, &commit).await;
    each_view_tells_it(&project).await;
    snapshots_are_dumps(&project).await;
    project.is_settled().await;

    project
        .run(&["promote", "--env", "local"])
        .await
        .exits(0)
        .says("serves in local already; there is nothing to do");
    assert_eq!(project.json(&["history", "--env", "local"]).await.len(), 2, "nothing was recorded");
}

async fn history_tells_it(project: &Project, commit: &str) {
    let lines = project.json(&["history", "--env", "local"]).await;
    let [newer, older] = lines.as_slice() else { panic!("{lines:#?}") };
    let (newer, older) = (&newer["deployment"], &older["deployment"]);
    for (line, version, before, after) in [(newer, "1.1.0", 1, 2), (older, "1.0.0", 0, 1)] {
        assert_eq!(line["version"], version);
        assert_eq!(line["status"], "succeeded");
        assert_eq!(line["environment"], "local");
        assert_eq!(line["actor"], "tester");
        assert_eq!(line["commit"], commit);
        assert_eq!(line["subject"], "Sell things");
        assert_eq!(line["schema_before"], before);
        assert_eq!(line["schema_after"], after);
        let time = |field: &str| line[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert!(time("started") < time("finished"), "{line}");
    }
    assert_eq!(newer["previous"], older["release"]);
    project
        .run(&["history", "--env", "local"])
        .await
        .exits(0)
        .says("succeeded   1.1.0")
        .says("schema V0001 → V0002");
}

async fn each_view_tells_it(project: &Project) {
    let status = project.run(&["status", "--env", "local"]).await.exits(0);
    status.says("1.1.0").says("by tester");
    let rollout = project.json(&["rollout", "status", "--env", "local"]).await;
    assert_eq!(rollout.len(), 2);
    for service in &rollout {
        let live = &service["live"];
        let idle = if live["test"] == "blue" { "green" } else { "blue" };
        let test = live["test"].as_str().unwrap();
        assert_eq!(live["weights"][test], 100, "{service}");
        assert_eq!(live[test]["healthy_targets"], 2, "{service}");
        assert_eq!(live[idle]["running"], 0, "the version before is lowered: {service}");
    }
    project.run(&["local", "status"]).await.exits(0).says("2 of 2 tasks running, 2 healthy");
    let migrations = project.run(&["migrate", "status"]).await.exits(0);
    migrations
        .says("applied  V0001__create_items")
        .says("applied  V0002__add_item_price")
        .says("pending  V0003__create_orders");
    let entries = project.json(&["audit", "export"]).await;
    let observed = entries.iter().filter(|entry| entry["event"]["kind"] == "observed");
    assert!(observed.count() > 50, "every smoke test and bake is on record");
    let ran = entries.iter().filter(|entry| entry["event"]["kind"] == "migration_ran");
    assert!(
        ran.clone().count() == 2
            && ran.clone().all(|e| e["event"]["data"]["milliseconds"].is_u64())
    );
}

/// E-RB-2: a snapshot before each deployment, which PostgreSQL's own program can read.
async fn snapshots_are_dumps(project: &Project) {
    let deployments = project.json(&["history", "--env", "local"]).await;
    for deployment in deployments {
        let run = deployment["run"].as_str().unwrap();
        let entries = project.json(&["history", "--run", run]).await;
        let place = |step: &str, record: &str| {
            entries.iter().position(|entry| {
                let seen = &entry["event"]["data"]["record"];
                seen["step"] == step && seen["record"] == record
            })
        };
        let taken = place("database/snapshot", "done").unwrap();
        assert!(taken < place("database/migrate", "intended").unwrap());
        let snapshots = project.path(".liftlock/local/stage/snapshots");
        let dump = std::fs::read_dir(&snapshots)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_string_lossy().contains(run))
            .unwrap_or_else(|| panic!("{} has no snapshot of {run}", snapshots.display()));
        let programs = liftlock_postgres::Programs::find().unwrap();
        let list = Command::new(programs.directory().join("pg_restore"))
            .arg("--list")
            .arg(&dump)
            .output()
            .unwrap();
        assert!(list.status.success(), "{}: {list:?}", dump.display());
    }
}

/// Shows E-DATA-1: what machines read is a line of JSON each, with its form's version and its type.
#[tokio::test(flavor = "multi_thread")]
async fn machines_read_each_line() {
    let Some(project) = Project::new(Pace::FAST).await else { return };
    let ran = project.run(&["promote", "--env", "local", "--output", "json"]).await.exits(0);
    let mut kinds = std::collections::BTreeSet::new();
    for line in ran.stdout.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert_eq!(line["version"], 1, "{line}");
        kinds.insert(line["type"].as_str().unwrap().to_owned());
    }
    assert!(["conclusion", "entry", "life"].iter().all(|kind| kinds.contains(*kind)), "{kinds:?}");
    let last: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["type"], "conclusion");
    assert_eq!((&last["outcome"], &last["exit"]), (&json!("succeeded"), &json!(0)));
    assert_eq!(last["url"], project.url().await);
}

/// Shows E-SLA-1: users ask all the time, on many connections, while a release is promoted; not one request fails, and
/// while traffic is split they meet both versions.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_a_release_is_promoted() {
    let Some(project) = Project::new(Pace::STEADY).await else { return };
    project.run(&["promote", "--env", "local", "--release", "1.0.0"]).await.exits(0);
    let load = Load::start(&project.url().await);
    load.has_answers(50).await;
    project.run(&["promote", "--env", "local", "--release", "1.1.0"]).await.exits(0);
    let more = load.answers() + 50;
    load.has_answers(more).await;
    let seen = load.stop().await;

    assert!(
        seen.failures.is_empty(),
        "{} of {}: {:#?}",
        seen.failures.len(),
        seen.count(),
        seen.failures
    );
    let (old, new) = (seen.times("1.0.0"), seen.times("1.1.0"));
    let (first_new, last_old) = (new.first().unwrap(), old.last().unwrap());
    assert!(first_new < last_old, "both versions answered for a while");
    let early = new.iter().filter(|at| *at < last_old).count();
    let late = old.iter().filter(|at| *at > first_new).count();
    assert!(early > 10 && late > 10, "{early} of the new and {late} of the old while split");
    project.serves("1.1.0").await;
}

/// Version 1, version 2, rollback, version 1 answers again; with the schema, and with the reason on record.
///
/// Shows A-TEST-1, A-RB-2, C-RB-3, E-RB-1 and E-RB-2.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_rollback_the_first_version_answers_again() {
    let Some(project) = Project::new(Pace::FAST).await else { return };
    project.run(&["promote", "--env", "local", "--release", "1.0.0"]).await.exits(0);
    project.serves("1.0.0").await;
    let first = project.last_deployment().await["release"].as_str().unwrap().to_owned();
    project.run(&["promote", "--env", "local", "--release", "1.1.0"]).await.exits(0);
    project.serves("1.1.0").await;
    assert_eq!(project.schema().await, 2);

    let load = Load::start(&project.url().await);
    load.has_answers(20).await;
    let began = std::time::Instant::now();
    project
        .run(&["rollback", "--env", "local", "--reason", "prices are wrong"])
        .await
        .exits(0)
        .says("1.0.0");
    assert!(began.elapsed().as_secs() < 300, "A-RB-2 and E-RB-1: under five minutes");
    let seen = load.stop().await;
    assert!(seen.failures.is_empty(), "a rollback costs no request: {:#?}", seen.failures);
    project.serves("1.0.0").await;
    assert_eq!(project.schema().await, 1, "the down script of V0002 ran");

    let line = project.last_deployment().await;
    assert_eq!((&line["kind"], &line["status"]), (&json!("rollback"), &json!("succeeded")));
    assert_eq!(line["version"], "1.0.0");
    let runs = project.json(&["history", "--env", "local", "--limit", "1"]).await;
    let run = runs[0]["run"].as_str().unwrap();
    project
        .run(&["history", "--run", run])
        .await
        .exits(0)
        .says("rollback started: prices are wrong");
    project.is_settled().await;

    project.run(&["promote", "--env", "local", "--release", "1.1.0"]).await.exits(0);
    project.run(&["rollback", "--env", "local", "--to", &first]).await.exits(0);
    project.serves("1.0.0").await;
}
