//! A finding on its way: placed in its script, weighed by settings and knowledge, allowed or not. Pure.

use serde::Serialize;

use super::rules::{self, About, Level, UNKNOWN_RULE, UNUSED_ALLOW};
use super::settings::LintSettings;
use crate::directive::Allow;
use crate::files::Script;
use crate::finding::{Finding, Severity};

/// Something that a rule found in a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) rule: &'static str,
    /// The rule of squawk's that says the same.
    pub(super) part: Option<&'static str>,
    /// The byte.
    pub(super) at: usize,
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// It matters no more than this, by what is known of its table.
    pub(super) at_most: Level,
}

impl Draft {
    pub(super) fn new(rule: &'static str, at: usize, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { rule, part: None, at, message, help: None, at_most: Level::Error }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    pub(super) fn part(self, part: &'static str) -> Self {
        Self { part: Some(part), ..self }
    }

    pub(super) fn at_most(self, level: Level) -> Self {
        Self { at_most: self.at_most.min(level), ..self }
    }
}

/// A finding that a comment in the script allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Allowed {
    /// What would have been told.
    #[serde(flatten)]
    pub finding: Finding,
    /// Why it is fine, as the comment says.
    pub reason: String,
}

/// What is found in a script, after its comments were heard.
pub(super) fn settle(
    script: &Script,
    drafts: Vec<Draft>,
    settings: &LintSettings,
) -> (Vec<Finding>, Vec<Allowed>) {
    let (mut findings, mut allowed) = (Vec::new(), Vec::new());
    let mut used = vec![false; script.directives.allows.len()];
    for draft in drafts {
        let statement = statement_of(script, draft.at);
        let allow = script.directives.allows.iter().position(|allow| {
            allow.statement == statement
                && (allow.rule == draft.rule || Some(allow.rule.as_str()) == draft.part)
        });
        allow.into_iter().for_each(|index| used[index] = true);
        let Some(finding) = weigh(script, &draft, settings) else { continue };
        match allow.and_then(|index| script.directives.allows.get(index)) {
            Some(allow) => allowed.push(Allowed { finding, reason: allow.reason.clone() }),
            None => findings.push(finding),
        }
    }
    for (allow, used) in script.directives.allows.iter().zip(used) {
        findings.extend(about_allow(script, allow, used, settings));
    }
    // squawk tells of each of two assignments that they are two.
    findings.dedup_by(|b, a| (&a.rule, a.line, &a.message) == (&b.rule, b.line, &b.message));
    (findings, allowed)
}

fn weigh(script: &Script, draft: &Draft, settings: &LintSettings) -> Option<Finding> {
    let rule = rules::find(draft.rule).ok()?;
    let severity = settings.level(rule, draft.part).min(draft.at_most).severity()?;
    let (line, column) = place(&script.sql, draft.at);
    Some(Finding {
        rule: draft.rule.to_owned(),
        severity,
        file: script.file.clone(),
        line,
        column,
        message: draft.message.clone(),
        help: draft.help.clone(),
    })
}

fn about_allow(
    script: &Script,
    allow: &Allow,
    used: bool,
    settings: &LintSettings,
) -> Option<Finding> {
    let (name, message, help) = match rules::find(&allow.rule) {
        Err(unknown) => (UNKNOWN_RULE, unknown, None),
        Ok(rule) => {
            let whole = rule.part_of.and_then(|whole| rules::find(whole).ok()).unwrap_or(rule);
            if used
                || rule.about == About::Trial
                || settings.level(whole, Some(rule.name)) == Level::Off
            {
                return None;
            }
            let message = format!("{ALLOWS_NOTHING}{}` has no finding here", rule.name);
            (UNUSED_ALLOW, message, Some("take the comment away, so that it hides nothing later"))
        }
    };
    let severity: Severity = settings.level(rules::find(name).ok()?, None).severity()?;
    let text = script.sql.lines().nth(allow.line - 1).unwrap_or_default();
    let column = text.find("--").map_or(1, |byte| 1 + text[..byte].chars().count());
    Some(Finding {
        rule: name.to_owned(),
        severity,
        file: script.file.clone(),
        line: allow.line,
        column,
        message,
        help: help.map(str::to_owned),
    })
}

const ALLOWS_NOTHING: &str = "this allows nothing: `";

/// The rule that a comment allows for nothing, if that is what the finding says.
pub(crate) fn unused_allow_of(finding: &Finding) -> Option<&str> {
    let named = finding.message.strip_prefix(ALLOWS_NOTHING);
    named.filter(|_| finding.rule == UNUSED_ALLOW)?.split('`').next()
}

/// The statement that a byte is in, from 0.
pub(super) fn statement_of(script: &Script, at: usize) -> usize {
    script.statements.partition_point(|one| one.range.start <= at).saturating_sub(1)
}

/// Line and column, in characters, from 1.
fn place(sql: &str, at: usize) -> (usize, usize) {
    let before = sql.get(..at).unwrap_or(sql);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (1 + before.matches('\n').count(), 1 + before[line_start..].chars().count())
}
