//! refinery and flyway: `V1__x.sql`, in directories of any depth; flyway with `U1__x.sql` that takes it back.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;

use siphasher::sip::SipHasher13;

use super::source::{File, Foreign, Source, Text, files};
use super::tool::Tool;
use crate::files::FileProblem;

/// How deep directories are looked into.
const DEPTH: usize = 16;

/// The parts of a version, without zeros at its end: 1.0 is 1.
type Version = Vec<u64>;

pub(crate) fn read(tool: Tool, directory: &Path) -> Result<Source, FileProblem> {
    let mut source = Source::default();
    let mut migrations: Vec<(Version, Foreign)> = Vec::new();
    let mut undos: BTreeMap<Version, Text> = BTreeMap::new();
    let mut outside: Vec<String> = Vec::new();
    let wanted =
        |name: &str| [".sql", ".rs", ".java", ".sql.conf"].iter().any(|end| name.ends_with(end));
    for file in files(directory, DEPTH, &wanted)? {
        if let Some(script) = file.path.strip_suffix(".conf") {
            if runs_outside(&file.bytes) {
                outside.push(script.to_owned());
            }
            continue;
        }
        match parse(tool, &file) {
            Ok(Some((version, shown, title))) if file.name().starts_with('V') => {
                migrations.push((version, foreign(tool, &file, shown, title)));
            }
            Ok(Some((version, _, _))) => {
                if let Some(other) = undos.insert(version, Text::new(&file.path, &file.bytes)) {
                    source.problem(&file.path, format!("{} has the same number", other.file));
                }
            }
            // Liftlock's own scripts beside refinery's.
            Ok(None) => {}
            Err(why) => source.odd(&file.path, why),
        }
    }
    migrations.sort_by(|one, other| one.0.cmp(&other.0));
    for (version, mut migration) in migrations {
        migration.down = undos.remove(&version);
        migration.up.outside = outside.contains(&migration.up.file);
        source.migrations.push(migration);
    }
    for undo in undos.into_values() {
        source.odd(&undo.file, "no migration is there that it takes back");
    }
    source.find_doubles();
    Ok(source)
}

fn foreign(tool: Tool, file: &File, shown: String, title: String) -> Foreign {
    let checksum = match tool {
        Tool::Refinery => refinery_checksum(&shown, &title, &file.bytes),
        _ => Some(flyway_checksum(&file.bytes).to_string()),
    };
    let up = Text::new(&file.path, &file.bytes);
    Foreign { key: shown, title, up, down: None, verify: None, checksum }
}

/// The version, as it is ordered and as the history shows it, and the name; nothing for what is Liftlock's own.
fn parse(tool: Tool, file: &File) -> Result<Option<(Version, String, String)>, String> {
    let name = file.name();
    let flyway = tool == Tool::Flyway;
    let stem = match name.strip_suffix(".sql") {
        Some(stem) => stem,
        None => {
            return Err(
                "it is a program, not SQL: write its change as a migration of its own".into()
            );
        }
    };
    if !flyway && (stem.ends_with(".rollback") || stem.ends_with(".verify")) {
        return Ok(None);
    }
    let kind = stem.chars().next().unwrap_or(' ');
    match kind {
        'R' if flyway => {
            return Err(
                "flyway runs it again whenever it changes, which has no place in an order".into()
            );
        }
        'B' if flyway => {
            return Err(
                "it stands for all migrations up to its number, and so cannot be one of them"
                    .into(),
            );
        }
        'U' if !flyway => return Err("refinery runs it in no order (`U`)".into()),
        'V' | 'U' => {}
        _ => return Err(format!("{} does not take such a name", tool.as_str())),
    }
    let unknown = || format!("{} does not take such a name", tool.as_str());
    let (version, title) = stem[1..].split_once("__").ok_or_else(unknown)?;
    let shown = if flyway { version.replace('_', ".") } else { version.to_owned() };
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !flyway && !title.chars().all(word) {
        return Err(unknown());
    }
    let parts: Option<Version> = shown.split('.').map(|part| part.parse().ok()).collect();
    let mut parts = parts.ok_or_else(unknown)?;
    strip_zeros(&mut parts);
    // refinery's column is a number; flyway's is the text, and equal numbers are one version to it.
    let shown = if flyway { shown } else { parts[0].to_string() };
    Ok(Some((parts, shown, title.to_owned())))
}

/// flyway: CRC-32 over the lines without their ends, as a signed number; a byte order mark does not count.
pub(crate) fn flyway_checksum(bytes: &[u8]) -> i32 {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut hasher = crc32fast::Hasher::new();
    for line in bytes.split(|byte| matches!(byte, b'\n' | b'\r')) {
        hasher.update(line);
    }
    hasher.finalize().cast_signed()
}

/// refinery: SipHash 1-3 over name, number (of 32 bits, or of 64 with `int8-versions`) and SQL.
fn refinery_checksum(version: &str, title: &str, bytes: &[u8]) -> Option<String> {
    let sql = std::str::from_utf8(bytes).ok()?;
    let mut hasher = SipHasher13::new();
    title.hash(&mut hasher);
    match version.parse::<i32>() {
        Ok(version) => version.hash(&mut hasher),
        Err(_) => version.parse::<i64>().ok()?.hash(&mut hasher),
    }
    sql.hash(&mut hasher);
    Some(hasher.finish().to_string())
}

/// `executeInTransaction=false` in a script's configuration.
fn runs_outside(configuration: &[u8]) -> bool {
    let text = String::from_utf8_lossy(configuration);
    text.lines().any(|line| {
        let pair = line.split_once('=');
        pair.is_some_and(|(name, value)| {
            name.trim() == "executeInTransaction" && value.trim() == "false"
        })
    })
}

/// Whether flyway takes two versions for one.
pub(crate) fn same_version(one: &str, other: &str) -> bool {
    version_of(one).is_some_and(|version| Some(version) == version_of(other))
}

/// A version of flyway's history, in the form that is ordered.
pub(crate) fn version_of(text: &str) -> Option<Version> {
    let mut parts: Version =
        text.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    strip_zeros(&mut parts);
    Some(parts)
}

fn strip_zeros(parts: &mut Version) {
    while parts.len() > 1 && parts.last() == Some(&0) {
        parts.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number is that of Java's `BufferedReader` and `CRC32`, which flyway uses.
    #[test]
    fn flyways_checksum_is_that_of_java() {
        let script = "create table a (id int);\r\n-- ü\n\ninsert into a values (1);";
        assert_eq!(flyway_checksum(script.as_bytes()), -600_864_434);
        assert_eq!(flyway_checksum(format!("\u{feff}{script}\n").as_bytes()), -600_864_434);
    }
}
