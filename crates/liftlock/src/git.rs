//! What git knows of the working tree, as far as a release wants to know it.

use std::path::Path;
use std::process::Command;

use liftlock_model::CommitSha;

/// The commit that is checked out, its branch and its subject line.
pub(crate) struct Head {
    pub commit: CommitSha,
    pub branch: Option<String>,
    pub subject: Option<String>,
}

/// Reads the checked-out commit; none without git or outside of a repository.
pub(crate) fn head(root: &Path) -> Option<Head> {
    let commit = git(root, &["rev-parse", "HEAD"])?.parse().ok()?;
    let branch = git(root, &["symbolic-ref", "--quiet", "--short", "HEAD"]);
    let subject = git(root, &["log", "-1", "--format=%s"])
        .map(|text| liftlock_model::Actor::new(&text).to_string());
    Some(Head { commit, branch, subject })
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
