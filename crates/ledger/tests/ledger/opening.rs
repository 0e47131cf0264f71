//! Opening: what is refused, by which kind, with which words, and that nothing is touched then.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use liftlock_ledger::{Ledger, Location, OpenError, OpenErrorKind, Query, Trouble};
use liftlock_testkit::ClosedPort;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, SqliteConnection};

use crate::child;
use crate::place::{Place, location, note, on_both};

on_both! {
    a_newer_ledger_is_refused,
    first_starts_at_once_make_one_ledger,
    events_of_a_newer_version_are_named,
}

async fn refused(location: &Location, kind: OpenErrorKind, words: &[&str]) {
    let error = Ledger::open(location).await.expect_err("refused");
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
    }
}

async fn a_newer_ledger_is_refused(place: Place) {
    place.ledger().await.append(note("old")).await.unwrap();
    place.sql("UPDATE liftlock_ledger SET version = 2").await.unwrap();
    let words = ["schema version 2", "up to 1", "install the newer Liftlock"];
    refused(&place.location(), OpenErrorKind::Newer, &words).await;
    place.sql("UPDATE liftlock_ledger SET version = 1").await.unwrap();
    assert_eq!(place.ledger().await.verify().await.unwrap().entries, 1);
}

async fn first_starts_at_once_make_one_ledger(place: Place) {
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let location = place.location();
            tokio::spawn(async move {
                let ledger = Ledger::open(&location).await?;
                Ok::<_, OpenError>(ledger.append(note("first")).await.unwrap().sequence)
            })
        })
        .collect();
    let mut sequences = Vec::new();
    for task in tasks {
        sequences.push(task.await.unwrap().unwrap());
    }
    sequences.sort_unstable();
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6]);
}

/// A newer Liftlock may write while an older one has the ledger open.
async fn events_of_a_newer_version_are_named(place: Place) {
    let ledger = place.ledger().await;
    ledger.append(note("known")).await.unwrap();
    place
        .sql(
            "INSERT INTO liftlock_entries (sequence, hash, kind, body) \
             VALUES (2, 'x', 'moon_landing', '{\"event\":{\"kind\":\"moon_landing\"}}')",
        )
        .await
        .unwrap();
    let error = ledger.entries(&Query::all()).await.unwrap_err().to_string();
    for word in ["entry 2", "moon_landing", "newer Liftlock", "liftlock audit verify"] {
        assert!(error.contains(word), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_ledger_is_refused_and_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let garbage = directory.path().join("garbage.db");
    std::fs::write(&garbage, "a letter to my aunt, not a database at all\n".repeat(200)).unwrap();
    let foreign = directory.path().join("foreign.db");
    let url = format!("sqlite://{}?mode=rwc", foreign.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE songs (name TEXT)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    for (path, word) in [(&garbage, "not a SQLite database"), (&foreign, "other tables")] {
        let before = std::fs::read(path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let words = [word, name, "nothing was changed"];
        refused(&Location::Sqlite(path.clone()), OpenErrorKind::NotALedger, &words).await;
        assert_eq!(std::fs::read(path).unwrap(), before);
    }
    let mut names: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["foreign.db", "garbage.db"], "nothing was left beside them");
    let as_directory = Location::Sqlite(directory.path().to_owned());
    assert!(Ledger::open(&as_directory).await.is_err());
    let below_a_file = Location::Sqlite(garbage.join("ledger.db"));
    let kind = OpenErrorKind::Store(Trouble::ReadOnly);
    refused(&below_a_file, kind, &["garbage.db", "cannot be made"]).await;
}

/// Not a test by itself: the child that opens a ledger where it may not write.
#[tokio::test]
async fn child_opens() {
    let Some(place) = child::asked() else { return };
    let error = Ledger::open(&location(&place)).await.expect_err("refused");
    println!("{:?}: {error}", error.kind());
}

#[tokio::test]
async fn a_read_only_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("old.db");
    let ledger = Ledger::open(&Location::Sqlite(old.clone())).await.unwrap();
    ledger.append(note("before")).await.unwrap();
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&old, 0o444);
    mode(directory.path(), 0o555);
    for path in [directory.path().join("new.db"), directory.path().join("sub/new.db"), old] {
        let mut command = child::powerless("opening::child_opens", path.to_str().unwrap());
        let Ok(output) = command.output().await else {
            eprintln!("skipped: this program cannot be run with fewer rights here");
            return;
        };
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(text.contains("Store(ReadOnly)"), "{path:?}: {text}");
        assert!(text.contains("writable for this user"), "{text}");
        assert!(text.contains(directory.path().to_str().unwrap()), "{text}");
    }
    mode(directory.path(), 0o755);
}

#[tokio::test]
async fn what_is_wrong_with_a_server_is_told_apart() {
    let Some(Place::Postgres { database }) = Place::postgres().await else { return };
    let url = database.url().expose_secret();
    let other =
        |from: &str, to: &str| Location::Postgres(SecretString::from(url.replacen(from, to, 1)));
    let password = url.split(':').nth(2).unwrap().split('@').next().unwrap();
    let port = url.rsplit(':').next().unwrap().split('/').next().unwrap();
    let closed = ClosedPort::new();
    let free = closed.number();

    let wrong = other(password, "hunter2");
    let kind = OpenErrorKind::Store(Trouble::Credentials);
    refused(&wrong, kind, &["password", "postgres://postgres@127.0.0.1"]).await;
    let shown = format!("{:?} {wrong:?}", Ledger::open(&wrong).await.unwrap_err());
    assert!(!shown.contains("hunter2"), "{shown}");
    let gone = other(&format!("/{}", database.name()), "/nowhere");
    refused(&gone, OpenErrorKind::Store(Trouble::Missing), &["nowhere", "createdb"]).await;
    let silent = other(&format!(":{port}/"), &format!(":{free}/"));
    refused(&silent, OpenErrorKind::Store(Trouble::Unreachable), &["does not answer"]).await;
    let no_url = Location::Postgres(SecretString::from("mysql://root:hunter2@db/x"));
    refused(&no_url, OpenErrorKind::Url, &["postgres://USER"]).await;
    let shown = Ledger::open(&no_url).await.unwrap_err().to_string();
    assert!(!shown.contains("hunter2"), "{shown}");
}
