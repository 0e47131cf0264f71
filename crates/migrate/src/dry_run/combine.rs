//! What the lint says of the texts, beside what the trial showed. What the trial has seen for itself it knows better. Pure.

use std::collections::BTreeSet;

use super::trial::{Trial, Verdict};
use crate::finding::{Finding, Severity};
use crate::lint::{Allowed, Lint, LintSettings, seen_by_trial, seen_in_rollback, unused_allow_of};

/// All findings, each once, by file and place.
pub(super) fn combine(
    shown: Vec<Finding>,
    lint: Lint,
    trials: &[Trial],
    settings: &LintSettings,
) -> Vec<Finding> {
    let judged = Judged::of(trials);
    let mut found: Vec<Finding> =
        shown.into_iter().filter_map(|finding| settings.weigh(finding)).collect();
    let told = lint.findings.into_iter().chain(lint.allowed.into_iter().map(allowed));
    let told: Vec<Finding> = told
        .filter(|finding| !judged.knows_better(finding) && !is_there(&found, finding))
        .collect();
    found.extend(told);
    found.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    found.dedup();
    found
}

/// The scripts that were run.
struct Judged<'a> {
    up: BTreeSet<&'a str>,
    rollback: BTreeSet<String>,
}

impl<'a> Judged<'a> {
    fn of(trials: &'a [Trial]) -> Self {
        let worked = trials.iter().filter(|trial| trial.failure.is_none());
        let back = trials.iter().filter(|trial| trial.rollback != Verdict::NotTried);
        let rollback = back.filter_map(|trial| trial.file.strip_suffix(".sql"));
        Self {
            up: worked.map(|trial| trial.file.as_str()).collect(),
            rollback: rollback.map(|stem| format!("{stem}.rollback.sql")).collect(),
        }
    }

    fn knows_better(&self, finding: &Finding) -> bool {
        let of_up = seen_by_trial(&finding.rule) && self.up.contains(finding.file.as_str());
        let of_rollback = seen_in_rollback(&finding.rule) && self.rollback.contains(&finding.file);
        of_up || of_rollback
    }
}

/// Whether the trial says the same of the same line, or needs the comment that the lint finds needless.
fn is_there(found: &[Finding], one: &Finding) -> bool {
    let needless = unused_allow_of(one);
    found.iter().filter(|there| there.file == one.file).any(|there| {
        (there.rule == one.rule && there.line == one.line)
            || (needless.is_some_and(|rule| crate::lint::covers(rule, &there.rule))
                && there.message.contains(" (allowed: "))
    })
}

/// As the trial tells what a comment allows.
fn allowed(Allowed { finding, reason }: Allowed) -> Finding {
    let message = format!("{} (allowed: {reason})", finding.message);
    Finding { severity: Severity::Note, message, ..finding }
}
