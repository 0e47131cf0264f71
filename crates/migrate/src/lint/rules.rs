//! The rules: their names, what they are about, and how much they matter unless told otherwise. Pure.

use std::fmt;

use serde::Serialize;

use crate::dry_run::{dangers, findings};
use crate::finding::Severity;

/// How much a rule's findings matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// It is not looked at.
    Off,
    /// Worth knowing.
    Note,
    /// Probably not meant; it stops nothing.
    Warning,
    /// It must be mended.
    Error,
}

impl Level {
    /// Reads `off`, `note`, `warning` or `error`.
    ///
    /// # Errors
    /// What is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "note" => Ok(Self::Note),
            "warning" => Ok(Self::Warning),
            "error" => Ok(Self::Error),
            other => Err(format!("`{other}` is no level: expected off, note, warning or error")),
        }
    }

    /// What findings are shown as; none if they are not shown.
    pub(super) fn severity(self) -> Option<Severity> {
        match self {
            Self::Off => None,
            Self::Note => Some(Severity::Note),
            Self::Warning => Some(Severity::Warning),
            Self::Error => Some(Severity::Error),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Off => "off",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What a rule is about, which decides where it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// Locks, scans and rewrites: no harm on a table that is new, little on a small one.
    Lock,
    /// Whether the version that is running can live with it.
    Running,
    /// What is wrong on any table, in any script.
    Any,
    /// Taste.
    Style,
    /// What only a dry-run sees.
    Trial,
}

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) about: About,
    pub(super) level: Level,
    /// Ours, that tells what this rule of squawk's tells, with more knowledge: squawk's own is not run.
    pub(super) part_of: Option<&'static str>,
}

const fn rule(name: &'static str, about: About, level: Level) -> Rule {
    Rule { name, about, level, part_of: None }
}

const fn part(name: &'static str, of: &'static str) -> Rule {
    Rule { name, about: About::Running, level: Level::Off, part_of: Some(of) }
}

pub(super) const BREAKS: &str = "breaks-running-version";
pub(super) const NEEDS_NO_TRANSACTION: &str = "needs-no-transaction";
pub(super) const NEEDLESS: &str = "needless-no-transaction";
pub(super) const IF_NOT_EXISTS: &str = "concurrently-if-not-exists";
pub(super) const MIXED: &str = "mixed-schema-and-data";
pub(super) const SEVERAL_LOCKS: &str = "locks-several-tables";
pub(super) const CONTRACT_FIRST: &str = "contract-before-expand";
pub(super) const ROLLBACK_NOTHING: &str = "rollback-does-nothing";
pub(super) const ROLLBACK_CASCADE: &str = "rollback-drops-cascade";
pub(super) const VERIFY_CHANGES: &str = "verify-changes";
pub(super) const UNKNOWN_RULE: &str = "unknown-rule";
pub(super) const UNUSED_ALLOW: &str = "unused-allow";
pub(super) const NOT_PARSED: &str = "not-parsed";
pub(super) const DROP_DEFAULT: &str = "ban-drop-default";
pub(super) const REQUIRED: &str = "adding-required-field";

/// Our own.
const OWN: &[Rule] = &[
    rule(BREAKS, About::Running, Level::Error),
    rule(NEEDS_NO_TRANSACTION, About::Any, Level::Error),
    rule(NEEDLESS, About::Any, Level::Warning),
    rule(IF_NOT_EXISTS, About::Any, Level::Warning),
    rule(MIXED, About::Lock, Level::Warning),
    // No wait under a lock is longer than the runner's own limit, and then the whole migration is tried again.
    rule(SEVERAL_LOCKS, About::Lock, Level::Note),
    rule(CONTRACT_FIRST, About::Any, Level::Error),
    rule(ROLLBACK_NOTHING, About::Any, Level::Error),
    rule(ROLLBACK_CASCADE, About::Any, Level::Warning),
    rule(VERIFY_CHANGES, About::Any, Level::Warning),
    rule(UNKNOWN_RULE, About::Any, Level::Error),
    rule(UNUSED_ALLOW, About::Any, Level::Warning),
    rule(NOT_PARSED, About::Any, Level::Warning),
];

/// squawk's. Off is what the runner does itself (time-outs, transactions), taste, and what breaks nobody.
const SQUAWK: &[Rule] = &[
    rule("require-concurrent-index-creation", About::Lock, Level::Warning),
    rule("require-concurrent-index-deletion", About::Lock, Level::Off),
    rule("require-concurrent-partition-detach", About::Lock, Level::Warning),
    rule("require-concurrent-reindex", About::Lock, Level::Warning),
    rule("constraint-missing-not-valid", About::Lock, Level::Warning),
    rule("adding-field-with-default", About::Lock, Level::Warning),
    rule("adding-foreign-key-constraint", About::Lock, Level::Warning),
    rule("adding-not-nullable-field", About::Lock, Level::Warning),
    rule("adding-serial-primary-key-field", About::Lock, Level::Warning),
    rule("changing-column-type", About::Lock, Level::Warning),
    rule("disallowed-unique-constraint", About::Lock, Level::Warning),
    rule("ban-alter-domain-with-add-constraint", About::Lock, Level::Warning),
    rule(REQUIRED, About::Running, Level::Error),
    rule(DROP_DEFAULT, About::Running, Level::Warning),
    rule("ban-drop-database", About::Any, Level::Error),
    rule("ban-duplicate-column-assignments", About::Any, Level::Error),
    rule("ban-truncate-cascade", About::Any, Level::Warning),
    rule("identifier-too-long", About::Any, Level::Warning),
    part("ban-drop-column", BREAKS),
    part("ban-drop-domain", BREAKS),
    part("ban-drop-extension", BREAKS),
    part("ban-drop-function", BREAKS),
    part("ban-drop-schema", BREAKS),
    part("ban-drop-sequence", BREAKS),
    part("ban-drop-table", BREAKS),
    part("ban-drop-type", BREAKS),
    part("ban-drop-view", BREAKS),
    part("ban-set-schema", BREAKS),
    part("renaming-column", BREAKS),
    part("renaming-object", BREAKS),
    part("renaming-table", BREAKS),
    part("ban-concurrent-index-creation-in-transaction", NEEDS_NO_TRANSACTION),
    rule("ban-add-column", About::Running, Level::Off),
    rule("ban-add-composite-attribute", About::Running, Level::Off),
    rule("ban-add-enum-value", About::Running, Level::Off),
    rule("ban-alter-database-options", About::Running, Level::Off),
    rule("ban-alter-extension", About::Running, Level::Off),
    rule("ban-alter-function-options", About::Running, Level::Off),
    rule("ban-alter-generated-expression", About::Running, Level::Off),
    rule("ban-alter-identity", About::Running, Level::Off),
    rule("ban-alter-policy-condition", About::Running, Level::Off),
    rule("ban-alter-policy-roles", About::Running, Level::Off),
    rule("ban-alter-role-options", About::Running, Level::Off),
    rule("ban-alter-row-level-security", About::Running, Level::Off),
    rule("ban-alter-sequence-values", About::Running, Level::Off),
    rule("ban-alter-system-options", About::Running, Level::Off),
    rule("ban-alter-view-options", About::Running, Level::Off),
    rule("ban-create-policy", About::Running, Level::Off),
    rule("ban-detach-inheritance", About::Running, Level::Off),
    rule("ban-disable-trigger", About::Running, Level::Off),
    rule("ban-drop-constraint", About::Running, Level::Off),
    rule("ban-drop-generated-expression", About::Running, Level::Warning),
    rule("ban-drop-index", About::Running, Level::Off),
    rule("ban-drop-not-null", About::Running, Level::Off),
    rule("ban-drop-policy", About::Running, Level::Off),
    rule("ban-drop-trigger", About::Running, Level::Off),
    rule("ban-new-write-restriction", About::Running, Level::Off),
    rule("ban-replace-view-function", About::Running, Level::Off),
    rule("ban-replica-identity", About::Running, Level::Off),
    rule("ban-revoke", About::Running, Level::Off),
    rule("ban-set-default", About::Running, Level::Off),
    rule("ban-char-field", About::Style, Level::Off),
    rule("ban-create-domain-with-constraint", About::Style, Level::Off),
    rule("prefer-bigint-over-int", About::Style, Level::Off),
    rule("prefer-bigint-over-smallint", About::Style, Level::Off),
    rule("prefer-identity", About::Style, Level::Off),
    rule("prefer-repack", About::Style, Level::Off),
    rule("prefer-robust-stmts", About::Style, Level::Off),
    rule("prefer-text-field", About::Style, Level::Off),
    rule("prefer-timestamp-tz", About::Style, Level::Off),
    rule("require-enum-value-ordering", About::Style, Level::Off),
    rule("require-table-schema", About::Style, Level::Off),
    rule("require-lock-timeout", About::Style, Level::Off),
    rule("require-statement-timeout", About::Style, Level::Off),
    rule("ban-uncommitted-transaction", About::Style, Level::Off),
    rule("transaction-nesting", About::Style, Level::Off),
];

/// The dry-run's. That a script fails cannot be switched off.
const TRIAL: &[Rule] = &[
    rule(findings::ROLLBACK, About::Trial, Level::Error),
    rule(findings::ROWS, About::Trial, Level::Warning),
    rule(findings::AGAIN, About::Trial, Level::Error),
    rule(findings::BINDS, About::Trial, Level::Note),
    rule(dangers::REWRITE, About::Trial, Level::Warning),
    rule(dangers::SCAN, About::Trial, Level::Warning),
    rule(dangers::WRITE, About::Trial, Level::Warning),
    rule(dangers::LOSES, About::Trial, Level::Warning),
];

/// All of them, ours first.
pub(super) fn all() -> impl Iterator<Item = &'static Rule> {
    OWN.iter().chain(SQUAWK).chain(TRIAL)
}

/// Whether a dry-run that ran the migration knows better: it has compared what the running version can name.
pub(crate) fn seen_by_trial(rule: &str) -> bool {
    matches!(rule, BREAKS | REQUIRED | DROP_DEFAULT)
}

/// The same of its rollback.
pub(crate) fn seen_in_rollback(rule: &str) -> bool {
    rule == ROLLBACK_NOTHING
}

/// Whether a comment that allows `allowed` allows what `rule` finds.
pub(crate) fn covers(allowed: &str, rule: &str) -> bool {
    allowed == rule || find(allowed).is_ok_and(|found| found.part_of == Some(rule))
}

/// squawk's that squawk itself looks for.
pub(super) fn run_by_squawk() -> impl Iterator<Item = &'static Rule> {
    SQUAWK.iter().filter(|rule| rule.part_of.is_none() && rule.name != DROP_DEFAULT)
}

/// The rule of this name.
///
/// # Errors
/// A message with the name that comes nearest.
pub(super) fn find(name: &str) -> Result<&'static Rule, String> {
    if let Some(rule) = all().find(|rule| rule.name == name) {
        return Ok(rule);
    }
    let nearest = all()
        .map(|rule| (strsim::normalized_damerau_levenshtein(name, rule.name), rule.name))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .filter(|(near, _)| *near > 0.6);
    Err(match nearest {
        Some((_, nearest)) => format!("there is no rule `{name}`: did you mean `{nearest}`?"),
        None => format!("there is no rule `{name}`: `migrate check --rules` lists them"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_squawks_is_one() {
        for rule in SQUAWK {
            assert!(rule.name.parse::<squawk_linter::Rule>().is_ok(), "{}", rule.name);
        }
    }

    #[test]
    fn names_are_found_or_a_near_one_is_offered() {
        assert_eq!(find(BREAKS).unwrap().level, Level::Error);
        assert_eq!(
            find("ban-dropcolumn").unwrap_err(),
            "there is no rule `ban-dropcolumn`: did you mean `ban-drop-column`?"
        );
        assert!(find("xyz").unwrap_err().contains("--rules"));
    }

    #[test]
    fn no_rule_is_there_twice() {
        let mut names: Vec<_> = all().map(|rule| rule.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
