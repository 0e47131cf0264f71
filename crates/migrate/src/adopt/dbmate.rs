//! dbmate: one file for each migration, with a section for each direction.

use std::path::Path;

use super::source::{File, Foreign, Source, Text, files};
use crate::files::FileProblem;

pub(crate) fn read(directory: &Path) -> Result<Source, FileProblem> {
    let mut source = Source::default();
    for file in files(directory, 0, &|name| name.ends_with(".sql"))? {
        let digits = file.name().find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
        let (key, title) = file.name().split_at(digits);
        if key.is_empty() {
            source.odd(&file.path, "dbmate takes no name that does not begin with a number");
            continue;
        }
        let title = title.strip_suffix(".sql").unwrap_or(title).trim_start_matches(['_', '-']);
        match sections(&file) {
            Ok((up, down)) => source.migrations.push(Foreign {
                key: key.to_owned(),
                title: title.to_owned(),
                up,
                down: Some(down),
                verify: None,
                checksum: None,
            }),
            Err(problem) => source.problem(&file.path, problem),
        }
    }
    // dbmate orders by the text of the file names.
    source.find_doubles();
    Ok(source)
}

/// A line, where it begins and where the next one does.
struct Marker {
    start: usize,
    end: usize,
    /// Its line, from 0.
    line: usize,
    outside: bool,
}

/// The two sections, each from the line after its marker.
fn sections(file: &File) -> Result<(Text, Text), &'static str> {
    let up = marker(&file.bytes, "migrate:up").ok_or("it has no `-- migrate:up`")?;
    let down = marker(&file.bytes, "migrate:down").ok_or("it has no `-- migrate:down`")?;
    if up.start > down.start {
        return Err("`-- migrate:up` must come before `-- migrate:down`");
    }
    let section = |marker: &Marker, end: usize| Text {
        file: file.path.clone(),
        line: marker.line + 2,
        bytes: file.bytes[marker.end..end].to_vec(),
        outside: marker.outside,
    };
    Ok((section(&up, down.start), section(&down, file.bytes.len())))
}

/// The first line that is `--`, the marker, and options or nothing.
fn marker(bytes: &[u8], wanted: &str) -> Option<Marker> {
    let mut start = 0;
    for (line, text) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let end = start + text.len();
        let text = String::from_utf8_lossy(text);
        let after = text.strip_prefix("--").and_then(|text| text.trim_start().strip_prefix(wanted));
        if let Some(options) =
            after.filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
        {
            let outside = options.split_whitespace().any(|option| option == "transaction:false");
            return Some(Marker { start, end, line, outside });
        }
        start = end;
    }
    None
}
