//! Putting a squash in the place of the files that it stands for, so that a kill at any moment loses nothing: the new files and
//! a list of the old ones are made durable in a directory of their own, which gets its name in one step; from then on whoever finds it
//! goes on. The old files are moved away, or removed, only once the new ones are in place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::FileProblem;

/// Where a squash is written that does not count yet.
const DRAFT: &str = ".squash-draft";
/// Where it lies once it counts.
const READY: &str = ".squash";
/// The list in it.
const LIST: &str = "list.json";

/// What is to be put in place of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replacement {
    /// The new files, by name, with their texts.
    #[serde(skip)]
    pub(crate) texts: BTreeMap<String, String>,
    /// The new files, by name.
    new: Vec<String>,
    /// The old files, by name.
    old: Vec<String>,
    /// Where the old ones are moved, within the directory; they are removed if left out.
    keep_in: Option<String>,
}

/// One step, which can be done again.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    MakeDirectory(PathBuf),
    Write {
        file: PathBuf,
        text: String,
    },
    /// Nothing to do if it was done.
    Move {
        from: PathBuf,
        to: PathBuf,
    },
    Remove(PathBuf),
    RemoveDirectory(PathBuf),
    /// Makes what was done in a directory durable.
    Sync(PathBuf),
}

/// What cannot be gone on with before a squash is finished that was cut off here.
pub(crate) fn cut_off(directory: &Path) -> Option<FileProblem> {
    let there = directory.join(READY).symlink_metadata().is_ok();
    there.then(|| FileProblem {
        file: READY.to_owned(),
        line: None,
        problem: "a squash was cut off here: run `migrate squash` again, which finishes it".into(),
    })
}

/// Finishes what was cut off, if something was. Gives the files that it put in place.
pub(crate) fn finish(directory: &Path) -> io::Result<Option<Vec<PathBuf>>> {
    if cut_off(directory).is_none() {
        return Ok(None);
    }
    let ready = directory.join(READY);
    let list = match std::fs::read(ready.join(LIST)) {
        Ok(list) => list,
        // All is in place, and only the directory was left.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::remove_dir(&ready)?;
            return Ok(Some(Vec::new()));
        }
        Err(error) => return Err(error),
    };
    let replacement: Replacement = serde_json::from_slice(&list)?;
    replacement.rest(directory).iter().try_for_each(Step::run)?;
    Ok(Some(replacement.new.iter().map(|name| directory.join(name)).collect()))
}

impl Replacement {
    pub(crate) fn new(
        texts: BTreeMap<String, String>,
        old: Vec<String>,
        keep_in: Option<String>,
    ) -> Self {
        // The script comes last: as long as it is not there, nothing is taken for a squash.
        let mut new: Vec<String> = texts.keys().cloned().collect();
        new.sort_by_key(|name| !name.ends_with(".rollback.sql"));
        Self { texts, new, old, keep_in }
    }

    /// Does it all.
    pub(crate) fn run(&self, directory: &Path) -> io::Result<()> {
        remove_draft(directory)?;
        self.steps(directory)?.iter().try_for_each(Step::run)
    }

    fn steps(&self, directory: &Path) -> io::Result<Vec<Step>> {
        let (draft, ready) = (directory.join(DRAFT), directory.join(READY));
        let mut steps = vec![Step::MakeDirectory(draft.clone())];
        let write = |(name, text): (&String, &String)| Step::Write {
            file: draft.join(name),
            text: text.clone(),
        };
        steps.extend(self.texts.iter().map(write));
        let list = serde_json::to_string(self)?;
        steps.push(Step::Write { file: draft.join(LIST), text: list });
        steps.push(Step::Sync(draft.clone()));
        // From here on it counts.
        steps.push(Step::Move { from: draft, to: ready });
        steps.push(Step::Sync(directory.to_owned()));
        steps.extend(self.rest(directory));
        Ok(steps)
    }

    /// What is left to do once it counts.
    fn rest(&self, directory: &Path) -> Vec<Step> {
        let ready = directory.join(READY);
        let put = |name: &String| Step::Move { from: ready.join(name), to: directory.join(name) };
        let mut steps: Vec<Step> = self.new.iter().map(put).collect();
        steps.push(Step::Sync(directory.to_owned()));
        match &self.keep_in {
            Some(keep_in) => {
                let keep_in = directory.join(keep_in);
                steps.push(Step::MakeDirectory(keep_in.clone()));
                steps.extend(keep_in.parent().map(|above| Step::Sync(above.to_owned())));
                steps.extend(
                    self.old.iter().map(|name| Step::Move {
                        from: directory.join(name),
                        to: keep_in.join(name),
                    }),
                );
                steps.push(Step::Sync(keep_in));
            }
            None => steps.extend(self.old.iter().map(|name| Step::Remove(directory.join(name)))),
        }
        steps.push(Step::Sync(directory.to_owned()));
        steps.push(Step::Remove(ready.join(LIST)));
        steps.push(Step::RemoveDirectory(ready));
        steps.push(Step::Sync(directory.to_owned()));
        steps
    }
}

/// Removes what was written of a squash that never counted.
fn remove_draft(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(directory.join(DRAFT)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Step {
    fn run(&self) -> io::Result<()> {
        let or_done = |result: io::Result<()>| match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        match self {
            Self::MakeDirectory(path) => std::fs::create_dir_all(path),
            Self::Write { file, text } => {
                std::fs::write(file, text)?;
                File::open(file)?.sync_all()
            }
            Self::Move { from, to } if from.symlink_metadata().is_err() => {
                // It was moved before; else something is gone that nobody but us should have touched.
                to.symlink_metadata().map(drop)
            }
            Self::Move { from, to } => std::fs::rename(from, to),
            Self::Remove(path) => or_done(std::fs::remove_file(path)),
            Self::RemoveDirectory(path) => or_done(std::fs::remove_dir(path)),
            Self::Sync(path) => File::open(path)?.sync_all(),
        }
        .map_err(|error| io::Error::new(error.kind(), format!("{self}: {error}")))
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MakeDirectory(path) | Self::Sync(path) => write!(f, "{}", path.display()),
            Self::Write { file, .. } => write!(f, "writing {}", file.display()),
            Self::Move { from, to } => {
                write!(f, "moving {} to {}", from.display(), to.display())
            }
            Self::Remove(path) | Self::RemoveDirectory(path) => {
                write!(f, "removing {}", path.display())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(directory: &Path) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for entry in walk(directory) {
            let name = entry.strip_prefix(directory).unwrap().to_string_lossy().into_owned();
            all.insert(name, std::fs::read_to_string(entry).unwrap());
        }
        all
    }

    fn walk(directory: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
    }

    fn replacement(keep_in: Option<&str>) -> Replacement {
        let new = ["V2__squash.sql", "V2__squash.rollback.sql"];
        let new = new.map(|name| (name.to_owned(), format!("new {name}")));
        let old = ["V1__a.sql", "V1__a.rollback.sql", "V2__b.sql", "V2__b.rollback.sql"];
        Replacement::new(new.into(), old.map(str::to_owned).into(), keep_in.map(str::to_owned))
    }

    /// Killed after any step, nothing is lost, what is there is told to be cut off or is as before, and it can be finished.
    #[test]
    fn a_squash_that_is_cut_off_anywhere_loses_nothing_and_is_finished() {
        for keep_in in [Some("squashed/V2"), None] {
            let replacement = replacement(keep_in);
            let steps = replacement.steps(Path::new("x")).unwrap().len();
            let mut counted = 0;
            for cut in 0..=steps {
                let top = tempfile::tempdir().unwrap();
                for name in &replacement.old {
                    std::fs::write(top.path().join(name), format!("old {name}")).unwrap();
                }
                let before = here(top.path());
                let steps = replacement.steps(top.path()).unwrap();
                steps[..cut].iter().try_for_each(Step::run).unwrap();
                let left = here(top.path());
                let texts: Vec<&String> = left.values().collect();
                let old = before.values().all(|text| texts.contains(&text));
                let new = replacement.texts.values().all(|text| texts.contains(&text));
                assert!(old || (new && keep_in.is_none()), "cut at {cut}: {left:?}");
                let whole = |names: &[String]| names.iter().all(|name| left.contains_key(name));
                let any = |names: &[String]| names.iter().any(|name| left.contains_key(name));
                let mixed =
                    any(&replacement.new) && (any(&replacement.old) || !whole(&replacement.new));
                assert!(!mixed || cut_off(top.path()).is_some(), "cut at {cut}: {left:?}");
                match finish(top.path()).unwrap() {
                    Some(_) => counted += 1,
                    None if left.contains_key("V2__squash.sql") => {}
                    None => {
                        assert!(before.keys().all(|name| left.contains_key(name)));
                        replacement.run(top.path()).unwrap();
                    }
                }
                let mut end: Vec<String> = here(top.path()).into_keys().collect();
                end.retain(|name| !name.starts_with("squashed/V2/"));
                assert_eq!(end, ["V2__squash.rollback.sql", "V2__squash.sql"], "cut at {cut}");
                assert_eq!(cut_off(top.path()), None);
            }
            assert!(counted > 5);
        }
    }
}
