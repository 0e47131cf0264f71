//! `migrate check`: the files alone.

use liftlock_model::Exit;
use serde_json::json;

use crate::arguments::Options;
use crate::command::{End, Failed, read};

pub(crate) fn run(options: &Options) -> Result<End, Failed> {
    let stamps = read(options)?.stamps();
    let text = format!("{} migrations, complete and in order", stamps.len());
    Ok(End { text, json: json!({ "migrations": stamps }), exit: Exit::Done })
}
