//! What a dry-run showed: for people, for a pull request, and for code scanning.

mod files;
mod human;
mod markdown;
mod sarif;

pub use files::{COMMENT, ReportError, append_step_summary, write_markdown, write_sarif};
pub use markdown::markdown;
pub use sarif::sarif;

use super::statement::StatementTrial;
use super::{DryRun, Severity, Verdict};

/// `2 errors, 1 warning`, or that there is nothing to say.
fn verdict_line(run: &DryRun) -> String {
    let count = |severity, one: &str| match run.count(severity) {
        0 => None,
        1 => Some(format!("1 {one}")),
        many => Some(format!("{many} {one}s")),
    };
    let counts = [count(Severity::Error, "error"), count(Severity::Warning, "warning")];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let verdict = match (run.is_clean(), run.missing.is_empty()) {
        (true, _) if counts.is_empty() => "clean".to_owned(),
        (true, _) => format!("nothing must be mended, {}", counts.join(", ")),
        (false, true) => format!("must be mended: {}", counts.join(", ")),
        (false, false) => {
            format!("could not tell: {}, and the copy is not complete", counts.join(", "))
        }
    };
    let exact = run.migrations.iter().filter(|trial| trial.rollback.restores()).count();
    let all = run.migrations.len() + run.not_tried.len();
    format!("{verdict}; {exact} of {all} rollbacks restore the schema")
}

/// One line for a rollback's verdict.
fn rollback_line(verdict: &Verdict) -> Option<String> {
    Some(match verdict {
        Verdict::NotTried => return None,
        Verdict::Exact => "restores the schema exactly".into(),
        Verdict::ColumnOrder { .. } => "restores the schema, but for the order of columns".into(),
        Verdict::Leaves { objects, .. } if objects.is_empty() => {
            "does NOT restore the schema".into()
        }
        Verdict::Leaves { objects, .. } => {
            format!("does NOT restore the schema; left is: {}", objects.join(", "))
        }
        Verdict::DoesNothing => "does NOTHING, and the migration does something".into(),
        Verdict::Refuses { message } => format!("REFUSES: {message}"),
        Verdict::CannotRun { message } => format!("does NOT run: {message}"),
    })
}

/// What a statement did, one line for each thing.
fn effects(run: &DryRun, statement: &StatementTrial) -> Vec<String> {
    let sized = |table: &String| match run.sizes.get(table) {
        Some(size) => format!("{table} ({size})"),
        None => table.clone(),
    };
    let mut lines = Vec::new();
    for lock in &statement.locks {
        let on = match &lock.index {
            Some(index) => format!("index {index} of {}", sized(&lock.table)),
            None => sized(&lock.table),
        };
        let how = if statement.outside { ", while it runs" } else { "" };
        lines.push(format!("lock on {on}: {}; blocks {}{how}", lock.mode, lock.blocks));
    }
    lines.extend(
        statement.rewritten.iter().map(|table| format!("writes every row of {}", sized(table))),
    );
    lines.extend(
        statement.scanned.iter().map(|table| format!("reads every row of {}", sized(table))),
    );
    lines.extend(statement.emptied.iter().map(|table| format!("empties {}", sized(table))));
    for rows in &statement.rows {
        let counts =
            [(rows.inserted, "inserted"), (rows.updated, "updated"), (rows.deleted, "deleted")];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
        lines.push(format!("rows of {}: {}", rows.table, counts.join(", ")));
    }
    const SHOWN: usize = 12;
    if lines.len() > SHOWN {
        let more = lines.len() - SHOWN;
        lines.truncate(SHOWN);
        lines.push(format!("and {more} more"));
    }
    lines
}

/// The beginning of a statement, on one line.
fn beginning(sql: &str, length: usize) -> String {
    let words: Vec<&str> = sql.split_whitespace().collect();
    let line = crate::text::printable(&words.join(" "));
    match line.char_indices().nth(length) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Text from outside, over several lines, fit for a terminal or a page.
fn safe(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c })
        .collect()
}
