//! Bringing a snapshot back: into a new database beside the live one, or in the live one's place.

mod place;
mod properties;
mod swap;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use liftlock_postgres::{FilesError, Owners, Programs, restore_archive};
use secrecy::SecretString;
use serde::Serialize;

use self::place::{Admin, Mark, Stage};
use super::archives::Snapshot;
use super::error::ArchiveError;
use super::verify::{Verified, compare};
use crate::database::Database;
use crate::lock;
use crate::settings::Settings;

/// Whom a restore tells.
pub(super) type Tell<'a> = &'a mut (dyn FnMut(String) + Send);

/// How to bring a snapshot back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// The new database's name; made of the live one's and the time if left out.
    pub into: Option<String>,
    /// Whether objects go to the owners that they had.
    pub owners: Owners,
    /// How long `pg_restore` may take.
    pub timeout: Duration,
}

impl Default for Restore {
    fn default() -> Self {
        Self { into: None, owners: Owners::Kept, timeout: Duration::from_secs(4 * 3600) }
    }
}

/// What a restore in the live database's place is told beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replace {
    /// The live database's name, as somebody typed it.
    pub confirmed: String,
    /// Whether to end other sessions of the live database.
    pub terminate: bool,
    /// Whether to do it although this snapshot was put in place before.
    pub again: bool,
}

/// A snapshot that is back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Host and port.
    pub server: String,
    /// The database that now has what the snapshot had.
    pub database: String,
    /// What came of comparing it with the manifest; none if it was in place already.
    pub verified: Option<Verified>,
    /// The live database's new name, where the restored one took its place.
    pub before: Option<String>,
    /// What is different, what is left, and what else was seen.
    pub notes: Vec<String>,
}

/// Restores the snapshot into a new database on the server that `url` leads to, beside the live one, and compares it with its
/// manifest. The live database is not touched, and need not be there. What an interrupted restore left half done is removed.
///
/// # Errors
/// [`ArchiveError`]; a new database that is left half done is removed by the next call.
pub async fn restore(
    url: &SecretString,
    settings: &Settings,
    snapshot: &Snapshot,
    ask: &Restore,
    on: Tell<'_>,
) -> Result<Restored, ArchiveError> {
    check_file(snapshot).await?;
    let mut admin = Admin::connect(url, settings).await?;
    let mut notes = admin.clean(on).await?;
    let verified = beside(&mut admin, snapshot, ask, &mut notes, on).await?;
    Ok(Restored {
        server: admin.server.clone(),
        database: verified.0,
        verified: Some(verified.1),
        before: None,
        notes,
    })
}

/// Restores the snapshot beside the live database as [`restore`] does, and then gives it the live one's name, in one transaction. The
/// live database keeps everything under another name. Killed at any point, the same call goes on from there.
///
/// # Errors
/// [`ArchiveError`]; the live database is as it was then.
pub async fn replace(
    url: &SecretString,
    settings: &Settings,
    snapshot: &Snapshot,
    ask: &Restore,
    replace: &Replace,
    on: Tell<'_>,
) -> Result<Restored, ArchiveError> {
    let mut admin = Admin::connect(url, settings).await?;
    let live = admin.live.clone();
    if replace.confirmed != live {
        return Err(ArchiveError::Refused(format!(
            "to put a snapshot in the place of database {live} on {}, name it: --yes-replace {live}",
            admin.server
        )));
    }
    check_file(snapshot).await?;
    if let Some(done) = in_place_already(&mut admin, snapshot, replace).await? {
        return Ok(done);
    }
    // Held from here on, so that no migration runs on what is about to be replaced.
    let held = hold(&mut admin, url, settings, on).await?;
    let mut notes = admin.clean(on).await?;
    let given = notes.len();
    let (name, verified) = match ready(&mut admin, snapshot, ask, on).await? {
        Some(ready) => ready,
        None => beside(&mut admin, snapshot, ask, &mut notes, on).await?,
    };
    // Without a live database there is nothing that the new one could be unlike.
    let refused = if held.is_some() { &notes[given..] } else { &[] };
    let unlike: Vec<String> = verified.differences.iter().chain(refused).cloned().collect();
    if !unlike.is_empty() {
        return Err(ArchiveError::NotReplaced { live, restored: name, reasons: unlike });
    }
    let before = admin.swap(&name, held, snapshot, replace.terminate, on).await?;
    Ok(Restored {
        server: admin.server.clone(),
        database: live,
        verified: Some(verified),
        before,
        notes,
    })
}

async fn check_file(snapshot: &Snapshot) -> Result<(), ArchiveError> {
    match snapshot.damage().await? {
        None => Ok(()),
        Some(damage) => Err(ArchiveError::Damaged { id: snapshot.manifest.id.clone(), damage }),
    }
}

/// A run that was killed after the last step has nothing left to do.
async fn in_place_already(
    admin: &mut Admin,
    snapshot: &Snapshot,
    replace: &Replace,
) -> Result<Option<Restored>, ArchiveError> {
    if replace.again || !admin.exists(&admin.live.clone()).await? {
        return Ok(None);
    }
    let (id, live) = (&snapshot.manifest.id, admin.live.clone());
    let marks = admin.marks().await?;
    let before = marks.into_iter().find(|(_, _, mark)| {
        mark.stage == Stage::Before && mark.snapshot == *id && mark.of == live
    });
    Ok(before.map(|(name, _, mark)| Restored {
        server: admin.server.clone(),
        database: live.clone(),
        verified: None,
        notes: vec![format!(
            "snapshot {id} was put in the place of {live} before, on {}; to do it again: --again",
            mark.at
        )],
        before: Some(name),
    }))
}

/// The live database with its run lock, if it is there.
async fn hold(
    admin: &mut Admin,
    url: &SecretString,
    settings: &Settings,
    on: Tell<'_>,
) -> Result<Option<Database>, ArchiveError> {
    if !admin.exists(&admin.live.clone()).await? {
        return Ok(None);
    }
    let mut database = Database::connect(url, settings.clone()).await?;
    let mut tell = |progress: &crate::Progress| on(progress.to_string());
    lock::acquire(&mut database.connection, settings.wait, &mut tell).await?;
    Ok(Some(database))
}

/// What an interrupted call restored and verified already, if it still is what it was.
async fn ready(
    admin: &mut Admin,
    snapshot: &Snapshot,
    ask: &Restore,
    on: Tell<'_>,
) -> Result<Option<(String, Verified)>, ArchiveError> {
    let start = Instant::now();
    let (id, live) = (snapshot.manifest.id.clone(), admin.live.clone());
    for (name, oid, mark) in admin.marks().await? {
        let ours = mark.stage == Stage::Restored && mark.snapshot == id && mark.of == live;
        if !ours || !admin.hold(oid).await? {
            continue;
        }
        on(format!("database {name} is there from before: comparing it with the snapshot again"));
        let compared = compare(snapshot, &admin.url_of(&name), &name, ask.owners).await?;
        if compared.differences.is_empty() {
            return Ok(Some((name, Verified::of(&snapshot.manifest, compared, start))));
        }
        admin.mark(&name, &Mark { stage: Stage::Differs, ..mark }).await?;
    }
    Ok(None)
}

/// Restores into a new database, and compares.
async fn beside(
    admin: &mut Admin,
    snapshot: &Snapshot,
    ask: &Restore,
    notes: &mut Vec<String>,
    on: Tell<'_>,
) -> Result<(String, Verified), ArchiveError> {
    let programs = Programs::find()?;
    let start = Instant::now();
    let manifest = &snapshot.manifest;
    let now = Timestamp::now();
    let name = ask.into.clone().unwrap_or_else(|| place::beside_name(&admin.live, "restored", now));
    let mark = Mark {
        snapshot: manifest.id.clone(),
        of: admin.live.clone(),
        stage: Stage::Restoring,
        at: now,
    };
    admin.create(&name, manifest, &mark).await?;
    on(format!("restoring snapshot {} into the new database {name}", manifest.id));
    let url = admin.url_of(&name);
    let dump = snapshot.dump();
    let restored = restore_archive(&programs, &url, &dump, ask.owners, ask.timeout).await;
    if let Err(error) = restored {
        admin.drop_database(&name).await?;
        return Err(refused(error));
    }
    on(format!("comparing database {name} with what was saved"));
    admin.analyze(&url).await?;
    let compared = compare(snapshot, &url, &name, ask.owners).await?;
    let stage = if compared.differences.is_empty() { Stage::Restored } else { Stage::Differs };
    notes.extend(admin.like_live(&name).await?);
    admin.mark(&name, &Mark { stage, ..mark }).await?;
    Ok((name, Verified::of(manifest, compared, start)))
}

/// pg_restore's words, and what to do about the usual ones.
fn refused(error: FilesError) -> ArchiveError {
    let FilesError::Failed { program, place, reason } = error else { return error.into() };
    let owners = ["must be member of role", "must be able to SET ROLE", "role \""];
    let hint = if owners.iter().any(|words| reason.contains(words)) {
        "; make these roles, restore as a user who may act for them, or leave owners and rights out with --no-owner"
    } else {
        ""
    };
    FilesError::Failed { program, place, reason: format!("{reason}{hint}") }.into()
}
