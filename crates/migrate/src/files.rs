//! Migrations as files: `V0001__name.sql`, `V0001__name.rollback.sql` and, if wanted, `V0001__name.verify.sql`.

mod disk;
mod outline;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use liftlock_model::{ArtifactHash, MigrationChecksum, MigrationId, MigrationStamp, Phase};

use self::disk::Looked;
pub(crate) use self::outline::outline;
use crate::directive::Directives;
use crate::script::{Inspection, Statement, inspect};
use crate::squash::replace;
use crate::squash::seal::Seal;

/// The longest name that refinery's history table holds.
pub(crate) const LONGEST_NAME: usize = 255;

/// One SQL file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The file's name.
    pub file: String,
    /// Its text.
    pub sql: String,
    /// The SHA-256 of its text.
    pub sha256: ArtifactHash,
    /// Its statements, in order.
    pub(crate) statements: Vec<Statement>,
    /// What its comments ask for.
    pub directives: Directives,
}

impl Script {
    /// The script that a database keeps under this name. It was checked before it was kept.
    pub(crate) fn kept(file: String, sql: String) -> Self {
        let inspection = inspect(&sql);
        let directives = Directives::read(&inspection).unwrap_or_default();
        let sha256 = ArtifactHash::of(sql.as_bytes());
        Self { file, sha256, statements: inspection.statements, directives, sql }
    }
}

/// A migration with its scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Its number and name.
    pub id: MigrationId,
    /// Makes the change.
    pub up: Script,
    /// Takes it back.
    pub rollback: Script,
    /// Looks, in the same transaction, whether the change is what it was meant to be.
    pub verify: Option<Script>,
}

impl Migration {
    /// When it runs.
    pub fn phase(&self) -> Phase {
        self.up.directives.phase
    }

    /// The histories that it stands for; none if it is no squash.
    pub(crate) fn seals(&self) -> &[Seal] {
        &self.up.directives.squashes
    }

    /// The newest migration that stays when this one is rolled back; 0 for none.
    pub(crate) fn before(&self) -> i32 {
        let first = self.seals().iter().map(|seal| seal.from).min();
        first.unwrap_or(self.id.version) - 1
    }

    /// What a release keeps of it.
    pub fn stamp(&self) -> MigrationStamp {
        MigrationStamp { id: self.id.clone(), checksum: self.checksum(), phase: self.phase() }
    }

    fn scripts(&self) -> impl Iterator<Item = &Script> {
        [&self.up, &self.rollback].into_iter().chain(&self.verify)
    }

    pub(crate) fn checksum(&self) -> MigrationChecksum {
        MigrationChecksum {
            up: self.up.sha256.to_string(),
            rollback: self.rollback.sha256.to_string(),
        }
    }
}

/// A directory's migrations, complete and in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrations {
    directory: PathBuf,
    all: Vec<Migration>,
}

/// What is wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileProblem {
    /// The file's name.
    pub file: String,
    /// The line, where the problem has one. The first line is 1.
    pub line: Option<usize>,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.problem),
            None => write!(f, "{}: {}", self.file, self.problem),
        }
    }
}

/// Everything that is wrong with a directory of migrations. Nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the migrations in {} cannot be used:{}", directory.display(), listed(.problems))]
pub struct FilesError {
    /// The directory.
    pub directory: PathBuf,
    /// Its problems, by file.
    pub problems: Vec<FileProblem>,
}

fn listed(problems: &[FileProblem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

impl Migrations {
    /// Reads a directory and checks it whole.
    ///
    /// # Errors
    /// All problems at once: a missing rollback script, a gap, a number twice, a bad name, a text that is not UTF-8, an
    /// empty script, a link out of the directory, a rollback or verify script without its migration, a statement that would
    /// end the migration's transaction.
    pub fn read(directory: &Path) -> Result<Self, FilesError> {
        let mut problems = Vec::new();
        if let Some(problem) = replace::cut_off(directory) {
            return Err(FilesError { directory: directory.to_owned(), problems: vec![problem] });
        }
        let mut found = Found::default();
        for looked in disk::read(directory) {
            problems.extend(looked.problems);
            found.add(looked.found);
        }
        found.add_unreadable(&problems);
        let all = found.into_migrations(&mut problems);
        problems.sort();
        if !problems.is_empty() {
            return Err(FilesError { directory: directory.to_owned(), problems });
        }
        Ok(Self { directory: directory.to_owned(), all })
    }

    /// The migrations, in order of their numbers.
    pub fn all(&self) -> &[Migration] {
        &self.all
    }

    /// The first migration that must not run while a version serves that knows the migrations up to `known`: the oldest of the
    /// contract phase among those that are newer. What is newer than that waits with it, since migrations run in order.
    pub fn waits(&self, known: i32) -> Option<&Migration> {
        let newer = self.all.iter().filter(|migration| migration.id.version > known);
        newer.into_iter().find(|migration| migration.phase() == Phase::Contract)
    }

    /// What a release keeps of them.
    pub fn stamps(&self) -> Vec<MigrationStamp> {
        self.all.iter().map(Migration::stamp).collect()
    }

    /// The squash that they begin with, if they begin with one.
    pub(crate) fn squash(&self) -> Option<&Migration> {
        self.all.first().filter(|first| !first.seals().is_empty())
    }

    /// The newest number; none if there are no migrations.
    pub fn latest(&self) -> Option<i32> {
        self.all.last().map(|migration| migration.id.version)
    }

    /// The directory that they were read from.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The files that they are made of, by name, to be archived with a release: [`Migrations::read`] of a directory with
    /// just these files gives the same migrations.
    pub fn archive(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let scripts = self.all.iter().flat_map(Migration::scripts);
        scripts.map(|script| (PathBuf::from(&script.file), script.sql.clone().into())).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Up,
    Rollback,
    Verify,
}

/// Reads `V0041__add_orders.rollback.sql`.
fn parse_name(file: &str) -> Result<(MigrationId, Kind), String> {
    const FORM: &str = "expected V0001__name.sql, V0001__name.rollback.sql or V0001__name.verify.sql, the name of letters, \
                        digits and `_`";
    if file.starts_with('U') {
        return Err(format!("unversioned migrations (`U…`) have no place in an order: {FORM}"));
    }
    let stem = file.strip_suffix(".sql").ok_or(FORM)?;
    let (stem, kind) = match stem.rsplit_once('.') {
        None => (stem, Kind::Up),
        Some((stem, "rollback")) => (stem, Kind::Rollback),
        Some((stem, "verify")) => (stem, Kind::Verify),
        Some((_, other)) => return Err(format!("`.{other}.sql` is no kind of script: {FORM}")),
    };
    let (number, name) =
        stem.strip_prefix('V').and_then(|rest| rest.split_once("__")).ok_or(FORM)?;
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let fine = !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(word);
    if !fine {
        return Err(FORM.into());
    }
    if name.len() > LONGEST_NAME {
        return Err(format!("the name is longer than {LONGEST_NAME} characters"));
    }
    let version =
        number.parse::<i32>().map_err(|_| format!("the number is larger than {}", i32::MAX))?;
    if version == 0 {
        return Err("numbers begin with 1".into());
    }
    Ok((MigrationId { version, name: name.to_owned() }, kind))
}

/// Why these bytes cannot be a script; else the script.
pub(crate) fn read_script(file: &str, bytes: Vec<u8>) -> Result<Script, Vec<FileProblem>> {
    let one = |line, problem: &str| {
        vec![FileProblem { file: file.to_owned(), line, problem: problem.to_owned() }]
    };
    let sha256 = ArtifactHash::of(&bytes);
    let sql = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        one(Some(line), "it is not UTF-8: save the file in that encoding")
    })?;
    if sql.starts_with('\u{feff}') {
        return Err(one(
            Some(1),
            "it begins with a byte order mark, which is no SQL: save the file without",
        ));
    }
    if let Some(before) = sql.find('\0') {
        let line = 1 + sql[..before].matches('\n').count();
        return Err(one(Some(line), "it holds a NUL byte, which PostgreSQL cannot read"));
    }
    let inspection = inspect(&sql);
    let directives = Directives::read(&inspection);
    let Inspection { statements, mut problems, .. } = inspection;
    problems.extend(directives.as_ref().err().into_iter().flatten().cloned());
    if !problems.is_empty() {
        let problems = problems.into_iter();
        return Err(problems.flat_map(|(line, problem)| one(Some(line), &problem)).collect());
    }
    if statements.is_empty() {
        return Err(one(
            None,
            "it holds no statement; where there is truly nothing to do, say why: `select 'nothing to do: …';`",
        ));
    }
    let directives = directives.unwrap_or_default();
    Ok(Script { file: file.to_owned(), sql, sha256, statements, directives })
}

/// A file with a good name; its script, unless that is bad.
struct FoundFile {
    id: MigrationId,
    kind: Kind,
    file: String,
    script: Option<Script>,
}

/// What a file of this name and content is, and what is wrong with it.
fn look_at(file: &str, bytes: Vec<u8>) -> Looked {
    match parse_name(file) {
        Ok((id, kind)) => {
            let (script, problems) = match read_script(file, bytes) {
                Ok(script) => (Some(script), Vec::new()),
                Err(problems) => (None, problems),
            };
            let found = FoundFile { id, kind, file: file.to_owned(), script };
            Looked { found: Some(found), problems }
        }
        Err(problem) => {
            let problem = FileProblem { file: file.to_owned(), line: None, problem };
            Looked { found: None, problems: vec![problem] }
        }
    }
}

/// Files by number. Several may claim one place.
#[derive(Default)]
struct Found {
    by_version: BTreeMap<i32, Vec<FoundFile>>,
}

impl Found {
    fn add(&mut self, found: Option<FoundFile>) {
        if let Some(found) = found {
            self.by_version.entry(found.id.version).or_default().push(found);
        }
    }

    /// A file that cannot be read is there all the same: that others belong to it is not wrong.
    fn add_unreadable(&mut self, problems: &[FileProblem]) {
        for FileProblem { file, .. } in problems {
            let Ok((id, kind)) = parse_name(file) else { continue };
            let files = self.by_version.entry(id.version).or_default();
            if !files.iter().any(|found| found.file == *file) {
                files.push(FoundFile { id, kind, file: file.clone(), script: None });
            }
        }
    }

    /// The newest squash: its number and file.
    fn squash(&self) -> Option<(i32, String)> {
        let squashes = self.by_version.values().flatten().filter(|file| is_squash(file));
        squashes.map(|file| (file.id.version, file.file.clone())).max()
    }

    fn into_migrations(self, problems: &mut Vec<FileProblem>) -> Vec<Migration> {
        let mut all: Vec<Migration> = Vec::new();
        let squash = self.squash();
        let mut expected = 1;
        for (version, files) in self.by_version {
            if let Some((squash, by)) = squash.as_ref().filter(|(squash, _)| version < *squash) {
                let problem = format!(
                    "{by} stands for all up to V{squash:04}: move it away, or give it the next free number if it is a new one"
                );
                let told = |file: &FoundFile| FileProblem {
                    file: file.file.clone(),
                    line: None,
                    problem: problem.clone(),
                };
                problems.extend(files.iter().map(told));
                continue;
            }
            if files.iter().any(|found| found.kind == Kind::Up) {
                // A squash stands for all before it.
                let begins = squash.as_ref().is_some_and(|(squash, _)| *squash == version);
                if version != expected && !begins {
                    problems.push(gap(&files, expected, version));
                }
                expected = version.saturating_add(1);
            }
            let migration = one_migration(files, problems);
            if let Some(migration) = &migration
                && let Some(problem) = squash_problem(migration)
            {
                let file = migration.up.file.clone();
                problems.push(FileProblem { file, line: None, problem });
            }
            all.extend(migration);
        }
        all
    }
}

fn is_squash(file: &FoundFile) -> bool {
    let script = file.script.as_ref().filter(|_| file.kind == Kind::Up);
    script.is_some_and(|script| !script.directives.squashes.is_empty())
}

/// Why a squash cannot be one.
fn squash_problem(migration: &Migration) -> Option<String> {
    let (seals, back) = (migration.seals(), &migration.rollback.directives.squashes);
    let directives = &migration.up.directives;
    match () {
        () if seals.is_empty() && back.is_empty() => None,
        () if seals != back => Some(format!(
            "its `-- migrate: squashes …` comments must stand in {} too, as `migrate squash` wrote them",
            migration.rollback.file
        )),
        () if seals.iter().any(|seal| seal.to != migration.id.version)
            || seals.iter().all(|seal| seal.from != 1) =>
        {
            Some("its `-- migrate: squashes …` comments are for another number".into())
        }
        () if directives.no_transaction || directives.phase != Phase::Expand => {
            Some("a squash can be neither `no-transaction` nor `phase contract`".into())
        }
        () => None,
    }
}

fn gap(files: &[FoundFile], expected: i32, found: i32) -> FileProblem {
    let missing = if found - expected == 1 {
        format!("V{expected:04}")
    } else {
        format!("V{expected:04} to V{:04}", found - 1)
    };
    let problem =
        format!("{missing} is missing before it: numbers must follow each other without a gap");
    FileProblem { file: files[0].file.clone(), line: None, problem }
}

/// The migration that files of one number make; problems if they do not make one.
fn one_migration(files: Vec<FoundFile>, problems: &mut Vec<FileProblem>) -> Option<Migration> {
    let mut tell = |file: &str, problem: String| {
        problems.push(FileProblem { file: file.to_owned(), line: None, problem });
    };
    let ups: Vec<&String> = files.iter().filter(|f| f.kind == Kind::Up).map(|f| &f.file).collect();
    for other in ups.iter().skip(1) {
        tell(
            other,
            format!("{} has the same number: give one of them the next free number", ups[0]),
        );
    }
    let mut scripts: BTreeMap<Kind, Option<Script>> = BTreeMap::new();
    let mut up = None;
    let ids: Vec<MigrationId> =
        files.iter().filter(|f| f.kind == Kind::Up).map(|f| f.id.clone()).collect();
    for FoundFile { id, kind, file, script } in files {
        if kind == Kind::Up {
            up = Some((id, file.clone()));
        } else if !ids.contains(&id) {
            let migration = if ids.is_empty() { "is there" } else { "of the same name is there" };
            tell(&file, format!("no migration V{:04} {migration} that it belongs to", id.version));
            continue;
        }
        if scripts.insert(kind, script).is_some() && kind != Kind::Up {
            tell(&file, "there is another script of the same number, name and kind".into());
        }
    }
    let (id, file) = up?;
    let Some(rollback) = scripts.remove(&Kind::Rollback) else {
        let stem = file.strip_suffix(".sql").unwrap_or(&file);
        tell(
            &file,
            format!(
                "it has no rollback script: write {stem}.rollback.sql, which takes the change back"
            ),
        );
        return None;
    };
    let verify = scripts.remove(&Kind::Verify).unwrap_or_default();
    Some(Migration { id, up: scripts.remove(&Kind::Up)??, rollback: rollback?, verify })
}
