//! `migrate check`: the files, and what the linter says of them by the environment's rules.

use std::io::Write as _;

use liftlock_migrate::{Known, lint, write_sarif};
use liftlock_model::{Exit, MigrationId};
use serde_json::json;

use super::{Place, files, settings};
use crate::cli::MigrateCheck;
use crate::commands::Top;
use crate::console::Console;
use crate::failure::Failure;

pub(super) async fn run(top: &Top, ask: &MigrateCheck, console: &Console) -> Result<Exit, Failure> {
    let (environment, config, migrations) = files(top, &ask.which.env)?;
    let rules = settings(top, &environment)?.lint;
    if ask.rules {
        let list = rules.rules();
        let each = list.iter().map(|(rule, level)| json!({ "rule": rule, "level": level }));
        let value = json!({ "rules": each.collect::<Vec<_>>() });
        let lines = || list.iter().map(|(rule, level)| format!("{level:<8} {rule}"));
        console.result("rules", &value, || lines().collect::<Vec<_>>().join("\n"));
        return Ok(Exit::Done);
    }
    let since = ask.since.as_deref().map(MigrationId::parse_version).transpose();
    let applied = since.map_err(|error| Failure::of(Exit::Usage, &error))?;
    let known = match ask.pending {
        false => Known { applied, ..Known::default() },
        true => {
            let mut database =
                Place::of(top, &ask.which.env, console).await?.database(None).await?;
            database.known().await.map_err(|error| Failure::of(Exit::Failed, &error))?
        }
    };
    let found = lint(&migrations, &known, &rules);
    if let Some(file) = &ask.sarif {
        write_sarif(file, &found.findings, migrations.directory())
            .map_err(|error| Failure::of(Exit::Usage, &error))?;
    }
    let directory = &config.migrations.directory;
    if std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true") {
        for line in found.annotations(directory) {
            // Nobody reads on: the findings are in the exit code, too.
            writeln!(std::io::stderr(), "{line}").unwrap_or_default();
        }
    }
    console.result("check", &found, || found.render(&migrations, directory, false));
    Ok(found.exit(ask.strict))
}
