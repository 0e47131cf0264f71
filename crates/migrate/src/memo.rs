//! A note on this machine of what a large directory of migrations holds: by its files' names, sizes and times, what the histories of a
//! database say that has all of it. Only whether nothing is to be done is told by it; whatever runs was read.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::current::Expected;
use crate::files::outline;

/// What a note's form is called: another Liftlock may look at files and histories in another way.
const FORM: &str = concat!("liftlock migrations ", env!("CARGO_PKG_VERSION"), " 1");

/// Where the note on a directory is, as its files stand now.
#[derive(Debug)]
pub(crate) struct Memo {
    path: PathBuf,
    outline: String,
}

impl Memo {
    /// The note on a directory, among the `notes`. None if it has few files, or if they do not stand still.
    pub(crate) fn among(notes: &Path, directory: &Path) -> Option<Self> {
        let outline = hex::encode(outline(directory)?);
        let directory = directory.canonicalize().ok()?;
        let name = hex::encode(Sha256::digest(directory.as_os_str().as_encoded_bytes()));
        Some(Self { path: notes.join(name), outline })
    }

    /// What it says, if it is about the files as they stand now.
    pub(crate) fn read(&self) -> Option<Expected> {
        let text = std::fs::read_to_string(&self.path).ok()?;
        let mut lines = text.lines();
        if lines.next()? != FORM || lines.next()? != self.outline {
            return None;
        }
        Some(Expected([lines.next()?.to_owned(), lines.next()?.to_owned()]))
    }

    /// Writes it. That it cannot be written is no fault: the files are read again the next time.
    pub(crate) fn write(&self, Expected([ours, refinery]): &Expected) {
        let text = format!("{FORM}\n{}\n{ours}\n{refinery}\n", self.outline);
        if let Err(error) = self.try_write(&text) {
            tracing::debug!(%error, path = %self.path.display(), "not noted");
        }
    }

    /// Whole or not at all: another run may be reading it.
    fn try_write(&self, text: &str) -> std::io::Result<()> {
        let notes = self.path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(notes)?;
        let mut file = tempfile::NamedTempFile::new_in(notes)?;
        file.write_all(text.as_bytes())?;
        file.persist(&self.path).map(drop).map_err(|error| error.error)
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
    fn a_note_is_good_for_its_files_alone() {
        let notes = tempfile::tempdir().unwrap();
        let memo = |outline: &str| Memo {
            path: notes.path().join("liftlock/x"),
            outline: outline.to_owned(),
        };
        let expected = Expected(["a".into(), "b".into()]);
        assert_eq!(memo("1").read(), None);
        memo("1").write(&expected);
        assert_eq!(memo("1").read(), Some(expected));
        assert_eq!(memo("2").read(), None);
        for damaged in [String::new(), format!("{FORM}\n1\na\n"), "else\n1\na\nb\n".into()] {
            std::fs::write(notes.path().join("liftlock/x"), &damaged).unwrap();
            assert_eq!(memo("1").read(), None, "{damaged:?}");
        }
    }
}
