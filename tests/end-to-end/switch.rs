//! The dead-man's switch: traffic that goes back when nobody is left to move it.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::{Signal, kill_process};

use crate::project::{Heard, Pace, Project, until};

/// A promotion that watches for a minute, read up to its first smoke test with users on the new version.
async fn watching(project: &Project) -> Heard {
    project.set_pace(Pace { step_bake: 60_000, bake: 60_000 });
    project.switch_after("6s");
    project.add_version("2.0.0", 3);
    let promotion = project.start(&["promote", "--env", "local", "--release", "2.0.0"], &[]);
    promotion.heard_until("rollout/wave-1/smoke").await
}

/// Shows A-RB-1: `kill -9` in a bake at 10 %. With nobody's help all traffic is back on the old version; `status`, `rollout status` and
/// `--resume` say so, and the next promotion works.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_promotion_leaves_nobody_at_ten_percent() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let (before, weights) = (project.world().await, project.weights().await);
    let promotion = watching(&project).await;
    assert_ne!(project.weights().await, weights);
    assert_eq!(project.schedules().await.len(), 2, "one for each service");
    project
        .run(&["rollout", "status", "--env", "local"])
        .await
        .exits(0)
        .says("shop-local-backend-switch: gives all");
    kill_process(promotion.started.pid(), Signal::KILL).unwrap();
    assert_eq!(promotion.end().await.status.signal(), Some(9));
    until("all traffic is back on the old version", async || project.weights().await == weights)
        .await;
    until("the schedules are gone", async || project.schedules().await.is_empty()).await;
    project.serves("1.1.0").await;
    let status = project.run(&["status", "--env", "local"]).await.exits(0);
    status
        .says("its dead-man's switch gives users the old version back")
        .says("rollout status --env local");

    let resumed = project.run(&["promote", "--env", "local", "--resume"]).await.exits(1);
    resumed.says("the dead-man's switch of backend has fired");
    assert_eq!(project.world().await, before);
    project.is_settled().await;
    project.set_pace(Pace::FAST);
    project.run(&["promote", "--env", "local", "--release", "2.0.0"]).await.exits(0);
    project.serves("2.0.0").await;
    project.is_settled().await;
}

/// A promotion that was suspended for longer than the switch waits, while traffic went back, shifts nothing when it wakes.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_slept_too_long_goes_no_further() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let (before, weights) = (project.world().await, project.weights().await);
    let promotion = watching(&project).await;
    kill_process(promotion.started.pid(), Signal::STOP).unwrap();
    until("all traffic is back on the old version", async || project.weights().await == weights)
        .await;
    kill_process(promotion.started.pid(), Signal::CONT).unwrap();
    promotion.end().await.exits(1).says_that_it_slept();
    assert_eq!(project.world().await, before);
    project.serves("1.1.0").await;
    project.is_settled().await;
}

/// A switch that cannot be armed: no user meets the new version.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_switch_no_traffic_moves() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.add_version("2.0.0", 3);
    let before = project.world().await;
    let fault = "stage fault add --env local api-error operation=scheduler:CreateSchedule code=AccessDeniedException status=403";
    project.run(&fault.split(' ').collect::<Vec<_>>()).await.exits(0);
    let refused = project.run(&["promote", "--env", "local", "--release", "2.0.0"]).await;
    let refused =
        refused.says("no traffic moves without it").says("allow scheduler:CreateSchedule");
    assert_ne!(refused.status.code(), Some(0));
    assert!(!refused.stdout.contains("shift-10"), "{}", refused.report());
    assert_eq!(project.world().await, before);
    project.is_settled().await;
}
