//! Releases: what moves from one environment to the next.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{ArtifactHash, ImageRef, MigrationStamp, ServiceName};

/// Why a text is not a release's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a release id: expected `rel-` and 12 hexadecimal digits (`liftlock release list` shows them)"
)]
pub struct ReleaseIdError {
    text: String,
}

/// A release's id: `rel-` and the first 12 hexadecimal digits of the SHA-256 of its content. The same content always
/// has the same id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseId(String);

impl ReleaseId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ReleaseId {
    type Err = ReleaseIdError;
    fn from_str(text: &str) -> Result<Self, ReleaseIdError> {
        let fine = text.strip_prefix("rel-").is_some_and(|hex| {
            hex.len() == 12 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        });
        if fine { Ok(Self(text.to_owned())) } else { Err(ReleaseIdError { text: text.to_owned() }) }
    }
}

impl TryFrom<String> for ReleaseId {
    type Error = ReleaseIdError;
    fn try_from(text: String) -> Result<Self, ReleaseIdError> {
        text.parse()
    }
}

impl From<ReleaseId> for String {
    fn from(id: ReleaseId) -> String {
        id.0
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a text is not a commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a commit: expected the 40 (or 64) hexadecimal digits that `git rev-parse HEAD` prints"
)]
pub struct CommitShaError {
    text: String,
}

/// A git commit by its whole SHA-1 or SHA-256 name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitSha(String);

impl CommitSha {
    /// The commit as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CommitSha {
    type Err = CommitShaError;
    fn from_str(text: &str) -> Result<Self, CommitShaError> {
        let fine = matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit());
        if fine {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(CommitShaError { text: text.to_owned() })
        }
    }
}

impl TryFrom<String> for CommitSha {
    type Error = CommitShaError;
    fn try_from(text: String) -> Result<Self, CommitShaError> {
        text.parse()
    }
}

impl From<CommitSha> for String {
    fn from(commit: CommitSha) -> String {
        commit.0
    }
}

impl fmt::Display for CommitSha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a release is made of. Nothing here says when or by whom it was made: that is the ledger's to know, so that the
/// same content always gives the same release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseContent {
    /// The version that people know it by, such as `1.4.0`; the short commit where none was given.
    pub version: String,
    /// The commit it was made from.
    pub commit: CommitSha,
    /// The branch, where it is known.
    pub branch: Option<String>,
    /// The subject line of the commit, where it is known.
    pub subject: Option<String>,
    /// The pull request, where it is known.
    pub pull_request: Option<u64>,
    /// Which image each service runs.
    pub images: BTreeMap<ServiceName, ImageRef>,
    /// The migrations it needs, in order.
    pub migrations: Vec<MigrationStamp>,
    /// The tar archive of those migrations' files, kept in the ledger.
    pub migrations_archive: ArtifactHash,
    /// The tar archive of the infrastructure code, kept in the ledger: its version is its hash.
    pub infrastructure_archive: ArtifactHash,
}

impl ReleaseContent {
    /// The id of a release with this content.
    pub fn id(&self) -> ReleaseId {
        // serde_json writes struct fields in the order of declaration and BTreeMap keys sorted: the same content is the
        // same text.
        let text = serde_json::to_vec(self).expect("a release is plain data");
        ReleaseId(format!("rel-{}", &ArtifactHash::of(&text).as_str()[..12]))
    }
}

/// A release: made once, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Derived from the content.
    pub id: ReleaseId,
    /// What it is made of.
    pub content: ReleaseContent,
}

impl Release {
    /// A release of this content.
    pub fn new(content: ReleaseContent) -> Self {
        Self { id: content.id(), content }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> ReleaseContent {
        ReleaseContent {
            version: "1.0.0".into(),
            commit: "a".repeat(40).parse().unwrap(),
            branch: None,
            subject: None,
            pull_request: None,
            images: BTreeMap::new(),
            migrations: vec![],
            migrations_archive: ArtifactHash::of(b""),
            infrastructure_archive: ArtifactHash::of(b""),
        }
    }

    #[test]
    fn the_id_follows_the_content() {
        let one = Release::new(content());
        assert_eq!(one, Release::new(content()));
        let other = Release::new(ReleaseContent { version: "1.0.1".into(), ..content() });
        assert_ne!(one.id, other.id);
        assert_eq!(one.id.as_str().parse::<ReleaseId>().unwrap(), one.id);
    }
}
