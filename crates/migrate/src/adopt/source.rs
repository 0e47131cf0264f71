//! Another tool's directory, as far as the tools are alike.

use std::path::Path;

use crate::files::FileProblem;

/// One of the other tool's scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    /// Its path within the directory.
    pub(crate) file: String,
    /// The line of the file that it begins on. The first is 1.
    pub(crate) line: usize,
    /// What the other tool runs, byte for byte.
    pub(crate) bytes: Vec<u8>,
    /// Whether the other tool was told to run it outside of a transaction.
    pub(crate) outside: bool,
}

impl Text {
    /// Where it is, for people.
    pub(crate) fn place(&self) -> String {
        if self.line == 1 { self.file.clone() } else { format!("{}:{}", self.file, self.line) }
    }

    pub(crate) fn new(file: &str, bytes: &[u8]) -> Self {
        Self { file: file.to_owned(), line: 1, bytes: bytes.to_vec(), outside: false }
    }
}

/// One of the other tool's migrations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Foreign {
    /// What its history calls it.
    pub(crate) key: String,
    /// Its name, which ours is made of.
    pub(crate) title: String,
    pub(crate) up: Text,
    pub(crate) down: Option<Text>,
    pub(crate) verify: Option<Text>,
    /// Its checksum, as the tool's history writes it, where it keeps one.
    pub(crate) checksum: Option<String>,
}

/// Something in the directory that has no place here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Odd {
    pub(crate) file: String,
    pub(crate) why: String,
}

/// What a directory holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Source {
    /// In the order in which the tool runs them.
    pub(crate) migrations: Vec<Foreign>,
    pub(crate) odd: Vec<Odd>,
    pub(crate) problems: Vec<FileProblem>,
    /// sqitch's project.
    pub(crate) project: String,
}

impl Source {
    pub(crate) fn odd(&mut self, file: &str, why: impl Into<String>) {
        self.odd.push(Odd { file: file.to_owned(), why: why.into() });
    }

    pub(crate) fn problem(&mut self, file: &str, problem: impl Into<String>) {
        let problem = FileProblem { file: file.to_owned(), line: None, problem: problem.into() };
        self.problems.push(problem);
    }

    /// Tells of keys that stand for two migrations.
    pub(crate) fn find_doubles(&mut self) {
        let mut doubles = Vec::new();
        for pair in self.migrations.windows(2) {
            if pair[0].key == pair[1].key {
                doubles.push((pair[1].up.file.clone(), pair[0].up.file.clone()));
            }
        }
        for (file, other) in doubles {
            self.problem(&file, format!("{other} has the same number"));
        }
    }
}

/// A file, by its path within the directory, with `/` between the parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
}

impl File {
    /// Its name without the directories above it.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// The files of a directory, and of those below it down to `depth`, in order of their paths, as far as their names are `wanted`.
pub(crate) fn files(
    top: &Path,
    depth: usize,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<File>, FileProblem> {
    let mut found = Vec::new();
    walk(top, "", depth, wanted, &mut found)?;
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn walk(
    top: &Path,
    below: &str,
    depth: usize,
    wanted: &dyn Fn(&str) -> bool,
    found: &mut Vec<File>,
) -> Result<(), FileProblem> {
    let directory = top.join(below);
    let told = |file: &str, error: std::io::Error| FileProblem {
        file: file.to_owned(),
        line: None,
        problem: format!("it cannot be read: {error}"),
    };
    let here = directory.display().to_string();
    for entry in std::fs::read_dir(&directory).map_err(|error| told(&here, error))? {
        let entry = entry.map_err(|error| told(&here, error))?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        let is_directory = entry.path().is_dir();
        if is_directory && depth > 0 && !name.starts_with('.') {
            walk(top, &path, depth - 1, wanted, found)?;
        } else if !is_directory && wanted(&name) {
            let bytes = std::fs::read(entry.path()).map_err(|error| told(&path, error))?;
            found.push(File { path, bytes });
        }
    }
    Ok(())
}

/// A decimal number's digits without zeros before it: keys are compared as the tools' number columns write them.
pub(crate) fn plain_number(digits: &str) -> Option<String> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits.trim_start_matches('0');
    all_digits.then(|| if plain.is_empty() { "0".into() } else { plain.to_owned() })
}

/// Orders keys that are whole numbers.
pub(crate) fn by_number(one: &Foreign, other: &Foreign) -> std::cmp::Ordering {
    (one.key.len(), &one.key).cmp(&(other.key.len(), &other.key))
}
