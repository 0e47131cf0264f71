//! `migrate new`.

use clap::Args;
use liftlock_migrate::NewMigration;
use liftlock_model::Exit;
use serde_json::json;

use crate::arguments::Options;
use crate::command::{End, Failed};

/// What the migration is about.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// What it is about, such as "add orders note"
    #[arg(required = true, num_args = 1.., value_name = "WORDS")]
    title: Vec<String>,
    /// Also a verify script
    #[arg(long)]
    verify: bool,
    /// It runs after the rollout and its bake, when the old version is gone
    #[arg(long)]
    contract: bool,
    /// It runs outside of a transaction, as CREATE INDEX CONCURRENTLY must
    #[arg(long)]
    no_transaction: bool,
}

pub(crate) fn run(options: &Options, ask: &New) -> Result<End, Failed> {
    let New { title, verify, contract, no_transaction } = ask;
    let new = NewMigration {
        title: title.join(" "),
        verify: *verify,
        contract: *contract,
        no_transaction: *no_transaction,
    };
    let files = new.create(&options.directory).map_err(Failed::usage)?;
    let names: String = files.iter().map(|file| format!("\n  {}", file.display())).collect();
    let text =
        format!("made, and now to be written:{names}\nthen: migrate check, migrate --dry-run");
    Ok(End { text, json: json!({ "files": files }), exit: Exit::Done })
}
