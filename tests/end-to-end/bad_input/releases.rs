//! Releases, approvals and runs that are not there or not in order.

use super::scene::{COMMIT, DIGEST, Scene};

const RUN: &str = "run-01kaa000000000000000000000";
const NO_RELEASE: &str = "rel-000000000000";
/// Credentials that are never shown to anybody in these tests.
const AWS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret")];

async fn create(scene: &Scene, image: &str, words: &[&str]) {
    let arguments = ["release", "create", "--image", image, "--commit", COMMIT];
    scene.refused(&arguments, &[]).await.exits(2).says(words);
}

#[tokio::test]
async fn a_tag_is_refused_and_the_way_to_its_digest_told() {
    let words = ["backend:1.0", "by tag, which can be moved", "imagetools inspect"];
    create(&Scene::new(), "backend=registry.example/shop/backend:1.0", &words).await;
}

#[tokio::test]
async fn a_malformed_digest_is_refused() {
    for digest in
        ["sha256:123", "sha256:XYZ", "md5:11111111111111111111111111111111", "", &DIGEST[..70]]
    {
        let image = format!("backend=registry.example/shop/backend@{digest}");
        create(&Scene::new(), &image, &["--image", "digest", "64"]).await;
    }
}

#[tokio::test]
async fn images_must_be_those_of_the_services() {
    let scene = Scene::new();
    let image =
        |service: &str, name: &str| format!("{service}=registry.example/shop/{name}@{DIGEST}");
    let words = ["there is no service backand", "have backend", "--image backand="];
    create(&scene, &image("backand", "backend"), &words).await;
    let words = ["shop/other", "registry.example/shop/backend", "services.backend.repository"];
    create(&scene, &image("backend", "other"), &words).await;
    scene.write(
        "environments/dev.toml",
        "[services.web]\nrepository = \"r/web\"\nport = 80\npaths = [\"/w\"]\n",
    );
    create(
        &scene,
        &image("backend", "backend"),
        &["service web has no image", "--image web=r/web@sha256:"],
    )
    .await;
    let twice = image("backend", "backend");
    let arguments = ["release", "create", "--image", &twice, "--image", &twice, "--commit", COMMIT];
    scene.refused(&arguments, &[]).await.exits(2).says(&["backend", "twice"]);
}

#[tokio::test]
async fn a_release_needs_a_commit_and_infrastructure_code() {
    let scene = Scene::new();
    let image = format!("backend=registry.example/shop/backend@{DIGEST}");
    let ran = scene.refused(&["release", "create", "--image", &image], &[]).await.exits(2);
    ran.says(&["no git repository", "--commit SHA"]);
    let ran =
        scene.refused(&["release", "create", "--image", &image, "--commit", "HEAD"], &[]).await;
    ran.exits(2).says(&["HEAD", "--commit"]);
    std::fs::remove_dir_all(scene.path("iac")).unwrap();
    create(&scene, &image, &["iac", "`infrastructure.root`", "next: "]).await;
}

#[tokio::test]
async fn the_same_release_is_recorded_once() {
    let scene = Scene::new();
    let first = scene.release().await;
    let image = format!("backend=registry.example/shop/backend@{DIGEST}");
    let arguments = ["release", "create", "--image", &image, "--commit", COMMIT];
    let again = scene.refused(&arguments, &[]).await.exits(0);
    again.prints(&[&first]);
    let list = scene.run(&["release", "list"]).await.exits(0);
    assert_eq!(list.out.lines().count(), 1, "{}", list.out);
}

#[tokio::test]
async fn what_the_ledger_does_not_know_is_refused() {
    let scene = Scene::new();
    scene.release().await;
    let list = "`liftlock release list`";
    for (arguments, words) in [
        (&["release", "show", NO_RELEASE][..], [NO_RELEASE, list]),
        (&["promote", "--env", "staging", "--release", NO_RELEASE], [NO_RELEASE, list]),
        (&["promote", "--env", "dev", "--release", "1.0"], ["\"1.0\"", list]),
        (&["rollback", "--env", "dev", "--to", NO_RELEASE], [NO_RELEASE, list]),
        (&["approve", "--env", "prod", "--release", NO_RELEASE], [NO_RELEASE, list]),
        (
            &["rollback", "--env", "dev"],
            ["nothing has been deployed to dev", "next: liftlock status"],
        ),
        (&["promote", "--env", "dev", "--resume"], ["nothing to resume", "next: liftlock status"]),
        (
            &["promote", "--env", "dev", "--resume", "--run", RUN],
            [RUN, "`liftlock history --env dev`"],
        ),
        (&["history", "--run", RUN], [RUN, "`liftlock history`"]),
        (&["history", "--run", "run-1"], ["run-1", "`liftlock history`"]),
        (
            &["infra", "apply", "--env", "dev"],
            ["no saved plan", "next: liftlock infra plan --env dev"],
        ),
    ] {
        scene.refused(arguments, &AWS).await.exits(2).says(&words);
    }
}

/// Shows A-PIPE-3: prod takes only what staging has proven.
#[tokio::test]
async fn prod_cannot_be_promoted_without_proof() {
    let scene = Scene::new();
    let ran = scene.refused(&["promote", "--env", "prod"], &AWS).await.exits(2);
    ran.says(&["no release has been proven in staging", "next: liftlock promote --env staging"]);
    let release = scene.release().await;
    let promote = ["promote", "--env", "prod", "--release", &release];
    let ran = scene.run_with(&promote, &AWS).await.exits(4);
    ran.says(&[
        "nothing was touched",
        "was never promoted to staging",
        &format!("next: liftlock promote --env staging --release {release}"),
        "0 of 1 approvals; 1 still needed of qa-lead",
        &format!("next: liftlock approve --env prod --release {release}"),
    ]);
    // Refusals are on the record; runs there are none.
    scene.run(&["history"]).await.exits(0).prints(&["nothing has been deployed yet"]);
}

#[tokio::test]
async fn who_is_not_on_the_list_approves_nothing() {
    let scene = Scene::new();
    let release = scene.release().await;
    for verb in ["approve", "reject"] {
        let ran = scene.refused(&[verb, "--env", "prod", "--release", &release], &[]).await;
        let next = format!("`liftlock {verb} --env prod --release {release}`");
        ran.exits(4).says(&["tester may", verb, "for prod", "qa-lead", &next]);
    }
    let qa = [("LIFTLOCK_ACTOR", "qa-lead")];
    let ran = scene.run_with(&["approve", "--env", "prod", "--release", &release], &qa).await;
    ran.exits(0).prints(&["qa-lead approved"]);
}
