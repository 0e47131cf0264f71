//! Where commands work, and how they end.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use liftlock_model::Exit;
use secrecy::SecretString;
use serde_json::Value;

use crate::connect::ConnectErrorKind;
use crate::current::{Expected, Known};
use crate::database::Database;
use crate::files::{FilesError, Migrations, outline};
use crate::memo::{self, Memo, Note};
use crate::progress::Progress;
use crate::settings::Settings;

/// What a command has to say at its end, for people and for machines, and its exit code.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// For people.
    pub text: String,
    /// For machines.
    pub json: Value,
    /// The exit code.
    pub exit: Exit,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failed {
    /// For people.
    pub text: String,
    /// The exit code.
    pub exit: Exit,
}

impl Failed {
    /// A fault of the command line or of files: nothing was touched.
    pub fn usage(error: impl ToString) -> Self {
        Self { text: error.to_string(), exit: Exit::Usage }
    }

    /// A failure with its exit code.
    pub fn ended(error: impl ToString, exit: Exit) -> Self {
        Self { text: error.to_string(), exit }
    }
}

/// Where commands work: which migrations, which database, and who hears what happens.
#[async_trait]
pub trait Desk: Send + Sync {
    /// The directory of the migrations.
    fn directory(&self) -> &Path;
    /// How migrations run.
    ///
    /// # Errors
    /// If what was said of it makes no sense.
    fn settings(&self) -> Result<Settings, Failed>;
    /// The database's URL, read from where it is kept.
    ///
    /// # Errors
    /// If it is not there. The URL itself is in no error.
    async fn url(&self) -> Result<SecretString, Failed>;
    /// The directory of notes on large directories of migrations, which save looking into files that stand as they stood. None: each
    /// file is read each time.
    fn notes(&self) -> Option<PathBuf> {
        memo::notes()
    }
    /// Where that URL is kept, for people.
    fn origin(&self) -> Option<String> {
        None
    }
    /// What to type for another of the commands, such as `migrate check`.
    fn advice(&self, words: &str) -> String;
    /// Hears a sign of life.
    fn say(&self, text: &str);
    /// Hears what happens to migrations; in which database, where there are many.
    fn hear(&self, database: Option<&str>, progress: &Progress) {
        match database {
            Some(name) => self.say(&format!("{name}: {progress}")),
            None => self.say(&progress.to_string()),
        }
    }
    /// Hears an annotation for GitHub Actions, which must reach standard output or error as it is.
    fn annotate(&self, line: &str);
}

/// What a command must know of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// All of them, whatever the database has.
    Files,
    /// Nothing, if the database has what they hold.
    Difference,
}

/// What is known of a directory's files.
enum Files {
    /// They were read.
    Read(Migrations),
    /// They are as they were when they were read last, and a database that has them says this.
    Known(Memo, Note),
}

impl Files {
    /// Reads them, unless the `note` tells of them.
    fn look(directory: &Path, memo: Option<Memo>, note: Option<Note>) -> Result<Self, FilesError> {
        let Some(memo) = memo else { return Migrations::read(directory).map(Self::Read) };
        let outline = outline(directory).map(hex::encode);
        if let Some(note) = note.filter(|note| outline.as_ref() == Some(&note.outline)) {
            return Ok(Self::Known(memo, note));
        }
        let migrations = Migrations::read(directory)?;
        if let Some(outline) = outline {
            let known = Known { expected: Expected::of(&migrations), digest: None };
            memo.write(&Note { outline, known });
        }
        Ok(Self::Read(migrations))
    }
}

impl dyn Desk + '_ {
    /// The migrations' files.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn migrations(&self) -> Result<Migrations, Failed> {
        Migrations::read(self.directory()).map_err(Failed::usage)
    }

    /// The database.
    ///
    /// # Errors
    /// If it does not let us in.
    pub async fn connect(&self) -> Result<Database, Failed> {
        self.connect_with(self.settings()?).await
    }

    /// The database, with settings of one command.
    ///
    /// # Errors
    /// If it does not let us in.
    pub async fn connect_with(&self, settings: Settings) -> Result<Database, Failed> {
        let url = self.url().await?;
        Database::connect(&url, settings).await.map_err(|error| {
            let exit = match error.kind() {
                ConnectErrorKind::Authentication => Exit::Authentication,
                ConnectErrorKind::Configuration => Exit::Usage,
                ConnectErrorKind::Unreachable => Exit::Failed,
            };
            let origin = self.origin();
            let next = origin.map(|at| format!("\n  next: look at {at}, where its URL comes from"));
            Failed::ended(format!("{error}{}", next.unwrap_or_default()), exit)
        })
    }

    /// The migrations' files, and the database with what it says of them already read, both at one time: there may be
    /// thousands of files. No files if the database is known to have what they hold, and that is all there is `need` to know. If
    /// both fail, the files are told.
    ///
    /// # Errors
    /// Everything that is wrong with the files; else, if the database does not let us in.
    pub async fn read_and_connect(
        &self,
        settings: Settings,
        need: Need,
    ) -> Result<(Option<Migrations>, Database), Failed> {
        let directory = self.directory().to_owned();
        let notes = self.notes().filter(|_| need == Need::Difference);
        let memo = notes.and_then(|notes| Memo::among(&notes, &directory));
        let note = memo.as_ref().and_then(Memo::read);
        let known = note.as_ref().map(|note| note.known.clone());
        let mut looking = tokio::task::spawn_blocking(move || Files::look(&directory, memo, note));
        let mut connecting = std::pin::pin!(self.connect_ahead(settings, known.as_ref()));
        let mut connected = None;
        let looked = loop {
            tokio::select! {
                looked = &mut looking => break looked.map_err(Failed::usage)?.map_err(Failed::usage)?,
                ended = &mut connecting, if connected.is_none() => connected = Some(ended),
            }
        };
        let database = match connected {
            Some(ended) => ended,
            None => connecting.await,
        };
        match (looked, database) {
            (Files::Read(migrations), database) => Ok((Some(migrations), database?)),
            (Files::Known(memo, note), Ok(database)) if is_noted(&memo, &note, &database) => {
                Ok((None, database))
            }
            (Files::Known(..), database) => {
                let directory = self.directory().to_owned();
                let read = tokio::task::spawn_blocking(move || Migrations::read(&directory)).await;
                Ok((Some(read.map_err(Failed::usage)?.map_err(Failed::usage)?), database?))
            }
        }
    }

    async fn connect_ahead(
        &self,
        settings: Settings,
        known: Option<&Known>,
    ) -> Result<Database, Failed> {
        let mut database = self.connect_with(settings).await?;
        let read = database.look_ahead(known).await;
        read.map_err(|error| Failed::ended(error, Exit::Failed))?;
        Ok(database)
    }

    /// Hears what happens to migrations of the one database.
    pub fn tell(&self) -> impl FnMut(&Progress) + Send {
        |progress| self.hear(None, progress)
    }
}

/// Whether the database has what is noted. By what to know it again is noted too.
fn is_noted(memo: &Memo, note: &Note, database: &Database) -> bool {
    let Some(histories) = database.has(&note.known.expected) else { return false };
    if let Some(digest) = histories.new_digest() {
        let known = Known { digest: Some(digest.to_owned()), ..note.known.clone() };
        memo.write(&Note { known, outline: note.outline.clone() });
    }
    true
}
