//! The short load after a rollout (E-PERF-1), made by oha.

use serde_json::Value;

use crate::project::{Pace, Project, Ran};
use liftlock_testkit::requirement;

const LOAD: &str = "path = \"/api/items\"\nrequests_per_second = 40\nduration = \"1500ms\"\nregression = 50\nnoise = \"1500ms\"";

/// Promotes with the load generator in the path.
async fn promote(project: &Project, tools: &str, version: &str) -> Ran {
    let promote = ["promote", "--env", "local", "--release", version];
    project.start(&promote, &[("PATH", tools)]).end().await
}

/// What the newest run has on record.
async fn record(project: &Project) -> Ran {
    let runs = project.json(&["history", "--env", "local", "--limit", "1"]).await;
    project.run(&["history", "--run", runs[0]["run"].as_str().unwrap()]).await.exits(0)
}

async fn history(project: &Project) -> Vec<Value> {
    project.json(&["history", "--env", "local"]).await
}

/// Shows E-PERF-1: a first release has nothing to compare with, a slower one is turned back by what the last good one did under the same
/// load, and one that is as fast passes; limits of times, processors and memory count too. All of it is on record.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_slower_than_the_last_good_one_is_turned_back() {
    let Some(tools) = requirement::oha() else { return };
    let Some(project) = Project::new(Pace::FAST).await else { return };
    project.add_lines("services.backend.performance", LOAD);
    let first = promote(&project, &tools, "1.1.0").await.exits(0);
    first.says("nothing to compare with yet");
    let told = record(&project).await;
    told.says("rollout/backend/performance: pass (0 of ").says(" requests failed, p50 ");

    // Far more than a busy machine adds.
    let before = project.world().await;
    let idle = match before.services["backend"].weights["blue"] == 100 {
        true => "colour=green",
        false => "colour=blue",
    };
    let slow = ["stage", "fault", "add", "latency", "path=/api/items", idle, "delay=2s"];
    project.run(&slow).await.exits(0);
    project.add_version("1.2.0", 3);
    let ran = promote(&project, &tools, "1.2.0").await.exits(1);
    project.run(&["stage", "fault", "clear"]).await.exits(0);
    let ran = ran.says("in the last good release: more than 50 % longer");
    assert_eq!(project.world().await, before, "{}", ran.report());
    record(&project).await.says("rollout/backend/performance: fail (0 of ");

    project.add_version("1.2.1", 3);
    let ran = promote(&project, &tools, "1.2.1").await.exits(0);
    ran.says("; the last good release: 0 of ");
    project.serves("1.2.1").await;

    // A limit counts whatever was before. What the stage measures of processors and memory comes within seconds, and is waited for.
    let latency = ["stage", "fault", "add", "latency", "path=/api/items", "delay=100ms"];
    project.run(&latency).await.exits(0);
    project.set_pace(Pace::FAST);
    let limits = format!("{LOAD}\np50 = \"90ms\"\ncpu = 100\nmemory = 1");
    project.add_lines("services.backend.performance", &limits);
    project.add_version("1.2.2", 3);
    let ran = promote(&project, &tools, "1.2.2").await.exits(1);
    let ran =
        ran.says("the median is ").says(", over 90ms; ").says("memory is at ").says(" %, over 1 %");
    assert!(!ran.report().contains("cpu unknown"), "{}", ran.report());
    project.serves("1.2.1").await;
    project.is_settled().await;
}

/// A load generator that is not there is found before anything is touched, with how to get it.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_generator_that_is_missing_touches_nothing() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.add_lines("services.backend.performance", LOAD);
    project.add_version("1.2.1", 3);
    let (before, runs) = (project.world().await, history(&project).await);
    let nowhere = project.path("bin");
    let ran = promote(&project, nowhere.to_str().unwrap(), "1.2.1").await.exits(2);
    ran.says("oha cannot be started").says("cargo install oha");
    assert_eq!(project.world().await, before);
    assert_eq!(history(&project).await, runs);
}
