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

/// Which files under these paths are not as the checked-out commit has them, untracked ones included.
pub(crate) fn changed(root: &Path, paths: &[&Path]) -> Vec<String> {
    let status = ["status", "--porcelain", "--no-renames", "--untracked-files=all", "--"];
    let paths = paths.iter().map(|path| path.to_string_lossy().into_owned()).collect::<Vec<_>>();
    let arguments: Vec<&str> = status.into_iter().chain(paths.iter().map(String::as_str)).collect();
    let text = git(root, &arguments).unwrap_or_default();
    // Two letters of status, a blank, the file; the first blank of all may have been trimmed.
    text.lines()
        .filter_map(|line| line.trim_start().split_once(' '))
        .map(|(_, file)| file.trim().to_owned())
        .collect()
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
