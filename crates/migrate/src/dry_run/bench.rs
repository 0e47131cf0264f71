//! The shadow at work: each migration up, its rollback, and up again.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use liftlock_model::Phase;

use super::DryRunError;
use super::breaks::{Break, breaks, newly, origins};
use super::findings;
use super::losses::{Holdings, Loss, losses};
use super::recorder::{Recorder, ScriptTrace};
use super::statement::{StatementTrial, strongest};
use super::surface::Surface;
use super::trial::{Again, Trial, Verdict};
use crate::database::Database;
use crate::failure::{Failure, ScriptError, reason};
use crate::files::{Migration, Migrations, Script};
use crate::finding::Finding;
use crate::schema::{Difference, ObjectChange, Reader, Schema};
use crate::shadow::need::{Name, names};
use crate::shadow::sizes::{self, Sizes, null_fraction};
use crate::shadow::{Copied, Dump, Shadow, TrialError};

/// What `RAISE EXCEPTION` and `ASSERT` give, unless they say otherwise.
const RAISED: [&str; 2] = ["P0001", "P0004"];

/// A copy and a connection to it.
struct Stage {
    /// Dropped after the connection.
    database: Database,
    shadow: Shadow,
}

impl Stage {
    async fn open(
        target: &mut Database,
        scripts: &[&Script],
        dump: Option<Dump>,
        needed: bool,
    ) -> Result<Self, DryRunError> {
        let shadow = Shadow::like(target, scripts, dump, needed).await?;
        let database = Database::connect(&shadow.url, target.settings.on_a_copy()).await?;
        Ok(Self { database, shadow })
    }

    /// How large its tables are where they have rows.
    async fn sizes(&mut self, target: &mut Database) -> Result<Sizes, DryRunError> {
        let tables = match self.shadow.dump.as_ref().and_then(Dump::part) {
            None => None,
            Some(_) => {
                let read = sizes::tables(&mut self.database.connection).await;
                Some(read.map_err(|error| failed(&self.database.address.place, &error))?)
            }
        };
        let sizes = sizes::read(&mut target.connection, tables.as_deref()).await;
        sizes.map_err(|error| failed(&target.address.place, &error))
    }

    /// Names that something has, where it matters.
    async fn names(&mut self) -> Result<HashSet<Name>, DryRunError> {
        if self.shadow.dump.as_ref().and_then(Dump::part).is_none() {
            return Ok(HashSet::new());
        }
        let read = names(&mut self.database.connection).await;
        read.map_err(|error| failed(&self.database.address.place, &error))
    }
}

/// The shadow at work.
pub(super) struct Bench<'a> {
    target: &'a mut Database,
    migrations: &'a Migrations,
    scripts: Vec<&'a Script>,
    stage: Stage,
    reader: Reader,
    schema: Schema,
    surface: Surface,
    /// What the running version can name.
    base: Surface,
    origins: BTreeMap<i64, String>,
    pub(super) sizes: Sizes,
    /// What it cannot live with any more, so far.
    broken: Vec<Break>,
    pub(super) findings: Vec<Finding>,
    /// How much of the schema the copy has, if it was asked for less than all.
    pub(super) copied: Option<Copied>,
    /// Names that the copy of a part had at the beginning.
    names: HashSet<Name>,
}

impl<'a> Bench<'a> {
    pub(super) async fn open(
        target: &'a mut Database,
        migrations: &'a Migrations,
        pending: &[&'a Migration],
        needed: bool,
    ) -> Result<Self, DryRunError> {
        let scripts = pending
            .iter()
            .flat_map(|one| [Some(&one.up), Some(&one.rollback), one.verify.as_ref()]);
        let scripts: Vec<&Script> = scripts.flatten().collect();
        let mut stage = Stage::open(target, &scripts, None, needed).await?;
        let sizes = stage.sizes(target).await?;
        let (reader, base) = look(&mut stage.database).await?;
        let names = stage.names().await?;
        Ok(Self {
            copied: stage.shadow.copied.clone(),
            names,
            target,
            migrations,
            scripts,
            stage,
            schema: reader.schema(),
            reader,
            surface: base.clone(),
            origins: origins(&base),
            base,
            sizes,
            broken: Vec::new(),
            findings: Vec::new(),
        })
    }

    pub(super) fn shadow(&self) -> &Shadow {
        &self.stage.shadow
    }

    /// Up, down, up. The second value says whether the next one can be tried.
    pub(super) async fn try_one(
        &mut self,
        migration: &Migration,
    ) -> Result<(Trial, bool), DryRunError> {
        let mut trial = Trial::of(migration);
        let (before, surface_before) = (self.schema.clone(), self.surface.clone());
        let start = Instant::now();
        let worked = self.up(migration, true, false).await;
        trial.milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let traces = match worked {
            Ok(traces) => traces,
            Err(failure) => {
                trial.failure = Some(failure.to_string());
                self.findings.push(findings::failed(migration, &failure));
                return Ok((trial, false));
            }
        };
        let up_rows = traces.first().map(|trace| trace.statements.clone()).unwrap_or_default();
        trial.statements = traces.into_iter().flat_map(|trace| trace.statements).collect();
        trial.locks = strongest(trial.statements.iter().flat_map(|statement| &statement.locks));
        trial.verified = migration.verify.is_some();
        self.look().await?;
        trial.schema_change = Schema::compare(&before, &self.schema).to_string();
        trial.loses = losses(&surface_before, &self.surface, &self.holdings());
        self.count_values(&mut trial.loses).await?;
        let now = breaks(&self.base, &self.surface);
        let newly_broken = newly(&self.broken, &now);
        self.broken = now;
        let goes_on =
            self.down_and_up(migration, &mut trial, &before, &up_rows, &newly_broken).await?;
        Ok((trial, goes_on))
    }

    /// The rollback, and the migration again.
    async fn down_and_up(
        &mut self,
        migration: &Migration,
        trial: &mut Trial,
        before: &Schema,
        up: &[StatementTrial],
        broken: &[Break],
    ) -> Result<bool, DryRunError> {
        let (up_schema, up_surface) = (self.schema.clone(), self.surface.clone());
        let expand = migration.phase() == Phase::Expand;
        let broken: &[Break] = if expand { broken } else { &[] };
        let rolled_back = self.down(migration).await;
        match rolled_back {
            Err(failure) => {
                trial.rollback = verdict_of(&failure);
                self.tell(migration, trial, Some(&failure), up, broken, &[]);
                return Ok(true);
            }
            Ok(traces) => {
                trial.rollback_statements =
                    traces.into_iter().flat_map(|trace| trace.statements).collect();
            }
        }
        self.look().await?;
        trial.rollback_loses = losses(&up_surface, &self.surface, &self.holdings());
        let left = Schema::compare(before, &self.schema);
        let moved = up_schema != self.schema;
        trial.rollback = verdict(&left, moved, up, &trial.rollback_statements);
        let again = self.up(migration, !broken.is_empty(), true).await;
        let mut watched = Vec::new();
        match again {
            Ok(traces) => {
                watched =
                    traces.into_iter().next().map(|trace| trace.statements).unwrap_or_default();
                self.look().await?;
                let difference = Schema::compare(&up_schema, &self.schema);
                trial.again = if difference.is_empty() || difference.only_column_order() {
                    Again::Same
                } else {
                    Again::Differs { difference: difference.to_string() }
                };
            }
            Err(failure) => trial.again = Again::Fails { message: failure.to_string() },
        }
        self.tell(migration, trial, None, up, broken, &watched);
        if trial.again == Again::Same {
            return Ok(true);
        }
        self.begin_anew(migration).await
    }

    /// What follows is tried on a copy that has this migration once, as the database will.
    async fn begin_anew(&mut self, migration: &Migration) -> Result<bool, DryRunError> {
        let dump = self.stage.shadow.dump.take();
        self.stage = Stage::open(self.target, &self.scripts, dump, false).await?;
        let worked = self.up(migration, false, false).await;
        (self.reader, self.surface) = look(&mut self.stage.database).await?;
        self.schema = self.reader.schema();
        self.origins = BTreeMap::new();
        Ok(worked.is_ok())
    }

    /// All again, on a copy of the whole schema.
    pub(super) async fn begin_whole(&mut self, why: String) -> Result<(), DryRunError> {
        let dump = self.stage.shadow.dump.take().map(Dump::whole);
        self.stage = Stage::open(self.target, &self.scripts, dump, false).await?;
        (self.reader, self.base) = look(&mut self.stage.database).await?;
        self.schema = self.reader.schema();
        self.surface = self.base.clone();
        self.origins = origins(&self.base);
        self.sizes = self.stage.sizes(self.target).await?;
        self.copied = self.copied.take().map(|copied| copied.all_since(why));
        self.broken.clear();
        self.findings.clear();
        Ok(())
    }

    /// Why what was seen may be other on a whole copy: it failed, or got a name that is taken there.
    pub(super) async fn doubt(&mut self, trial: &Trial) -> Result<Option<String>, DryRunError> {
        let Some(part) = self.stage.shadow.dump.as_ref().and_then(Dump::part) else {
            return Ok(None);
        };
        let failed_script = match (&trial.rollback, &trial.again) {
            (Verdict::CannotRun { .. } | Verdict::Refuses { .. }, _) => Some("the rollback"),
            (_, Again::Fails { .. }) => Some("the second run"),
            _ => trial.failure.as_ref().map(|_| "the first run"),
        };
        if let Some(script) = failed_script {
            return Ok(Some(format!("{script} of {} failed on a copy of a part", trial.file)));
        }
        let database = &mut self.stage.database;
        let clash = part.clash(&mut database.connection, &self.names).await;
        let clash = clash.map_err(|error| failed(&database.address.place, &error))?;
        Ok(clash.map(|name| format!("{} makes {name}, a name that is taken", trial.file)))
    }

    fn tell(
        &mut self,
        migration: &Migration,
        trial: &Trial,
        failure: Option<&Failure>,
        up: &[StatementTrial],
        broken: &[Break],
        watched: &[StatementTrial],
    ) {
        let told = findings::of_trial(migration, trial, failure, &self.sizes);
        self.findings.extend(told);
        let places =
            findings::blame(&self.base, broken, if watched.is_empty() { up } else { watched });
        self.findings.extend(findings::broken(
            migration,
            broken,
            &places,
            self.target.settings.lint.binds(),
        ));
    }

    async fn up(
        &mut self,
        migration: &Migration,
        record: bool,
        watch: bool,
    ) -> Result<Vec<ScriptTrace>, Failure> {
        let database = &mut self.stage.database;
        database.recorder = record.then(|| Recorder::new(watch));
        let to = Some(migration.id.version);
        let applied = database.apply(self.migrations, to, &mut |_| {}).await;
        let traces = database.recorder.take().map(Recorder::into_scripts);
        applied.map(|_| traces.unwrap_or_default()).map_err(|error| error.failure)
    }

    async fn down(&mut self, migration: &Migration) -> Result<Vec<ScriptTrace>, Failure> {
        let database = &mut self.stage.database;
        database.recorder = Some(Recorder::new(false));
        let rolled_back = database.rollback(migration.before(), true, &mut |_| {}).await;
        let traces = database.recorder.take().map(Recorder::into_scripts);
        rolled_back.map(|_| traces.unwrap_or_default()).map_err(|error| error.failure)
    }

    /// Reads what changed.
    async fn look(&mut self) -> Result<(), DryRunError> {
        let database = &mut self.stage.database;
        let connection = &mut database.connection;
        let read = async {
            let seen = self.reader.see(connection).await?;
            let surface = std::mem::take(&mut self.surface);
            self.surface = surface.again(connection, &seen, self.reader.repeated()).await?;
            self.schema = self.reader.schema();
            if cfg!(debug_assertions) {
                assert_eq!(self.schema, Schema::read(connection).await?, "read in parts");
                assert_eq!(self.surface, Surface::read(connection).await?, "read in parts");
            }
            Ok(())
        };
        let read: Result<(), sqlx::Error> = read.await;
        read.map_err(|error| failed(&database.address.place, &error))
    }

    /// Asks the database itself how many rows hold a value of the columns that go.
    async fn count_values(&mut self, losses: &mut [Loss]) -> Result<(), DryRunError> {
        for loss in losses {
            let Some((table, column)) = &loss.column else { continue };
            let asked = null_fraction(&mut self.target.connection, table, column).await;
            let database = &self.target.address.place;
            let fraction = asked.map_err(|error| failed(database, &error))?;
            fraction.into_iter().for_each(|fraction| loss.with_null_fraction(fraction));
        }
        Ok(())
    }

    fn holdings(&self) -> Holdings<'_> {
        Holdings { base: &self.base, origins: &self.origins, sizes: &self.sizes }
    }
}

fn failed(database: &str, error: &sqlx::Error) -> DryRunError {
    TrialError::Database { database: database.to_owned(), reason: reason(error) }.into()
}

async fn look(database: &mut Database) -> Result<(Reader, Surface), DryRunError> {
    let connection = &mut database.connection;
    let read = async { Ok((Reader::open(connection).await?, Surface::read(connection).await?)) };
    let read: Result<_, sqlx::Error> = read.await;
    read.map_err(|error| failed(&database.address.place, &error))
}

fn verdict_of(failure: &Failure) -> Verdict {
    let message = failure.to_string();
    match failure {
        Failure::Script { source: ScriptError::Sql { code, .. }, .. }
            if RAISED.contains(&code.as_str()) =>
        {
            Verdict::Refuses { message }
        }
        _ => Verdict::CannotRun { message },
    }
}

/// What a rollback that ran did. On tables without rows, what would write rows is told by its lock.
fn verdict(
    left: &Difference,
    moved: bool,
    up: &[StatementTrial],
    rollback: &[StatementTrial],
) -> Verdict {
    let writes = |all: &[StatementTrial]| {
        all.iter()
            .any(|one| !(one.rows.is_empty() && one.written.is_empty() && one.emptied.is_empty()))
    };
    let did_something = !left.is_empty() || writes(up);
    let difference = left.to_string();
    match () {
        () if did_something && !moved && !writes(rollback) => Verdict::DoesNothing,
        () if left.is_empty() => Verdict::Exact,
        () if left.only_column_order() => Verdict::ColumnOrder { difference },
        () => {
            let object = |one: &ObjectChange| format!("{} {} ({})", one.kind, one.name, one.change);
            let objects = left.objects().iter().map(object).collect();
            Verdict::Leaves { objects, difference }
        }
    }
}
