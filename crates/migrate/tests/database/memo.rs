//! A large directory of migrations, which is not read again when nothing in it has changed.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use liftlock_migrate::commands::{Desk, Failed, Need};
use liftlock_migrate::{Database, Migrations, Progress, Settings};
use liftlock_testkit::TestDatabase;
use secrecy::{ExposeSecret as _, SecretString};

use crate::support::{Files, apply, connect, execute, quiet, session, settings};

/// Migrations, each with a rollback script: enough files to be worth a note.
const MANY: usize = 500;

struct Table<'a> {
    files: &'a Files,
    database: &'a TestDatabase,
    notes: PathBuf,
}

#[async_trait]
impl Desk for Table<'_> {
    fn directory(&self) -> &Path {
        self.files.path()
    }
    fn settings(&self) -> Result<Settings, Failed> {
        Ok(settings())
    }
    async fn url(&self) -> Result<SecretString, Failed> {
        Ok(self.database.url().expose_secret().to_owned().into())
    }
    fn notes(&self) -> Option<PathBuf> {
        Some(self.notes.clone())
    }
    fn advice(&self, words: &str) -> String {
        words.to_owned()
    }
    fn say(&self, _: &str) {}
    fn hear(&self, _: Option<&str>, _: &Progress) {}
    fn annotate(&self, _: &str) {}
}

impl Table<'_> {
    /// The files, if they had to be read.
    async fn look(&self) -> (Option<Migrations>, Database) {
        (self as &dyn Desk).read_and_connect(settings(), Need::Difference).await.unwrap()
    }

    /// Looks until there is a note: the files must have stood still for a moment.
    async fn look_until_noted(&self) {
        while std::fs::read_dir(&self.notes).map_or(0, Iterator::count) == 0 {
            assert!(self.look().await.0.is_some());
        }
    }
}

/// Shows C-MIG-1 and C-MIG-3: with nothing to do, files that stand as they stood are not read again; a file that was changed is found,
/// whatever its size and its time say, and so is a database that has less.
#[tokio::test]
async fn files_that_stand_as_they_stood_are_not_read_again() {
    let Some(database) = TestDatabase::new().await else { return };
    let names: Vec<String> = (1..=MANY).map(|n| format!("V{n:04}__step")).collect();
    let migrations: Vec<(&str, &str, &str)> =
        names.iter().map(|name| (name.as_str(), "select 1", "select 'nothing to do'")).collect();
    let files = Files::new(&migrations);
    assert_eq!(apply(&database, &files).await.len(), MANY);
    let notes = tempfile::tempdir().unwrap();
    let table = Table { files: &files, database: &database, notes: notes.path().join("a/b") };
    std::fs::create_dir(files.path().join("squashed")).unwrap();
    table.look_until_noted().await;
    // The first look knows the files again, the next ones also what the database says.
    for _ in 0..3 {
        assert!(table.look().await.0.is_none(), "nothing was read");
    }

    let change =
        "update liftlock_schema_history set up_sha256 = reverse(up_sha256) where version = 7";
    for is_well in [false, true] {
        execute(&mut session(database.url()).await, change).await;
        assert_eq!(table.look().await.0.is_none(), is_well, "what the history says was changed");
    }

    connect(&database)
        .await
        .rollback(liftlock_migrate::To::Steps(1), true, &mut quiet)
        .await
        .unwrap();
    let (read, mut behind) = table.look().await;
    assert_eq!(behind.apply(&read.unwrap(), None, &mut quiet).await.unwrap().len(), 1);
    assert!(table.look().await.0.is_none());

    let changed = files.path().join("V0007__step.sql");
    let time = std::fs::metadata(&changed).unwrap().modified().unwrap();
    std::fs::write(&changed, "select 2").unwrap();
    std::fs::File::open(&changed).unwrap().set_modified(time).unwrap();
    for _ in 0..2 {
        let (read, mut database) = table.look().await;
        let refused =
            database.apply(&read.unwrap(), None, &mut quiet).await.unwrap_err().to_string();
        assert!(refused.contains("V0007__step"), "{refused}");
    }
}
