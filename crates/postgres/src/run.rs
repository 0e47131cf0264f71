//! Running one of PostgreSQL's programs to its end, within a time.

use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use crate::account::Account;

/// Why a program gave no good end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("it could not be started: {0}")]
    Start(std::io::Error),
    #[error("it took longer than {} s and was ended", .0.as_secs())]
    Late(Duration),
    #[error("{0}")]
    Failed(String),
}

/// A command in a process group of its own, which ends when its future is dropped.
pub(crate) fn command(program: &std::path::Path, account: Option<&Account>) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").process_group(0).kill_on_drop(true).stdin(Stdio::null());
    // Whatever the user's environment says about another database is not meant for this one; where certificates are is.
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("PG") && !name_text.starts_with("PGSSL") {
            command.env_remove(name);
        }
    }
    // The texts that `error` looks for are the untranslated ones.
    command.env("LC_ALL", "C").env("LC_MESSAGES", "C");
    if let Some(Account { uid, gid, .. }) = account {
        // The standard library clears the supplementary groups when root changes to another user.
        command.uid(*uid).gid(*gid);
    }
    command
}

/// Runs `command` to its end. What it wrote to standard error is the error's text, without control characters.
pub(crate) async fn finish(mut command: Command, within: Duration) -> Result<Output, RunError> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(RunError::Start)?;
    let output = tokio::time::timeout(within, child.wait_with_output())
        .await
        .map_err(|_| RunError::Late(within))?
        .map_err(RunError::Start)?;
    if output.status.success() {
        return Ok(output);
    }
    let text = printable(&String::from_utf8_lossy(&output.stderr));
    let text = text.trim();
    Err(RunError::Failed(if text.is_empty() { output.status.to_string() } else { text.to_owned() }))
}

/// `text` with every control character except the line feed replaced.
pub(crate) fn printable(text: &str) -> String {
    let safe = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
    text.chars().map(safe).collect()
}
