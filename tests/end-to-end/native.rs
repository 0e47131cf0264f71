//! Traffic that ECS itself moves between two target groups: watched, stopped, proven and taken back.

use liftlock_stage::{Fault, Kind, Scenario, Span};

use crate::emergency::{hide, standing};
use crate::load::Load;
use crate::project::{Pace, Project};
use crate::rolling::steps;

/// ECS counts in minutes, which the tests' stage makes short.
const MINUTES: Pace = Pace { step_bake: 60_000, bake: 120_000 };
/// Long enough that errors of three requests in ten are seen, on a busy machine too, before ECS is through.
const LONG: Pace = Pace { step_bake: 1_800_000, bake: 600_000 };

/// Which share each of a service's target groups has, blue's first.
async fn weights(project: &Project, service: &str) -> Vec<u32> {
    let all = project.weights().await;
    all.into_iter().find(|(name, _)| name == service).unwrap().1
}

/// Shows D-DEP-1, as data: ECS moves the traffic in each of its own ways, no request is lost, the old version goes, and another strategy
/// can follow once the tasks stand in their own target group again.
#[tokio::test(flavor = "multi_thread")]
async fn ecs_moves_traffic_in_each_of_its_own_ways() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let load = Load::start(&project.url().await);
    let before = weights(&project, "backend").await;
    for (version, lines) in [
        ("1.2.1", "strategy = \"ecs-blue-green\""),
        ("1.2.2", "strategy = \"ecs-canary\"\nsteps = [10, 100]"),
        ("1.2.3", "strategy = \"ecs-linear\"\nincrement = 50"),
        ("1.2.4", "strategy = \"ecs-blue-green\""),
    ] {
        let old = weights(&project, "backend").await;
        project.add_version(version, 3);
        project.set_steps(MINUTES, lines);
        project.run(&["promote", "--env", "local", "--release", version]).await.exits(0);
        project.serves(version).await;
        let new = weights(&project, "backend").await;
        assert_eq!(new, old.into_iter().rev().collect::<Vec<_>>(), "the groups take turns");
        let steps = steps(&project).await;
        let is = |text: &str| steps.iter().any(|step| step.contains(text));
        assert!(is("rollout/backend/replace") && !is("/shift-"), "{steps:?}");
        assert!(is("rollout/wave-1/bake"), "it looks once more: {steps:?}");
    }
    assert_eq!(weights(&project, "backend").await, before);
    project.add_version("1.2.5", 3);
    project.set_steps(Pace::FAST, "steps = [10, 100]");
    project.run(&["promote", "--env", "local", "--release", "1.2.5"]).await.exits(0);
    project.serves("1.2.5").await;
    let seen = load.stop().await;
    assert!(seen.failures.is_empty(), "{:#?}", seen.failures);
    project.is_settled().await;
}

/// Shows that nothing is guessed: while ECS has the tasks in the other colour's target group, Liftlock's own strategies do not touch them,
/// and say what to do.
#[tokio::test(flavor = "multi_thread")]
async fn another_strategy_waits_until_the_tasks_are_where_it_looks_for_them() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.set_steps(MINUTES, "strategy = \"ecs-blue-green\"");
    project.add_version("1.2.1", 3);
    project.run(&["promote", "--env", "local", "--release", "1.2.1"]).await.exits(0);
    let before = project.world().await;
    project.set_steps(Pace::FAST, "steps = [10, 100]");
    project.add_version("1.2.2", 3);
    let ran = project.run(&["promote", "--env", "local", "--release", "1.2.2"]).await.exits(2);
    let ran = ran.says("Give the environment's file the strategy that it had then");
    assert!(!ran.stdout.contains("database/migrate"), "no step began: {}", ran.report());
    project.set_steps(MINUTES, "strategy = \"ecs-blue-green\"");
    assert_eq!(project.world().await, before);
    project.serves("1.2.1").await;
}

/// Shows A-RB-1, C-RB-1 and D-RB-1 where ECS moves the traffic: what does not start, and what users of the first tenth break, is taken back,
/// and the traffic goes first.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_is_taken_back_by_stopping_the_deployment() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.set_steps(LONG, "strategy = \"ecs-canary\"\nsteps = [10, 100]");
    for (version, fault, why) in [
        ("1.2.1", "crash", "do not stay alive"),
        ("1.2.2", "no-database", "rollout/backend/replace"),
        ("1.2.3", "errors", "rollout/backend/replace"),
    ] {
        project.add_version_with(version, 3, &format!("FAULT = \"{fault}\""));
        let (before, load) = (project.world().await, Load::start(&project.url().await));
        let ran = project.run(&["promote", "--env", "local", "--release", version]).await.exits(1);
        let ran = ran.says("FAILED in local and was rolled back").says(why);
        assert_eq!(project.world().await, before, "{}", ran.report());
        project.serves("1.1.0").await;
        let seen = load.stop().await;
        assert!(fault != "crash" || seen.failures.is_empty(), "{:#?}", seen.failures);
        project.is_settled().await;
    }
}

/// Shows W-4 where ECS moves the traffic: a rollback by hand, too, and a stop half way, give it all back.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_half_way_and_a_rollback_by_hand_give_all_traffic_back() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.set_steps(MINUTES, "strategy = \"ecs-blue-green\"");
    let load = Load::start(&project.url().await);
    project.add_version("1.2.1", 3);
    let before = project.world().await;
    let stage = project.path(".liftlock/local/stage");
    let delay = Some(Span::milliseconds(3000));
    let slow = Fault { delay, ..Fault::new(Kind::PlacementDelay) };
    liftlock_stage::add_faults(&stage, &Scenario { seed: 1, faults: vec![slow] }).await.unwrap();
    let promotion = project.start(&["promote", "--env", "local", "--release", "1.2.1"], &[]);
    let pid = promotion.pid();
    let promotion = promotion.heard_until("rollout/frontend/test-listener").await;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ran = promotion.end().await.exits(1);
    assert_eq!(project.world().await, before, "{}", ran.report());
    liftlock_stage::clear_faults(&stage, None).await.unwrap();

    project.run(&["promote", "--env", "local", "--release", "1.2.1"]).await.exits(0);
    project.serves("1.2.1").await;
    let back = ["rollback", "--env", "local", "--reason", "not what we wanted"];
    project.run(&back).await.exits(0);
    project.serves("1.1.0").await;
    let seen = load.stop().await;
    assert!(seen.failures.is_empty(), "{:#?}", seen.failures);
    project.is_settled().await;
}

/// Shows E-RB-1 where ECS moves the traffic: without the ledger, ECS is asked for the version before.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_without_the_ledger_asks_ecs() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.set_steps(MINUTES, "strategy = \"ecs-blue-green\"");
    project.add_version("1.2.1", 3);
    project.run(&["promote", "--env", "local", "--release", "1.2.1"]).await.exits(0);
    hide(&project, true);
    let (_, release) = standing(&project, "1.1.0").await;
    let load = Load::start(&project.url().await);
    let back = ["rollback", "--env", "local", "--emergency", "--to", &release];
    let back = [&back[..], &["--reason", "it is slow"]].concat();
    project.run(&back).await.exits(0).says("serves in local again");
    project.serves("1.1.0").await;
    let seen = load.stop().await;
    assert!(seen.failures.is_empty(), "{:#?}", seen.failures);
    hide(&project, false);
}
