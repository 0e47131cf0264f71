//! A directory of archives: what is in it, and what may go.

use std::fs::{DirBuilder, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::civil::Date;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::error::ArchiveError;
use super::manifest::{Manifest, check_id};
use crate::schema::Schema;

/// How files that are not whole yet begin.
const PARTIAL: &str = ".partial-";
/// For how long such a file may belong to somebody who is still at work.
const PARTIAL_AGE: Duration = Duration::from_secs(24 * 3600);
/// How an archive of `pg_dump` begins.
const MAGIC: &[u8; 5] = b"PGDMP";

/// A directory of archives, each with its manifest beside it: `ID.dump` and `ID.json`. Only its owner may look into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archives {
    directory: PathBuf,
}

/// A snapshot in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// The directory.
    pub directory: PathBuf,
    /// What is written about it.
    pub manifest: Manifest,
}

/// Whether an archive is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its file is there and has the right size.
    There,
    /// Its file is not there.
    Missing,
    /// Its file has another size.
    OtherSize,
}

/// A snapshot in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Which.
    pub snapshot: Snapshot,
    /// Whether its archive is there.
    pub state: State,
}

/// What is in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// The snapshots, newest first.
    pub snapshots: Vec<Kept>,
    /// Files that should be manifests and are not.
    pub problems: Vec<String>,
}

impl Archives {
    /// The archives in that directory, which need not be there yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What is there, newest first; nothing if there is no such directory.
    ///
    /// # Errors
    /// [`ArchiveError`] if the directory cannot be read.
    pub fn list(&self) -> Result<Listing, ArchiveError> {
        let mut listing = Listing { snapshots: Vec::new(), problems: Vec::new() };
        let failed = |error: &std::io::Error| ArchiveError::io(&self.directory, error);
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(listing),
            Err(error) => return Err(failed(&error)),
        };
        for entry in entries {
            let path = entry.map_err(|error| failed(&error))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match Manifest::read(&path) {
                Ok(manifest) => {
                    let snapshot = Snapshot { directory: self.directory.clone(), manifest };
                    let state = snapshot.state();
                    listing.snapshots.push(Kept { snapshot, state });
                }
                Err(error) => listing.problems.push(error.to_string()),
            }
        }
        listing.snapshots.sort_by(|a, b| order(&b.snapshot).cmp(&order(&a.snapshot)));
        listing.problems.sort();
        Ok(listing)
    }

    /// The snapshot with this id; or, if `wanted` has a `/` in it, the one whose archive or manifest this path names.
    ///
    /// # Errors
    /// [`ArchiveError::Missing`], or what is wrong with its manifest.
    pub fn find(&self, wanted: &str) -> Result<Snapshot, ArchiveError> {
        let missing =
            || ArchiveError::Missing { wanted: wanted.into(), directory: self.directory.clone() };
        let path = if wanted.contains('/') {
            PathBuf::from(wanted).with_extension("json")
        } else {
            check_id(wanted).map_err(ArchiveError::Id)?;
            self.directory.join(format!("{wanted}.json"))
        };
        if !path.is_file() {
            return Err(missing());
        }
        let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Snapshot { manifest: Manifest::read(&path)?, directory })
    }

    /// Removes the snapshots whose time was over before `today`, never the newest good one of a database, and what an
    /// interrupted dump left a day ago or more. Files of others are left alone. Gives what was removed.
    ///
    /// # Errors
    /// [`ArchiveError`] if something cannot be removed; the next call goes on.
    pub fn prune(&self, today: Date) -> Result<Vec<Manifest>, ArchiveError> {
        let listing = self.list()?;
        let mut removed = Vec::new();
        for snapshot in past(&listing.snapshots, today) {
            // First the archive: a manifest without one is listed, and tried again.
            for path in [snapshot.dump(), snapshot.schema_file(), snapshot.manifest_file()] {
                remove(&path)?;
            }
            removed.push(snapshot.manifest.clone());
        }
        self.sweep()?;
        Ok(removed)
    }

    fn sweep(&self) -> Result<(), ArchiveError> {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return Ok(()) };
        for entry in entries.flatten() {
            let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PARTIAL));
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            let now = SystemTime::now();
            let age = changed.ok().and_then(|changed| now.duration_since(changed).ok());
            if ours && age.is_some_and(|age| age > PARTIAL_AGE) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Makes the directory, for its owner alone. One that is there is left as it is.
    pub(super) fn make(&self) -> Result<(), ArchiveError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        made.map_err(|error| ArchiveError::io(&self.directory, &error))
    }

    /// An empty file in the directory, of mode 0600, that goes when it is dropped.
    pub(super) fn partial(&self) -> Result<tempfile::NamedTempFile, ArchiveError> {
        let made = tempfile::Builder::new()
            .prefix(PARTIAL)
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(&self.directory);
        made.map_err(|error| ArchiveError::io(&self.directory, &error))
    }

    /// Puts a whole archive and its manifest in their places: after a crash, either is there whole or not at all.
    pub(super) fn keep(
        &self,
        dump: tempfile::NamedTempFile,
        schema: &Schema,
        manifest: Manifest,
    ) -> Result<Snapshot, ArchiveError> {
        let failed = |error: &std::io::Error| ArchiveError::io(&self.directory, error);
        let snapshot = Snapshot { directory: self.directory.clone(), manifest };
        // pg_dump has written into the file by its name.
        File::open(dump.path()).and_then(|file| file.sync_all()).map_err(|e| failed(&e))?;
        let json = serde_json::to_string_pretty(&snapshot.manifest)
            .map_err(|error| ArchiveError::Id(error.to_string()))?;
        let schema = self.written(&schema.to_text())?;
        let manifest = self.written(&format!("{json}\n"))?;
        // The manifest last: where it is, everything is.
        for (file, place) in [
            (dump, snapshot.dump()),
            (schema, snapshot.schema_file()),
            (manifest, snapshot.manifest_file()),
        ] {
            file.persist(place).map_err(|error| failed(&error.error))?;
        }
        File::open(&self.directory).and_then(|it| it.sync_all()).map_err(|error| failed(&error))?;
        Ok(snapshot)
    }
}

impl Archives {
    /// A partial file with that text, on disk.
    fn written(&self, text: &str) -> Result<tempfile::NamedTempFile, ArchiveError> {
        let mut file = self.partial()?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all());
        written.map_err(|error| ArchiveError::io(&self.directory, &error))?;
        Ok(file)
    }
}

fn order(snapshot: &Snapshot) -> (jiff::Timestamp, &str) {
    (snapshot.manifest.taken_at, &snapshot.manifest.id)
}

/// Which snapshots may go. `snapshots` are newest first.
fn past(snapshots: &[Kept], today: Date) -> Vec<&Snapshot> {
    let mut with_good = std::collections::BTreeSet::new();
    let may_go = |kept: &&Kept| {
        let manifest = &kept.snapshot.manifest;
        let of = (manifest.server.clone(), manifest.database.clone());
        let newest = kept.state == State::There && with_good.insert(of);
        let over = manifest.keep_until.is_some_and(|until| until < today);
        over && !newest && kept.snapshot.is_ours()
    };
    snapshots.iter().filter(may_go).map(|kept| &kept.snapshot).collect()
}

fn remove(path: &Path) -> Result<(), ArchiveError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ArchiveError::io(path, &error))
        }
        _ => Ok(()),
    }
}

impl Snapshot {
    /// The archive's path.
    pub fn dump(&self) -> PathBuf {
        self.directory.join(&self.manifest.dump.file)
    }

    fn manifest_file(&self) -> PathBuf {
        self.directory.join(&self.manifest.dump.file).with_extension("json")
    }

    fn schema_file(&self) -> PathBuf {
        self.directory.join(&self.manifest.dump.file).with_extension("schema")
    }

    /// The schema that the database had.
    pub(super) fn schema(&self) -> Result<Schema, String> {
        let path = self.schema_file();
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        let schema = text.and_then(|text| Schema::from_text(&text).map_err(|e| e.to_string()));
        let schema = schema.map_err(|error| format!("{}: {error}", path.display()))?;
        if schema.fingerprint() == self.manifest.schema_fingerprint {
            return Ok(schema);
        }
        Err(format!("{} was changed: its fingerprint is not the manifest's", path.display()))
    }

    /// Whether the archive is there, by a look at its size.
    pub fn state(&self) -> State {
        match std::fs::metadata(self.dump()) {
            Ok(metadata) if metadata.len() == self.manifest.dump.bytes => State::There,
            Ok(_) => State::OtherSize,
            Err(_) => State::Missing,
        }
    }

    /// Whether the file that the manifest names is an archive, if it is there: a manifest that was tampered with names any file.
    fn is_ours(&self) -> bool {
        let path = self.dump();
        let Ok(metadata) = std::fs::symlink_metadata(&path) else {
            return true;
        };
        let mut magic = [0; MAGIC.len()];
        let begins = File::open(&path).and_then(|mut file| file.read_exact(&mut magic));
        metadata.is_file()
            && path.extension().is_some_and(|extension| extension == "dump")
            && begins.is_ok()
            && magic == *MAGIC
    }

    /// Why the archive is not the file that was written, by its size and its SHA-256; none if it is.
    ///
    /// # Errors
    /// [`ArchiveError::Io`] if it cannot be read.
    pub async fn damage(&self) -> Result<Option<String>, ArchiveError> {
        let path = self.dump();
        let shown = path.display();
        let expected = &self.manifest.dump;
        match self.state() {
            State::Missing => return Ok(Some(format!("{shown} is not there"))),
            State::OtherSize => {
                let now = std::fs::metadata(&path).map(|it| it.len()).unwrap_or(0);
                let bytes = expected.bytes;
                return Ok(Some(format!("{shown} has {now} bytes instead of {bytes}")));
            }
            State::There => {}
        }
        let sum = sha256(&path).await?;
        let changed =
            format!("{shown} was changed: its SHA-256 is {sum} instead of {}", expected.sha256);
        Ok((sum != expected.sha256).then_some(changed))
    }
}

/// The SHA-256 of a file, in hexadecimal digits.
pub(super) async fn sha256(path: &Path) -> Result<String, ArchiveError> {
    let owned = path.to_owned();
    let summed = tokio::task::spawn_blocking(move || {
        let mut file = File::open(owned)?;
        let (mut sum, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hex::encode(sum.finalize())),
                read => sum.update(&buffer[..read]),
            }
        }
    });
    let summed = summed.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    summed.map_err(|error| ArchiveError::io(path, &error))
}
