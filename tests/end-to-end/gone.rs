//! A promotion that is gone while ECS replaces tasks: ECS would go on by itself, and the dead-man's switch does not let it.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use liftlock_stage::{Fault, Kind, Scenario, Span};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::load::Load;
use crate::project::{Pace, Project, Ran, Started, until};

const ECS_CANARY: &str = "strategy = \"ecs-canary\"\nsteps = [10, 100]";
const ROLLING: &str = "strategy = \"rolling\"";
/// Of ECS's minutes, which take 300 ms: a share that stays for longer than the switch waits, so that it is not ECS which ends it.
const LONG: Pace = Pace { step_bake: 7_200_000, bake: 60_000 };
/// Nothing of ECS's own, and long bakes after it.
const WATCHED: Pace = Pace { step_bake: 60_000, bake: 60_000 };

/// A project that serves 1.1.0 and goes by these lines, whose switch waits no longer than it has to.
async fn project(pace: Pace, lines: &str) -> Option<Project> {
    let project = Project::serving(Pace::FAST).await?;
    project.set_steps(pace, lines);
    project.switch_after("6s");
    project.add_version("2.0.0", 3);
    Some(project)
}

fn promote(project: &Project) -> Started {
    project.start(&["promote", "--env", "local", "--release", "2.0.0"], &[])
}

/// Both target groups of backend have users.
async fn is_shared(project: &Project) -> bool {
    let all = project.weights().await;
    all.iter().any(|(name, of)| name == "backend" && !of.contains(&0))
}

/// A promotion whose first share ECS has given to the new version.
async fn sharing(project: &Project) -> (Started, Pid) {
    let promotion = promote(project);
    let pid = promotion.pid();
    until("users are on both", async || is_shared(project).await).await;
    (promotion, pid)
}

/// How often AWS was called for this so far.
async fn calls(project: &Project, operation: &str) -> u64 {
    let status = liftlock_stage::status(&stage(project)).await.unwrap().unwrap();
    status.calls.get(operation).copied().unwrap_or(0)
}

fn stage(project: &Project) -> std::path::PathBuf {
    project.path(".liftlock/local/stage")
}

/// The revision that backend's tasks are made from.
async fn revision(project: &Project) -> Value {
    project.services().await["backend"].blue["task_definition"].clone()
}

async fn slow_starts(stage: &Path, milliseconds: i64) {
    let delay = Some(Span::milliseconds(milliseconds));
    let slow = Fault { delay, ..Fault::new(Kind::PlacementDelay) };
    liftlock_stage::add_faults(stage, &Scenario { seed: 1, faults: vec![slow] }).await.unwrap();
}

/// Kills it, and waits until users of both services have the old version alone, with nobody's help.
async fn kill_and_wait(project: &Project, promotion: Started, pid: Pid) {
    kill_process(pid, Signal::KILL).unwrap();
    assert_eq!(promotion.end().await.status.signal(), Some(9));
    until("the switches have fired", async || project.schedules().await.is_empty()).await;
    until("users have the old version", async || {
        project.versions().await.into_values().all(|versions| versions == ["1.1.0"])
    })
    .await;
}

/// Resumes what was taken back already: it says so, ends with 1, and has AWS do nothing a second time.
async fn resume(project: &Project) -> Ran {
    let asked = ["ecs:UpdateService", "ecs:StopServiceDeployment"];
    let before = [calls(project, asked[0]).await, calls(project, asked[1]).await];
    let resumed = project.run(&["promote", "--env", "local", "--resume"]).await.exits(1);
    let resumed = resumed.says("the dead-man's switch of backend has fired");
    let after = [calls(project, asked[0]).await, calls(project, asked[1]).await];
    assert_eq!(after, before, "{}", resumed.report());
    resumed
}

/// Shows A-RB-1 where ECS moves the traffic: `kill -9` while a tenth of it is on the new version. ECS is stopped before it moves the rest,
/// all traffic is back, `status`, `rollout status` and `--resume` say so, and the next promotion works.
#[tokio::test(flavor = "multi_thread")]
async fn what_ecs_moves_goes_back_when_the_promotion_is_killed() {
    let Some(project) = project(LONG, ECS_CANARY).await else { return };
    let (before, weights) = (project.world().await, project.weights().await);
    let load = Load::start(&project.url().await);
    let (promotion, pid) = sharing(&project).await;
    let shown = project.run(&["rollout", "status", "--env", "local"]).await.exits(0);
    shown.says("shop-local-backend-switch: has the old version brought back");
    kill_and_wait(&project, promotion, pid).await;
    assert_eq!(project.weights().await, weights);
    assert_eq!(calls(&project, "ecs:StopServiceDeployment").await, 1, "it was not overtaken");
    let status = project.run(&["status", "--env", "local"]).await.exits(0);
    status.says("its dead-man's switch gives users the old version back");

    resume(&project).await;
    assert_eq!(project.world().await, before);
    let seen = load.stop().await;
    assert!(seen.failures.is_empty(), "{:#?}", seen.failures);
    project.is_settled().await;
    project.set_steps(Pace { step_bake: 60_000, bake: 0 }, ECS_CANARY);
    project.run(&["promote", "--env", "local", "--release", "2.0.0"]).await.exits(0);
    project.serves("2.0.0").await;
    project.is_settled().await;
}

/// Shows A-RB-1 for tasks that are replaced where they are: `kill -9` while ECS is at it, which is through before the switch fires. The old
/// version comes back all the same, and no request is lost on the way.
#[tokio::test(flavor = "multi_thread")]
async fn what_ecs_replaces_comes_back_when_the_promotion_is_killed() {
    let Some(project) = project(Pace::FAST, ROLLING).await else { return };
    let (before, old) = (project.world().await, revision(&project).await);
    let load = Load::start(&project.url().await);
    slow_starts(&stage(&project), 1500).await;
    let promotion = promote(&project);
    let pid = promotion.pid();
    until("the new revision is set", async || revision(&project).await != old).await;
    kill_and_wait(&project, promotion, pid).await;

    resume(&project).await;
    assert_eq!(project.world().await, before);
    let seen = load.stop().await;
    assert!(seen.failures.is_empty(), "{:#?}", seen.failures);
    project.is_settled().await;
}

/// Shows A-RB-1 for what ECS is through with: the switch stays until the new version has been watched to the end.
#[tokio::test(flavor = "multi_thread")]
async fn what_ecs_is_through_with_comes_back_when_the_promotion_is_killed() {
    let Some(project) = project(WATCHED, ROLLING).await else { return };
    for lines in [ROLLING, ECS_CANARY] {
        project.set_steps(WATCHED, lines);
        project.switch_after("6s");
        let before = project.world().await;
        let promotion = promote(&project);
        let pid = promotion.pid();
        let promotion = promotion.heard_until("rollout/wave-1/smoke").await;
        kill_and_wait(&project, promotion.started, pid).await;
        let resumed = resume(&project).await;
        assert!(resumed.stdout.contains("rollout/backend/replace"), "{}", resumed.report());
        assert_eq!(project.world().await, before);
        project.is_settled().await;
    }
}

/// Shows A-RB-1 for what ECS is through with before the switch fires: it cannot be stopped any more, and the old tasks are asked for.
#[tokio::test(flavor = "multi_thread")]
async fn what_ecs_was_through_with_before_the_switch_fired_comes_back() {
    let pace = Pace { step_bake: 300_000, bake: 0 };
    let Some(project) = project(pace, ECS_CANARY).await else { return };
    let before = project.world().await;
    let (promotion, pid) = sharing(&project).await;
    kill_process(pid, Signal::KILL).unwrap();
    until("ECS went on by itself", async || project.versions().await["backend"] == ["2.0.0"]).await;
    kill_and_wait(&project, promotion, pid).await;
    assert_eq!(calls(&project, "ecs:StopServiceDeployment").await, 1, "in vain");
    resume(&project).await;
    assert_eq!(project.world().await, before);
    project.is_settled().await;
}

/// Shows W-4: whoever resumes sooner than that is told what was seen, and has it taken back.
#[tokio::test(flavor = "multi_thread")]
async fn what_ecs_went_on_with_is_taken_back_by_whoever_resumes() {
    let pace = Pace { step_bake: 300_000, bake: 0 };
    let Some(project) = project(pace, ECS_CANARY).await else { return };
    project.set_steps(pace, ECS_CANARY);
    project.switch_after("12s");
    let before = project.world().await;
    let (promotion, pid) = sharing(&project).await;
    kill_process(pid, Signal::KILL).unwrap();
    promotion.end().await;
    let stage = stage(&project);
    let first = async || {
        let status = liftlock_stage::status(&stage).await.unwrap().unwrap();
        status.schedules.iter().any(|one| one.name == "shop-local-backend-switch")
    };
    until("the first has fired", async || !first().await).await;
    assert_eq!(project.versions().await["backend"], ["2.0.0"], "ECS went on by itself");
    let resumed = project.run(&["promote", "--env", "local", "--resume"]).await.exits(1);
    resumed.says("the dead-man's switch of backend is gone, and the revision of blue is");
    assert_eq!(project.world().await, before);
    project.serves("1.1.0").await;
    project.is_settled().await;
}

/// A promotion that was suspended while ECS moved the traffic, until that was stopped, goes no further when it wakes.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_slept_while_ecs_moved_traffic_goes_no_further() {
    let Some(project) = project(LONG, ECS_CANARY).await else { return };
    let (before, weights) = (project.world().await, project.weights().await);
    let (promotion, pid) = sharing(&project).await;
    kill_process(pid, Signal::STOP).unwrap();
    until("all traffic is back on the old version", async || project.weights().await == weights)
        .await;
    kill_process(pid, Signal::CONT).unwrap();
    let ended = promotion.end().await.exits(1).says_that_it_slept();
    assert_eq!(project.world().await, before, "{}", ended.report());
    project.serves("1.1.0").await;
    project.is_settled().await;
}

/// Shows A-RB-1 for a runner that is told to end: what ECS moves is back within 5 s of the signal, and no switch is left.
#[tokio::test(flavor = "multi_thread")]
async fn what_ecs_moves_is_back_at_once_when_the_promotion_is_stopped() {
    let Some(project) = project(LONG, ECS_CANARY).await else { return };
    let (before, weights) = (project.world().await, project.weights().await);
    let (promotion, pid) = sharing(&project).await;
    assert_eq!(project.schedules().await.len(), 4, "two for each service");
    let since = Instant::now();
    kill_process(pid, Signal::TERM).unwrap();
    until("all traffic is back on the old version", async || project.weights().await == weights)
        .await;
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    let ended = promotion.end().await.exits(1);
    assert_eq!(project.world().await, before, "{}", ended.report());
    project.serves("1.1.0").await;
    project.is_settled().await;
}

/// No tasks are replaced that nothing could bring back: a switch that cannot be armed, or not at what ECS is doing, ends the promotion.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_switch_no_tasks_are_replaced() {
    let Some(project) = project(LONG, ECS_CANARY).await else { return };
    let before = project.world().await;
    for operation in ["scheduler:CreateSchedule", "ecs:ListServiceDeployments"] {
        let updates = calls(&project, "ecs:UpdateService").await;
        let fault = format!(
            "stage fault add --env local api-error operation={operation} code=AccessDeniedException status=400"
        );
        project.run(&fault.split(' ').collect::<Vec<_>>()).await.exits(0);
        let refused = promote(&project).end().await;
        let refused = refused.says("the dead-man's switch").says("cannot be armed");
        assert!(!refused.status.success(), "{}", refused.report());
        assert_eq!(project.world().await, before, "{}", refused.report());
        project.serves("1.1.0").await;
        let updated = calls(&project, "ecs:UpdateService").await - updates;
        assert_eq!(updated > 0, operation.starts_with("ecs:"), "{}", refused.report());
        project.run(&["stage", "fault", "clear", "--env", "local"]).await.exits(0);
        project.is_settled().await;
    }
}
