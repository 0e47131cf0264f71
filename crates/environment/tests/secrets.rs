//! Secrets, from each place that they come from.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use async_trait::async_trait;
use liftlock_environment::config::SecretSource;
use liftlock_environment::{SecretError, SecretStore, secret};
use liftlock_model::Exit;
use secrecy::{ExposeSecret as _, SecretString};

/// A store that knows one parameter and one database.
struct Store;

#[async_trait]
impl SecretStore for Store {
    async fn parameter(&self, name: &str) -> Result<SecretString, SecretError> {
        match name {
            "/shop/dev/database-url" => Ok("postgres://a".into()),
            "/shop/dev/empty" => Ok("".into()),
            _ => Err(SecretError::Authentication {
                place: "AWS".into(),
                hint: "log in".into(),
                source: "ExpiredToken".into(),
            }),
        }
    }

    async fn parameters(&self, _: &str) -> Result<Vec<(String, SecretString)>, SecretError> {
        Ok(Vec::new())
    }

    async fn stage_database(&self) -> Result<SecretString, SecretError> {
        Ok("postgres://stage".into())
    }
}

async fn fetch(source: SecretSource) -> Result<String, SecretError> {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("secret"), "hunter2\n").unwrap();
    fs::write(root.path().join("two-lines"), "a\nb\r\n").unwrap();
    fs::write(root.path().join("latin"), b"\xff").unwrap();
    fs::write(root.path().join("empty"), "\n").unwrap();
    secret(&source, root.path(), &Store).await.map(|found| found.expose_secret().to_owned())
}

fn file(path: &str) -> SecretSource {
    SecretSource::File { path: path.into() }
}

fn shell(script: &str) -> SecretSource {
    SecretSource::Command { program: ["sh", "-c", script].map(str::to_owned).into() }
}

/// Shows C-SEC-1: a secret comes from an outside program at run time, and is written nowhere.
#[tokio::test]
async fn secrets_come_from_each_place() {
    let variable = "CARGO_MANIFEST_DIR".to_owned();
    assert_eq!(fetch(SecretSource::Env { variable }).await.unwrap(), env!("CARGO_MANIFEST_DIR"));
    assert_eq!(fetch(file("secret")).await.unwrap(), "hunter2");
    assert_eq!(fetch(file("two-lines")).await.unwrap(), "a\nb");
    assert_eq!(fetch(shell("cat secret")).await.unwrap(), "hunter2");
    let parameter = "/shop/dev/database-url".to_owned();
    assert_eq!(fetch(SecretSource::Ssm { parameter }).await.unwrap(), "postgres://a");
    assert_eq!(fetch(SecretSource::Stage {}).await.unwrap(), "postgres://stage");
}

#[tokio::test]
async fn a_missing_secret_is_a_configuration_error_that_names_its_place() {
    let variable = "LIFTLOCK_NO_SUCH_VARIABLE".to_owned();
    let parameter = "/shop/dev/empty".to_owned();
    for (source, words) in [
        (SecretSource::Env { variable }, "variable `LIFTLOCK_NO_SUCH_VARIABLE` is not set; set it"),
        (file("gone"), "gone does not exist; write the secret to it"),
        (file("empty"), "empty is empty"),
        (file("latin"), "latin is not UTF-8"),
        (file("."), "cannot be read"),
        (SecretSource::Ssm { parameter }, "the SSM parameter `/shop/dev/empty` is empty"),
        (
            SecretSource::Command { program: vec!["liftlock-no-such".into()] },
            "`liftlock-no-such`, which should print a secret, cannot be started",
        ),
        (shell("true"), "the output of `sh` is empty"),
    ] {
        let error = fetch(source).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Usage, "{error}");
        assert!(error.to_string().contains(words), "{words:?} is missing in: {error}");
    }
}

#[tokio::test]
async fn refused_credentials_are_told_apart() {
    let error = fetch(SecretSource::Ssm { parameter: "/other".into() }).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Authentication);
}

/// What a failing command printed may be half of the secret: only its standard error is shown, and cleaned.
#[tokio::test]
async fn a_failing_command_shows_its_standard_error_only() {
    let script =
        r"echo hunter2; printf 'not \033[31mlogged in to postgres://a:hunter2@b\n' >&2; exit 3";
    let error = fetch(shell(script)).await.unwrap_err();
    let texts = [error.to_string(), format!("{error:?}")];
    assert!(texts[0].contains("logged in to postgres://a:[redacted]@b"), "{}", texts[0]);
    assert!(texts[0].contains("exit status: 3"), "{}", texts[0]);
    assert!(
        texts.iter().all(|text| !text.contains("hunter2") && !text.contains('\u{1b}')),
        "{texts:?}"
    );
}

#[tokio::test]
async fn a_command_that_prints_without_end_is_cut_off() {
    let error = fetch(shell("head -c 1000000 /dev/zero")).await.unwrap_err();
    assert!(error.to_string().contains("printed more than 65536 bytes"), "{error}");
}
