//! diesel: a directory for each migration, with `up.sql` and `down.sql`.

use std::collections::BTreeMap;
use std::path::Path;

use super::source::{File, Foreign, Source, Text, files};
use crate::files::FileProblem;

pub(crate) fn read(directory: &Path) -> Result<Source, FileProblem> {
    let mut source = Source::default();
    let mut by_directory: BTreeMap<String, BTreeMap<String, File>> = BTreeMap::new();
    let wanted = |name: &str| name.ends_with(".sql") || name == "metadata.toml";
    for file in files(directory, 1, &wanted)? {
        match file.path.split_once('/') {
            Some((top, name)) => {
                let (top, name) = (top.to_owned(), name.to_owned());
                by_directory.entry(top).or_default().insert(name, file);
            }
            None => source.odd(&file.path, "diesel runs no file of this directory itself"),
        }
    }
    for (name, mut files) in by_directory {
        let outside = files.remove("metadata.toml").is_some_and(|file| runs_outside(&file.bytes));
        let mut take = |name: &str| {
            let file = files.remove(name);
            file.map(|file| Text { outside, ..Text::new(&file.path, &file.bytes) })
        };
        let (up, down) = (take("up.sql"), take("down.sql"));
        for other in files.into_values() {
            source.odd(&other.path, "diesel runs up.sql and down.sql alone");
        }
        let Some(up) = up else {
            source.problem(&name, "it has no up.sql");
            continue;
        };
        let (digits, title) = name.split_once('_').unwrap_or((&name, ""));
        // diesel's version: the part before the first `_`, without its dashes.
        let key = digits.replace('-', "");
        let title = title.to_owned();
        source.migrations.push(Foreign { key, title, up, down, verify: None, checksum: None });
    }
    source.migrations.sort_by(|one, other| one.key.cmp(&other.key));
    source.find_doubles();
    Ok(source)
}

/// `run_in_transaction = false` in a migration's `metadata.toml`.
fn runs_outside(metadata: &[u8]) -> bool {
    let text = String::from_utf8_lossy(metadata);
    text.lines().any(|line| {
        line.split_once('=').is_some_and(|(name, value)| {
            let value = value.split('#').next().unwrap_or_default();
            name.trim() == "run_in_transaction" && value.trim() == "false"
        })
    })
}
