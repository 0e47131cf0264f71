//! The stage's directory: who serves it, and with which keys.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::StageError;
use crate::state::random_id;

/// What the running stage says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) pid: u32,
    pub(crate) endpoint: Url,
    pub(crate) url: Url,
    pub(crate) test_url: Url,
}

/// The keys of a stage: for AWS clients, and for its own calls.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Keys {
    pub(crate) access_key: String,
    secret_key: String,
    pub(crate) token: String,
}

impl Keys {
    pub(crate) fn secret_key(&self) -> SecretString {
        self.secret_key.clone().into()
    }

    fn new() -> Self {
        let access_key = format!("STAGE{}", random_id(8).to_uppercase());
        Self { access_key, secret_key: random_id(20), token: random_id(20) }
    }
}

/// The files of a stage's directory.
#[derive(Debug, Clone)]
pub(crate) struct Home(PathBuf);

impl Home {
    /// The directory, made if it is not there, for its owner only.
    pub(crate) fn make(directory: &Path) -> Result<Self, StageError> {
        let failed = |error: io::Error| StageError::directory(directory, &error);
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        directory.canonicalize().map(Self).map_err(failed)
    }

    /// The directory if it is there.
    pub(crate) fn existing(directory: &Path) -> Option<Self> {
        directory.canonicalize().ok().map(Self)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("stage.log")
    }

    fn record_path(&self) -> PathBuf {
        self.0.join("running.json")
    }

    /// What the running stage says of itself, if one is ready.
    pub(crate) fn record(&self) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.record_path()).ok()?).ok()
    }

    pub(crate) fn write_record(&self, record: &Record) -> Result<(), StageError> {
        self.write("running.json", &serde_json::to_vec(record).map_err(io::Error::from))
    }

    pub(crate) fn remove_record(&self) {
        // If it stays, the lock still tells that nobody serves.
        fs::remove_file(self.record_path()).unwrap_or_default();
    }

    fn write(&self, name: &str, text: &io::Result<Vec<u8>>) -> Result<(), StageError> {
        let path = self.0.join(name);
        let failed = |error: &io::Error| StageError::directory(&path, error);
        let text = text.as_ref().map_err(failed)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.0).map_err(|e| failed(&e))?;
        file.write_all(text).map_err(|e| failed(&e))?;
        file.persist(&path).map(drop).map_err(|error| failed(&error.error))
    }

    /// The keys; made at first.
    pub(crate) fn keys(&self) -> Result<Keys, StageError> {
        let path = self.0.join("keys.json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| StageError::State { path, reason: error.to_string() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let keys = Keys::new();
                self.write("keys.json", &serde_json::to_vec(&keys).map_err(io::Error::from))?;
                Ok(keys)
            }
            Err(error) => Err(StageError::directory(path, &error)),
        }
    }

    fn open(&self, name: &str) -> Result<File, StageError> {
        let path = self.0.join(name);
        let mut options = OpenOptions::new();
        let file = options.create(true).write(true).truncate(false).mode(0o600).open(&path);
        file.map_err(|error| StageError::directory(path, &error))
    }

    /// A lock that the system lets go when its holder ends in whatever way. None if somebody else holds it.
    pub(crate) fn lock(&self, name: &str) -> Result<Option<File>, StageError> {
        let file = self.open(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(StageError::directory(self.0.join(name), &error))
            }
        }
    }

    /// The lock that the serving process holds.
    pub(crate) fn lock_serving(&self) -> Result<Option<File>, StageError> {
        self.lock("stage.lock")
    }

    /// Whether a process serves this directory.
    pub(crate) fn is_served(&self) -> Result<bool, StageError> {
        Ok(self.lock_serving()?.is_none())
    }
}
