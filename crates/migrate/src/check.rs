//! Files against history: what is to be applied, and what must not be gone on with. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use liftlock_model::MigrationId;
use serde::Serialize;

use crate::files::{Migration, Migrations};
use crate::history::Applied;
use crate::refinery;

/// Why files and history do not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum Problem {
    /// The file was changed after it was applied.
    Changed {
        /// Which migration, as the database knows it.
        id: MigrationId,
        /// The file.
        file: String,
    },
    /// The database has a migration in the middle that has no file.
    Missing {
        /// Which migration.
        id: MigrationId,
    },
    /// The database has a migration that is newer than all files.
    Ahead {
        /// Which migration.
        id: MigrationId,
        /// The newest file's number; 0 if there is none.
        newest: i32,
    },
    /// The database has some of what a squash stands for.
    Between {
        /// The squash.
        squash: MigrationId,
        /// The newest that is applied.
        newest: i32,
    },
    /// The database has migrations up to a squash, and others than those that it stands for.
    NotSquashed {
        /// The squash.
        squash: MigrationId,
    },
    /// The database began with a squash that is newer than the files.
    BeforeSquash {
        /// The squash.
        squash: MigrationId,
    },
    /// A file that is not applied, older than what is.
    Below {
        /// Which migration.
        id: MigrationId,
        /// The newest that is applied.
        newest: i32,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { id, file } => write!(
                f,
                "{id} was applied, and {file} has changed since: put the file back as it was, and make the change in a new \
                 migration"
            ),
            Self::Missing { id } => {
                write!(f, "{id} is applied, and its file is not there: put it back")
            }
            Self::Ahead { id, newest } => write!(
                f,
                "{id} is applied, and the newest file is V{newest:04}: take the files of the newer version, or roll it back \
                 with `migrate rollback --to V{newest:04}`"
            ),
            Self::Between { squash, newest } => write!(
                f,
                "V{newest:04} is the newest here, and {squash} stands for all up to V{:04}: bring the database to V{:04} first, with a \
                 release that still has these files (`migrate squash` moved them to squashed/{}, and version control has them)",
                squash.version,
                squash.version,
                directory_of(squash)
            ),
            Self::NotSquashed { squash } => write!(
                f,
                "{squash} stands for the migrations up to V{:04}, and those that were applied here are others: with the files that it \
                 replaced, `migrate status` shows which",
                squash.version
            ),
            Self::BeforeSquash { squash } => write!(
                f,
                "the database began with {squash}, which stands for all before it, and the files are from before that: take the \
                 files of a release that has it"
            ),
            Self::Below { id, newest } => write!(
                f,
                "{id} is not applied, and V{newest:04} is: give it the next free number, so that it runs last everywhere"
            ),
        }
    }
}

/// What comparing shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Comparison<'a> {
    pub(crate) pending: Vec<&'a Migration>,
    /// Applied by refinery alone: their rollback scripts are not kept yet.
    pub(crate) unknown: Vec<&'a Migration>,
    /// Applied, with another rollback script than the one that is kept.
    pub(crate) mended: Vec<&'a Migration>,
    /// What the database has one by one that a squash stands for: up to this number; else 0.
    pub(crate) stood_for: i32,
    pub(crate) problems: Vec<Problem>,
}

/// The name of the directory below `squashed` that has what a squash replaced.
pub(crate) fn directory_of(squash: &MigrationId) -> String {
    format!("V{:04}", squash.version)
}

/// How a database stands to the squash that the files begin with.
enum Standing {
    /// It has no migration, or the squash itself.
    AsOthers,
    /// It has what the squash stands for.
    OneByOne,
    Wrong(Problem),
}

fn standing(squash: &Migration, applied: &[Applied]) -> Standing {
    let to = squash.id.version;
    let rows: Vec<&Applied> = applied.iter().filter(|one| one.version <= to).collect();
    let Some(newest) = rows.last() else { return Standing::AsOthers };
    let id = squash.id.clone();
    match rows[..] {
        [one] if one.version == to => Standing::AsOthers,
        _ if newest.version < to => {
            Standing::Wrong(Problem::Between { squash: id, newest: newest.version })
        }
        _ if squash.seals().iter().any(|seal| seal.fits(&rows)) => Standing::OneByOne,
        _ => Standing::Wrong(Problem::NotSquashed { squash: id }),
    }
}

/// The squash that the database began with, if the files are from before it.
fn newer_squash(migrations: &Migrations, applied: &[Applied]) -> Option<Problem> {
    let (began, first) = (applied.first()?, migrations.all().first()?);
    let there = migrations.all().iter().any(|one| one.id == began.id());
    let older = began.version > 1 && first.id.version < began.version && !there;
    older.then(|| Problem::BeforeSquash { squash: began.id() })
}

pub(crate) fn compare<'a>(migrations: &'a Migrations, applied: &[Applied]) -> Comparison<'a> {
    let newest = applied.iter().map(|one| one.version).max().unwrap_or(0);
    let newest_file = migrations.latest().unwrap_or(0);
    let mut comparison = Comparison {
        pending: vec![],
        unknown: vec![],
        mended: vec![],
        stood_for: 0,
        problems: vec![],
    };
    let wrong = match migrations.squash().map(|squash| (squash, standing(squash, applied))) {
        Some((_, Standing::Wrong(problem))) => Some(problem),
        Some((squash, Standing::OneByOne)) => {
            comparison.stood_for = squash.id.version;
            None
        }
        _ => newer_squash(migrations, applied),
    };
    if let Some(problem) = wrong {
        comparison.problems.push(problem);
        return comparison;
    }
    let stood_for = comparison.stood_for;
    let files: BTreeSet<i32> = migrations.all().iter().map(|file| file.id.version).collect();
    let by_version: BTreeMap<i32, &Applied> =
        applied.iter().map(|one| (one.version, one)).collect();
    for one in applied.iter().filter(|one| one.version > stood_for) {
        if !files.contains(&one.version) {
            let id = one.id();
            comparison.problems.push(if one.version > newest_file {
                Problem::Ahead { id, newest: newest_file }
            } else {
                Problem::Missing { id }
            });
        }
    }
    for migration in migrations.all().iter().filter(|one| one.id.version > stood_for) {
        match by_version.get(&migration.id.version) {
            None if migration.id.version < newest => {
                comparison.problems.push(Problem::Below { id: migration.id.clone(), newest });
            }
            None => comparison.pending.push(migration),
            Some(one) => comparison.known(migration, one),
        }
    }
    comparison
}

impl<'a> Comparison<'a> {
    fn known(&mut self, migration: &'a Migration, applied: &Applied) {
        // refinery's checksum covers name, number and text. Ours is the stronger one, where it is known.
        let same = refinery::checksum(&migration.id, &migration.up.sql) == applied.refinery
            && applied.checksum.as_ref().is_none_or(|kept| kept.up == migration.up.sha256.as_str());
        if !same {
            let file = migration.up.file.clone();
            return self.problems.push(Problem::Changed { id: applied.id(), file });
        }
        match &applied.checksum {
            None => self.unknown.push(migration),
            Some(kept) if kept.rollback != migration.rollback.sha256.as_str() => {
                self.mended.push(migration)
            }
            Some(_) => {}
        }
    }
}
