//! What a script's comments ask for: `-- migrate: no-transaction`, `-- migrate: phase contract`,
//! `-- migrate: allow RULE reason`, `-- migrate: squashes V0001..V0041 HASH HASH`. Pure.

use liftlock_model::Phase;
use serde::Serialize;

use crate::script::{Inspection, Remark};
use crate::squash::seal::{Seal, WORD};

/// A rule that does not hold for one statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Allow {
    /// The rule's name.
    pub rule: String,
    /// Why that is fine here.
    pub reason: String,
    /// The line of the comment.
    pub line: usize,
    /// Which statement, from 0: the one that follows the comment.
    pub statement: usize,
}

/// What a script's comments ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Directives {
    /// It runs statement by statement outside of a transaction, as `CREATE INDEX CONCURRENTLY` must.
    pub no_transaction: bool,
    /// When it runs.
    pub phase: Phase,
    /// Rules that do not hold for some statements.
    pub allows: Vec<Allow>,
    /// The histories that it stands for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub squashes: Vec<Seal>,
}

/// The directives that there are, for messages.
const FORMS: &str = "expected `no-transaction`, `phase contract` or `allow RULE reason`";

impl Directives {
    /// Reads them. What is wrong comes with its line.
    pub(crate) fn read(inspection: &Inspection) -> Result<Self, Vec<(usize, String)>> {
        let mut directives = Self::default();
        let mut problems = Vec::new();
        for remark in &inspection.remarks {
            if let Err(problem) = directives.add(remark, inspection) {
                problems.push((remark.line, format!("`-- migrate: {}`: {problem}", remark.text)));
            }
        }
        if problems.is_empty() { Ok(directives) } else { Err(problems) }
    }

    fn add(&mut self, remark: &Remark, inspection: &Inspection) -> Result<(), String> {
        let statements = &inspection.statements;
        let follows = statements.iter().position(|one| one.range.start > remark.offset);
        let first = |what: &str| match follows {
            Some(0) => Ok(()),
            // A script that is not written yet; that is told.
            None if statements.is_empty() => Ok(()),
            _ => Err(format!("`{what}` is about the whole file: put it above the first statement")),
        };
        let mut words = remark.text.split_whitespace();
        match words.next() {
            Some("no-transaction") => {
                self.no_transaction = true;
                nothing_follows(words)?;
                first("no-transaction")
            }
            Some("phase") => {
                self.phase = match words.next() {
                    Some("expand") => Phase::Expand,
                    Some("contract") => Phase::Contract,
                    _ => return Err("expected `phase expand` or `phase contract`".into()),
                };
                nothing_follows(words)?;
                first("phase")
            }
            Some("allow") => {
                let rule = words.next().ok_or("expected `allow RULE reason`")?.to_owned();
                let reason = words.collect::<Vec<_>>().join(" ");
                if reason.is_empty() {
                    return Err(format!("say why: `allow {rule} reason`"));
                }
                let statement =
                    follows.ok_or("no statement follows it: put it above the one it is about")?;
                self.allows.push(Allow { rule, reason, line: remark.line, statement });
                Ok(())
            }
            Some(WORD) => {
                self.squashes.push(Seal::parse(words)?);
                first(WORD)
            }
            _ => Err(FORMS.into()),
        }
    }
}

fn nothing_follows<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<(), String> {
    match words.next() {
        None => Ok(()),
        Some(word) => Err(format!("`{word}` has no place there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::inspect;

    fn read(sql: &str) -> Result<Directives, Vec<(usize, String)>> {
        Directives::read(&inspect(sql))
    }

    #[test]
    fn directives_say_how_a_script_runs() {
        let sql = "-- migrate: no-transaction\n-- migrate: phase contract\nselect 1;\n\
                   -- migrate: allow ban-drop-column nobody reads it\nselect 2; select 3";
        let directives = read(sql).unwrap();
        assert!(directives.no_transaction);
        assert_eq!(directives.phase, Phase::Contract);
        let [allow] = &directives.allows[..] else { panic!("{directives:?}") };
        assert_eq!((allow.rule.as_str(), allow.line, allow.statement), ("ban-drop-column", 4, 1));
        assert_eq!(allow.reason, "nobody reads it");
        assert_eq!(read("-- migrate something\nselect 1").unwrap(), Directives::default());
    }

    #[test]
    fn what_is_wrong_with_a_directive_is_told_with_its_line() {
        for (sql, line, expected) in [
            ("\n-- migrate: no-transactions\nselect 1", 2, "expected `no-transaction`"),
            ("-- migrate: no-transaction please\nselect 1", 1, "`please` has no place"),
            ("select 1;\n-- migrate: no-transaction\nselect 2", 2, "above the first statement"),
            ("-- migrate: phase shrink\nselect 1", 1, "`phase contract`"),
            ("-- migrate: allow ban-drop-column\nselect 1", 1, "say why"),
            ("-- migrate: allow\nselect 1", 1, "expected `allow RULE reason`"),
            ("select 1; -- migrate: allow a b", 1, "no statement follows"),
            ("-- migrate:\nselect 1", 1, "expected `no-transaction`"),
        ] {
            let problems = read(sql).unwrap_err();
            assert!(problems[0].0 == line && problems[0].1.contains(expected), "{problems:?}");
        }
    }
}
