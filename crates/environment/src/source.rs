//! Environment files as text, and places in them.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::problem::Finding;

/// A place in one of the files that are being read: bytes of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    /// Which file, as `Sources` counts them.
    pub(crate) source: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl At {
    pub(crate) fn new(source: usize, range: Range<usize>) -> Self {
        Self { source, start: range.start, end: range.end }
    }
}

/// One file.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the repository's top, as people name it.
    pub(crate) file: PathBuf,
    pub(crate) text: String,
}

/// The files that are being read.
#[derive(Debug, Default)]
pub(crate) struct Sources(Vec<Source>);

impl Sources {
    /// Adds a file under the name it has in messages, and says its number.
    pub(crate) fn add(&mut self, file: PathBuf, text: String) -> usize {
        self.0.push(Source { file, text });
        self.0.len() - 1
    }

    /// Reads `file`, a path from `root`. A file that cannot be read is added empty, with a finding that says why.
    pub(crate) fn read(&mut self, root: &Path, file: PathBuf) -> (usize, Option<Finding>) {
        let (text, why) = match read(&root.join(&file)) {
            Ok(text) => (text, None),
            Err(why) => (String::new(), Some(why)),
        };
        let source = self.add(file, text);
        (source, why.map(|why| why.finding(source)))
    }

    pub(crate) fn get(&self, source: usize) -> &Source {
        &self.0[source]
    }
}

/// Why a file's text cannot be had.
#[derive(Debug)]
struct Unreadable {
    message: String,
    help: String,
}

impl Unreadable {
    fn finding(self, source: usize) -> Finding {
        Finding::in_file(source, self.message).help(self.help)
    }
}

/// The text of a file, without the byte order mark that some editors put before it.
fn read(path: &Path) -> Result<String, Unreadable> {
    let bytes = std::fs::read(path).map_err(|error| explain(path, &error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count();
        Unreadable {
            message: format!("the file is not UTF-8: line {line} holds a byte that is not text"),
            help: "save it as UTF-8; `iconv -f latin1 -t utf-8` converts an older encoding".into(),
        }
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn explain(path: &Path, error: &io::Error) -> Unreadable {
    let (message, help) = if path.is_dir() {
        (
            "this is a directory, not a file".to_owned(),
            "move it away and write the file in its place",
        )
    } else if error.kind() == io::ErrorKind::NotFound {
        ("the file does not exist".to_owned(), "write it, or restore it from version control")
    } else {
        (format!("the file cannot be read: {error}"), "look at its permissions with `ls -l`")
    };
    Unreadable { message, help: help.into() }
}
