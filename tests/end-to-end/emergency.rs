//! A rollback without the ledger.

use serde_json::Value;

use crate::project::{Pace, Project};

/// Puts the ledger out of reach, or back.
pub(crate) fn hide(project: &Project, hidden: bool) {
    let path = |name: &str| project.path(".liftlock/local").join(name);
    if hidden {
        for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
            if path(name).exists() {
                std::fs::rename(path(name), path(&format!("away-{name}"))).unwrap();
            }
        }
        std::fs::create_dir(path("ledger.db")).unwrap();
    } else {
        std::fs::remove_dir(path("ledger.db")).unwrap();
        for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
            if path(&format!("away-{name}")).exists() {
                std::fs::rename(path(&format!("away-{name}")), path(name)).unwrap();
            }
        }
    }
}

/// How everything stands by the cloud alone, and the release of a version there.
pub(crate) async fn standing(project: &Project, version: &str) -> (Value, String) {
    let asked = ["rollback", "--env", "local", "--emergency", "--output", "json"];
    let asked = project.run(&asked).await.exits(2).says("say which release is to come back");
    let standing = asked.json().into_iter().find(|line| line["type"] == "standing").unwrap();
    let choices = standing["choices"].as_array().unwrap();
    let choice = choices.iter().find(|choice| choice["version"] == version).unwrap();
    let release = choice["release"].as_str().unwrap().to_owned();
    (standing, release)
}

/// Shows A-RB-2 and E-RB-1: the ledger is out of reach. The rollback says so and what can be brought back, asks for the target, brings
/// the previous task definition back, and sees health, the error rate and the digest.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_needs_no_ledger() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let refused = project.run(&["rollback", "--env", "local", "--emergency"]).await.exits(2);
    refused.says("the ledger answers").says("nothing was touched");
    hide(&project, true);
    project
        .run(&["rollback", "--env", "local"])
        .await
        .exits(2)
        .says("rollback --env local --emergency shows");
    let (_, release) = standing(&project, "1.0.0").await;
    let asked = project.run(&["rollback", "--env", "local", "--emergency", "--to", &release]).await;
    asked.exits(2).says("WITHOUT THE LEDGER").says("and why").says("would be started on");
    project.serves("1.1.0").await;
    let wrong = [
        "rollback",
        "--env",
        "local",
        "--emergency",
        "--to",
        "rel-000000000000",
        "--reason",
        "it is slow",
    ];
    project.run(&wrong).await.exits(2).says("does not remember rel-000000000000").says(&release);

    let back =
        ["rollback", "--env", "local", "--emergency", "--to", &release, "--reason", "it is slow"];
    let back = project.run(&back).await.exits(0);
    let back = back
        .says("1.0.0")
        .says("and nothing else")
        .says("requests at")
        .says("(0.0 %)")
        .says("NOT in the ledger");
    assert!(back.stdout.contains("serves in local again"), "{}", back.report());
    project.serves("1.0.0").await;

    hide(&project, false);
    project.is_settled().await;
    project.add_version("2.0.0", 3);
    project.run(&["promote", "--env", "local", "--release", "2.0.0"]).await.exits(0);
    project.serves("2.0.0").await;
}

/// Shows A-RB-2: the other colour does not become healthy. No user is moved there, what is wrong is said, and so is what else there
/// is; once it is mended, the same command does it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_moved_to_a_colour_that_is_not_healthy() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    hide(&project, true);
    let (standing, release) = standing(&project, "1.0.0").await;
    let backend = &standing["services"][0];
    assert_eq!(backend["service"], "backend");
    let idle = if backend["live"]["weights"]["blue"] == 0 { "blue" } else { "green" };
    let fault = format!(
        "stage fault add --env local errors service=backend colour={idle} path=/health status=503"
    );
    project.run(&fault.split(' ').collect::<Vec<_>>()).await.exits(0);
    let before = project.weights().await;
    let back =
        ["rollback", "--env", "local", "--emergency", "--to", &release, "--reason", "it is slow"];
    let failed = project.run(&back).await.exits(6);
    failed
        .says("is NOT whole")
        .says(&format!("backend does not serve {release}"))
        .says("shows what else");
    assert_eq!(project.weights().await, before);
    project.serves("1.1.0").await;
    let asked = project.run(&["rollback", "--env", "local", "--emergency"]).await.exits(2);
    asked.says(&format!("backend: NOT healthy on {idle}"));

    project.run(&["stage", "fault", "clear", "--env", "local"]).await.exits(0);
    project.run(&back).await.exits(0).says("serves in local again");
    project.serves("1.0.0").await;
    hide(&project, false);
    project.is_settled().await;
}
