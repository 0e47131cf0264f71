//! An environment: its two files read, laid on each other and checked.

use std::path::{Path, PathBuf};

use liftlock_model::{EnvName, Fingerprint, ServiceName};
use serde::Deserialize;

use crate::config::Service;
use crate::nearest::{did_you_mean, list};
use crate::problem::{Finding, LoadError};
use crate::source::Sources;
use crate::tree::{self, Node};
use crate::{Config, check, schema, walk};

/// The directory of environment files, from the repository's top.
pub(crate) const DIRECTORY: &str = "environments";
/// What all environments share.
pub(crate) const BASE: &str = "base";

/// An environment, checked.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Its name.
    pub name: EnvName,
    /// What its files say.
    pub config: Config,
    root: PathBuf,
}

/// There is no `environments/base.toml` where it was looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no environments/base.toml in {} or in a directory above it; go to the repository's top, or write that file",
    start.display()
)]
pub struct RootError {
    start: PathBuf,
}

/// The repository's top: the nearest directory, from `start` upwards, that holds `environments/base.toml`.
pub fn find_root(start: &Path) -> Result<PathBuf, RootError> {
    let start = std::path::absolute(start).unwrap_or_else(|_| start.to_owned());
    start
        .ancestors()
        .find(|directory| directory.join(file_of(BASE)).exists())
        .map(Path::to_owned)
        .ok_or(RootError { start })
}

impl Environment {
    /// Reads, overlays and checks `environments/base.toml` and `environments/<name>.toml` under `root`, the repository's
    /// top. The error holds everything that is wrong.
    pub fn load(root: &Path, name: &EnvName) -> Result<Self, LoadError> {
        let mut sources = Sources::default();
        if let Some(finding) = unknown(root, name, &mut sources) {
            return Err(LoadError::new(&sources, vec![finding], &[]));
        }
        let (tree, findings) = read_tree(&mut sources, root, name);
        if !findings.is_empty() {
            return Err(LoadError::new(&sources, findings, &[]));
        }
        let files = [BASE, name.as_str()].map(|stem| file_of(stem).display().to_string());
        let found = walk::check(schema::checked(), &tree, &files, 1);
        if !found.list.is_empty() {
            return Err(LoadError::new(&sources, found.list, &found.hidden));
        }
        let config = Config::deserialize(tree.to_toml()).map_err(|error| {
            let finding = Finding::in_file(1, error.message());
            LoadError::new(&sources, vec![finding], &found.hidden)
        })?;
        let environment = Self { name: name.clone(), config, root: root.to_owned() };
        let findings = check::check(&environment, &tree, &mut sources);
        if findings.is_empty() {
            Ok(environment)
        } else {
            Err(LoadError::new(&sources, findings, &[]))
        }
    }

    /// The environments that have a file, by name.
    pub fn list(root: &Path) -> Result<Vec<EnvName>, LoadError> {
        let mut sources = Sources::default();
        let source = sources.add(DIRECTORY.into(), String::new());
        let fail = |finding| Err(LoadError::new(&sources, vec![finding], &[]));
        let stems = match stems(root) {
            Ok(stems) => stems,
            Err(error) => {
                let finding =
                    Finding::in_file(source, format!("the directory cannot be read: {error}"));
                return fail(
                    finding
                        .help("go to the repository's top, which holds `environments/base.toml`"),
                );
            }
        };
        let mut names = Vec::new();
        for stem in stems {
            match stem.parse::<EnvName>() {
                Ok(name) => names.push(name),
                Err(error) => {
                    let finding = Finding::in_file(source, error.to_string());
                    return fail(finding.help("rename the file, or move it out of the directory"));
                }
            }
        }
        Ok(names)
    }

    /// `<application>-<environment>`: the first part of every resource's name.
    pub fn prefix(&self) -> String {
        format!("{}-{}", self.config.application.name, self.name)
    }

    /// The services in the order of rollout.
    pub fn services_in_order(&self) -> Vec<(&ServiceName, &Service)> {
        let mut services: Vec<_> = self.config.services.iter().collect();
        services.sort_by_key(|(name, service)| (service.order, *name));
        services
    }

    /// A path of the environment's files, which is from the repository's top.
    pub fn path(&self, relative: &Path) -> PathBuf {
        self.root.join(relative)
    }

    /// The repository's top.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The fingerprint of the environment's whole configuration: another one means that something was changed.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&(&self.name, &self.config))
    }

    /// The Terraform workspace: the environment's name unless its file says otherwise.
    pub fn workspace(&self) -> &str {
        self.config.infrastructure.workspace.as_deref().unwrap_or(self.name.as_str())
    }
}

/// `environments/<stem>.toml`.
pub(crate) fn file_of(stem: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{stem}.toml"))
}

/// The stems of the environments' files in order, whether they are valid names or not.
pub(crate) fn stems(root: &Path) -> std::io::Result<Vec<String>> {
    let mut stems = Vec::new();
    for entry in std::fs::read_dir(root.join(DIRECTORY))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        match name.strip_suffix(".toml") {
            Some(stem) if stem != BASE && !stem.starts_with('.') => stems.push(stem.to_owned()),
            _ => {}
        }
    }
    stems.sort();
    Ok(stems)
}

/// What is wrong when there is no such environment: what exists, and the nearest name.
fn unknown(root: &Path, name: &EnvName, sources: &mut Sources) -> Option<Finding> {
    let file = file_of(name.as_str());
    let reserved = name.as_str() == BASE;
    if !reserved && std::fs::symlink_metadata(root.join(&file)).is_ok() {
        return None;
    }
    let source = sources.add(file, String::new());
    let known = stems(root).unwrap_or_default();
    let message = if reserved {
        "`base` is what all environments share, and none itself".to_owned()
    } else {
        format!("there is no environment `{name}`: the file does not exist")
    };
    let help = did_you_mean(name.as_str(), known.iter().map(String::as_str));
    Some(
        Finding::in_file(source, message)
            .help(format!("{help}environments here: {}", list(&known))),
    )
}

/// Both files as one tree: `base.toml` is source 0 and the environment's own is source 1 of fresh `sources`.
pub(crate) fn read_tree(
    sources: &mut Sources,
    root: &Path,
    name: &EnvName,
) -> (Node, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut trees = [BASE, name.as_str()].map(|stem| {
        let (source, finding) = sources.read(root, file_of(stem));
        findings.extend(finding);
        tree::parse(sources, source, &mut findings)
    });
    trees.reverse();
    let [own, base] = trees;
    (tree::overlay(base, own), findings)
}
