//! How migrations run in an environment.

use liftlock_environment::Environment;
use liftlock_environment::config::OnDrift;
use liftlock_migrate::{
    Database, DriftPolicy, DryRun, LintSettings, Migrations, Settings, Severity,
};
use liftlock_model::{Actor, Exit, MigrationId, RunId};
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
        drift: drift_policy(migrations.drift),
        lint: lint(environment, &migrations.lint)?,
        run: run.cloned(),
        ..Settings::new(actor)
    })
}

fn drift_policy(said: OnDrift) -> DriftPolicy {
    match said {
        OnDrift::Refuse => DriftPolicy::Refuse,
        OnDrift::Warn => DriftPolicy::Warn,
        OnDrift::Ignore => DriftPolicy::Ignore,
    }
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

/// Tries what is pending and its rollbacks on a copy of the schema, where the environment wants that before anything is applied
/// (`database.migrations.prove`). None where it does not.
///
/// # Errors
/// [`StepError`] if something must be mended, or if it could not be tried. The database was not changed.
pub async fn proven(
    environment: &Environment,
    database: &mut Database,
    migrations: &Migrations,
) -> Result<Option<DryRun>, StepError> {
    let wanted = environment.config.database.as_ref().is_some_and(|one| one.migrations.prove);
    if !wanted {
        return Ok(None);
    }
    let tried = database.dry_run(migrations).await;
    let tried = tried.map_err(|error| StepError::from_error(&error))?;
    if tried.exit() == Exit::Done {
        return Ok(Some(tried));
    }
    let wrong = tried.findings.iter().filter(|finding| finding.severity == Severity::Error);
    let wrong: String = wrong.map(|finding| format!("\n  {finding}")).collect();
    let name = &environment.name;
    let message = format!(
        "nothing was applied: {name} wants migrations proven first (database.migrations.prove), and their trial shows what must be \
         mended:{wrong}"
    );
    Err(StepError::new(StepErrorKind::Failed, message)
        .hint(format!("liftlock migrate --dry-run --env {name}")))
}
