//! `migrate new`: the files of a migration that is to be written.

use liftlock_migrate::NewMigration;
use liftlock_model::Exit;
use serde_json::json;

use crate::cli::MigrateNew;
use crate::commands::Top;
use crate::console::Console;
use crate::failure::Failure;

pub(super) fn run(top: &Top, ask: &MigrateNew, console: &Console) -> Result<Exit, Failure> {
    let environment = top.environment(&ask.which.env)?;
    let config = super::config(&environment)?;
    let new = NewMigration {
        title: ask.title.join(" "),
        verify: ask.verify,
        contract: ask.only_after,
        no_transaction: ask.no_transaction,
    };
    let directory = environment.path(&config.migrations.directory);
    let made = new.create(&directory).map_err(|error| Failure::of(Exit::Usage, &error))?;
    console.result("made", &json!({ "files": made }), || {
        let names: String = made.iter().map(|file| format!("\n  {}", file.display())).collect();
        let (program, name) = (console.program(), &environment.name);
        format!(
            "made, and now to be written:{names}\nthen: {program} migrate check --env {name}, {program} migrate --dry-run --env {name}"
        )
    });
    Ok(Exit::Done)
}
