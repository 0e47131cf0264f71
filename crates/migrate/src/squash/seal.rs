//! What a squash stands for: two chains of hashes over the migrations that it replaces, one over what refinery's history has of
//! each, one over what Liftlock's has. A chain can be gone on with, so that a squash can be squashed in its turn. Pure.

use std::fmt;

use liftlock_model::ArtifactHash;
use serde::Serialize;

use crate::files::Migration;
use crate::history::Applied;

/// How the directive begins.
pub(crate) const WORD: &str = "squashes";

/// A history that a squash stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seal {
    /// Its first migration.
    pub from: i32,
    /// Its last migration: the squash has its number.
    pub to: i32,
    /// Over number, name and refinery's checksum of each.
    names: String,
    /// Over the SHA-256 of each script.
    texts: String,
}

impl Seal {
    /// The seal of these, which are in order; none of none.
    pub(crate) fn of(migrations: &[Migration]) -> Option<Self> {
        let first = migrations.first()?.id.version;
        let none = Self { from: first, to: first, names: String::new(), texts: String::new() };
        Some(none.and(migrations))
    }

    /// The seal of what this one is of, and of these.
    pub(crate) fn and(&self, migrations: &[Migration]) -> Self {
        let mut seal = self.clone();
        for migration in migrations {
            let checksum = crate::refinery::checksum(&migration.id, &migration.up.sql);
            seal.names = link(&seal.names, &named(&migration.id.to_string(), checksum));
            seal.texts = link(&seal.texts, migration.up.sha256.as_str());
            seal.to = migration.id.version;
        }
        seal
    }

    /// Whether a database that has just these rows, in order, has what the squash stands for.
    pub(crate) fn fits(&self, applied: &[&Applied]) -> bool {
        let names = applied.iter().fold(String::new(), |chain, one| {
            link(&chain, &named(&one.id().to_string(), one.refinery))
        });
        // Where refinery alone has applied one, only its checksum is known.
        let texts = applied
            .iter()
            .try_fold(String::new(), |chain, one| Some(link(&chain, &one.checksum.as_ref()?.up)));
        names == self.names && texts.is_none_or(|texts| texts == self.texts)
    }

    /// Reads `V0001..V0041 HASH HASH`.
    pub(crate) fn parse<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        const FORM: &str =
            "expected `squashes V0001..V0041 HASH HASH`, as `migrate squash` writes it";
        let range = words.next().and_then(|range| range.split_once("..")).ok_or(FORM)?;
        let number = |text: &str| text.strip_prefix('V')?.parse::<i32>().ok().filter(|it| *it > 0);
        let (from, to) = (number(range.0).ok_or(FORM)?, number(range.1).ok_or(FORM)?);
        let mut hash = || {
            let word = words.next().ok_or(FORM)?;
            let fine = word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
            fine.then(|| word.to_owned()).ok_or(FORM)
        };
        let seal = Self { from, to, names: hash()?, texts: hash()? };
        let ends = words.next().is_none() && from <= to;
        if ends { Ok(seal) } else { Err(FORM.into()) }
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{WORD} V{:04}..V{:04} {} {}", self.from, self.to, self.names, self.texts)
    }
}

fn named(id: &str, checksum: u64) -> String {
    format!("{id} {checksum}")
}

fn link(chain: &str, one: &str) -> String {
    ArtifactHash::of(format!("{chain}\n{one}").as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(text: &str) -> Result<Seal, String> {
        Seal::parse(text.split_whitespace())
    }

    #[test]
    fn a_seal_is_read_as_it_is_written() {
        let (one, two) = ("a".repeat(64), "b".repeat(64));
        let text = format!("V0001..V0041 {one} {two}");
        assert_eq!(seal(&text).unwrap().to_string(), format!("squashes {text}"));
        for wrong in [
            String::new(),
            "V0001".into(),
            "V0001..V0041".into(),
            format!("V0001..V0041 {one}"),
            format!("V0001..V0041 {one} {two} {two}"),
            format!("V0001..V0041 {one} {}", &two[1..]),
            format!("V0042..V0041 {one} {two}"),
            format!("V0000..V0041 {one} {two}"),
        ] {
            assert!(seal(&wrong).unwrap_err().contains("expected `squashes"), "{wrong}");
        }
    }
}
