//! Each step in turn fails after it acted: the world is as before.

use crate::project::{Pace, Project};

/// Runs a command once for each step of its own dry run, with that step failing after it acted.
async fn each_step_fails(project: &Project, command: &[&str], at_least: usize) {
    let before = project.world().await;
    let dry: Vec<_> = command.iter().copied().chain(["--dry-run"]).collect();
    let lines = project.json(&dry).await;
    let preview = lines.iter().find(|line| line["type"] == "preview").unwrap();
    assert_eq!(project.world().await, before, "a dry run touches nothing");
    let steps = preview["steps"].as_array().unwrap();
    assert!(steps.len() >= at_least, "{steps:#?}");
    for step in steps {
        let step = step["step"].as_str().unwrap();
        let ran = project.run_with_fault(&format!("fail:{step}"), command).await.exits(1);
        let ran = ran.says(&format!("LIFTLOCK_FAULT asked step {step} to fail"));
        assert_eq!(project.world().await, before, "{}", ran.report());
        project.is_settled().await;
        assert_eq!(project.last_deployment().await["status"], "rolled_back", "{}", ran.report());
    }
    project.serves("1.1.0").await;
    // Nothing else is in the way of it.
    project.run(command).await.exits(0);
}

/// Shows C-PIPE-2 and C-RB-1: each step of a promotion in turn fails after it acted; weights, tasks, task definitions, test
/// listeners and schema are as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_whose_step_fails_leaves_the_world_as_it_was() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.add_version("2.0.0", 3);
    each_step_fails(&project, &["promote", "--env", "local", "--release", "2.0.0"], 26).await;
    project.serves("2.0.0").await;
    assert_eq!(project.schema().await, 3);
}

/// Shows C-RB-3: so does a rollback whose step fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_whose_step_fails_leaves_the_world_as_it_was() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    each_step_fails(&project, &["rollback", "--env", "local"], 12).await;
    project.serves("1.0.0").await;
    assert_eq!(project.schema().await, 1);
}
