//! Where commands work, and how they end.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use liftlock_model::Exit;
use secrecy::SecretString;
use serde_json::Value;

use crate::connect::ConnectErrorKind;
use crate::current::Expected;
use crate::database::Database;
use crate::files::{FilesError, Migrations};
use crate::memo::{self, Memo};
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

/// What is known of a directory's files.
enum Files {
    /// They were read.
    Read(Migrations),
    /// They are as they were when they were read last, and a database that has them says this.
    Known(Expected),
}

impl Files {
    /// Reads them, unless the `notes` tell of them.
    fn look(directory: &Path, notes: Option<&Path>) -> Result<Self, FilesError> {
        let memo = notes.and_then(|notes| Memo::among(notes, directory));
        if let Some(expected) = memo.as_ref().and_then(Memo::read) {
            return Ok(Self::Known(expected));
        }
        let migrations = Migrations::read(directory)?;
        memo.iter().for_each(|memo| memo.write(&Expected::of(&migrations)));
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
    /// thousands of files. No files if it is known without them, where that is `enough`, that the database has what they hold. If
    /// both fail, the files are told.
    ///
    /// # Errors
    /// Everything that is wrong with the files; else, if the database does not let us in.
    pub async fn read_and_connect(
        &self,
        settings: Settings,
        enough: bool,
    ) -> Result<(Option<Migrations>, Database), Failed> {
        let directory = self.directory().to_owned();
        let notes = self.notes().filter(|_| enough);
        let mut looking =
            tokio::task::spawn_blocking(move || Files::look(&directory, notes.as_deref()));
        let mut connecting = std::pin::pin!(self.connect_ahead(settings));
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
            (Files::Known(expected), Ok(database)) if database.has(&expected) => {
                Ok((None, database))
            }
            (Files::Known(_), database) => {
                let directory = self.directory().to_owned();
                let read = tokio::task::spawn_blocking(move || Migrations::read(&directory)).await;
                Ok((Some(read.map_err(Failed::usage)?.map_err(Failed::usage)?), database?))
            }
        }
    }

    async fn connect_ahead(&self, settings: Settings) -> Result<Database, Failed> {
        let mut database = self.connect_with(settings).await?;
        let read = database.read_ahead().await;
        read.map_err(|error| Failed::ended(error, Exit::Failed))?;
        Ok(database)
    }

    /// Hears what happens to migrations of the one database.
    pub fn tell(&self) -> impl FnMut(&Progress) + Send {
        |progress| self.hear(None, progress)
    }
}
