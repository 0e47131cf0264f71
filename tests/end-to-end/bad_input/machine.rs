//! What is missing on the machine: programs, ports, space, rights.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use liftlock_testkit::TerraformHome;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::scene::{COMMIT, DIGEST, Scene, ended};

/// A machine without any program.
const BARE: [(&str, &str); 2] = [("PATH", "/no/such/directory"), ("PG_BIN", "/no/such/directory")];
const AWS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret")];

const LOCAL: &str = r#"
[infrastructure]
engine = "stage"
[database]
url = { from = "stage" }
[services.backend.stage]
command = ["bin/shop"]
versions = "versions"
"#;

#[tokio::test]
async fn without_postgresql_the_one_command_that_installs_it_is_told() {
    let scene = Scene::new();
    scene.write("environments/local.toml", LOCAL);
    scene.write("versions/1.0.0.toml", "");
    for arguments in [&["promote", "--env", "local"][..], &["migrate", "--env", "local"]] {
        let ran = scene.refused(arguments, &BARE).await.exits(2);
        ran.says(&["no PostgreSQL 15 or later", "to install it: ", "PG_BIN"]);
        assert!(!scene.path(".liftlock/local/stage").exists(), "nothing was started");
    }
}

#[tokio::test]
async fn without_terraform_it_is_told_where_to_get_it() {
    let scene = Scene::new();
    scene.release().await;
    let variables = [BARE, AWS].concat();
    for arguments in [&["infra", "plan", "--env", "dev"][..], &["promote", "--env", "dev"]] {
        let ran = scene.refused(arguments, &variables).await.exits(2);
        ran.says(&["terraform is not on PATH", "install it (https://", "LIFTLOCK_TERRAFORM"]);
    }
}

#[tokio::test]
async fn doctor_says_what_is_missing_and_how_to_get_it() {
    let scene = Scene::new();
    scene.write("environments/local.toml", LOCAL);
    let ran = scene.run_with(&["doctor"], &BARE).await.exits(1).prints(&[
        "✗ postgresql   missing; needed for local, ",
        "✗ terraform    missing; needed for dev, prod, staging",
        "✗ git          missing",
        "✓ directory ",
        "next: terraform is not on PATH: install it",
    ]);
    let installs = [
        "next: sudo apt-get install",
        "next: sudo dnf install",
        "next: brew install",
        "next: sudo ",
        "next: see https",
    ];
    assert!(installs.iter().any(|command| ran.out.contains(command)), "{}", ran.out);

    let Some(_terraform) = TerraformHome::new() else { return };
    let Some(_postgres) = liftlock_testkit::requirement::postgres() else { return };
    scene.run(&["doctor"]).await.exits(0).prints(&[
        "✓ postgresql ",
        "✓ terraform ",
        "✓ directory ",
    ]);
}

/// The stage keeps its ports from one start to the next; one that somebody else took meanwhile is replaced.
#[tokio::test]
async fn a_port_in_use_is_replaced_by_a_free_one() {
    let scene = Scene::new();
    let directory = scene.path("stage");
    let arguments = ["stage", "serve", "--directory", directory.to_str().unwrap()];
    let serve = async || {
        let mut process = scene.command(&arguments).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let first = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await;
        let first = first.unwrap().unwrap().unwrap();
        let record: Value =
            serde_json::from_slice(&std::fs::read(directory.join("running.json")).unwrap())
                .unwrap();
        let endpoint = record["endpoint"].as_str().unwrap().to_owned();
        assert!(first.contains(&endpoint), "{first}");
        // A second one in the same directory is refused.
        let second = ended(scene.command(&arguments)).await;
        second.exits(1).says(&["a stage serves", "already", directory.to_str().unwrap()]);
        process.kill().await.unwrap();
        endpoint
    };
    let first = serve().await;
    assert_eq!(serve().await, first);
    let port: u16 = first.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    assert_ne!(serve().await, first);
}

#[expect(clippy::print_stderr, reason = "a note to the person who runs the test")]
fn note(text: &str) {
    eprintln!("skipped: {text}");
}

fn create(image: &str) -> [&str; 6] {
    ["release", "create", "--image", image, "--commit", COMMIT]
}

/// A file system of 256 KiB, unmounted when this is dropped.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(at: &'a Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(at);
        match mount.output() {
            Ok(done) if done.status.success() => Some(Self(at)),
            _ => {
                note("only root mounts a small file system");
                None
            }
        }
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(self.0).status();
        assert!(done.is_ok_and(|status| status.success()), "umount {}", self.0.display());
    }
}

#[tokio::test]
async fn no_disk_space_is_told_and_what_was_written_is_safe() {
    let scene = Scene::new();
    let kept = scene.path(".liftlock");
    let Some(_small) = Small::mount(&kept) else { return };
    let release = scene.release().await;
    // Fills what is left: the write ends with an error.
    let full = std::fs::write(kept.join("ballast"), vec![0; 1 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let image = format!("backend=registry.example/shop/backend@{}", DIGEST.replace('1', "5"));
    for arguments in [&create(&image)[..], &["promote", "--env", "dev"]] {
        let ran = scene.run_with(arguments, &AWS).await.exits(2);
        ran.says(&["no space is left for the ledger", "ledger.db", "free some, then repeat"]);
    }
    std::fs::remove_file(kept.join("ballast")).unwrap();
    let list = scene.run(&["release", "list"]).await.exits(0);
    assert_eq!(list.out.lines().count(), 1, "{}", list.out);
    assert!(list.out.starts_with(&release), "{}", list.out);
    scene.run(&["audit", "verify"]).await.exits(0);
}

/// Runs as somebody who may read everything and write nothing. Root may write everywhere, so it becomes somebody else.
async fn reader(scene: &Scene, arguments: &[&str]) -> Option<super::scene::Ran> {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        note("only root runs a program as somebody else");
        return None;
    }
    let mut asked = scene.command(&["--version"]);
    if asked.uid(NOBODY).gid(NOBODY).output().await.is_err() {
        note("the program cannot be reached by others");
        return None;
    }
    let mut command = scene.command(arguments);
    command.uid(NOBODY).gid(NOBODY).envs(AWS);
    Some(ended(command).await)
}

#[tokio::test]
async fn a_read_only_directory_is_named() {
    let scene = Scene::new();
    let image = format!("backend=registry.example/shop/backend@{DIGEST}");
    let next = "writable for this user";
    for arguments in [&create(&image)[..], &["promote", "--env", "dev"], &["infra", "render"]] {
        let Some(ran) = reader(&scene, arguments).await else { return };
        ran.exits(2).says(&[scene.root().to_str().unwrap(), next, "Permission denied"]);
    }
    let looks = [&["status"][..], &["history"], &["environment", "check"], &["audit", "verify"]];
    for arguments in looks {
        reader(&scene, arguments).await.unwrap().exits(0);
    }
    let doctor = reader(&scene, &["doctor"]).await.unwrap().exits(1);
    doctor.prints(&["✗ directory", next, ".liftlock"]);
    assert!(!scene.path(".liftlock").exists());

    scene.release().await;
    let ledger = scene.path(".liftlock/ledger.db");
    let before = std::fs::read(&ledger).unwrap();
    let ran = reader(&scene, &create(&image)).await.unwrap().exits(2);
    ran.says(&["ledger.db cannot be written", next]);
    assert_eq!(std::fs::read(&ledger).unwrap(), before);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() {
    let scene = Scene::new();
    let file = scene.path("environments/dev.toml");
    chown(&file, None, None).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let Some(ran) = reader(&scene, &["status"]).await else { return };
    ran.exits(2).says(&["environments/dev.toml", "Permission denied", "`ls -l`"]);
}
