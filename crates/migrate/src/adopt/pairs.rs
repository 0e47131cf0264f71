//! sqlx and golang-migrate: one or two files for each migration, in one directory.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest as _, Sha384};

use super::source::{File, Foreign, Source, Text, by_number, files, plain_number};
use super::tool::Tool;
use crate::files::FileProblem;

/// `1_x.sql`, or `1_x.up.sql` and `1_x.down.sql`.
struct Name<'a> {
    number: String,
    title: &'a str,
    down: bool,
}

pub(crate) fn read(tool: Tool, directory: &Path) -> Result<Source, FileProblem> {
    let mut source = Source::default();
    let mut ups: BTreeMap<String, Vec<Foreign>> = BTreeMap::new();
    let mut downs: BTreeMap<String, Text> = BTreeMap::new();
    for file in files(directory, 0, &|name| name.ends_with(".sql"))? {
        let Some(Name { number, title, down }) = parse(tool, file.name()) else {
            source.odd(&file.path, format!("{} does not take such a name", tool.as_str()));
            continue;
        };
        let text = text(tool, &file);
        if down {
            if let Some(other) = downs.insert(number, text) {
                source.problem(&file.path, format!("{} has the same number", other.file));
            }
        } else {
            let checksum = (tool == Tool::Sqlx).then(|| hex(&Sha384::digest(&file.bytes)));
            let up = Foreign {
                key: number.clone(),
                title: title.to_owned(),
                up: text,
                down: None,
                verify: None,
                checksum,
            };
            ups.entry(number).or_default().push(up);
        }
    }
    for (number, mut migrations) in ups {
        migrations[0].down = downs.remove(&number);
        source.migrations.append(&mut migrations);
    }
    for down in downs.into_values() {
        source.odd(&down.file, "no migration is there that it takes back");
    }
    source.migrations.sort_by(by_number);
    source.find_doubles();
    Ok(source)
}

fn parse(tool: Tool, file: &str) -> Option<Name<'_>> {
    let stem = file.strip_suffix(".sql")?;
    let (digits, rest) = stem.split_once('_')?;
    let number = plain_number(digits)?;
    let (title, down) = match (rest.strip_suffix(".up"), rest.strip_suffix(".down")) {
        (Some(title), _) => (title, false),
        (None, Some(title)) => (title, true),
        // golang-migrate takes no file without a direction.
        (None, None) if tool == Tool::GolangMigrate => return None,
        (None, None) => (rest, false),
    };
    Some(Name { number, title, down })
}

fn text(tool: Tool, file: &File) -> Text {
    let outside = tool == Tool::Sqlx && file.bytes.starts_with(b"-- no-transaction");
    Text { outside, ..Text::new(&file.path, &file.bytes) }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}
