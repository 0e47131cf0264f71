//! Making the files of a new migration.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::files::LONGEST_NAME;

/// The files of a migration that is yet to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMigration {
    /// What it is about, in words: `add orders note`.
    pub title: String,
    /// With a verify script.
    pub verify: bool,
    /// With `-- migrate: phase contract`.
    pub contract: bool,
    /// With `-- migrate: no-transaction`.
    pub no_transaction: bool,
}

/// Why the files were not made. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// The title gives no name.
    #[error(
        "{title:?} gives no name: expected words of letters and digits, such as `add orders note`"
    )]
    Title {
        /// The title.
        title: String,
    },
    /// The name is too long for the history.
    #[error("the name is {length} characters long: {LONGEST_NAME} is the most")]
    Long {
        /// Its length.
        length: usize,
    },
    /// No number is left.
    #[error("the number after {} is larger than there may be", i32::MAX)]
    Full,
    /// The directory or a file cannot be read or written.
    #[error("{} cannot be {}: {source}", path.display(), doing)]
    File {
        /// Which.
        path: PathBuf,
        /// `read` or `written`.
        doing: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl NewMigration {
    /// Makes the files in `directory` (and the directory, if it is not there) with the next free number, as wide as the
    /// numbers there. Gives their paths. Never overwrites: when one of the files is there, none is made.
    ///
    /// # Errors
    /// [`NewError`]; nothing is left of the files then.
    pub fn create(&self, directory: &Path) -> Result<Vec<PathBuf>, NewError> {
        let stem = self.stem(&names(directory)?)?;
        std::fs::create_dir_all(directory).map_err(|source| NewError::File {
            path: directory.to_owned(),
            doing: "written",
            source,
        })?;
        write_all(directory, &self.files(&stem))
    }

    /// `V0042__add_orders_note`.
    fn stem(&self, files: &[String]) -> Result<String, NewError> {
        let name = name_of(&self.title);
        if name.is_empty() {
            return Err(NewError::Title { title: self.title.clone() });
        }
        if name.len() > LONGEST_NAME {
            return Err(NewError::Long { length: name.len() });
        }
        let newest = files.iter().filter_map(|file| number(file)).max_by_key(|(number, _)| *number);
        let (newest, width) = newest.unwrap_or((0, 4));
        let next = newest.checked_add(1).ok_or(NewError::Full)?;
        Ok(format!("V{next:0width$}__{name}"))
    }

    fn files(&self, stem: &str) -> BTreeMap<String, String> {
        let mut up = format!("-- {stem}: what it changes, and why.\n");
        if self.contract {
            up.push_str("-- migrate: phase contract\n");
        }
        if self.no_transaction {
            up.push_str("-- migrate: no-transaction\n");
        }
        up.push_str(if self.no_transaction {
            "-- Each statement runs by itself, outside of a transaction, and must be one that can be run again.\n"
        } else {
            "-- It runs in one transaction, which Liftlock begins and ends: no BEGIN, COMMIT or ROLLBACK here.\n"
        });
        if !self.contract {
            up.push_str("-- The version that is running must be able to live with it.\n");
        }
        let mut rollback =
            format!("-- Takes {stem} back: the schema is to be exactly as before.\n");
        if self.no_transaction {
            rollback.push_str("-- migrate: no-transaction\n");
        }
        let mut all = BTreeMap::from([
            (format!("{stem}.sql"), up),
            (format!("{stem}.rollback.sql"), rollback),
        ]);
        if self.verify {
            let mut verify = String::new();
            writeln!(verify, "-- Looks, in the same transaction, whether {stem} did what it was meant to do: each statement must")
                .expect("writing to a string cannot fail");
            verify.push_str("-- run, and where a row begins with a boolean, that must be true. What it writes is taken back.\n");
            all.insert(format!("{stem}.verify.sql"), verify);
        }
        all
    }
}

/// The names of the files that are there; none if the directory is not.
fn names(directory: &Path) -> Result<Vec<String>, NewError> {
    let unreadable = |source| NewError::File { path: directory.to_owned(), doing: "read", source };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    entries
        .map(|entry| Ok(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// The number of a file's name, and with how many digits it is written.
fn number(file: &str) -> Option<(i32, usize)> {
    let (digits, _) = file.strip_prefix(['V', 'v'])?.split_once("__")?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| Some((digits.parse().ok()?, digits.len())))?
}

/// A migration's name from words: what is no letter, digit or `_` becomes `_`.
pub(crate) fn name_of(title: &str) -> String {
    let words = title.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_")
}

/// Writes files that are not there yet: all of them or none.
fn write_all(directory: &Path, files: &BTreeMap<String, String>) -> Result<Vec<PathBuf>, NewError> {
    let mut written = Vec::new();
    for (name, text) in files {
        let path = directory.join(name);
        if let Err(source) = write_new(&path, text) {
            for path in written {
                if let Err(error) = std::fs::remove_file(path) {
                    tracing::warn!(%error, "a file of a migration that was not made is left");
                }
            }
            return Err(NewError::File { path, doing: "written", source });
        }
        written.push(path);
    }
    Ok(written)
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::File::create_new(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(title: &str) -> NewMigration {
        NewMigration { title: title.into(), verify: false, contract: false, no_transaction: false }
    }

    #[test]
    fn the_name_is_made_of_the_title_and_the_number_is_as_wide_as_the_others() {
        for (title, files, expected) in [
            (
                "add orders note",
                &["V0041__x.sql", "V0041__x.rollback.sql"][..],
                "V0042__add_orders_note",
            ),
            ("Add  orders, note!", &["V9__x.sql"], "V10__Add_orders_note"),
            ("a", &[], "V0001__a"),
            ("a", &["V000007__x.sql", "README.md", "V3_x.sql", "V3.5__x.sql"], "V000008__a"),
        ] {
            let files: Vec<String> = files.iter().map(ToString::to_string).collect();
            assert_eq!(new(title).stem(&files).unwrap(), expected);
        }
    }

    #[test]
    fn a_title_without_a_name_is_refused() {
        for (title, expected) in [("", "gives no name"), ("…!", "gives no name")] {
            let error = new(title).stem(&[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = new(&"x".repeat(256)).stem(&[]).unwrap_err().to_string();
        assert!(error.contains("256"), "{error}");
        let last = ["V2147483647__x.sql".to_owned()];
        assert!(matches!(new("a").stem(&last).unwrap_err(), NewError::Full));
    }
}
