//! The files that taking over makes: tried in a directory of their own, then written.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;

use liftlock_model::MigrationId;
use serde::Serialize;

use super::convert::{Converted, OutFile, convert};
use super::source::Source;
use super::tool::Tool;
use super::{AdoptError, Adoption, Asked, dbmate, diesel, pairs, sqitch, versioned};
use crate::files::{FileProblem, Migrations};

/// Another tool's migrations as ours, checked whole; nothing is written yet.
#[derive(Debug, Clone)]
pub struct Conversion {
    pub(crate) asked: Asked,
    pub(crate) source: Source,
    pub(crate) migrations: Migrations,
    converted: Vec<Converted>,
    /// What is to be written, by name.
    write: BTreeMap<String, Vec<u8>>,
}

/// One of the other tool's migrations, and ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mapped {
    /// The file that it comes from, within the other tool's directory.
    pub from: String,
    /// What the other tool's history calls it.
    pub key: String,
    /// What it is called now.
    pub id: MigrationId,
    /// What was done beside that.
    pub told: Vec<String>,
}

impl Adoption {
    /// Reads the other tool's directory, and checks that everything can be taken over. Writes nothing.
    ///
    /// # Errors
    /// [`AdoptError`] with everything that is in the way.
    pub fn convert(&self) -> Result<Conversion, AdoptError> {
        let in_place = same_directory(&self.source, &self.directory);
        let asked = Asked { adoption: self.clone(), in_place };
        let told = |problems| AdoptError::Source {
            tool: self.tool,
            directory: self.source.clone(),
            problems,
        };
        if in_place && self.tool != Tool::Refinery {
            let problem = "the directory of the other tool cannot be Liftlock's: name another with --directory";
            return Err(told(vec![FileProblem {
                file: ".".into(),
                line: None,
                problem: problem.into(),
            }]));
        }
        let source = read(self.tool, &self.source).map_err(|problem| told(vec![problem]))?;
        let there = names(&self.directory)?;
        let converted = convert(&source, &asked, &there).map_err(told)?;
        if converted.is_empty() {
            let problem = "it holds no migration";
            return Err(told(vec![FileProblem {
                file: ".".into(),
                line: None,
                problem: problem.into(),
            }]));
        }
        let write = to_write(&self.directory, &converted)?;
        let migrations = stage(&self.directory, &write)?;
        Ok(Conversion { asked, source, migrations, converted, write })
    }
}

fn read(tool: Tool, directory: &Path) -> Result<Source, FileProblem> {
    match tool {
        Tool::Sqlx | Tool::GolangMigrate => pairs::read(tool, directory),
        Tool::Refinery | Tool::Flyway => versioned::read(tool, directory),
        Tool::Diesel => diesel::read(directory),
        Tool::Dbmate => dbmate::read(directory),
        Tool::Sqitch => sqitch::read(directory),
    }
}

fn same_directory(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// The names in the target directory; none if it is not there yet.
fn names(directory: &Path) -> Result<BTreeSet<String>, AdoptError> {
    match std::fs::read_dir(directory) {
        Ok(entries) => {
            Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(target(directory, ".", format!("it cannot be read: {error}"))),
    }
}

fn target(directory: &Path, file: &str, problem: String) -> AdoptError {
    let problems = vec![FileProblem { file: file.to_owned(), line: None, problem }];
    AdoptError::Target { directory: directory.to_owned(), problems }
}

/// What is not there yet. A migration that is there must be the same; rollback and verify scripts that are there stay.
fn to_write(
    directory: &Path,
    converted: &[Converted],
) -> Result<BTreeMap<String, Vec<u8>>, AdoptError> {
    let mut write = BTreeMap::new();
    let mut problems = Vec::new();
    for one in converted {
        match std::fs::read(directory.join(&one.up.name)) {
            Ok(bytes) if bytes == one.up.bytes => {}
            Ok(_) => problems.push(FileProblem {
                file: one.up.name.clone(),
                line: None,
                problem: "it is there with another text: move it away, or name another directory"
                    .into(),
            }),
            Err(_) => {
                write.insert(one.up.name.clone(), one.up.bytes.clone());
            }
        }
        for OutFile { name, bytes } in [&one.rollback, &one.verify].into_iter().flatten() {
            if !directory.join(name).exists() {
                write.insert(name.clone(), bytes.clone());
            }
        }
    }
    if problems.is_empty() {
        Ok(write)
    } else {
        Err(AdoptError::Target { directory: directory.to_owned(), problems })
    }
}

/// The migrations as they will be, from a directory of their own.
fn stage(directory: &Path, write: &BTreeMap<String, Vec<u8>>) -> Result<Migrations, AdoptError> {
    let failed =
        |error: std::io::Error| target(directory, ".", format!("it cannot be tried: {error}"));
    let stage = tempfile::tempdir().map_err(failed)?;
    for name in names(directory)? {
        let from = directory.join(&name);
        if from.is_file() {
            std::fs::copy(from, stage.path().join(name)).map_err(failed)?;
        }
    }
    for (name, bytes) in write {
        std::fs::write(stage.path().join(name), bytes).map_err(failed)?;
    }
    Migrations::read(stage.path()).map_err(|error| AdoptError::Target {
        directory: directory.to_owned(),
        problems: error.problems,
    })
}

impl Conversion {
    /// Which migration becomes which, in order.
    pub fn mapping(&self) -> Vec<Mapped> {
        let pairs = self.source.migrations.iter().zip(&self.converted);
        pairs
            .map(|(foreign, converted)| Mapped {
                from: foreign.up.file.clone(),
                key: foreign.key.clone(),
                id: converted.id.clone(),
                told: converted.told.clone(),
            })
            .collect()
    }

    /// The names of the files that are not there yet.
    pub fn files(&self) -> Vec<&str> {
        self.write.keys().map(String::as_str).collect()
    }

    /// Writes the files that are not there yet; overwrites nothing.
    ///
    /// # Errors
    /// [`AdoptError::Write`]; what was written stays, and running it again goes on.
    pub fn write(&self) -> Result<(), AdoptError> {
        let directory = &self.asked.directory;
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| AdoptError::Write { path, source }
        };
        std::fs::create_dir_all(directory).map_err(failed(directory))?;
        for (name, bytes) in &self.write {
            let path = directory.join(name);
            // Under another name first, so that a file is there whole or not at all.
            let half = directory.join(format!(".{name}.half"));
            let mut file = std::fs::File::create(&half).map_err(failed(&half))?;
            file.write_all(bytes).map_err(failed(&half))?;
            std::fs::hard_link(&half, &path).map_err(failed(&path))?;
            std::fs::remove_file(&half).map_err(failed(&half))?;
        }
        Ok(())
    }
}
