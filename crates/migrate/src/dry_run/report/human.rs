//! For people at a terminal.

use std::fmt::{self, Display};

use super::{beginning, effects, rollback_line, safe, verdict_line};
use crate::dry_run::{Again, DryRun, Loss, StatementTrial, Trial, Verdict};

/// How much of a statement is shown.
const SHOWN: usize = 72;
/// How many lines of a difference are shown; JSON has all.
const DIFFERENCE: usize = 60;

impl Display for DryRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(tried_on) = &self.tried_on else {
            return write!(f, "nothing is pending on {}", self.database);
        };
        writeln!(f, "{}", verdict_line(self))?;
        writeln!(f, "tried what is pending on {} in {tried_on}", self.database)?;
        for trial in &self.migrations {
            migration(f, self, trial)?;
        }
        for id in &self.not_tried {
            writeln!(f, "\n{id}: not tried, since one before it failed")?;
        }
        if !self.findings.is_empty() {
            writeln!(f, "\nfindings")?;
        }
        for finding in &self.findings {
            writeln!(f, "  {}", crate::text::printable(&finding.to_string()))?;
        }
        for missing in &self.missing {
            write!(f, "\nnot copied: {}", crate::text::printable(missing))?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\nnote: {}", crate::text::printable(note)))
    }
}

fn migration(f: &mut fmt::Formatter<'_>, run: &DryRun, trial: &Trial) -> fmt::Result {
    let verified = if trial.verified { ", verified" } else { "" };
    writeln!(f, "\n{} ({} ms{verified})", trial.file, trial.milliseconds)?;
    if let Some(failure) = &trial.failure {
        return writeln!(f, "  FAILED: {}", safe(failure));
    }
    statements(f, run, &trial.statements)?;
    block(f, "schema:", &trial.schema_change)?;
    losses(f, "deletes itself", &trial.loses)?;
    if let Some(line) = rollback_line(&trial.rollback) {
        writeln!(f, "  rollback: {}", safe(&line))?;
    }
    statements(f, run, &trial.rollback_statements)?;
    match &trial.rollback {
        Verdict::Leaves { difference, .. } | Verdict::ColumnOrder { difference } => {
            block(f, "what is left:", difference)?;
        }
        _ => {}
    }
    losses(f, "rollback would lose", &trial.rollback_loses)?;
    match &trial.again {
        Again::NotTried | Again::Same => Ok(()),
        Again::Fails { message } => {
            writeln!(f, "  FAILED: it does not run again after its rollback: {}", safe(message))
        }
        Again::Differs { difference } => block(
            f,
            "FAILED: after its rollback it gives another schema than the first time:",
            difference,
        ),
    }
}

fn statements(
    f: &mut fmt::Formatter<'_>,
    run: &DryRun,
    statements: &[StatementTrial],
) -> fmt::Result {
    for statement in statements.iter().filter(|statement| !statement.is_quiet()) {
        let place = format!("{}:{}", statement.file, statement.line);
        writeln!(
            f,
            "  {place}  {}  {}",
            beginning(&statement.sql, SHOWN),
            took(statement.microseconds)
        )?;
        for line in effects(run, statement) {
            writeln!(f, "      {}", crate::text::printable(&line))?;
        }
    }
    Ok(())
}

fn took(microseconds: u64) -> String {
    match microseconds {
        0..1_000 => "<1 ms".into(),
        more => format!("{} ms", more / 1_000),
    }
}

fn losses(f: &mut fmt::Formatter<'_>, title: &str, losses: &[Loss]) -> fmt::Result {
    losses.iter().try_for_each(|loss| {
        writeln!(f, "  {title}: {}: {}", crate::text::printable(&loss.object), loss.holds)
    })
}

fn block(f: &mut fmt::Formatter<'_>, title: &str, text: &str) -> fmt::Result {
    if text.is_empty() {
        return Ok(());
    }
    writeln!(f, "  {title}")?;
    let text = safe(text);
    for line in text.lines().take(DIFFERENCE) {
        writeln!(f, "    {line}")?;
    }
    match text.lines().count().saturating_sub(DIFFERENCE) {
        0 => Ok(()),
        more => writeln!(f, "    … {more} lines more (`--output json` has them all)"),
    }
}
