//! `migrate check`: the files and what the linter says of them.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use crate::{Known, Lint, Migrations, Severity, lint, write_sarif};
use clap::Args;
use liftlock_model::Exit;
use serde_json::json;

use super::{Desk, End, Failed, version};

/// What to check.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Check {
    /// Looks at what is newer than this migration, such as V0041: it is applied everywhere, and what is newer goes out together
    #[arg(long, value_name = "VERSION", value_parser = version)]
    since: Option<i32>,
    /// Asks the database what is pending, and how large its tables are
    #[arg(long, conflicts_with = "since")]
    pending: bool,
    /// Ends with 1 on warnings, too
    #[arg(long)]
    strict: bool,
    /// Writes the findings to this file, too, as SARIF for code scanning
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
    /// Lists the rules and their levels
    #[arg(long)]
    rules: bool,
}

impl Check {
    /// Checks the files.
    ///
    /// # Errors
    /// What went wrong, with the exit code.
    pub async fn run(&self, desk: &dyn Desk) -> Result<End, Failed> {
        let settings = desk.settings()?.lint;
        if self.rules {
            return Ok(list(&settings.rules()));
        }
        let migrations = desk.migrations()?;
        let mut known = Known { applied: self.since, ..Known::default() };
        if self.pending {
            let mut database = desk.connect().await?;
            known = database.known().await.map_err(|error| Failed::ended(error, Exit::Failed))?;
        }
        let found = lint(&migrations, &known, &settings);
        let directory = readable(desk.directory());
        if let Some(file) = &self.sarif {
            write_sarif(file, &found.findings, &directory).map_err(Failed::usage)?;
        }
        if std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true") {
            for line in found.annotations(&directory) {
                desk.annotate(&line);
            }
        }
        Ok(end(&migrations, &found, &directory, self.strict))
    }
}

fn end(migrations: &Migrations, found: &Lint, directory: &Path, strict: bool) -> End {
    let exit = found.exit(strict);
    let shown = if exit == Exit::Failed {
        std::io::stderr().is_terminal()
    } else {
        std::io::stdout().is_terminal()
    };
    let colour = shown && std::env::var_os("NO_COLOR").is_none();
    let stamps = migrations.stamps();
    let text = found.render(migrations, directory, colour);
    let json = json!({
        "migrations": stamps,
        "findings": found.findings,
        "allowed": found.allowed,
        "errors": found.count(Severity::Error),
        "warnings": found.count(Severity::Warning),
        "notes": found.count(Severity::Note),
    });
    End { text, json, exit }
}

fn list(rules: &[(&str, crate::Level)]) -> End {
    let text = rules.iter().map(|(rule, level)| format!("{level:<8} {rule}")).collect::<Vec<_>>();
    let json = rules.iter().map(|(rule, level)| json!({ "rule": rule, "level": level }));
    let json = json!({ "rules": json.collect::<Vec<_>>() });
    End { text: text.join("\n"), json, exit: Exit::Done }
}

/// The directory from where we stand, as code scanning and readers want it.
fn readable(directory: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| directory.strip_prefix(here).ok().map(Path::to_owned));
    below.unwrap_or_else(|| directory.to_owned())
}
