//! What a project says about the rules. Pure.

use std::collections::BTreeMap;

use super::rules::{self, Level, Rule};
use crate::dry_run::findings::BINDS;
use crate::finding::{Finding, Severity};

/// What a project says about the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintSettings {
    levels: BTreeMap<&'static str, Level>,
    /// Tables with fewer rows are small: what is said of locks, scans and rewrites is a note there.
    pub small_table_rows: u64,
    /// Migrations with lower numbers are left alone.
    pub ignore_before: Option<i32>,
}

impl Default for LintSettings {
    fn default() -> Self {
        Self { levels: BTreeMap::new(), small_table_rows: 10_000, ignore_before: None }
    }
}

impl LintSettings {
    /// Says how much a rule's findings matter.
    ///
    /// # Errors
    /// If there is no such rule or level: a message with the nearest name.
    pub fn set(&mut self, rule: &str, level: &str) -> Result<(), String> {
        let rule = rules::find(rule)?;
        let level = Level::parse(level).map_err(|error| format!("rule {}: {error}", rule.name))?;
        self.levels.insert(rule.name, level);
        Ok(())
    }

    /// All rules, with their levels.
    pub fn rules(&self) -> Vec<(&'static str, Level)> {
        rules::all().map(|rule| (rule.name, self.level(rule, None))).collect()
    }

    /// A finding of a dry-run, as much as it is to matter. What is a note by itself, since its table is small or a comment
    /// allows it, stays one.
    pub(crate) fn weigh(&self, finding: Finding) -> Option<Finding> {
        let Some(level) = self.said(&finding.rule) else { return Some(finding) };
        let severity = level.severity()?;
        Some(match finding.severity {
            Severity::Note => finding,
            _ => Finding { severity, ..finding },
        })
    }

    /// How much it matters that the running version must keep something new.
    pub(crate) fn binds(&self) -> Option<Severity> {
        self.said(BINDS).map_or(Some(Severity::Note), Level::severity)
    }

    /// What was said of this very rule.
    pub(super) fn said(&self, rule: &str) -> Option<Level> {
        self.levels.get(rule).copied()
    }

    /// A rule's level; what is said of the `part` of it comes first.
    pub(super) fn level(&self, rule: &Rule, part: Option<&str>) -> Level {
        let said = part.and_then(|part| self.said(part)).or_else(|| self.said(rule.name));
        said.unwrap_or(rule.level)
    }
}
