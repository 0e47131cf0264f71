//! AWS, here the rehearsal cloud: credentials, and what is not there.

use std::time::Duration;

use liftlock_testkit::{ClosedPort, TerraformHome, TestDatabase};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use super::database::with;
use super::scene::{SECRET, Scene};

const URL: &str = "SHOP_DATABASE_URL";

/// A stage that runs until this is dropped, and what to say to it.
struct Stage {
    _process: Child,
    key: String,
    secret: String,
}

impl Stage {
    /// Starts it, as the AWS endpoint of dev.
    async fn start(scene: &Scene) -> Self {
        let directory = tempfile::tempdir_in(scene.root()).unwrap().keep();
        let arguments = ["stage", "serve", "--directory", directory.to_str().unwrap()];
        let mut process = scene.command(&arguments).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let first = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await;
        assert!(first.unwrap().unwrap().unwrap().contains(" serves "));
        let read = |name: &str, key: &str| {
            let text = std::fs::read(directory.join(name)).unwrap();
            let value: Value = serde_json::from_slice(&text).unwrap();
            value[key].as_str().unwrap().to_owned()
        };
        endpoint(scene, &read("running.json", "endpoint"));
        Self {
            _process: process,
            key: read("keys.json", "access_key"),
            secret: read("keys.json", "secret_key"),
        }
    }

    fn variables<'a>(&'a self, url: &'a str) -> [(&'a str, &'a str); 3] {
        [("AWS_ACCESS_KEY_ID", &self.key), ("AWS_SECRET_ACCESS_KEY", &self.secret), (URL, url)]
    }
}

fn endpoint(scene: &Scene, url: &str) {
    scene.write("environments/dev.toml", &format!("[aws]\nendpoint = \"{url}\"\n"));
}

/// Credentials that no cloud knows.
fn wrong(url: &str) -> [(&str, &str); 3] {
    [("AWS_ACCESS_KEY_ID", "AKIAINTRUDER"), ("AWS_SECRET_ACCESS_KEY", SECRET), (URL, url)]
}

const PROMOTE: [&str; 3] = ["promote", "--env", "dev"];
const LOOK: [&str; 4] = ["rollout", "status", "--env", "dev"];

#[tokio::test]
async fn without_credentials_it_exits_3() {
    let scene = Scene::new();
    scene.release().await;
    for arguments in [&PROMOTE[..], &LOOK, &["rollback", "--env", "dev"]] {
        let ran = scene.refused(arguments, &[]).await.exits(3);
        ran.says(&["no AWS credentials for eu-central-1", "next: set AWS_PROFILE"]);
    }
}

/// A run that began would leave an incident behind and tell everybody of a failure.
#[tokio::test]
async fn wrong_aws_credentials_exit_3_before_a_run_begins() {
    let Some(_terraform) = TerraformHome::new() else { return };
    let scene = Scene::new();
    let _stage = Stage::start(&scene).await;
    scene.release().await;
    let database = ClosedPort::new();
    let url = format!("postgres://shop:{SECRET}@{}/shop", database.address());
    let words = ["shop-dev", "eu-central-1", "security token", "`aws sts get-caller-identity`"];
    let ran = scene.refused(&PROMOTE, &wrong(&url)).await.exits(3);
    ran.says(&words).says(&["nothing was touched"]);
    scene.refused(&LOOK, &wrong(&url)).await.exits(3).says(&words);
}

#[tokio::test]
async fn wrong_database_credentials_exit_3_before_a_run_begins() {
    let Some(_terraform) = TerraformHome::new() else { return };
    let Some(database) = TestDatabase::new().await else { return };
    let scene = Scene::new();
    let stage = Stage::start(&scene).await;
    scene.release().await;
    let url = with(&database, "intruder", database.name());
    let ran = scene.refused(&PROMOTE, &stage.variables(&url)).await.exits(3);
    ran.says(&["does not let user intruder in", "`SHOP_DATABASE_URL`", "nothing was touched"]);
    let no_url = &stage.variables(&url)[..2];
    let ran = scene.refused(&PROMOTE, no_url).await.exits(2);
    ran.says(&["`SHOP_DATABASE_URL` is not set", "nothing was touched"]);
}

#[tokio::test]
async fn a_cluster_that_does_not_exist_is_named() {
    let scene = Scene::new();
    let stage = Stage::start(&scene).await;
    let ran = scene.refused(&LOOK, &stage.variables("")).await.exits(2);
    ran.says(&["shop-dev", "eu-central-1", "NotFound", "`liftlock infra apply`"]);
}

#[tokio::test]
async fn a_cloud_that_does_not_answer_is_named_before_a_run_begins() {
    let Some(_terraform) = TerraformHome::new() else { return };
    let scene = Scene::new();
    let closed = ClosedPort::new();
    let port = closed.number();
    endpoint(&scene, &format!("http://127.0.0.1:{port}"));
    scene.release().await;
    let place = format!("127.0.0.1:{port}");
    let ran = scene.refused(&PROMOTE, &wrong("")).await.exits(1);
    ran.says(&["shop-dev", &place, "`aws.endpoint`", "repeat the command", "nothing was touched"]);
}

/// What runs into trouble later, with an infrastructure that exists already, is undone and told as undone.
#[tokio::test]
async fn a_database_that_does_not_answer_a_first_promotion_is_told_as_rolled_back() {
    let Some(terraform) = TerraformHome::new() else { return };
    let scene = Scene::new();
    let stage = Stage::start(&scene).await;
    scene.write("iac/main.tf", &variables());
    scene.release().await;
    let database = ClosedPort::new();
    let url = format!("postgres://shop:{SECRET}@{}/shop", database.address());
    let mut command = scene.command(&PROMOTE);
    command.envs(terraform.variables()).envs(stage.variables(&url));
    let ran = super::scene::ended(command).await.exits(1);
    ran.prints(&["FAILED in dev and was rolled back", "database/migrate", "does not answer"]);
    let export = scene.run(&["audit", "export"]).await.exits(0);
    export.prints(&["rolled_back"]);
    let kept = std::fs::read(scene.path(".liftlock/ledger.db")).unwrap();
    assert!(!kept.windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes()));
}

/// A root module that takes every value and makes nothing.
fn variables() -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = std::fs::read_to_string(root.join("iac/variables.tf")).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix("variable \"")?.split('"').next());
    names.map(|name| format!("variable \"{name}\" {{\n  default = null\n}}\n")).collect()
}

/// Shows W-8: the password of a database in use is in no file that Liftlock keeps.
#[tokio::test]
async fn what_liftlock_keeps_holds_no_secret() {
    let Some(database) = TestDatabase::new().await else { return };
    let scene = Scene::new();
    let url = database.url().expose_secret();
    scene.run_with(&["migrate", "--env", "dev"], &[(URL, url)]).await.exits(0);
    let password = url.split("://").nth(1).unwrap().split('@').next().unwrap();
    let password = password.split(':').nth(1).unwrap();
    let kept = std::fs::read(scene.path(".liftlock/ledger.db")).unwrap();
    assert!(!kept.windows(password.len()).any(|bytes| bytes == password.as_bytes()));
}
