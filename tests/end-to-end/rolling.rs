//! Tasks that are replaced where users are: what ECS does by itself, watched, proven and taken back.

use liftlock_stage::{Fault, Kind, Scenario, Span};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::load::Load;
use crate::project::{Pace, Project, until};

const ROLLING: &str = "strategy = \"rolling\"";

/// The steps of the newest run that were done, in order.
pub(crate) async fn steps(project: &Project) -> Vec<String> {
    let runs = project.json(&["history", "--env", "local", "--limit", "1"]).await;
    let entries = project.json(&["history", "--run", runs[0]["run"].as_str().unwrap()]).await;
    let record = |entry: &Value| entry["event"]["data"]["record"].clone();
    let done = entries.iter().map(record).filter(|record| record["record"] == "done");
    done.map(|record| record["step"].as_str().unwrap().to_owned()).collect()
}

/// Shows D-DEP-1, as data: ECS replaces the tasks where they are, no traffic is moved, no request is lost, and a rollback by hand goes
/// the same way.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_rollout_moves_no_traffic_and_loses_no_request() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.set_steps(Pace::FAST, ROLLING);
    let (weights, load) = (project.weights().await, Load::start(&project.url().await));
    project.add_version("1.2.1", 3);
    project.run(&["promote", "--env", "local", "--release", "1.2.1"]).await.exits(0);
    project.serves("1.2.1").await;
    assert_eq!(project.weights().await, weights);
    let steps = steps(&project).await;
    let has = |text: &str| steps.iter().any(|step| step.contains(text));
    assert!(has("rollout/backend/replace") && has("rollout/frontend/replace"), "{steps:?}");
    assert!(!has("/shift-") && !has("/raise"), "{steps:?}");
    assert!(has("rollout/arm-switch") && has("rollout/disarm-switch"), "{steps:?}");

    let back = ["rollback", "--env", "local", "--reason", "not what we wanted"];
    project.run(&back).await.exits(0);
    project.serves("1.1.0").await;
    assert_eq!(project.weights().await, weights);
    let seen = load.stop().await;
    assert!(seen.failures.is_empty(), "{:#?}", seen.failures);
    project.is_settled().await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 for tasks that are replaced where they are: what dies, never becomes healthy or answers with errors is
/// replaced by the version before, and while no new task is healthy, nobody's request is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_version_is_replaced_by_the_one_before() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.set_steps(Pace::FAST, ROLLING);
    for (version, fault, why) in [
        ("1.2.1", "crash", "do not stay alive"),
        ("1.2.2", "unhealthy", "rollout/backend/replace"),
        ("1.2.3", "no-database", "smoke tests did not pass"),
    ] {
        project.add_version_with(version, 3, &format!("FAULT = \"{fault}\""));
        let (before, load) = (project.world().await, Load::start(&project.url().await));
        let ran = project.run(&["promote", "--env", "local", "--release", version]).await.exits(1);
        let ran = ran.says("FAILED in local and was rolled back").says(why);
        assert_eq!(project.world().await, before, "{}", ran.report());
        project.serves("1.1.0").await;
        let seen = load.stop().await;
        // Users meet what is healthy and only lacks its database, until it is replaced.
        let bad = seen.failures.len();
        assert!(bad == 0 || fault == "no-database", "{fault}: {:#?}", seen.failures);
        project.is_settled().await;
    }
}

/// Shows C-OBS-1 for tasks that are replaced where they are: the run watches while ECS is still at it, and does not wait for the bake.
#[tokio::test(flavor = "multi_thread")]
async fn what_users_get_is_watched_while_tasks_are_replaced() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    // One at a time, so that there are users on the first while the second is awaited.
    project.set_steps(Pace::FAST, &format!("{ROLLING}\nminimum_healthy = 50\nmaximum = 100"));
    project.add_version_with("1.2.1", 3, "FAULT = \"errors\"");
    let stage = project.path(".liftlock/local/stage");
    let delay = Some(Span::milliseconds(4000));
    let slow = Fault { delay, ..Fault::new(Kind::PlacementDelay) };
    let scenario = Scenario { seed: 1, faults: vec![slow] };
    liftlock_stage::add_faults(&stage, &scenario).await.unwrap();
    let before = project.world().await;
    let ran = project.run(&["promote", "--env", "local", "--release", "1.2.1"]).await.exits(1);
    let ran = ran.says("rollout/backend/replace").says("the circuit breaker tripped");
    assert_eq!(project.world().await, before, "{}", ran.report());
    project.serves("1.1.0").await;
}

/// Shows W-4 for tasks that are replaced where they are: a run that dies meanwhile is taken up where ECS has come to by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_dies_while_tasks_are_replaced_is_finished() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.set_steps(Pace::FAST, ROLLING);
    project.add_version("1.2.1", 3);
    let (before, load) = (project.world().await, Load::start(&project.url().await));
    let stage = project.path(".liftlock/local/stage");
    let delay = Some(Span::milliseconds(3000));
    let slow = Fault { delay, ..Fault::new(Kind::PlacementDelay) };
    let scenario = Scenario { seed: 1, faults: vec![slow] };
    liftlock_stage::add_faults(&stage, &scenario).await.unwrap();
    let promotion = project.start(&["promote", "--env", "local", "--release", "1.2.1"], &[]);
    let pid = promotion.pid();
    let promotion = promotion.heard_until("rollout/frontend/test-listener").await;
    let set = async || project.services().await["backend"].blue["task_definition"].clone();
    let old = before.services["backend"].blue["task_definition"].clone();
    until("the new revision is set", async || set().await != old).await;
    kill_process(pid, Signal::KILL).unwrap();
    promotion.end().await;
    project.run(&["promote", "--env", "local", "--resume"]).await.exits(0);
    project.serves("1.2.1").await;
    let seen = load.stop().await;
    assert!(seen.failures.is_empty(), "{:#?}", seen.failures);
    project.is_settled().await;
}

/// Shows D-DEP-1 for a first rollout: where nothing serves, there is nothing to watch, and what fails leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_rollout_has_nothing_to_replace() {
    let Some(project) = Project::new(Pace::FAST).await else { return };
    project.set_steps(Pace::FAST, ROLLING);
    let promote = ["promote", "--env", "local", "--release", "1.1.0"];
    let ran = project.run_with_fault("fail:rollout/wave-1/smoke", &promote).await.exits(6);
    let ran = ran.says("nothing served before, and nothing does now");
    for service in project.services().await.into_values() {
        let running = (&service.blue["running"], &service.green["running"]);
        assert_eq!(running, (&0.into(), &0.into()), "{service:#?}\n{}", ran.report());
    }
    project.run(&promote).await.exits(0);
    project.serves("1.1.0").await;
    project.is_settled().await;
}
