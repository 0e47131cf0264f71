//! What a saved plan was made from: compared before it is applied, since Terraform itself would apply a plan of another
//! environment's state without a word, and never looks at files that were edited since.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use liftlock_model::EnvName;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What a saved plan was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The environment.
    pub environment: EnvName,
    /// The workspace.
    pub workspace: String,
    /// Where the state is, in words that name one state and no other.
    pub backend: String,
    /// The state's identity; none if there was no state yet.
    pub lineage: Option<String>,
    /// The state's version; 0 if there was no state yet.
    pub serial: u64,
    /// SHA-256 of the values of the root module's variables.
    pub values: String,
    /// SHA-256 of the infrastructure's code, file names and contents.
    pub code: String,
    /// SHA-256 of the provider lock file.
    pub lock: String,
    /// SHA-256 of the plan file.
    pub plan: String,
    /// The commit, if known.
    pub commit: Option<String>,
    /// Who made the plan, such as `terraform 1.11.4`.
    pub tool: String,
}

impl Seal {
    /// SHA-256 over everything that the seal holds: what an approval signs.
    pub fn fingerprint(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        hash(text.as_bytes())
    }

    /// What is not as it was when this was made.
    pub(crate) fn differences(&self, now: &Self) -> Vec<Difference> {
        let version = |seal: &Self| {
            seal.lineage.as_ref().map_or_else(
                || "no state".to_owned(),
                |lineage| format!("serial {} of {lineage}", seal.serial),
            )
        };
        let changed = "was changed since".to_owned();
        let hashes = [
            (Sealed::Values, &self.values, &now.values),
            (Sealed::Code, &self.code, &now.code),
            (Sealed::Lock, &self.lock, &now.lock),
            (Sealed::Plan, &self.plan, &now.plan),
        ];
        let named = [
            (Sealed::Environment, self.environment.to_string(), now.environment.to_string()),
            (Sealed::Workspace, self.workspace.clone(), now.workspace.clone()),
            (Sealed::Backend, self.backend.clone(), now.backend.clone()),
            (Sealed::State, version(self), version(now)),
            (Sealed::Tool, self.tool.clone(), now.tool.clone()),
        ];
        let named = named.into_iter().filter(|(_, was, is)| was != is);
        let named = named
            .map(|(what, was, is)| Difference { what, text: format!("was {was} and is {is}") });
        let hashes = hashes.into_iter().filter(|(_, was, is)| was != is);
        named.chain(hashes.map(|(what, ..)| Difference { what, text: changed.clone() })).collect()
    }
}

/// What a seal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed {
    /// The environment.
    Environment,
    /// The workspace.
    Workspace,
    /// Where the state is.
    Backend,
    /// The state's identity and version.
    State,
    /// The program that made the plan.
    Tool,
    /// The values of the variables.
    Values,
    /// The code.
    Code,
    /// The provider lock file.
    Lock,
    /// The plan file.
    Plan,
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Environment => "the environment",
            Self::Workspace => "the workspace",
            Self::Backend => "the place of the state",
            Self::State => "the state",
            Self::Tool => "the program",
            Self::Values => "the variables' values",
            Self::Code => "the infrastructure's code",
            Self::Lock => "the provider lock file",
            Self::Plan => "the plan file",
        })
    }
}

/// Something that is not as it was when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What.
    pub what: Sealed,
    text: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.text)
    }
}

pub(crate) fn hash(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

/// The hash of a file; of nothing, if it is not there.
pub(crate) fn hash_file(path: &Path) -> io::Result<String> {
    match std::fs::read(path) {
        Ok(content) => Ok(hash(&content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(hash(&[])),
        Err(error) => Err(error),
    }
}

/// The hash of names and contents, each with its length before it so that none can pass for another.
pub(crate) fn hash_code(files: &BTreeMap<PathBuf, Vec<u8>>) -> String {
    let mut digest = Sha256::new();
    for (path, content) in files {
        let path = path.as_os_str().as_encoded_bytes();
        for part in [path, content.as_slice()] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
    }
    hex::encode(digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> Seal {
        Seal {
            environment: "dev".parse().unwrap(),
            workspace: "dev".into(),
            backend: "s3://states/env:/dev/shop".into(),
            lineage: Some("a1".into()),
            serial: 7,
            values: hash(b"values"),
            code: hash(b"code"),
            lock: hash(b"lock"),
            plan: hash(b"plan"),
            commit: None,
            tool: "terraform 1.11.4".into(),
        }
    }

    #[test]
    fn the_same_seal_has_no_differences() {
        assert_eq!(seal().differences(&seal()), []);
    }

    #[test]
    fn each_part_is_compared() {
        type Changed = (Sealed, fn(&mut Seal));
        let parts: [Changed; 10] = [
            (Sealed::Environment, |seal| seal.environment = "prod".parse().unwrap()),
            (Sealed::Workspace, |seal| seal.workspace = "prod".into()),
            (Sealed::Backend, |seal| seal.backend = "s3://states/env:/prod/shop".into()),
            (Sealed::State, |seal| seal.lineage = None),
            (Sealed::State, |seal| seal.serial += 1),
            (Sealed::Tool, |seal| seal.tool = "terraform 1.12.0".into()),
            (Sealed::Values, |seal| seal.values = hash(b"other")),
            (Sealed::Code, |seal| seal.code = hash(b"other")),
            (Sealed::Lock, |seal| seal.lock = hash(b"other")),
            (Sealed::Plan, |seal| seal.plan = hash(b"other")),
        ];
        for (what, change) in parts {
            let mut other = seal();
            change(&mut other);
            let found: Vec<_> = seal().differences(&other).iter().map(|d| d.what).collect();
            assert_eq!(found, [what]);
            assert_ne!(seal().fingerprint(), other.fingerprint());
        }
    }

    #[test]
    fn a_line_that_moves_to_another_file_changes_the_hash() {
        let files = |a: &str, b: &str| {
            BTreeMap::from([
                ("a.tf".into(), a.as_bytes().to_vec()),
                ("b.tf".into(), b.as_bytes().to_vec()),
            ])
        };
        assert_ne!(hash_code(&files("xy", "")), hash_code(&files("x", "y")));
    }
}
