//! The way back by hand, where it would cost something, and releases that are what they say.

use std::process::Command;

use sqlx::Row;

use crate::project::{Pace, Project};

/// Shows C-RB-2 and C-RB-3: a rollback that would lose data is refused before any user is moved, says what would be lost, and
/// goes on with the newer schema, or with the loss, only when told to.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_would_lose_data_asks_first() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.add_migration(
        4,
        "create_regions",
        "create table regions (name text);",
        "drop table regions;",
    );
    project.add_version("2.0.0", 4);
    project.run(&["promote", "--env", "local", "--release", "2.0.0"]).await.exits(0);
    let mut database = project.database().await;
    sqlx::query("insert into regions values ('north')").execute(&mut database).await.unwrap();
    let (before, runs) = (project.world().await, runs(&project).await);

    let refused = project.run(&["rollback", "--env", "local"]).await;
    refused.exits(4).says("table regions: 1 row").says("--keep-schema").says("nothing was touched");
    assert_eq!(project.world().await, before);
    assert_eq!(self::runs(&project).await, runs, "a refused rollback is no run");

    project
        .run(&["rollback", "--env", "local", "--keep-schema", "--reason", "too slow"])
        .await
        .exits(0);
    project.serves("1.1.0").await;
    assert_eq!(project.schema().await, 4);
    let kept: i64 =
        sqlx::query("select count(*) from regions").fetch_one(&mut database).await.unwrap().get(0);
    assert_eq!(kept, 1);
}

async fn runs(project: &Project) -> usize {
    project.json(&["history", "--env", "local"]).await.len()
}

fn git(project: &Project, arguments: &[&str]) -> String {
    let identity =
        ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"];
    let output = Command::new("git")
        .arg("-C")
        .arg(project.path(""))
        .args(identity)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A release of a commit is made of that commit's files: another commit, or changed files, are refused, and nothing is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_of_the_commit_that_it_names() {
    let Some(project) = Project::new(Pace::FAST).await else { return };
    let dev = "[aws]\naccount = \"111111111111\"\n[infrastructure]\nengine = \"terraform\"\n[infrastructure.backend]\n\
               kind = \"local\"\npath = \"dev.tfstate\"\n[database]\nurl = { from = \"env\", variable = \"URL\" }\n";
    std::fs::write(project.path("environments/dev.toml"), dev).unwrap();
    std::fs::create_dir_all(project.path("iac")).unwrap();
    std::fs::write(project.path("iac/main.tf"), "# nothing yet\n").unwrap();
    git(&project, &["init", "--quiet"]);
    git(&project, &["add", "environments", "iac", "migrations"]);
    git(&project, &["commit", "--quiet", "--message", "All of it"]);
    let head = git(&project, &["rev-parse", "HEAD"]);
    let digest = "a".repeat(64);
    let images = ["backend", "frontend"]
        .map(|name| format!("{name}=registry.example/shop/{name}@sha256:{digest}"));
    let create = |commit: String| {
        let mut arguments = vec!["release".to_owned(), "create".into(), "--commit".into(), commit];
        arguments.extend(images.iter().flat_map(|image| ["--image".to_owned(), image.clone()]));
        arguments
    };
    let run = async |commit: &str| {
        let arguments = create(commit.to_owned());
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        project.run(&arguments).await
    };

    run(&"b".repeat(40)).await.exits(2).says(&format!("git checkout {}", "b".repeat(40)));
    std::fs::write(project.path("iac/main.tf"), "# changed\n").unwrap();
    std::fs::write(project.path("migrations/V0009__stray.sql"), "select 1;\n").unwrap();
    run(&head).await.exits(2).says("iac/main.tf").says("V0009__stray.sql");
    project.run(&["release", "list"]).await.exits(0).says("no release");

    git(&project, &["checkout", "--quiet", "--", "iac"]);
    std::fs::remove_file(project.path("migrations/V0009__stray.sql")).unwrap();
    run(&head).await.exits(0).says(&head);
}
