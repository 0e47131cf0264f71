//! Archives of whole databases: made, listed, verified, pruned.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use liftlock_migrate::schema::Schema;
use liftlock_migrate::snapshot::{
    ArchiveError, Archives, Dump, Manifest, Snapshot, State, Verified, verify,
};
use liftlock_testkit::TestDatabase;

use crate::program::{ends, migrate};
use crate::support::{Files, apply, ask, connect, execute, session};

const WITHIN: std::time::Duration = std::time::Duration::from_secs(120);

/// Tables of many kinds, with rows.
const SHOP: &str = "
    create table users (id int generated always as identity primary key, name text not null, born date, tags text[]);
    insert into users (name, born, tags) select 'user ' || n, '2000-01-01'::date + n, array['a', null] from generate_series(1, 500) n;
    create table notes (id serial primary key, body text, data bytea, at timestamptz default now(), price numeric(10, 2), f float8);
    insert into notes (body, data, price, f) select E'line\\n\\\\.\\n' || n, sha256(n::text::bytea), n / 7.0, n / 3.0 from generate_series(1, 200) n;
    create table \"Odd, name (x\" (\"select\" int, liftlock_row text);
    insert into \"Odd, name (x\" values (1, 'x'), (null, null);
    create table days (day date not null) partition by range (day);
    create table days_2026 partition of days for values from ('2026-01-01') to ('2027-01-01');
    insert into days values ('2026-05-05');
    create table empty_one ();
    create table states (state varchar(10) check (state in ('new', 'paid')), name varchar default 'x'::text);
    create view open_states as select state from states where state in ('new', 'other');
    create view newest as select max(id) from users;
    select lo_from_bytea(0, 'a large object');
    create role snapshot_reader_OID;
    grant select on users to snapshot_reader_OID;
    create policy mine on users to snapshot_reader_OID using (true);
";

/// A database with rows, and a directory for its snapshots.
async fn shop() -> Option<(TestDatabase, tempfile::TempDir)> {
    let database = TestDatabase::new().await?;
    // Roles belong to the whole server.
    let sql = SHOP.replace("OID", database.name());
    execute(&mut session(database.url()).await, &sql).await;
    Some((database, tempfile::tempdir().unwrap()))
}

async fn taken(database: &TestDatabase, directory: &Path) -> Snapshot {
    connect(database).await.dump(&Dump::into(directory.join("kept"))).await.unwrap().snapshot
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Shows C-MIG-8: the archive holds what the database held, says where in its log that was, is for its owner alone, and is kept for
/// seven years.
#[tokio::test]
async fn a_snapshot_is_whole_and_says_what_it_is_of() {
    let Some((database, directory)) = shop().await else { return };
    let files = Files::new(&[("V0001__a", "create table a (id int)", "drop table a")]);
    apply(&database, &files).await;
    let before: String = ask(&database, "pg_current_wal_lsn()").await;
    let snapshot = taken(&database, directory.path()).await;
    let manifest = &snapshot.manifest;
    assert_eq!(mode(&snapshot.directory), 0o700);
    assert_eq!(mode(&snapshot.dump()), 0o600);
    assert_eq!(mode(&snapshot.dump().with_extension("json")), 0o600);
    assert_eq!(manifest.newest_migration.as_ref().unwrap().to_string(), "V0001__a");
    assert_eq!(manifest.taken_by.as_str(), "alice");
    let rows = |name: &str| manifest.contents.iter().find(|one| one.table == name).unwrap().rows;
    assert_eq!(rows("public.users"), 500);
    assert_eq!(rows("public.\"Odd, name (x\""), 2);
    assert_eq!(rows("public.days_2026"), 1);
    assert_eq!(rows("large objects"), 1);
    let lsn = manifest.marker.lsn.as_deref().unwrap();
    let between = format!("'{before}'::pg_lsn <= '{lsn}' and '{lsn}' <= pg_current_wal_lsn()");
    assert_eq!(ask(&database, &between).await, "true");
    assert_eq!(manifest.marker.timeline, Some(1));
    assert!(manifest.marker.restore_point.as_ref().unwrap().contains(&manifest.id));
    let seven_years =
        manifest.taken_at.to_zoned(TimeZone::UTC).date().checked_add(7.years()).unwrap();
    assert!(manifest.keep_until.unwrap() >= seven_years, "{:?}", manifest.keep_until);

    let text = std::fs::read_to_string(snapshot.dump().with_extension("json")).unwrap();
    let url = secrecy::ExposeSecret::expose_secret(database.url());
    let password = url.split(':').nth(2).unwrap().split('@').next().unwrap();
    assert!(!text.contains(password), "no secrets in {text}");
    let left: Vec<_> = std::fs::read_dir(&snapshot.directory).unwrap().collect();
    assert_eq!(left.len(), 3, "nothing else is left: {left:?}");
}

/// Shows C-MIG-8: a snapshot is restored and compared with what the database held, also after the database went on.
#[tokio::test]
async fn a_good_snapshot_is_verified() {
    let Some((database, directory)) = shop().await else { return };
    let snapshot = taken(&database, directory.path()).await;
    execute(&mut session(database.url()).await, "delete from users; drop table notes").await;
    let verified = verify(&snapshot, WITHIN).await.unwrap();
    assert_eq!(verified.differences, Vec::<String>::new());
    assert_eq!((verified.tables, verified.rows), (7, 500 + 200 + 2 + 1 + 1));
}

/// Writes the manifest anew, as somebody would who wants another archive to pass for this one.
fn forge(snapshot: &Snapshot, change: impl FnOnce(&mut Manifest)) -> Snapshot {
    let mut forged = snapshot.clone();
    change(&mut forged.manifest);
    let text = serde_json::to_string(&forged.manifest).unwrap();
    std::fs::write(snapshot.dump().with_extension("json"), text).unwrap();
    forged
}

/// Shows C-MIG-8: what is not the archive that was written is told, each kind of it.
#[tokio::test]
async fn a_cut_changed_or_wrong_archive_is_told() {
    let Some((database, directory)) = shop().await else { return };
    let snapshot = taken(&database, directory.path()).await;
    let whole = std::fs::read(snapshot.dump()).unwrap();
    let mut now = session(database.url()).await;
    execute(&mut now, "alter table users alter name drop not null").await;
    let changed = Schema::read(&mut now).await.unwrap();
    let elsewhere = (changed.to_text(), changed.fingerprint());
    let told = async |bytes: &[u8]| -> String {
        std::fs::write(snapshot.dump(), bytes).unwrap();
        let Verified { differences, .. } = verify(&snapshot, WITHIN).await.unwrap();
        differences.join("\n")
    };
    assert!(told(&whole[..whole.len() / 2]).await.contains("bytes instead of"));
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    assert!(told(&changed).await.contains("was changed: its SHA-256 is"));

    // A manifest that fits a file which is no archive: pg_restore's own words.
    let nonsense = vec![b'x'; whole.len()];
    std::fs::write(snapshot.dump(), &nonsense).unwrap();
    let sum = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&nonsense));
    let forged = forge(&snapshot, |manifest| manifest.dump.sha256 = sum);
    let said = verify(&forged, WITHIN).await.unwrap().differences.join("\n");
    assert!(
        said.contains("pg_restore cannot restore it: pg_restore: error: input file does not"),
        "{said}"
    );

    // An archive of something else: the rows and their values tell.
    std::fs::write(snapshot.dump(), &whole).unwrap();
    let forged = forge(&snapshot, |manifest| {
        let users = manifest.contents.iter_mut().find(|one| one.table == "public.users").unwrap();
        users.checksum = Some("12345".into());
        let notes = manifest.contents.iter_mut().find(|one| one.table == "public.notes").unwrap();
        notes.rows += 1;
        manifest.sequences[0].last += 1000;
    });
    let differences = verify(&forged, WITHIN).await.unwrap().differences;
    assert_eq!(differences.len(), 3, "{differences:?}");
    assert_eq!(differences[0], "table public.notes has 200 rows instead of 201");
    assert_eq!(differences[1], "table public.users has other values in its 500 rows");
    assert!(differences[2].starts_with("sequence public."), "{differences:?}");
    // A schema that is not the one in the archive.
    std::fs::write(snapshot.dump().with_extension("schema"), &elsewhere.0).unwrap();
    let forged = forge(&snapshot, |manifest| manifest.schema_fingerprint = elsewhere.1);
    let differences = verify(&forged, WITHIN).await.unwrap().differences.join("\n");
    assert!(differences.contains("table public.users is not as it was:\n    -"), "{differences}");
    std::fs::remove_file(snapshot.dump()).unwrap();
    let differences = verify(&forged, WITHIN).await.unwrap().differences;
    assert!(differences[0].contains("is not there"), "{differences:?}");
}

#[tokio::test]
async fn the_same_id_is_the_same_snapshot_and_not_that_of_another_database() {
    let Some((database, directory)) = shop().await else { return };
    let ask = Dump { id: Some("before-run-1".into()), ..Dump::into(directory.path()) };
    let first = connect(&database).await.dump(&ask).await.unwrap();
    let again = connect(&database).await.dump(&ask).await.unwrap();
    assert!(!first.was_there && again.was_there);
    assert_eq!(first.snapshot, again.snapshot);
    let other = TestDatabase::new().await.unwrap();
    let refused = connect(&other).await.dump(&ask).await.unwrap_err();
    assert!(matches!(refused, ArchiveError::Refused(_)), "{refused}");
    for id in ["../x", ".hidden", "", "a/b"] {
        let ask = Dump { id: Some(id.into()), ..Dump::into(directory.path()) };
        let refused = connect(&database).await.dump(&ask).await.unwrap_err();
        assert!(refused.to_string().contains("is not a snapshot's id"), "{refused}");
    }
}

/// Shows C-MIG-8: what is past its time goes, and nothing else: not the newest good one, not a younger one, no file of others, and not
/// what a forged manifest names.
#[tokio::test]
async fn only_what_is_past_its_time_is_pruned() {
    let Some((database, directory)) = shop().await else { return };
    let archives = Archives::new(directory.path());
    let mut connected = connect(&database).await;
    for (id, days) in [("first", 1), ("second", 1), ("kept", 30), ("forged", 1), ("newest", 1)] {
        let ask =
            Dump { id: Some(id.into()), keep_days: Some(days), ..Dump::into(directory.path()) };
        connected.dump(&ask).await.unwrap();
    }
    std::fs::write(directory.path().join("other.dump"), "PGDMP not ours").unwrap();
    std::fs::write(directory.path().join("notes.json"), "{}").unwrap();
    std::fs::write(directory.path().join("precious.txt"), "precious").unwrap();
    forge(&archives.find("forged").unwrap(), |manifest| manifest.dump.file = "precious.txt".into());
    std::fs::remove_file(directory.path().join("second.dump")).unwrap();

    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    assert!(archives.prune(today).unwrap().is_empty());
    let listing = archives.list().unwrap();
    let states: Vec<_> = listing
        .snapshots
        .iter()
        .map(|kept| (kept.snapshot.manifest.id.as_str(), kept.state))
        .collect();
    assert_eq!(states[0], ("newest", State::There));
    assert!(states.contains(&("second", State::Missing)), "{states:?}");
    assert!(listing.problems[0].contains("notes.json"), "{:?}", listing.problems);

    let later = today.checked_add(2.days()).unwrap();
    let removed = archives.prune(later).unwrap();
    let mut removed: Vec<_> = removed.iter().map(|one| one.id.as_str()).collect();
    removed.sort_unstable();
    assert_eq!(removed, ["first", "second"]);
    let much_later = today.checked_add(100.days()).unwrap();
    assert_eq!(archives.prune(much_later).unwrap()[0].id, "kept");
    for name in ["newest.dump", "newest.json", "other.dump", "notes.json", "precious.txt"] {
        assert!(directory.path().join(name).exists(), "{name}");
    }
    // The newest good one stays although a newer one is there: that has lost its archive.
    let ask = Dump { id: Some("last".into()), keep_days: Some(1), ..Dump::into(directory.path()) };
    connected.dump(&ask).await.unwrap();
    std::fs::remove_file(directory.path().join("last.dump")).unwrap();
    let removed = archives.prune(much_later).unwrap();
    assert_eq!(removed.len(), 1, "{removed:?}");
    assert!(archives.find("newest").is_ok() && archives.find("last").is_err());
}

#[tokio::test]
async fn the_commands_make_list_verify_and_prune() {
    let Some((database, directory)) = shop().await else { return };
    let files = Files::new(&[]);
    let kept = directory.path().join("kept");
    let kept = kept.to_str().unwrap();
    let run = |arguments: &[&str]| {
        let arguments = [&["snapshot"], arguments, &["--snapshots", kept]].concat();
        ends(migrate(&database, &files, &arguments))
    };
    let (code, out, _) = run(&["list"]);
    assert!(code == 0 && out.starts_with("no snapshots in "), "{out}");
    let (code, out, err) = run(&["--id", "one"]);
    assert!(
        code == 0 && out.starts_with("snapshot one made and read back: 704 rows of 7"),
        "{out}{err}"
    );
    let (code, out, _) = run(&["list", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, json["snapshots"][0]["state"].as_str()), (0, Some("there")));
    let (code, out, err) = run(&["verify", "one"]);
    assert!(code == 0 && out.starts_with("snapshot one is good: "), "{out}{err}");
    let (code, _, err) = run(&["verify", "two"]);
    assert!(code == 2 && err.contains("there is no snapshot two in "), "{err}");
    let (code, out, _) = run(&["prune"]);
    assert!(code == 0 && out.starts_with("no snapshot's time is over"), "{out}");
    let dump = format!("{kept}/one.dump");
    std::fs::write(&dump, "PGDMP").unwrap();
    let (code, _, err) = run(&["verify", &dump]);
    assert!(code == 1 && err.contains("is NOT what was saved:\n"), "{err}");
    let (code, _, err) = run(&["list"]);
    assert!(code == 1 && err.contains("PROBLEM: its archive has another size"), "{err}");
}

const UP: (&str, &str, &str) =
    ("V0001__a", "create table a (id int); insert into a values (1)", "drop table a");

/// Shows C-MIG-8: a snapshot is made before something is applied, and only then; the history says which; and C-RB-2: a rollback that
/// would lose data offers it instead.
#[tokio::test]
async fn a_snapshot_is_made_before_migrations_are_applied() {
    let Some((database, directory)) = shop().await else { return };
    let files = Files::new(&[UP]);
    let kept = directory.path().join("kept");
    let arguments = ["--snapshot", kept.to_str().unwrap(), "--snapshot-keep-days", "30"];
    let (code, out, err) = ends(migrate(&database, &files, &arguments));
    assert!(code == 0 && out.starts_with("applied 1 on "), "{out}{err}");
    assert!(err.contains("making a snapshot before anything is applied\nsnapshot test_"), "{err}");
    let mut listed = Archives::new(&kept).list().unwrap().snapshots;
    assert_eq!(listed.len(), 1);
    let manifest = listed.remove(0).snapshot.manifest;
    assert!(manifest.contents.iter().all(|one| one.table != "public.a"), "it is of before");
    let day = manifest.taken_at.to_zoned(TimeZone::UTC).date().checked_add(30.days()).unwrap();
    assert_eq!(manifest.keep_until, Some(day));
    let noted = "select snapshot from liftlock_schema_history where action = 'apply'";
    assert_eq!(ask(&database, noted).await, manifest.id);

    let (code, out, _) = ends(migrate(&database, &files, &arguments));
    assert!(code == 0 && out.starts_with("nothing to apply"), "{out}");
    assert_eq!(Archives::new(&kept).list().unwrap().snapshots.len(), 1);

    let (code, _, err) = ends(migrate(&database, &files, &["rollback", "--to", "0"]));
    let instead =
        format!("instead: snapshot {} holds what the database had before V0001__a", manifest.id);
    assert!(code == 1 && err.contains(&instead), "{err}");
    let restored = format!("`migrate restore {}`", manifest.id);
    assert!(err.contains(&restored), "{err}");
}

/// Shows C-MIG-8: what is tried on a copy first makes no snapshots of the copy.
#[tokio::test]
async fn a_copy_is_no_snapshots_business() {
    let Some((database, directory)) = shop().await else { return };
    let files = Files::new(&[UP]);
    let kept = directory.path().join("kept");
    let arguments = ["--prove", "--snapshot", kept.to_str().unwrap()];
    let (code, out, err) = ends(migrate(&database, &files, &arguments));
    assert!(code == 0 && out.contains("applied 1 on "), "{out}{err}");
    assert_eq!(Archives::new(&kept).list().unwrap().snapshots.len(), 1);
}

/// Shows C-MIG-8: without the snapshot, nothing is applied.
#[tokio::test]
async fn no_snapshot_no_apply() {
    let Some((database, directory)) = shop().await else { return };
    let files = Files::new(&[UP]);
    let in_the_way = directory.path().join("a file");
    std::fs::write(&in_the_way, "").unwrap();
    let arguments = ["--snapshot", in_the_way.to_str().unwrap()];
    let (code, _, err) = ends(migrate(&database, &files, &arguments));
    assert!(code == 1 && err.contains("no snapshot, so nothing was applied: "), "{err}");
    assert_eq!(ask(&database, "to_regclass('a')").await, "null");
    assert_eq!(ask(&database, "to_regclass('liftlock_schema_history')").await, "null");
    let locks = "select count(*) from pg_locks where locktype = 'advisory'
                 and database = (select oid from pg_database where datname = current_database())";
    assert_eq!(ask(&database, locks).await, "0", "and the database is free for the next run");
}

/// A history that an older version made learns of snapshots.
#[tokio::test]
async fn an_older_history_gets_its_column() {
    let Some((database, _)) = shop().await else { return };
    let files = Files::new(&[UP]);
    apply(&database, &files).await;
    let older = "alter table liftlock_schema_history drop column snapshot";
    execute(&mut session(database.url()).await, older).await;
    assert_eq!(connect(&database).await.applied().await.unwrap()[0].snapshot, None);
    files.write("V0002__b.sql", "create table b (id int)");
    files.write("V0002__b.rollback.sql", "drop table b");
    let mut connected = connect(&database).await;
    connected.note_snapshot("arn:of:rds");
    connected.apply(&files.read(), None, &mut crate::support::quiet).await.unwrap();
    let applied = connect(&database).await.applied().await.unwrap();
    assert_eq!(applied[1].snapshot.as_deref(), Some("arn:of:rds"));
}
