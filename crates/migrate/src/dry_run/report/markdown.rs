//! For a pull request, or the page of a GitHub run.

use std::fmt::Write as _;

use super::{beginning, effects, rollback_line, safe, verdict_line};
use crate::dry_run::{Again, DryRun, Severity, Trial, Verdict};
use crate::finding::Finding;

/// How much of a statement is shown.
const SHOWN: usize = 100;

/// The report as Markdown, of at most `limit` bytes: GitHub takes 65,536 characters in a comment and 1 MiB in the page of a step. What
/// does not fit is left out, and said to be: first differences, then statements, then whole migrations.
pub fn markdown(run: &DryRun, limit: usize) -> String {
    for detail in [Detail::All, Detail::NoDifferences, Detail::NoStatements] {
        let text = page(run, detail, usize::MAX);
        if text.len() <= limit {
            return text;
        }
    }
    let mut count = run.migrations.len();
    loop {
        let text = page(run, Detail::NoStatements, count);
        if text.len() <= limit || count == 0 {
            return cut(text, limit);
        }
        count /= 2;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    All,
    NoDifferences,
    NoStatements,
}

fn cut(mut text: String, limit: usize) -> String {
    const NOTE: &str = "\n\n… the rest does not fit here.\n";
    if text.len() <= limit {
        return text;
    }
    let end = (0..=limit.saturating_sub(NOTE.len())).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text.push_str(NOTE);
    text
}

fn page(run: &DryRun, detail: Detail, most: usize) -> String {
    let mut text = String::new();
    let mark = if run.is_clean() { "✅" } else { "❌" };
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    line(&format!("### {mark} Dry-run of the migrations: {}\n", escape(&verdict_line(run))));
    let Some(tried_on) = &run.tried_on else {
        line(&format!("Nothing is pending on {}.", code(&run.database)));
        return text;
    };
    line(&format!("Database {}, tried in {}.\n", code(&run.database), escape(tried_on)));
    line("| migration | time | locks that block others | rollback |");
    line("| --- | --: | --- | --- |");
    for trial in run.migrations.iter().take(most) {
        line(&row(run, trial));
    }
    for id in run.not_tried.iter().take(most) {
        line(&format!("| {} | | | not tried, since one before it failed |", code(&id.to_string())));
    }
    let findings: Vec<&Finding> = run.findings.iter().take(most.saturating_mul(5)).collect();
    if !findings.is_empty() {
        line("\n| | place | finding |");
        line("| --- | --- | --- |");
    }
    for finding in findings {
        line(&finding_row(finding));
    }
    for trial in run.migrations.iter().take(most).filter(|_| detail != Detail::NoStatements) {
        line(&details(run, trial, detail));
    }
    match (most < run.migrations.len(), detail) {
        (true, _) => line("\nThere is more than fits here: `migrate --dry-run` shows all of it."),
        (_, Detail::NoDifferences) => {
            line("\nThe differences do not fit here: `migrate --dry-run` shows them.")
        }
        (_, Detail::NoStatements) => {
            line("\nStatements and differences do not fit here: `migrate --dry-run` shows them.");
        }
        (_, Detail::All) => {}
    }
    for note in
        run.missing.iter().map(|one| format!("not copied: {one}")).chain(run.notes.iter().cloned())
    {
        line(&format!("\n> {}", escape(&crate::text::printable(&note))));
    }
    text
}

fn row(run: &DryRun, trial: &Trial) -> String {
    let blocking =
        trial.locks.iter().filter(|lock| lock.blocked != crate::dry_run::Blocks::Changes);
    let locks: Vec<String> = blocking
        .map(|lock| {
            let size =
                run.sizes.get(&lock.table).map(|size| format!(" ({size})")).unwrap_or_default();
            format!("{}{}: blocks {}", code(&lock.table), escape(&size), lock.blocks)
        })
        .collect();
    let rollback = match &trial.failure {
        Some(failure) => format!("**failed**: {}", escape(&beginning(failure, 300))),
        None => escape(&beginning(&rollback_line(&trial.rollback).unwrap_or_default(), 300)),
    };
    let again = match &trial.again {
        Again::Fails { .. } => "; **does not run again**",
        Again::Differs { .. } => "; **gives another schema the second time**",
        _ => "",
    };
    format!(
        "| {} | {} ms | {} | {rollback}{again} |",
        code(&trial.file),
        trial.milliseconds,
        locks.join("<br>")
    )
}

fn finding_row(finding: &Finding) -> String {
    let mark = match finding.severity {
        Severity::Error => "❌",
        Severity::Warning => "⚠️",
        Severity::Note => "ℹ️",
    };
    let help =
        finding.help.as_ref().map(|help| format!("<br>→ {}", escape(help))).unwrap_or_default();
    format!(
        "| {mark} {} | {} | {}{help} |",
        code(&finding.rule),
        code(&format!("{}:{}", finding.file, finding.line)),
        escape(&crate::text::printable(&finding.message))
    )
}

fn details(run: &DryRun, trial: &Trial, detail: Detail) -> String {
    let mut text = format!("\n<details><summary>{}</summary>\n\n", escape(&trial.file));
    for statement in trial.statements.iter().filter(|statement| !statement.is_quiet()) {
        let place = format!("{}:{}", statement.file, statement.line);
        // Writing to a string does not fail.
        writeln!(text, "- {} {}", code(&place), code(&beginning(&statement.sql, SHOWN)))
            .unwrap_or_default();
        for line in effects(run, statement) {
            writeln!(text, "  - {}", escape(&crate::text::printable(&line))).unwrap_or_default();
        }
    }
    for (title, losses) in
        [("deletes itself", &trial.loses), ("rollback would lose", &trial.rollback_loses)]
    {
        for loss in losses {
            writeln!(text, "- {title}: {}: {}", escape(&loss.object), escape(&loss.holds))
                .unwrap_or_default();
        }
    }
    if detail == Detail::All {
        text.push_str(&fence("schema", &trial.schema_change));
        if let Verdict::Leaves { difference, .. } | Verdict::ColumnOrder { difference } =
            &trial.rollback
        {
            text.push_str(&fence("what the rollback leaves", difference));
        }
        if let Again::Differs { difference } = &trial.again {
            text.push_str(&fence("what is different the second time", difference));
        }
    }
    text + "\n</details>\n"
}

/// A difference in a fence that is longer than any in it.
fn fence(title: &str, difference: &str) -> String {
    if difference.is_empty() {
        return String::new();
    }
    let fence = "`".repeat(longest_run(difference).max(2) + 1);
    format!("\n{title}\n\n{fence}diff\n{}\n{fence}\n", safe(difference).trim_end())
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// Code on one line, also in a table's cell.
fn code(text: &str) -> String {
    let text = crate::text::printable(text);
    if text.contains('`') {
        // In a table's cell, a `|` must be escaped even in code, where it is no escape elsewhere.
        return escape(&text);
    }
    format!("`{}`", text.replace('|', "\\|"))
}

/// Text that means nothing to Markdown or HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '@' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '\n' => escaped.push(' '),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_means_anything_to_markdown() {
        assert_eq!(escape("a|b `c` <b>\u{1b}[0m"), "a\\|b \\`c\\` &lt;b&gt;\u{fffd}\\[0m");
        assert_eq!(code("a|b"), "`a\\|b`");
        assert_eq!(code("a`b|"), "a\\`b\\|");
        assert!(fence("x", "+ ```").contains("````diff\n+ ```\n````"));
        assert_eq!(cut("ääää".repeat(100), 50).len(), 50);
    }
}
