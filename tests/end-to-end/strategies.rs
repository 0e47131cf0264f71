//! In which way traffic moves is data.

use serde_json::{Value, json};

use crate::load::Load;
use crate::project::{Pace, Project};
use crate::stranger::Stranger;

/// The shares that the backend was given by the newest run, in order.
async fn shares(project: &Project) -> Vec<u64> {
    let runs = project.json(&["history", "--env", "local", "--limit", "1"]).await;
    let entries = project.json(&["history", "--run", runs[0]["run"].as_str().unwrap()]).await;
    let record = |entry: &Value| entry["event"]["data"]["record"].clone();
    let done = entries.iter().map(record).filter(|record| record["record"] == "done");
    let steps: Vec<_> = done.map(|record| record["step"].as_str().unwrap().to_owned()).collect();
    let share = |step: &String| step.strip_prefix("rollout/backend/shift-")?.parse().ok();
    steps.iter().filter_map(share).collect()
}

/// Shows D-DEP-1, as data: by equal steps, all at once, and by steps of one's own with a bake of their own; no request is lost in any.
#[tokio::test(flavor = "multi_thread")]
async fn each_strategy_moves_traffic_in_its_own_way() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let load = Load::start(&project.url().await);
    for (version, lines, expected) in [
        ("1.2.1", "strategy = \"linear\"\nincrement = 40", vec![40, 80, 100]),
        ("1.2.2", "strategy = \"all-at-once\"", vec![100]),
        ("1.2.3", "steps = [{ share = 3, bake = \"100ms\" }, 100]", vec![3, 100]),
    ] {
        project.add_version(version, 3);
        project.set_steps(Pace::FAST, lines);
        project.run(&["promote", "--env", "local", "--release", version]).await.exits(0);
        assert_eq!(shares(&project).await, expected, "{lines}");
        project.serves(version).await;
    }
    let seen = load.stop().await;
    assert!(seen.failures.is_empty(), "{:#?}", seen.failures);
}

/// The order in which the services were given their shares by the newest run, such as `backend 10`.
async fn order(project: &Project) -> Vec<String> {
    let runs = project.json(&["history", "--env", "local", "--limit", "1"]).await;
    let entries = project.json(&["history", "--run", runs[0]["run"].as_str().unwrap()]).await;
    let record = |entry: &Value| entry["event"]["data"]["record"].clone();
    let done = entries.iter().map(record).filter(|record| record["record"] == "done");
    let steps: Vec<_> = done.map(|record| record["step"].as_str().unwrap().to_owned()).collect();
    let share = |step: &String| {
        let (service, share) = step.strip_prefix("rollout/")?.split_once("/shift-")?;
        Some(format!("{service} {share}"))
    };
    steps.iter().filter_map(share).collect()
}

/// Shows D-DEP-1 for several services in one release: one that depends on another moves first when that has all traffic, no request is lost,
/// and what fails after the first has moved brings both back.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_waits_for_those_that_it_depends_on_and_goes_back_with_them() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let file = project.path("environments/local.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let table = "[services.backend.rollout]\n";
    assert!(text.contains(table), "{text}");
    let waits = format!("{table}depends_on = [\"frontend\"]\n");
    std::fs::write(&file, text.replace(table, &waits)).unwrap();
    let load = Load::start(&project.url().await);
    project.add_version("1.2.1", 3);
    project.run(&["promote", "--env", "local", "--release", "1.2.1"]).await.exits(0);
    let shares = |service: &str| [10, 50, 100].map(|share| format!("{service} {share}"));
    assert_eq!(order(&project).await, [shares("frontend"), shares("backend")].concat());
    project.serves("1.2.1").await;
    // The frontend has all traffic when the backend's first step fails.
    let before = project.world().await;
    project.add_version("1.2.2", 3);
    let promote = ["promote", "--env", "local", "--release", "1.2.2"];
    let fault = "fail:rollout/backend/shift-10";
    let ran = project.run_with_fault(fault, &promote).await.exits(1);
    let ran = ran.says("was rolled back");
    assert_eq!(project.world().await, before, "{}", ran.report());
    let seen = load.stop().await;
    assert!(seen.failures.is_empty(), "{:#?}", seen.failures);
    project.serves("1.2.1").await;
    let backwards = text.replace(table, &format!("{table}depends_on = [\"backend\"]\n"));
    std::fs::write(&file, backwards).unwrap();
    let refused = project.run(&["environment", "check", "local"]).await.exits(2);
    refused.says("environments/local.toml:").says("`backend` would wait for itself");
    std::fs::write(&file, text).unwrap();
}

/// Shows D-DEP-2: `--skip-canary` wants a reason, moves all traffic at once, and that it did and why is told wherever the release is told of;
/// an environment may forbid it.
#[tokio::test(flavor = "multi_thread")]
async fn the_canary_is_skipped_with_a_reason_and_on_record() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.add_version("1.2.1", 3);
    let skip = ["promote", "--env", "local", "--release", "1.2.1", "--skip-canary"];
    project.run(&skip).await.exits(2).says("--reason");
    let blank = [&skip[..], &["--reason", " "]].concat();
    project.run(&blank).await.exits(2).says("--skip-canary needs a reason");
    let why = [&skip[..], &["--reason", "hotfix of #4711"]].concat();

    let file = project.path("environments/local.toml");
    let allowed = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{allowed}\n[gates]\nforbid_skip_canary = true\n")).unwrap();
    let before = project.world().await;
    let refused = project.run(&why).await.exits(4);
    refused.says("local forbids it (gates.forbid_skip_canary)").says("without --skip-canary");
    assert_eq!(project.world().await, before);
    std::fs::write(&file, allowed).unwrap();

    let ran = project.run(&why).await.exits(0);
    ran.says("canary    skipped: hotfix of #4711").says("all traffic moves at once");
    assert_eq!(shares(&project).await, [100]);
    project.serves("1.2.1").await;
    assert_eq!(project.last_deployment().await["skipped_canary"], json!("hotfix of #4711"));
    let history = project.run(&["history", "--env", "local"]).await.exits(0);
    history.says("without canary: hotfix of #4711");
    let status = project.run(&["status", "--env", "local"]).await.exits(0);
    status.says("without canary: hotfix of #4711");
    let runs = project.json(&["history", "--env", "local", "--limit", "1"]).await;
    let told = project.run(&["history", "--run", runs[0]["run"].as_str().unwrap()]).await.exits(0);
    told.says("promotion started with skip-canary: hotfix of #4711");

    // The next release goes by steps again.
    project.add_version("1.2.2", 3);
    project.run(&["promote", "--env", "local", "--release", "1.2.2"]).await.exits(0);
    assert_eq!(shares(&project).await, [10, 50, 100]);
}

/// Shows E-RB-1 as far as old revisions go: only as many as the environment says are kept, never fewer than what colours are set to, and a
/// release whose revision is gone still comes back.
#[tokio::test(flavor = "multi_thread")]
async fn old_task_definitions_are_taken_out_of_use() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let stranger = Stranger::of(&project).await;
    let revisions = async || stranger.task_definitions("shop-local-backend").await;
    let before = revisions().await;
    assert_eq!(before.len(), 2, "{before:?}");
    for version in ["1.2.1", "1.2.2"] {
        project.add_version(version, 3);
        project.run(&["promote", "--env", "local", "--release", version]).await.exits(0);
    }
    let all = revisions().await;
    assert_eq!(all.len(), 4, "nothing is taken away unasked: {all:?}");
    let lines = "steps = [10, 50, 100]\nkeep_task_definitions = 2";
    project.set_steps(Pace::FAST, lines);
    project.add_version("1.2.3", 3);
    project.run(&["promote", "--env", "local", "--release", "1.2.3"]).await.exits(0);
    let kept = revisions().await;
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert_eq!(kept[1], all[0], "the newest are kept: {kept:?}");
    let set = project.services().await;
    for colour in [&set["backend"].blue, &set["backend"].green] {
        let arn = colour["task_definition"].as_str().unwrap();
        assert!(kept.iter().any(|name| arn.ends_with(name)), "{arn} is set: {kept:?}");
    }
    let runs = project.json(&["history", "--env", "local", "--limit", "4"]).await;
    let told = project.run(&["history", "--run", runs[0]["run"].as_str().unwrap()]).await.exits(0);
    told.says("out of use; 2 are kept");
    // 1.2.1 was before 1.2.2 and 1.2.3, and its revision is gone.
    let old = runs[2]["deployment"]["release"].as_str().unwrap();
    let back = ["rollback", "--env", "local", "--to", old, "--reason", "it was better"];
    project.run(&back).await.exits(0);
    project.serves("1.2.1").await;
}
