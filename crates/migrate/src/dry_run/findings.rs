//! What a trial shows, as findings at their places. Pure.

use liftlock_model::{MigrationId, Phase};

use super::breaks::{Break, breaks};
use super::dangers::{Danger, LOSES, dangers};
use super::losses::Loss;
use super::recorder::column;
use super::statement::StatementTrial;
use super::surface::Surface;
use super::trial::{Again, Trial, Verdict};
use crate::failure::{Failure, ScriptError};
use crate::files::{Migration, Script};
use crate::finding::{Finding, Severity};
use crate::lint::covers;
use crate::shadow::sizes::Sizes;

/// A script does not run.
pub(crate) const FAILS: &str = "script-fails";
/// A rollback script does not take its migration back.
pub(crate) const ROLLBACK: &str = "rollback-not-exact";
/// A rollback script leaves rows that its migration wrote.
pub(crate) const ROWS: &str = "rollback-leaves-rows";
/// A migration does not run again after its rollback, or does something else then.
pub(crate) const AGAIN: &str = "not-repeatable";
/// The version that is running cannot live with it.
pub(crate) const BREAKS: &str = "breaks-running-version";
/// The version that is running must keep something new.
pub(crate) const BINDS: &str = "binds-running-version";
/// A migration that runs before the rollout stands behind one that runs after it.
pub(crate) const ORDER: &str = "contract-before-expand";

/// A place in a script: one of its statements, or its beginning.
struct At<'a> {
    script: &'a Script,
    statement: usize,
}

impl At<'_> {
    fn find(&self, rule: &str, severity: Severity, message: String) -> Finding {
        let statement = self.script.statements.get(self.statement);
        let (line, offset) = statement.map_or((1, 0), |one| (one.line, one.range.start));
        let allow = self
            .script
            .directives
            .allows
            .iter()
            .find(|allow| covers(&allow.rule, rule) && allow.statement == self.statement);
        let (severity, message) = match allow {
            Some(allow) => (Severity::Note, format!("{message} (allowed: {})", allow.reason)),
            None => (severity, message),
        };
        Finding {
            rule: rule.to_owned(),
            severity,
            file: self.script.file.clone(),
            line,
            column: column(&self.script.sql, offset),
            message,
            help: None,
        }
    }
}

fn help(finding: Finding, help: impl Into<Option<&'static str>>) -> Finding {
    Finding { help: help.into().map(str::to_owned), ..finding }
}

/// The place that a failure names; else the script's beginning.
fn at_failure<'a>(script: &'a Script, failure: &Failure) -> At<'a> {
    let line = match failure {
        Failure::Script { source, .. } => source.line(),
        Failure::Outside { source, .. } => source.line(),
        _ => None,
    };
    let statement =
        line.and_then(|line| script.statements.iter().rposition(|one| one.line <= line));
    At { script, statement: statement.unwrap_or(0) }
}

/// A migration, or its check, that does not run.
pub(super) fn failed(migration: &Migration, failure: &Failure) -> Finding {
    let verify = migration.verify.as_ref().filter(|verify| match failure {
        Failure::Script { source, .. } => source.file() == verify.file,
        Failure::Outside { source, .. } => source.file() == verify.file,
        _ => false,
    });
    let at = at_failure(verify.unwrap_or(&migration.up), failure);
    let line = match failure {
        Failure::Script { source, .. } => source.line(),
        Failure::Outside { source, .. } => source.line(),
        _ => None,
    };
    let finding = at.find(FAILS, Severity::Error, failure.to_string());
    Finding { line: line.unwrap_or(finding.line), ..finding }
}

/// Everything about one migration but what breaks the running version.
pub(super) fn of_trial(
    migration: &Migration,
    trial: &Trial,
    failure: Option<&Failure>,
    sizes: &Sizes,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let up = At { script: &migration.up, statement: 0 };
    let (of_up, of_verify): (Vec<StatementTrial>, Vec<StatementTrial>) =
        trial.statements.iter().cloned().partition(|one| one.file == migration.up.file);
    let together: Vec<StatementTrial> = of_up.iter().chain(&of_verify).cloned().collect();
    for danger in dangers(&together, sizes) {
        found.push(of_danger(migration, &together, danger));
    }
    found.extend(trial.loses.iter().filter(|loss| loss.today).map(|loss| lost(&up, &of_up, loss)));
    found.extend(rollback(migration, trial, failure));
    match &trial.again {
        Again::Fails { message } => {
            let message = format!("it does not run again after its rollback: {message}");
            found.push(up.find(AGAIN, Severity::Error, message));
        }
        Again::Differs { .. } => {
            let message = "after its rollback it gives another schema than the first time".into();
            found.push(up.find(AGAIN, Severity::Error, message));
        }
        Again::Same | Again::NotTried => {}
    }
    found
}

fn of_danger(migration: &Migration, statements: &[StatementTrial], danger: Danger) -> Finding {
    let trial = &statements[danger.statement];
    let verify = migration.verify.as_ref().filter(|verify| verify.file == trial.file);
    let at = At { script: verify.unwrap_or(&migration.up), statement: trial.index };
    help(at.find(danger.rule, danger.severity, danger.message), danger.help)
}

/// What the migration itself takes away, at the statement that names it, if one does.
fn lost(up: &At<'_>, statements: &[StatementTrial], loss: &Loss) -> Finding {
    let name =
        loss.object.rsplit(['.', ' ']).next().unwrap_or_default().trim_matches('"').to_lowercase();
    let drops = |one: &&StatementTrial| {
        let sql = one.sql.to_lowercase();
        sql.contains("drop") && sql.contains(&name)
    };
    let statement = statements.iter().find(drops).map_or(0, |one| one.index);
    let at = At { script: up.script, statement };
    let message = format!("the migration itself deletes {}: {}", loss.object, loss.holds);
    at.find(LOSES, Severity::Warning, message)
}

fn rollback(migration: &Migration, trial: &Trial, failure: Option<&Failure>) -> Vec<Finding> {
    let script = &migration.rollback;
    let at = failure.map_or(At { script, statement: 0 }, |failure| at_failure(script, failure));
    let message = match &trial.rollback {
        Verdict::NotTried | Verdict::Exact | Verdict::ColumnOrder { .. } => None,
        Verdict::Leaves { objects, .. } if objects.is_empty() => {
            Some("the rollback does not bring the schema back".to_owned())
        }
        Verdict::Leaves { objects, .. } => Some(format!(
            "the rollback does not bring the schema back; left is: {}",
            objects.join(", ")
        )),
        Verdict::DoesNothing => {
            Some("the rollback does nothing, and the migration does something".into())
        }
        Verdict::Refuses { message } => Some(format!("the rollback refuses: {message}")),
        Verdict::CannotRun { message } => Some(format!("the rollback does not run: {message}")),
    };
    let mut found: Vec<Finding> =
        message.into_iter().map(|message| at.find(ROLLBACK, Severity::Error, message)).collect();
    if trial.rollback.restores() {
        let message = rows_left(trial);
        found.extend(message.map(|message| at.find(ROWS, Severity::Warning, message)));
    }
    found
}

/// Rows in tables that were there, which the migration wrote and the rollback did not take back, or the other way round.
fn rows_left(trial: &Trial) -> Option<String> {
    let net = |statements: &[StatementTrial], table: &str| -> i128 {
        let rows = statements
            .iter()
            .filter(|one| !one.file.ends_with(".verify.sql"))
            .flat_map(|one| &one.rows);
        let of_table = rows.filter(|rows| rows.table == table);
        of_table.map(|rows| i128::from(rows.inserted) - i128::from(rows.deleted)).sum()
    };
    let existing = trial.statements.iter().flat_map(|one| &one.rows).filter(|rows| rows.existing);
    let mut tables: Vec<&str> = existing.map(|rows| rows.table.as_str()).collect();
    tables.sort_unstable();
    tables.dedup();
    let left = tables.into_iter().filter_map(|table| {
        let left = net(&trial.statements, table) + net(&trial.rollback_statements, table);
        (left != 0).then(|| format!("{table}: {left:+}"))
    });
    let left: Vec<String> = left.collect();
    (!left.is_empty()).then(|| {
        format!("the rollback does not bring the rows back as they were: {}", left.join(", "))
    })
}

/// For each break, the statement after which it is there and stays. What was read after each is in the statements.
pub(super) fn blame(base: &Surface, broken: &[Break], statements: &[StatementTrial]) -> Vec<usize> {
    if broken.is_empty() {
        return Vec::new();
    }
    let after: Vec<Vec<Break>> = statements
        .iter()
        .map(|one| one.surface.as_ref().map(|surface| breaks(base, surface)).unwrap_or_default())
        .collect();
    let place = |one: &Break| {
        let last_without = after.iter().rposition(|broken| !broken.contains(one));
        let place = last_without.map_or(0, |at| at + 1);
        statements.get(place).map_or(0, |statement| statement.index)
    };
    broken.iter().map(place).collect()
}

/// What the running version cannot live with.
pub(super) fn broken(
    migration: &Migration,
    broken: &[Break],
    places: &[usize],
    binds: Option<Severity>,
) -> Vec<Finding> {
    let one = |(broken, statement): (&Break, &usize)| {
        let at = At { script: &migration.up, statement: *statement };
        let message = format!("{} {}", broken.object, broken.what);
        let (rule, severity) =
            if broken.certain { (BREAKS, Severity::Error) } else { (BINDS, binds?) };
        Some(help(at.find(rule, severity, message), broken.help))
    };
    broken.iter().zip(places).filter_map(one).collect()
}

/// Migrations that run before the rollout and stand behind one that runs after it.
pub(super) fn order(pending: &[&Migration]) -> Vec<Finding> {
    let mut contract: Option<&MigrationId> = None;
    let mut found = Vec::new();
    for migration in pending {
        match (migration.phase(), contract) {
            (Phase::Contract, None) => contract = Some(&migration.id),
            (Phase::Expand, Some(first)) => {
                let at = At { script: &migration.up, statement: 0 };
                let message = format!(
                    "it runs before the rollout, and {first} before it runs after the rollout: they cannot both run in the order of \
                     their numbers"
                );
                let finding = at.find(ORDER, Severity::Error, message);
                found.push(help(
                    finding,
                    "give the contract migrations the highest numbers, or release them later",
                ));
            }
            _ => {}
        }
    }
    found
}

impl ScriptError {
    /// The script.
    fn file(&self) -> &str {
        match self {
            Self::Sql { file, .. }
            | Self::LockTimeout { file, .. }
            | Self::StatementTimeout { file, .. }
            | Self::LockBudget { file, .. }
            | Self::InvalidIndex { file, .. }
            | Self::EndedTransaction { file }
            | Self::Verify { file, .. } => file,
        }
    }

    fn line(&self) -> Option<usize> {
        match self {
            Self::Sql { line, .. }
            | Self::LockTimeout { line, .. }
            | Self::StatementTimeout { line, .. }
            | Self::LockBudget { line, .. } => *line,
            Self::InvalidIndex { line, .. } => Some(*line),
            Self::EndedTransaction { .. } | Self::Verify { .. } => None,
        }
    }
}
