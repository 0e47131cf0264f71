//! How migrations run in an environment.

use liftlock_environment::Environment;
use liftlock_migrate::{LintSettings, Settings};
use liftlock_model::{Actor, MigrationId, RunId};
use liftlock_saga::{StepError, StepErrorKind};

/// How migrations run in an environment, by its files. Every command and every step takes it from here.
///
/// # Errors
/// If the files name a rule that the linter does not have: the file, and the rule that comes nearest.
pub fn migration_settings(
    environment: &Environment,
    actor: Actor,
    run: Option<&RunId>,
) -> Result<Settings, StepError> {
    let Some(database) = &environment.config.database else {
        return Ok(Settings { run: run.cloned(), ..Settings::new(actor) });
    };
    let migrations = &database.migrations;
    Ok(Settings {
        lock_timeout: migrations.lock_timeout.duration(),
        lock_retry_budget: migrations.lock_retry_budget.duration(),
        statement_timeout: migrations.statement_timeout.duration(),
        wait: migrations.wait.duration(),
        concurrent_budget: migrations.concurrent_budget.duration(),
        alert_after: migrations.alert_after.duration(),
        lint: lint(environment, &migrations.lint)?,
        run: run.cloned(),
        ..Settings::new(actor)
    })
}

fn lint(
    environment: &Environment,
    said: &liftlock_environment::config::Lint,
) -> Result<LintSettings, StepError> {
    let wrong = |key: &str, why: String| {
        let name = &environment.name;
        StepError::new(
            StepErrorKind::Configuration,
            format!(
                "environments/{name}.toml, or base.toml: database.migrations.lint.{key}: {why}"
            ),
        )
    };
    let mut lint = LintSettings::default();
    lint.small_table_rows = said.small_table_rows;
    let first = said.ignore_before.as_deref().map(MigrationId::parse_version).transpose();
    lint.ignore_before = first.map_err(|error| wrong("ignore_before", error.to_string()))?;
    for (rule, level) in &said.rules {
        lint.set(rule, level.name()).map_err(|why| wrong("rules", why))?;
    }
    Ok(lint)
}
