//! Rollouts that wait for a person, who says from another process, as from another machine, how they go on.

use liftlock_testkit::webhook;
use serde_json::{Value, json};

use crate::load::Load;
use crate::project::{Pace, Project, Ran, Started, until, wave_of};

const ON_PAUSED: &str = r#"
[[notifications]]
kind = "slack"
name = "ops"
url = { from = "env", variable = "OPS_WEBHOOK" }
on = ["paused"]
"#;
const PAUSED: &str = "steps = [{ share = 10, pause = true }, 100]";

async fn status(project: &Project) -> Value {
    project.json(&["status", "--env", "local"]).await.remove(0)
}

/// Promotes a healthy version, and goes on once it waits with a tenth of the traffic.
async fn paused(project: &Project) -> Started {
    paused_with(project, &[]).await
}

async fn paused_with(project: &Project, variables: &[(&str, &str)]) -> Started {
    project.add_version("1.2.1", 3);
    let promote = ["promote", "--env", "local", "--release", "1.2.1"];
    let promotion = project.start(&promote, variables);
    until("it waits", async || status(project).await["paused"]["share"] == json!(10)).await;
    assert_eq!(wave_of(&project.services().await["backend"].weights), Some(10));
    promotion
}

/// Asserts that a promotion ended as if it had never been.
async fn is_undone(project: &Project, ran: Ran, before: &crate::project::World) -> Ran {
    assert_eq!(project.world().await, *before, "{}", ran.report());
    project.serves("1.1.0").await;
    project.is_settled().await;
    ran
}

/// Shows C-RB-1 and D-DEP-1: a step waits until a person resumes it from elsewhere; then the release goes on to its end, no request is
/// lost, people are told that it waits, and who resumed it and why is on record.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_waits_is_resumed_from_elsewhere() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let idle = project.run(&["rollout", "resume", "--env", "local"]).await.exits(2);
    idle.says("nothing is going on in local");
    project.set_steps(Pace::FAST, PAUSED);
    let load = Load::start(&project.url().await);
    let file = project.path("environments/local.toml");
    let text = std::fs::read_to_string(&file).unwrap() + ON_PAUSED;
    std::fs::write(file, text).unwrap();
    let (url, mut messages) = webhook().await;
    let promotion = paused_with(&project, &[("OPS_WEBHOOK", &url)]).await;
    let told = tokio::time::timeout(std::time::Duration::from_secs(60), messages.recv()).await;
    let message = told.unwrap().unwrap();
    let text = message["text"].as_str().unwrap();
    assert!(
        text.contains("paused with 10 %") && text.contains("rollout abort --env local"),
        "{text}"
    );
    let shown = project.run(&["status", "--env", "local"]).await.exits(0);
    shown.says("paused with 10 % of the traffic").says("rollout resume --env local");
    let resume = ["rollout", "resume", "--env", "local", "--reason", "looks good"];
    project.run(&resume).await.exits(0).says("tester said that run-").says("goes on from 10 %");
    let ran = promotion.end().await.exits(0);
    let ran = ran
        .says("waits with 10 % of the traffic on the new version")
        .says("next: ")
        .says("resumed by tester: looks good");
    let seen = load.stop().await;
    assert!(seen.failures.is_empty(), "{:#?}\n{}", seen.failures, ran.report());
    project.serves("1.2.1").await;
    project.is_settled().await;
    let runs = project.json(&["history", "--env", "local", "--limit", "1"]).await;
    let told = project.run(&["history", "--run", runs[0]["run"].as_str().unwrap()]).await.exits(0);
    told.says("rollout/wave-1/pause: told to go on: looks good");
}

/// Shows A-RB-1 (an operator's word): whoever aborts a rollout that waits has the old version back, whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_waits_is_aborted_from_elsewhere() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.set_steps(Pace::FAST, PAUSED);
    let before = project.world().await;
    let promotion = paused(&project).await;
    let unsaid = project.run(&["rollout", "abort", "--env", "local"]).await.exits(2);
    unsaid.says("--reason");
    let abort = ["rollout", "abort", "--env", "local", "--reason", "not before the sale"];
    project.run(&abort).await.exits(0).says("turns back");
    let ran = promotion.end().await.exits(1);
    let ran = is_undone(&project, ran, &before).await;
    ran.says("aborted by tester: not before the sale").says("was rolled back");
    project.run(&abort).await.exits(2).says("nothing is going on in local");
}

/// Shows A-RB-1 (an operator's word): a run that watches hears it as well as one that waits, and a second word is not needed.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_watches_is_aborted_from_elsewhere() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let before = project.world().await;
    project.set_pace(Pace { step_bake: 60_000, bake: 60_000 });
    project.add_version("1.2.1", 3);
    let promotion = project.start(&["promote", "--env", "local", "--release", "1.2.1"], &[]);
    until("a tenth is on it", async || {
        wave_of(&project.services().await["frontend"].weights) == Some(10)
    })
    .await;
    let resume = project.run(&["rollout", "resume", "--env", "local"]).await.exits(2);
    resume.says("does not wait for anybody").says("it has not paused");
    let abort = ["rollout", "abort", "--env", "local", "--reason", "wrong release"];
    project.run(&abort).await.exits(0);
    let ran = promotion.end().await.exits(1);
    is_undone(&project, ran, &before).await.says("aborted by tester: wrong release");
}

/// Shows A-RB-1: nobody has to be there: what breaks while a rollout waits turns it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_breaks_while_its_rollout_waits_is_taken_back() {
    breaks_while_its_rollout_waits(&[]).await;
}

/// Shows A-RB-1: that the application fails is seen also while AWS does not say how its alarms stand.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_breaks_while_alarms_do_not_answer_is_taken_back() {
    breaks_while_its_rollout_waits(&["api-hang", "operation=monitoring:*"]).await;
}

async fn breaks_while_its_rollout_waits(besides: &[&str]) {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.set_steps(Pace::FAST, PAUSED);
    let before = project.world().await;
    let new = match before.services["backend"].weights["blue"].as_u64() {
        Some(100) => "colour=green",
        _ => "colour=blue",
    };
    let promotion = paused(&project).await;
    if !besides.is_empty() {
        project.run(&[&["stage", "fault", "add"], besides].concat()).await.exits(0);
    }
    let fault = ["stage", "fault", "add", "errors", "service=backend", new, "share=1"];
    project.run(&fault).await.exits(0);
    let ran = promotion.end().await.exits(1);
    project.run(&["stage", "fault", "clear"]).await.exits(0);
    let ran = is_undone(&project, ran, &before).await;
    ran.says("rollout/wave-1/pause: the circuit breaker tripped");
}

/// Shows C-RB-1: a step that waits for so long at most turns back after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_nobody_resumes_in_time_turns_back() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.set_steps(Pace::FAST, "steps = [{ share = 10, pause = \"1s\" }, 100]");
    let before = project.world().await;
    project.add_version("1.2.1", 3);
    let ran = project.run(&["promote", "--env", "local", "--release", "1.2.1"]).await.exits(1);
    let ran = is_undone(&project, ran, &before).await;
    ran.says("nobody said within 1 s how it goes on");
}

/// Shows C-PIPE-2: the runner dies while the rollout waits; what was said meanwhile is heard by whoever goes on with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_while_nobody_is_at_work_is_not_lost() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.set_steps(Pace::FAST, PAUSED);
    let promotion = paused(&project).await;
    rustix::process::kill_process(promotion.pid(), rustix::process::Signal::KILL).unwrap();
    promotion.end().await;
    project.run(&["rollout", "resume", "--env", "local"]).await.exits(0);
    let resumed = project.run(&["promote", "--env", "local", "--resume"]).await.exits(0);
    resumed.says("resumed by tester");
    project.serves("1.2.1").await;
    project.is_settled().await;
}

/// Shows C-OBS-1: anybody sees from elsewhere what somebody else's run is at, each change once, until it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_watched_from_elsewhere() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let idle = project.run(&["rollout", "watch", "--env", "local"]).await.exits(0);
    idle.says("ended: succeeded").says("promotion of 1.1.0");
    project.set_steps(Pace::FAST, PAUSED);
    let promotion = paused(&project).await;
    let once = project.run(&["rollout", "watch", "--env", "local", "--once"]).await.exits(0);
    once.says("at work at rollout/wave-1/pause")
        .says("paused with 10 % of the traffic since")
        .says("├─ backend: ")
        .says("10 %  shop-local-backend:")
        .says("2 targets healthy")
        .says("✓ rollout/wave-1/bake: pass");
    let watch = ["rollout", "watch", "--env", "local", "--output", "json"];
    let watch = project.start(&watch, &[]);
    project.run(&["rollout", "resume", "--env", "local"]).await.exits(0);
    promotion.end().await.exits(0);
    let seen = watch.end().await.exits(0).json();
    let (first, last) = (&seen[0], seen.last().unwrap());
    assert_eq!(last["type"], "rollout");
    assert_eq!(last["run"]["outcome"], "succeeded", "{seen:#?}");
    assert_eq!(last["run"]["release_version"], "1.2.1");
    assert_ne!(first["services"], last["services"]);
    let twice = seen.windows(2).any(|pair| pair[0] == pair[1]);
    assert!(!twice, "each change is told once: {seen:#?}");
}

/// Shows C-SMOKE-1 as far as it is about what is told: tasks that die at their start are seen with why they stopped, in the tree and in the
/// run's own error.
#[tokio::test(flavor = "multi_thread")]
async fn why_tasks_died_is_told() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let promotion = project.start(&["promote", "--env", "local", "--release", "1.2.0-crash"], &[]);
    let watch = ["rollout", "watch", "--env", "local", "--once"];
    let mut shown = String::new();
    until("a task has died", async || {
        shown = project.run(&watch).await.stdout;
        shown.contains("✗ task ")
    })
    .await;
    assert!(shown.contains("exited with"), "{shown}");
    promotion.end().await.exits(1).says("exited with");
    let after = project.run(&watch).await.exits(0);
    after.says("ended: rolled back").says("✗ rollout/backend/raise: ");
}
