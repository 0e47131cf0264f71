//! How a squash is taken back: whole. What drops everything that it makes is tried, and kept if it leaves nothing; else the rollback
//! scripts of what it stands for, one after the other; else a script that refuses, and says why.

use std::collections::BTreeMap;

use liftlock_model::MigrationId;
use serde::Serialize;

use super::error::SquashError;
use super::made::{Made, Trial, schema};
use super::script;
use crate::database::Database;
use crate::failure::Failure;
use crate::files::{Migration, Migrations, Script};
use crate::schema::Schema;
use crate::text::quoted;

/// How a migration that stands for many is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WayBack {
    /// It drops everything that it made; proven to leave nothing.
    Drops,
    /// By the rollback scripts of what it stands for, newest first; proven to leave nothing.
    Scripts,
    /// Not at all: its rollback script refuses.
    Refuses {
        /// Why.
        reason: String,
    },
}

/// A rollback script to be tried.
pub(crate) struct Way {
    kind: WayBack,
    statements: Vec<String>,
}

/// What was proven.
pub(crate) struct Proven {
    /// The files, by name.
    pub(crate) files: BTreeMap<String, String>,
    pub(crate) place: String,
    pub(crate) way_back: WayBack,
}

/// The ways that there are, the best first.
pub(crate) fn ways(drops: &[String], replaced: &[&Migration]) -> Vec<Way> {
    let mut ways = vec![Way { kind: WayBack::Drops, statements: drops.to_vec() }];
    let in_a_transaction = |one: &&Migration| !one.rollback.directives.no_transaction;
    if !replaced.is_empty() && replaced.iter().all(in_a_transaction) {
        let texts = |one: &&Migration| {
            let script = &one.rollback;
            let ranges = script.statements.iter().map(|one| one.range.clone());
            ranges.map(|range| script.sql[range].to_owned()).collect::<Vec<_>>()
        };
        let statements = replaced.iter().rev().flat_map(texts).collect();
        ways.push(Way { kind: WayBack::Scripts, statements });
    }
    ways.retain(|way| !way.statements.is_empty());
    ways
}

/// A script that refuses.
pub(crate) fn refusal(id: &MigrationId, reason: &str) -> String {
    let message = quoted(&format!("{id} is not taken back: {reason}"));
    format!("do $liftlock$ begin raise exception using message = {message}; end $liftlock$;\n")
}

/// A migration that is to be written.
pub(crate) struct New<'a> {
    pub(crate) id: &'a MigrationId,
    /// The stem of its files.
    pub(crate) stem: &'a str,
    pub(crate) up: String,
    /// The comments that its rollback script begins with.
    pub(crate) head: String,
    pub(crate) ways: Vec<Way>,
}

impl New<'_> {
    fn files(&self, rollback: &str) -> BTreeMap<String, String> {
        BTreeMap::from([
            (format!("{}.sql", self.stem), self.up.clone()),
            (format!("{}.rollback.sql", self.stem), format!("{}{rollback}", self.head)),
        ])
    }

    /// Runs it on an empty database beside the one that is there, looks whether `check` takes what it makes, and finds a way back
    /// that leaves nothing.
    pub(crate) async fn prove<E: From<SquashError>>(
        &self,
        beside: &mut Database,
        check: impl Fn(&Made) -> Result<(), E>,
    ) -> Result<Proven, E> {
        let mut reason = None;
        for way in &self.ways {
            let text = format!("{}{}", script::PATH, script::text(&way.statements));
            let files = self.files(&text);
            let made = make(beside, &files).await?;
            check(&made)?;
            let place = made.trial().place();
            match goes_back(made).await.map_err(SquashError::from)? {
                None => return Ok(Proven { files, place, way_back: way.kind.clone() }),
                Some(why) => reason = reason.or(Some(why)),
            }
        }
        let reason = reason.unwrap_or_else(|| "it makes nothing".into());
        let files = self.files(&format!("\n{}", refusal(self.id, &reason)));
        let made = make(beside, &files).await?;
        check(&made)?;
        let place = made.trial().place();
        Ok(Proven { files, place, way_back: WayBack::Refuses { reason } })
    }
}

/// What these files make on an empty database.
async fn make(
    beside: &mut Database,
    files: &BTreeMap<String, String>,
) -> Result<Made, SquashError> {
    let directory = tempfile::tempdir();
    let directory = directory.map_err(|source| in_temporary(&std::env::temp_dir(), source))?;
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::write(&path, text).map_err(|source| in_temporary(&path, source))?;
    }
    let migrations = Migrations::read(directory.path())?;
    let scripts: Vec<&Script> =
        migrations.all().iter().flat_map(|one| [&one.up, &one.rollback]).collect();
    let mut trial = Trial::open(beside, &scripts).await?;
    let applied = trial.apply(&migrations, None).await;
    applied.map_err(|error| SquashError::Squash(Box::new(error)))?;
    Ok(trial.look().await?)
}

fn in_temporary(path: &std::path::Path, source: std::io::Error) -> SquashError {
    SquashError::File { path: path.to_owned(), source }
}

/// Why what was made does not go back to an empty database; none if it does.
async fn goes_back(made: Made) -> Result<Option<String>, Failure> {
    let Trial { mut database, empty, shadow: _shadow } = made.into_trial();
    if let Err(error) = database.rollback(0, true, &mut |_| {}).await {
        return Ok(Some(format!("dropping all that it makes fails: {}", error.failure)));
    }
    let left = Schema::compare(&empty, &schema(&mut database).await?);
    let objects: Vec<String> = left
        .objects()
        .iter()
        .map(|one| format!("{} {} ({})", one.kind, one.name, one.change))
        .collect();
    let leaves = || format!("dropping all that it makes leaves {}", objects.join(", "));
    Ok((!objects.is_empty()).then(leaves))
}
