//! A repository of a test's own, and command lines run in it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use liftlock_ledger::{Ledger, Location, Query};
use tempfile::TempDir;
use tokio::process::Command;

/// A command that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// Stands in every URL of these tests, and may be shown nowhere.
pub(crate) const SECRET: &str = "hunter2-is-the-password";

pub(crate) const DIGEST: &str =
    "sha256:1111111111111111111111111111111111111111111111111111111111111111";
pub(crate) const COMMIT: &str = "2222222222222222222222222222222222222222";

const BASE: &str = r#"[application]
name = "shop"

[aws]
region = "eu-central-1"
account = "123456789012"

[infrastructure]
engine = "terraform"

[infrastructure.backend]
kind = "local"
path = "terraform.tfstate"

[database]
url = { from = "env", variable = "SHOP_DATABASE_URL" }

[services.backend]
repository = "registry.example/shop/backend"
port = 8080
"#;

/// dev → staging → prod, with two migrations and infrastructure code that makes nothing.
pub(crate) struct Scene {
    directory: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("liftlock-bad-")
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir()
            .unwrap();
        let scene = Self { directory };
        scene.write("environments/base.toml", BASE);
        scene.write("environments/dev.toml", "");
        scene.write("environments/staging.toml", "[gates]\nafter = \"dev\"\n");
        scene.write(
            "environments/prod.toml",
            "[gates]\nafter = \"staging\"\n\n[gates.approvals]\nrequired = 1\nfrom = [\"qa-lead\"]\n",
        );
        scene.migration(1, "items", "create table items (id int);", "drop table items;");
        scene.migration(2, "orders", "create table orders (id int);", "drop table orders;");
        scene.write("iac/main.tf", "# Nothing.\n");
        scene
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn migration(&self, number: u32, name: &str, up: &str, back: &str) {
        self.write(&format!("migrations/V{number:04}__{name}.sql"), up);
        self.write(&format!("migrations/V{number:04}__{name}.rollback.sql"), back);
    }

    /// The program in this repository, with nothing of this process's settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_liftlock-under-test"));
        let ours = |name: &str| {
            ["LIFTLOCK_", "AWS_", "SHOP_", "GITHUB_", "GITLAB_"]
                .iter()
                .any(|start| name.starts_with(start))
        };
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(ours) {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .current_dir(self.root())
            .env("LIFTLOCK_ACTOR", "tester")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            // A person's own profile is no part of the test.
            .env("HOME", self.root())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[]).await
    }

    pub(crate) async fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        ended(command).await
    }

    /// Runs a command line that is to be refused, and sees that nothing was touched: no file, no entry of the ledger.
    pub(crate) async fn refused(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let before = (self.files(), self.entries().await);
        let ran = self.run_with(arguments, variables).await;
        let after = (self.files(), self.entries().await);
        assert!(before == after, "something was touched by {arguments:?}: {ran:?}");
        ran
    }

    /// A release in the ledger.
    pub(crate) async fn release(&self) -> String {
        let image = format!("backend=registry.example/shop/backend@{DIGEST}");
        let ran = self.run(&["release", "create", "--image", &image, "--commit", COMMIT]).await;
        ran.exits(0).out.split_whitespace().next().unwrap().to_owned()
    }

    /// Every file but Liftlock's own, with its content.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut open = vec![self.root().to_owned()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && path.file_name().unwrap() != ".liftlock" {
                    open.push(path);
                } else if path.is_file() {
                    let content = std::fs::read(&path).unwrap();
                    files.insert(path, content);
                }
            }
        }
        files
    }

    /// What the ledger holds; nothing where there is none. One that cannot be opened is compared by its bytes.
    async fn entries(&self) -> Vec<String> {
        let path = self.path(".liftlock/ledger.db");
        if !path.exists() {
            return vec![];
        }
        match Ledger::open(&Location::Sqlite(path.clone())).await {
            Ok(ledger) => ledger.export(&Query::all()).await.unwrap(),
            Err(_) => vec![format!("{:?}", std::fs::read(path).unwrap())],
        }
    }
}

/// Runs a command to its end, and sees that it shows no secret.
pub(crate) async fn ended(mut command: Command) -> Ran {
    let output = tokio::time::timeout(DEADLINE, command.output()).await.expect("it ends").unwrap();
    let ran = Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(!ran.out.contains(SECRET) && !ran.err.contains(SECRET), "a secret is shown: {ran:#?}");
    assert!(!ran.err.contains("panicked"), "{ran:#?}");
    assert!(!ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'), "escape codes: {ran:#?}");
    ran
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Asserts that standard error has all of these words.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "{word:?} is missing in:\n{}", self.err);
        }
        assert!(
            self.err.starts_with("error: ") && !self.err.contains("error: error"),
            "the word stands once:\n{}",
            self.err
        );
        self
    }

    #[track_caller]
    pub(crate) fn prints(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.out.contains(word), "{word:?} is missing in:\n{}", self.out);
        }
        self
    }
}
