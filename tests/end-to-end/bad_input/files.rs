//! Environment files and migrations that are wrong.

use super::scene::Scene;

/// Asserts that every kind of command refuses `dev.toml` with this text, at this place.
async fn dev(text: &str, words: &[&str]) {
    let scene = Scene::new();
    scene.write("environments/dev.toml", text);
    for arguments in [
        &["promote", "--env", "dev"][..],
        &["environment", "check", "dev"],
        &["migrate", "--env", "dev"],
        &["infra", "plan", "--env", "dev"],
        &["status"],
    ] {
        scene.refused(arguments, &[]).await.exits(2).says(words).says(&["nothing was touched"]);
    }
}

#[tokio::test]
async fn an_unknown_environment_gets_the_nearest_name() {
    let scene = Scene::new();
    for arguments in [
        &["promote", "--env", "stagin"][..],
        &["rollback", "--env", "stagin"],
        &["rollout", "status", "--env", "stagin"],
        &["history", "--env", "stagin"],
        &["environment", "diff", "dev", "stagin"],
    ] {
        scene.refused(arguments, &[]).await.exits(2).says(&[
            "there is no environment `stagin`",
            "environments/stagin.toml",
            "did you mean `staging`?",
            "`dev`, `prod`, `staging`",
        ]);
    }
}

#[tokio::test]
async fn an_unknown_key_is_named_with_its_place() {
    dev("\n[databse]\n", &["environments/dev.toml:2:2", "`databse`", "did you mean `database`?"])
        .await;
}

#[tokio::test]
async fn a_missing_key_is_named_with_its_place() {
    let text = "[services.worker]\nrepository = \"r/w\"\npaths = [\"/w\"]\n";
    dev(text, &["environments/dev.toml:1:", "`services.worker.port` is missing"]).await;
}

#[tokio::test]
async fn a_wrong_type_is_named_with_its_place() {
    let words = ["environments/dev.toml:2:8", "must be an integer, not a string", "without quotes"];
    dev("[services.backend]\nport = \"8080\"\n", &words).await;
}

#[tokio::test]
async fn what_is_no_toml_is_named_with_its_place() {
    dev("[aws]\nregion = \n", &["environments/dev.toml:2:"]).await;
}

#[tokio::test]
async fn a_cycle_in_the_chain_is_shown_whole() {
    let words = [
        "environments/staging.toml:2:9",
        "goes round: dev → prod → staging → dev",
        "take `gates.after` out",
    ];
    dev("[gates]\nafter = \"prod\"\n", &words).await;
}

#[tokio::test]
async fn a_password_in_a_file_is_refused_and_not_shown() {
    let secret = super::scene::SECRET;
    let text = format!("[infrastructure.variables]\ndatabase_password = \"{secret}\"\n");
    dev(&text, &["environments/dev.toml:2:", "database_password"]).await;
    let text = format!("[aws]\nendpoint = \"http://me:{secret}@127.0.0.1:1\"\n");
    dev(&text, &["environments/dev.toml:2:"]).await;
}

/// What is wrong with base.toml is wrong with every environment, and is said once.
#[tokio::test]
async fn checking_all_files_says_each_problem_once() {
    let scene = Scene::new();
    let base = std::fs::read_to_string(scene.path("environments/base.toml")).unwrap();
    scene.write("environments/base.toml", &base.replace("8080", "80800"));
    let ran = scene.refused(&["environment", "check"], &[]).await.exits(2);
    let ran = ran.says(&["environments/base.toml:20:8", "1 to 65535"]);
    assert_eq!(ran.err.matches("base.toml").count(), 1, "{}", ran.err);
}

#[tokio::test]
async fn the_commands_of_environments_work_on_good_files() {
    let scene = Scene::new();
    scene.run(&["environment", "check"]).await.exits(0).prints(&["dev: fine", "prod: fine"]);
    let list = scene.run(&["environment", "list"]).await.exits(0);
    list.prints(&["dev          first of its chain", "prod         after staging"]);
    let diff = scene.run(&["environment", "diff", "dev", "prod"]).await.exits(0);
    diff.prints(&["gates.after", "\"staging\"", "qa-lead"]);
    let schema = scene.run(&["environment", "schema"]).await.exits(0);
    let schema: serde_json::Value = serde_json::from_str(&schema.out).unwrap();
    assert_eq!(schema["additionalProperties"], false);
}

#[tokio::test]
async fn outside_of_a_repository_it_says_what_it_looks_for() {
    let empty = tempfile::tempdir().unwrap();
    let root = empty.path().to_str().unwrap();
    let ran = Scene::new().refused(&["--root", root, "status"], &[]).await;
    ran.exits(2).says(&["no environments/base.toml", root]);
}

/// Asserts that the migrations are refused, whoever wants them, without a database being asked.
async fn migrations(scene: &Scene, words: &[&str]) {
    let image = format!("backend=registry.example/shop/backend@{}", super::scene::DIGEST);
    for arguments in [
        &["migrate", "--env", "dev"][..],
        &["migrate", "--env", "dev", "--dry-run"],
        &["migrate", "status", "--env", "dev"],
        &["release", "create", "--image", &image, "--commit", super::scene::COMMIT],
    ] {
        // A URL that nobody answers at: the files come first.
        let url = ("SHOP_DATABASE_URL", "postgres://u@127.0.0.1:1/d");
        scene.refused(arguments, &[url]).await.exits(2).says(words);
    }
}

/// Shows C-MIG-2.
#[tokio::test]
async fn a_missing_rollback_script_stops_before_anything() {
    let scene = Scene::new();
    std::fs::remove_file(scene.path("migrations/V0002__orders.rollback.sql")).unwrap();
    migrations(&scene, &["V0002__orders.sql", "V0002__orders.rollback.sql"]).await;
}

#[tokio::test]
async fn a_duplicate_number_stops_before_anything() {
    let scene = Scene::new();
    scene.migration(2, "carts", "select 1;", "select 1;");
    migrations(&scene, &["V0002__orders", "V0002__carts"]).await;
}

#[tokio::test]
async fn a_gap_stops_before_anything() {
    let scene = Scene::new();
    scene.migration(4, "carts", "select 1;", "select 1;");
    migrations(&scene, &["V0004__carts", "V0003"]).await;
}
