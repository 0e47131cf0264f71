//! What people do by hand: new migrations, a look at what is there, a rollback for a reason.

use liftlock_testkit::TestDatabase;
use serde_json::{Value, json};

use crate::program::{ends, migrate};
use crate::support::{Files, apply, ask, execute, session, tables};

const A: (&str, &str, &str) = ("V0001__a", "create table a (id int)", "drop table a");
const B: (&str, &str, &str) = ("V0002__b", "create table b (id int)", "drop table b");
const C: (&str, &str, &str) = ("V0003__c", "create table c (id int)", "drop table c");

/// Shows C-MIG-4: a new migration comes with its rollback script, and neither passes before it is written.
#[tokio::test]
async fn a_new_migration_has_its_files_and_they_must_be_written() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[("V041__old", "select 1", "select 1")]);
    let new = &["new", "add orders note", "--verify", "--contract", "--no-transaction"];
    let mut command = migrate(&database, &files, new);
    command.env_remove("DATABASE_URL");
    let (code, out, err) = ends(command);
    assert!(code == 0 && out.contains("V042__add_orders_note.rollback.sql"), "{out}{err}");
    let read = |name: &str| std::fs::read_to_string(files.path().join(name)).unwrap();
    let up = read("V042__add_orders_note.sql");
    assert!(up.contains("\n-- migrate: phase contract\n-- migrate: no-transaction\n"), "{up}");
    assert!(read("V042__add_orders_note.verify.sql").starts_with("-- "));

    let (code, _, err) = ends(migrate(&database, &files, &["check"]));
    for file in ["V042__add_orders_note.sql", "V042__add_orders_note.rollback.sql"] {
        assert!(code == 2 && err.contains(&format!("{file}: it holds no statement")), "{err}");
    }
    assert!(!err.contains("above the first statement"), "{err}");

    files.write("V042__add_orders_note.sql", "mine");
    let (code, out, _) = ends(migrate(&database, &files, &["new", "other"]));
    assert!(code == 0 && out.contains("V043__other.sql"), "{out}");
    assert_eq!(read("V042__add_orders_note.sql"), "mine");
    let (code, _, err) = ends(migrate(&database, &files, &["new", "…"]));
    assert!(code == 2 && err.contains("gives no name"), "{err}");
}

/// Several people at once: nobody's files are overwritten, and none are half there.
#[test]
fn new_migrations_made_at_once_do_not_overwrite_each_other() {
    let top = tempfile::tempdir().unwrap();
    let directory = top.path().join("migrations");
    let new = liftlock_migrate::NewMigration {
        title: "x".into(),
        verify: false,
        contract: false,
        no_transaction: false,
    };
    let made = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| new.create(&directory))).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap().ok()).collect::<Vec<_>>()
    });
    let mut paths: Vec<_> = made.into_iter().flatten().collect();
    paths.sort();
    let mut there: Vec<_> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    there.sort();
    assert!(!there.is_empty() && there == paths, "{there:?} {paths:?}");
}

/// Shows C-MIG-6: the manual rollback command goes back so many steps, and no further. Shows C-RB-3: its reason is on record.
#[tokio::test]
async fn a_rollback_by_steps_takes_back_that_many_and_keeps_the_reason() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[A, B, C]);
    apply(&database, &files).await;
    for (arguments, expected) in [
        (&["rollback", "--steps", "4"][..], "4 migrations cannot be rolled back: 3 are applied"),
        (&["rollback", "--steps", "0"], "0 is not in 1.."),
        (&["rollback", "--steps", "1", "--to", "1"], "cannot be used with"),
        (&["rollback"], "--to"),
    ] {
        let (code, _, err) = ends(migrate(&database, &files, arguments));
        assert!(code == 2 && err.contains(expected), "{arguments:?}: {code} {err}");
    }
    assert_eq!(tables(&database).await, "a b c", "nothing was touched");

    let arguments = &["rollback", "--steps", "2", "--reason", "it broke the\ncheckout"];
    let (code, out, err) = ends(migrate(&database, &files, arguments));
    assert!(code == 0 && out.starts_with("rolled back 2 on "), "{out}{err}");
    assert_eq!(tables(&database).await, "a");
    let reasons = "select string_agg(version || reason, '; ' order by id) from liftlock_schema_history where action = 'rollback'";
    assert_eq!(ask(&database, reasons).await, "3it broke the\ncheckout; 2it broke the\ncheckout");
}

/// Shows C-MIG-11: who did what, when, how long it took and why can be looked up, rollbacks too.
#[tokio::test]
async fn status_shows_what_is_pending_and_how_and_all_that_was_done() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[A, B]);
    apply(&database, &files).await;
    ends(migrate(&database, &files, &["rollback", "--steps", "1", "--reason", "wrong\u{1b}[31m"]));
    files.write("V0003__c.sql", "-- migrate: phase contract\n-- migrate: no-transaction\nvacuum");
    files.write("V0003__c.rollback.sql", "select 'nothing to do'");
    files.write("V0003__c.verify.sql", "select true");

    let (code, out, _) = ends(migrate(&database, &files, &["status"]));
    assert!(code == 0 && !out.contains("history"), "{out}");
    assert!(out.contains("\n  pending  V0002__b\n  pending  V0003__c  (contract, no transaction)"));
    let (_, out, _) = ends(migrate(&database, &files, &["status", "--history"]));
    let history: Vec<&str> = out.lines().skip_while(|line| !line.starts_with("history")).collect();
    assert_eq!((history.len(), history[0]), (4, "history, 3 entries:"), "{out}");
    assert!(history[3].contains("rollback          V0002__b by alice, "), "{out}");
    assert!(history[3].ends_with(": wrong\u{fffd}[31m"), "{out}");

    let (_, out, _) =
        ends(migrate(&database, &files, &["status", "--history", "--output", "json"]));
    let json: Value = serde_json::from_str(&out).unwrap();
    let pending = json!({ "version": 3, "name": "c", "phase": "contract", "no_transaction": true, "verified": true });
    assert_eq!(json["pending"][1], pending);
    let row = &json["history"][0];
    assert_eq!(
        (&row["action"], &row["id"]["version"], &row["by"]),
        (&json!("apply"), &json!(1), &json!("alice"))
    );
    assert_eq!(row["database_user"], "postgres");
    assert!(row["at"].is_string() && row["milliseconds"].is_u64(), "{row}");
}

/// A history that an older version made: it is read, and a rollback adds what is new.
#[tokio::test]
async fn a_history_without_reasons_gets_them() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[A]);
    apply(&database, &files).await;
    let mut connection = session(database.url()).await;
    execute(&mut connection, "alter table liftlock_schema_history drop column reason").await;
    let (code, out, err) = ends(migrate(&database, &files, &["status", "--history"]));
    assert!(code == 0 && out.contains("apply             V0001__a"), "{out}{err}");
    let (code, _, err) =
        ends(migrate(&database, &files, &["rollback", "--to", "0", "--reason", "x"]));
    assert_eq!(code, 0, "{err}");
    assert_eq!(ask(&database, "select max(reason) from liftlock_schema_history").await, "x");
}
