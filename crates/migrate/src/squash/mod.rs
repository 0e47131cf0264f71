//! Many migrations as one: what they make on an empty database, as `pg_dump` tells it, proven on a database of its own to be the
//! same, object by object and row by row, before it takes their place.

mod dump;
mod error;
mod made;
pub(crate) mod replace;
mod rollback;
pub(crate) mod script;
pub(crate) mod seal;

use std::collections::BTreeMap;
use std::path::PathBuf;

use liftlock_model::MigrationId;
use liftlock_postgres::Programs;
use serde::Serialize;

use crate::check::{compare, directory_of};
use crate::database::Database;
use crate::failure::Failure;
use crate::files::{FilesError, Migration, Migrations, Script, read_script};
use crate::history;
use crate::schema::Schema;
use crate::shadow::TrialError;
use crate::shadow::reach::beyond_database;
pub(crate) use dump::{Dump as Dumped, Known, of as dump_of};
use dump::{Dump, dump};
pub use error::SquashError;
use made::{Made, Trial};
use replace::Replacement;
pub use rollback::WayBack;
pub(crate) use rollback::{New, Proven, ways};
pub use seal::Seal;

/// The name of a squash.
const NAME: &str = "squash";
/// Where what a squash replaces is kept, within the directory.
const KEPT: &str = "squashed";

/// What to squash, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Squash {
    /// The newest migration to go into it.
    pub to: i32,
    /// SQL that comes first, for what all databases of a server share, which no dump has.
    pub prelude: Option<String>,
    /// Whether values may be kept that are others each time the migrations run.
    pub freeze: bool,
    /// Whether the files that it stands for are removed, not moved to `squashed`.
    pub delete: bool,
    /// Whether nothing is written.
    pub dry_run: bool,
}

/// What came of squashing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Squashed {
    /// The squash.
    pub id: MigrationId,
    /// What it stands for.
    pub replaces: Vec<MigrationId>,
    /// Its files.
    pub files: Vec<PathBuf>,
    /// Whether they are in place; else this was a dry-run.
    pub written: bool,
    /// Where the files are that it stands for; none if they are not kept.
    pub kept_in: Option<PathBuf>,
    /// Where it was proven to make the same.
    pub proven_on: String,
    /// How many objects are the same.
    pub objects: usize,
    /// The rows that it writes, as the migrations did, by table.
    pub rows: BTreeMap<String, u64>,
    /// How many statements it has.
    pub statements: usize,
    /// How it is taken back.
    pub way_back: WayBack,
    /// What people should know.
    pub notes: Vec<String>,
}

impl Squash {
    /// Finishes a squash that was cut off in this directory. Gives the files that are in place then; none if nothing was cut off.
    ///
    /// # Errors
    /// If the files cannot be moved; nothing is lost, and it can be finished later.
    pub fn finish(directory: &std::path::Path) -> Result<Option<Vec<PathBuf>>, SquashError> {
        replace::finish(directory)
            .map_err(|source| SquashError::File { path: directory.to_owned(), source })
    }
}

impl Database {
    /// Makes one migration of those up to a number, and puts it in their place, once it is proven on empty databases beside this
    /// one that it makes the same schema and the same rows. This database is only read.
    ///
    /// # Errors
    /// [`SquashError`]; the files are as they were.
    pub async fn squash(
        &mut self,
        migrations: &Migrations,
        ask: &Squash,
    ) -> Result<Squashed, SquashError> {
        let plan = Plan::of(migrations, ask)?;
        let mut notes = self.stands(migrations, &plan).await?;
        let scripts: Vec<&Script> = plan.replaced.iter().map(|one| &one.up).collect();
        let mut made = self.make(migrations, ask.to, &scripts).await?;
        made.has_no_large_objects()?;
        if made.has_rows() && !ask.freeze {
            // What is another each time that it is made must not be the same for all from now on.
            let again = self.make(migrations, ask.to, &scripts).await?;
            made.is_made_alike(&again)?;
        }
        let programs = Programs::find().map_err(TrialError::from)?;
        let everything = dump(&mut made, &programs).await?;
        let new = New {
            id: &plan.id,
            stem: &plan.stem,
            up: plan.up(ask, &everything),
            head: plan.head("Takes back, all at once,"),
            ways: ways(&everything.drops, &plan.replaced),
        };
        let proven = new.prove(self, |squashed| same(&made, squashed)).await?;
        notes.extend(made.shadow_notes());
        let mut squashed = Squashed {
            id: plan.id.clone(),
            replaces: plan.replaced.iter().map(|one| one.id.clone()).collect(),
            files: proven.files.keys().map(|name| migrations.directory().join(name)).collect(),
            written: false,
            kept_in: (!ask.delete).then(|| migrations.directory().join(plan.kept_in())),
            proven_on: proven.place,
            objects: made.schema.len(),
            rows: made.rows(),
            statements: everything.statements.len(),
            way_back: proven.way_back,
            notes,
        };
        if !ask.dry_run {
            let keep_in = (!ask.delete).then(|| plan.kept_in());
            let replacement = Replacement::new(proven.files, plan.old_files(), keep_in);
            let directory = migrations.directory();
            replacement
                .run(directory)
                .map_err(|source| SquashError::File { path: directory.to_owned(), source })?;
            squashed.written = true;
        }
        Ok(squashed)
    }

    /// What the migrations up to `to` make on an empty database.
    async fn make(
        &mut self,
        migrations: &Migrations,
        to: i32,
        scripts: &[&Script],
    ) -> Result<Made, SquashError> {
        let mut trial = Trial::open(self, scripts).await?;
        let applied = trial.apply(migrations, Some(to)).await;
        applied.map_err(|error| SquashError::Migrations(Box::new(error)))?;
        Ok(trial.look().await?)
    }

    /// What this database says to being squashed.
    async fn stands(
        &mut self,
        migrations: &Migrations,
        plan: &Plan<'_>,
    ) -> Result<Vec<String>, SquashError> {
        let database = self.address.place.clone();
        let applied = history::applied(&mut self.connection).await;
        let applied = applied.map_err(|error| Failure::database(&database, &error))?;
        let problems = compare(migrations, &applied).problems;
        if !problems.is_empty() {
            return Err(Failure::Refused { database, problems }.into());
        }
        let newest = applied.last().map_or(0, |one| one.version);
        let between = newest > 0 && newest < plan.id.version;
        Ok(between
            .then(|| {
                format!(
                    "{database} is at V{newest:04} and must have all up to V{:04} before it goes on with {}",
                    plan.id.version, plan.id
                )
            })
            .into_iter()
            .collect())
    }
}

/// What becomes what.
pub(crate) struct Plan<'a> {
    pub(crate) id: MigrationId,
    /// The stem of its files.
    pub(crate) stem: String,
    pub(crate) replaced: Vec<&'a Migration>,
    pub(crate) seals: Vec<Seal>,
}

impl<'a> Plan<'a> {
    fn of(migrations: &'a Migrations, ask: &Squash) -> Result<Self, SquashError> {
        let to = ask.to;
        let replaced: Vec<&Migration> =
            migrations.all().iter().filter(|one| one.id.version <= to).collect();
        let Some(last) = replaced.last().filter(|last| last.id.version == to) else {
            return Err(Failure::NoSuchVersion {
                wanted: to,
                latest: migrations.latest().unwrap_or(0),
            }
            .into());
        };
        if let [only] = replaced[..] {
            return Err(SquashError::Nothing { id: only.id.clone() });
        }
        let digits =
            last.up.file.split_once("__").map_or(last.up.file.as_str(), |(digits, _)| digits);
        let stem = format!("{digits}__{NAME}");
        let file = format!("{stem}.sql");
        if replaced.iter().any(|one| one.up.file == file) {
            return Err(SquashError::Name { file });
        }
        shared(&replaced, ask)?;
        let id = MigrationId { version: to, name: NAME.into() };
        Ok(Self { id, stem, seals: seals(migrations, replaced.len()), replaced })
    }

    fn kept_in(&self) -> String {
        format!("{KEPT}/{}", directory_of(&self.id))
    }

    /// The names of the files that it stands for.
    fn old_files(&self) -> Vec<String> {
        let files = self.replaced.iter().flat_map(|one| {
            [Some(&one.up), Some(&one.rollback), one.verify.as_ref()].into_iter().flatten()
        });
        files.map(|script| script.file.clone()).collect()
    }

    /// The comments that both scripts begin with.
    fn head(&self, says: &str) -> String {
        let first = &self.replaced[0].id;
        let last = &self.replaced[self.replaced.len() - 1].id;
        let mut head = format!("-- {says} {first} to {last}, by `migrate squash`.\n");
        for seal in &self.seals {
            head.push_str(&format!("-- migrate: {seal}\n"));
        }
        head
    }

    fn up(&self, ask: &Squash, everything: &Dump) -> String {
        let prelude = ask.prelude.as_ref().map(|text| format!("\n{}\n", text.trim_end()));
        format!(
            "{}-- A database that has these has this. What they make, proven to be the same:\n{}\n{}{}",
            self.head("Stands for"),
            prelude.unwrap_or_default(),
            script::SETTINGS,
            script::text(&everything.statements)
        )
    }
}

/// The histories that a squash of the first `count` stands for.
fn seals(migrations: &Migrations, count: usize) -> Vec<Seal> {
    let replaced = &migrations.all()[..count];
    let Some((first, rest)) = replaced.split_first() else { return Vec::new() };
    let older = first.seals().iter().map(|seal| seal.and(rest));
    older.chain(Seal::of(replaced)).collect()
}

/// What the migrations do beyond their database is in no dump of it.
fn shared(replaced: &[&Migration], ask: &Squash) -> Result<(), SquashError> {
    if let Some(prelude) = &ask.prelude {
        let checked = read_script("the prelude", prelude.clone().into_bytes());
        return checked
            .map(drop)
            .map_err(|problems| FilesError { directory: PathBuf::new(), problems }.into());
    }
    let beyond = |one: &&Migration| {
        beyond_database(&one.up.sql).map(|what| format!("{} has `{what}`", one.up.file))
    };
    // An older squash has nothing of that but for its own prelude, which would be lost all the same.
    let found: Vec<String> = replaced.iter().filter_map(beyond).collect();
    if found.is_empty() { Ok(()) } else { Err(SquashError::Shared { found }) }
}

/// Whether the squash makes what the migrations make.
fn same(made: &Made, squashed: &Made) -> Result<(), SquashError> {
    let difference = Schema::compare(&made.schema, &squashed.schema);
    let rows = made.rows_unlike(squashed);
    if difference.is_empty() && rows.is_empty() {
        return Ok(());
    }
    Err(SquashError::Differs { difference: Box::new(difference), rows })
}
