//! A note on this machine of what a large directory of migrations holds: by its files' names, sizes and times, what the histories of a
//! database say that has all of it. Only whether nothing is to be done is told by it; whatever runs was read.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::current::{Expected, Known};

/// What a note's form is called: another Liftlock may look at files and histories in another way.
const FORM: &str = concat!("liftlock migrations ", env!("CARGO_PKG_VERSION"), " 2");

/// Where the note on a directory is.
#[derive(Debug, Clone)]
pub(crate) struct Memo(PathBuf);

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// How the files stood.
    pub(crate) outline: String,
    /// What a database that has them says.
    pub(crate) known: Known,
}

impl Memo {
    /// The note on a directory, among the `notes`.
    pub(crate) fn among(notes: &Path, directory: &Path) -> Option<Self> {
        let directory = directory.canonicalize().ok()?;
        let name = hex::encode(Sha256::digest(directory.as_os_str().as_encoded_bytes()));
        Some(Self(notes.join(name)))
    }

    /// What it says, if there is one.
    pub(crate) fn read(&self) -> Option<Note> {
        let text = std::fs::read_to_string(&self.0).ok()?;
        let mut lines = text.lines().map(str::to_owned);
        if lines.next()? != FORM {
            return None;
        }
        let outline = lines.next()?;
        let expected = Expected([lines.next()?, lines.next()?]);
        Some(Note { outline, known: Known { expected, digest: lines.next() } })
    }

    /// Writes it. That it cannot be written is no fault: the files are read again the next time.
    pub(crate) fn write(&self, note: &Note) {
        let Note { outline, known: Known { expected: Expected([ours, refinery]), digest } } = note;
        let digest = digest.as_deref().unwrap_or_default();
        let text = format!("{FORM}\n{outline}\n{ours}\n{refinery}\n{digest}");
        if let Err(error) = self.try_write(&text) {
            tracing::debug!(%error, path = %self.0.display(), "not noted");
        }
    }

    /// Whole or not at all: another run may be reading it.
    fn try_write(&self, text: &str) -> std::io::Result<()> {
        let notes = self.0.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(notes)?;
        let mut file = tempfile::NamedTempFile::new_in(notes)?;
        file.write_all(text.as_bytes())?;
        file.persist(&self.0).map(drop).map_err(|error| error.error)
    }
}

/// `$XDG_CACHE_HOME/liftlock/migrations`, or what stands for it (XDG Base Directory Specification).
pub(crate) fn notes() -> Option<PathBuf> {
    let variable =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    Some(caches?.join("liftlock/migrations"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_what_was_written_or_nothing() {
        let notes = tempfile::tempdir().unwrap();
        let memo = Memo(notes.path().join("liftlock/x"));
        assert_eq!(memo.read(), None);
        for digest in [None, Some("5 77".to_owned())] {
            let expected = Expected(["a".into(), "b".into()]);
            let note = Note { outline: "1".into(), known: Known { expected, digest } };
            memo.write(&note);
            assert_eq!(memo.read(), Some(note));
        }
        for damaged in [String::new(), format!("{FORM}\n1\na\n"), "else\n1\na\nb\n5 77".into()] {
            std::fs::write(&memo.0, &damaged).unwrap();
            assert_eq!(memo.read(), None, "{damaged:?}");
        }
    }
}
