//! Expand and contract: what the old version lives with before the rollout, what it does not live with after it.

use crate::project::{Pace, Project};

/// A migration of the contract phase that cannot run as long as an item of this name is there.
const CONTRACT: &str = "-- migrate: phase contract\ndo $$ begin\n  if exists (select from items where name = 'legacy') then\n    \
                        raise exception 'somebody still uses it';\n  end if;\nend $$;\nalter table regions drop column old;";

fn add_regions(project: &Project) {
    project.add_migration(
        4,
        "create_regions",
        "create table regions (name text, old text);",
        "drop table regions;",
    );
    project.add_migration(5, "drop_old", CONTRACT, "alter table regions add column old text;");
    project.add_version("2.0.0", 5);
}

/// What a run did, a line for each event.
async fn events(project: &Project, run: &str) -> Vec<String> {
    let ran = project.run(&["history", "--run", run]).await.exits(0);
    ran.stdout.lines().map(str::to_owned).collect()
}

fn at(lines: &[String], text: &str) -> usize {
    let found = lines.iter().position(|line| line.contains(text));
    found.unwrap_or_else(|| panic!("nothing says {text:?}: {lines:#?}"))
}

async fn newest_run(project: &Project) -> String {
    let lines = project.json(&["history", "--env", "local", "--limit", "1"]).await;
    lines[0]["run"].as_str().unwrap().to_owned()
}

/// Shows E-MIG-1: a contract migration runs after the rollout and its bake, and comes back before the older release serves again.
#[tokio::test(flavor = "multi_thread")]
async fn contract_migrations_run_when_the_old_version_is_gone() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let before = project.schema().await;
    add_regions(&project);
    project.run(&["promote", "--env", "local", "--release", "2.0.0"]).await.exits(0);
    assert_eq!(project.schema().await, 5);
    let lines = events(&project, &newest_run(&project).await).await;
    let rollout = at(&lines, "rollout/smoke-before-traffic: begins");
    assert!(at(&lines, "applied V0004__create_regions") < rollout, "{lines:#?}");
    let (baked, ended) = (at(&lines, "rollout/wave-3/bake: done"), at(&lines, "  succeeded"));
    assert!(baked < ended && ended < at(&lines, "applied V0005__drop_old"), "{lines:#?}");
    assert_eq!(project.last_deployment().await["schema_after"], 5);

    project.run(&["rollback", "--env", "local", "--reason", "a test"]).await.exits(0);
    project.serves("1.1.0").await;
    assert_eq!(project.schema().await, before);
    let lines = events(&project, &newest_run(&project).await).await;
    let rollout = at(&lines, "rollout/smoke-before-traffic: begins");
    assert!(at(&lines, "rolled back V0005__drop_old") < rollout, "{lines:#?}");
    let moved = at(&lines, "rollout/wave-1/smoke: done");
    assert!(moved < at(&lines, "rolled back V0004__create_regions"), "{lines:#?}");
    project.is_settled().await;
}

/// A contract migration that fails takes no release back: the release serves, what is left is said, and asking again catches up.
#[tokio::test(flavor = "multi_thread")]
async fn a_contract_migration_that_fails_leaves_the_release_serving() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    add_regions(&project);
    let mut database = project.database().await;
    let legacy = sqlx::query("insert into items (name) values ('legacy')");
    legacy.execute(&mut database).await.unwrap();
    let promote = ["promote", "--env", "local", "--release", "2.0.0"];
    let ended = project.run(&promote).await.exits(6);
    let ended = ended.says("2.0.0").says("somebody still uses it").says("  next      ");
    ended.says("promote --env local --release");
    project.serves("2.0.0").await;
    assert_eq!(project.schema().await, 4);
    let last = project.last_deployment().await;
    assert_eq!((&last["status"], last["left"].as_array().unwrap().len()), (&"succeeded".into(), 1));
    project.is_settled().await;

    project.run(&promote).await.exits(6).says("serves in local already").says("still uses it");
    let gone = sqlx::query("delete from items where name = 'legacy'");
    gone.execute(&mut database).await.unwrap();
    project.run(&promote).await.exits(0);
    assert_eq!(project.schema().await, 5);
}

/// An expand migration above a contract migration that no release has served with has no order to run in.
#[tokio::test(flavor = "multi_thread")]
async fn an_expand_migration_above_a_new_contract_migration_is_refused() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let before = project.schema().await;
    add_regions(&project);
    project.add_migration(6, "more", "create table more ();", "drop table more;");
    project.add_version("3.0.0", 6);
    let ended = project.run(&["promote", "--env", "local", "--release", "3.0.0"]).await.exits(1);
    ended.says("V0006__more comes after V0005__drop_old").says("phase contract");
    project.serves("1.1.0").await;
    assert_eq!(project.schema().await, before);
}

/// Shows C-MIG-5: where the environment wants it, a migration whose rollback leaves something behind stops the promotion before
/// anything is applied.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_whose_rollback_is_wrong_stops_the_promotion() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let path = project.path("environments/local.toml");
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("\n[database.migrations]\nprove = true\n");
    std::fs::write(&path, text).unwrap();
    let before = project.schema().await;
    let up = "create table regions (name text); comment on table items is 'all';";
    project.add_migration(4, "create_regions", up, "drop table regions;");
    project.add_version("2.0.0", 4);
    let ended = project.run(&["promote", "--env", "local", "--release", "2.0.0"]).await.exits(1);
    ended.says("rollback-not-exact").says("V0004__create_regions").says("nothing was applied");
    project.serves("1.1.0").await;
    assert_eq!(project.schema().await, before);

    let rollback = "drop table regions; comment on table items is null;";
    project.add_migration(4, "create_regions", up, rollback);
    project.add_version("2.0.1", 4);
    project.run(&["promote", "--env", "local", "--release", "2.0.1"]).await.exits(0);
    let status = project.json(&["migrate", "status", "--env", "local"]).await;
    let applied = status.last().unwrap()["applied"].as_array().unwrap().clone();
    assert_eq!(applied.last().unwrap()["rollback"], "proven", "{applied:#?}");
}
