//! Secrets: where they come from, and how they are fetched when they are needed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use liftlock_model::Exit;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::config::SecretSource;
use crate::redact;

/// How long a command may take to print a secret.
const DEADLINE: Duration = Duration::from_secs(30);
/// The most that is kept of what a command prints. PostgreSQL's URLs and webhooks are far shorter.
const MOST: usize = 64 * 1024;

/// The stores outside this machine. `crates/aws` and the stage are such stores.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// A parameter of SSM Parameter Store, decrypted.
    async fn parameter(&self, name: &str) -> Result<SecretString, SecretError>;
    /// All parameters right below a path of SSM Parameter Store, decrypted, with their whole names, in the order of these.
    async fn parameters(&self, path: &str) -> Result<Vec<(String, SecretString)>, SecretError>;
    /// The URL of the stage's own database.
    async fn stage_database(&self) -> Result<SecretString, SecretError>;
}

/// Why a secret cannot be had. No variant holds any part of one.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It is not where it should be.
    #[error("{place} {problem}; {hint}")]
    NotFound {
        /// Where it was looked for, such as ``the environment variable `DATABASE_URL` ``.
        place: String,
        /// What is wrong with the place: `is not set`, `does not exist`.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// Its place cannot be read.
    #[error("{place} cannot be read; {hint}")]
    Unreadable {
        /// Where.
        place: String,
        /// What to do.
        hint: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store does not let us in.
    #[error("{place} refuses the credentials; {hint}")]
    Authentication {
        /// Which store.
        place: String,
        /// What to do.
        hint: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The command failed. What it printed on standard error is shown, standard output never.
    #[error("the command `{program}`, which should print a secret, {problem}{stderr}")]
    Command {
        /// Its program, without arguments.
        program: String,
        /// How it failed.
        problem: String,
        /// The end of its standard error, on lines of its own; or nothing.
        stderr: String,
    },
}

impl SecretError {
    /// How a command that needs the secret ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NotFound { .. } | Self::Unreadable { .. } | Self::Command { .. } => Exit::Usage,
            Self::Authentication { .. } => Exit::Authentication,
        }
    }
}

/// Fetches a secret. `root` is the repository's top, from which paths are read and commands run.
pub async fn secret(
    source: &SecretSource,
    root: &Path,
    store: &dyn SecretStore,
) -> Result<SecretString, SecretError> {
    let (place, value) = match source {
        SecretSource::Env { variable } => {
            (variable_place(variable), environment_variable(variable)?)
        }
        SecretSource::Ssm { parameter } => {
            (format!("the SSM parameter `{parameter}`"), store.parameter(parameter).await?)
        }
        SecretSource::File { path } => {
            let path = root.join(path);
            (file_place(&path), file(path).await?)
        }
        SecretSource::Command { program } => {
            (format!("the output of `{}`", shown(program)), command(program, root, DEADLINE).await?)
        }
        SecretSource::Stage {} => {
            ("the stage's database".to_owned(), store.stage_database().await?)
        }
    };
    if value.expose_secret().is_empty() {
        let hint = "put the secret there".to_owned();
        return Err(SecretError::NotFound { place, problem: "is empty".into(), hint });
    }
    Ok(value)
}

fn variable_place(variable: &str) -> String {
    format!("the environment variable {}", redact::quoted(variable))
}

fn environment_variable(variable: &str) -> Result<SecretString, SecretError> {
    let place = variable_place(variable);
    match std::env::var(variable) {
        Ok(value) => Ok(value.into()),
        Err(std::env::VarError::NotPresent) => Err(SecretError::NotFound {
            place,
            problem: "is not set".into(),
            hint: format!(
                "set it, such as by `export {variable}=…`, in the shell or CI job that runs liftlock"
            ),
        }),
        Err(std::env::VarError::NotUnicode(_)) => Err(SecretError::NotFound {
            place,
            problem: "is not UTF-8".into(),
            hint: "set it to text".into(),
        }),
    }
}

fn file_place(path: &Path) -> String {
    format!("the file {}", path.display())
}

async fn file(path: PathBuf) -> Result<SecretString, SecretError> {
    let place = file_place(&path);
    let error = match tokio::fs::read(&path).await {
        Ok(bytes) => return text(bytes).ok_or_else(|| not_text(place)),
        Err(error) => error,
    };
    Err(if error.kind() == io::ErrorKind::NotFound {
        let hint = "write the secret to it, and keep it out of version control".to_owned();
        SecretError::NotFound { place, problem: "does not exist".into(), hint }
    } else {
        let hint = "look at it with `ls -l`".to_owned();
        SecretError::Unreadable { place, hint, source: error.into() }
    })
}

fn not_text(place: String) -> SecretError {
    SecretError::NotFound { place, problem: "is not UTF-8".into(), hint: "store it as text".into() }
}

/// Text without the newline at its end, which editors and programs add.
fn text(bytes: Vec<u8>) -> Option<SecretString> {
    let text = String::from_utf8(bytes).ok()?;
    let line = text
        .strip_suffix('\n')
        .map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    Some(SecretString::from(line))
}

/// A command's program for messages. Arguments are left out, since they may hold tokens.
fn shown(program: &[String]) -> String {
    program.first().map(|name| redact::clean(name)).unwrap_or_default()
}

/// Ends a command's process group, so that nothing that it started is left.
struct Group(Option<rustix::process::Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // An error says that the group is gone already, which is what is wanted.
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
        }
    }
}

async fn command(
    program: &[String],
    root: &Path,
    deadline: Duration,
) -> Result<SecretString, SecretError> {
    let name = shown(program);
    let failed = |problem: String, stderr: &[u8]| SecretError::Command {
        program: name.clone(),
        problem,
        stderr: tail(stderr),
    };
    let Some((first, arguments)) = program.split_first() else {
        return Err(failed("is empty: name a program".into(), &[]));
    };
    let mut child = Command::new(first)
        .args(arguments)
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            failed(format!("cannot be started: {error}; install it, or name its whole path"), &[])
        })?;
    let _group = Group(
        child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw),
    );
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let whole = async {
        tokio::join!(read(stdout, &mut out), read(stderr, &mut err));
        child.wait().await
    };
    match tokio::time::timeout(deadline, whole).await {
        Err(_) => Err(failed(
            format!("did not end within {} s, and was ended", deadline.as_secs_f32()),
            &err,
        )),
        Ok(Err(error)) => Err(failed(format!("cannot be waited for: {error}"), &err)),
        Ok(Ok(status)) if !status.success() => Err(failed(format!("failed ({status})"), &err)),
        Ok(Ok(_)) if out.len() > MOST => {
            Err(failed(format!("printed more than {MOST} bytes"), &err))
        }
        Ok(Ok(_)) => text(out).ok_or_else(|| not_text(format!("the output of `{name}`"))),
    }
}

/// Reads to the end, and keeps a little more than `MOST` bytes.
async fn read(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        if kept.len() <= MOST {
            kept.extend_from_slice(&buffer[..length]);
        }
    }
}

/// The last lines of a command's standard error, cleaned.
fn tail(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(10)..]
        .iter()
        .map(|line| format!("\n  | {}", redact::clean(line)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command that hangs is ended with all that it started: the pipe, which a grandchild holds open, is closed.
    #[tokio::test]
    async fn a_hanging_command_is_ended_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let script = "mkfifo pipe && { echo open; exec sleep 60; } > pipe & echo waiting >&2; wait";
        let program = ["sh", "-c", script].map(str::to_owned);
        let pipe = directory.path().join("pipe");
        let reader = tokio::spawn(async move {
            let mut text = String::new();
            let mut stream = loop {
                match tokio::net::unix::pipe::OpenOptions::new().open_receiver(&pipe) {
                    Ok(stream) => break stream,
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            // Before the grandchild has opened it, the pipe looks as if it were at its end.
            while !text.ends_with('\n') {
                stream.read_to_string(&mut text).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let error = command(&program, directory.path(), Duration::from_secs(1)).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("did not end within 1 s") && text.contains("| waiting"), "{text}");
        let closed = tokio::time::timeout(Duration::from_secs(20), reader).await;
        closed.expect("the grandchild is gone").unwrap();
    }
}
