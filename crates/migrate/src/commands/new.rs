//! `migrate new`.

use crate::NewMigration;
use clap::Args;
use liftlock_model::Exit;
use serde_json::json;

use super::{Desk, End, Failed};

/// What the migration is about.
#[derive(Debug, Args)]
#[group(skip)]
pub struct New {
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

impl New {
    /// Makes the files.
    ///
    /// # Errors
    /// What went wrong, with the exit code.
    pub fn run(&self, desk: &dyn Desk) -> Result<End, Failed> {
        let New { title, verify, contract, no_transaction } = self;
        let new = NewMigration {
            title: title.join(" "),
            verify: *verify,
            contract: *contract,
            no_transaction: *no_transaction,
        };
        let files = new.create(desk.directory()).map_err(Failed::usage)?;
        let names: String = files.iter().map(|file| format!("\n  {}", file.display())).collect();
        let text = format!(
            "made, and now to be written:{names}\nthen: {}, {}",
            desk.advice("check"),
            desk.advice("--dry-run")
        );
        Ok(End { text, json: json!({ "files": files }), exit: Exit::Done })
    }
}
