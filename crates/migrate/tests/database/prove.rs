//! Rollback scripts that are tried before anybody needs them.

use std::process::{Command, Output};

use liftlock_migrate::RollbackProof;
use liftlock_testkit::TestDatabase;
use secrecy::ExposeSecret as _;

use crate::support::{Files, apply, ask, connect, tables};

const A: (&str, &str, &str) = ("V0001__a", "create table a (id int)", "drop table a");
const B: (&str, &str, &str) =
    ("V0002__b", "create index a_id on a (id); comment on table a is 'all'", "drop index a_id");

/// Exit code and everything that was said.
fn migrate(database: &TestDatabase, files: &Files, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
    command.args(arguments).arg("--directory").arg(files.path());
    command.env("DATABASE_URL", database.url().expose_secret());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout) + &text(stderr))
}

async fn proofs(database: &TestDatabase) -> Vec<RollbackProof> {
    let applied = connect(database).await.applied().await.unwrap();
    applied.iter().map(|one| one.rollback).collect()
}

/// Shows C-MIG-5: with `--prove` a migration whose rollback is wrong is not applied, and what was proven is on record.
#[tokio::test]
async fn nothing_is_applied_whose_rollback_is_wrong() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[A, B]);
    let (code, said) = migrate(&database, &files, &["--prove"]);
    assert!(code == 1 && said.contains("nothing was applied"), "{said}");
    assert_eq!(tables(&database).await, "null");
    files.write("V0002__b.rollback.sql", "drop index a_id; comment on table a is null");
    let (code, said) = migrate(&database, &files, &["--prove"]);
    assert!(code == 0 && said.contains("applied 2 on "), "{said}");
    assert_eq!(proofs(&database).await, [RollbackProof::Proven; 2]);
}

/// Shows C-MIG-5: a rollback script that was changed since is not run before it was tried on a copy of the schema.
#[tokio::test]
async fn a_rollback_script_that_was_changed_is_not_run_untried() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[A, B]);
    files.write("V0002__b.rollback.sql", "comment on table a is null; drop index a_id");
    apply(&database, &files).await;
    assert_eq!(proofs(&database).await, [RollbackProof::Unproven; 2]);
    let (code, said) = migrate(&database, &files, &["prove"]);
    assert!(code == 0 && said.contains("proven  V0002__b") && said.contains("V0001__a"), "{said}");
    let (code, said) = migrate(&database, &files, &["prove"]);
    assert!(code == 0 && said.contains("every rollback script of "), "{said}");

    files.write("V0002__b.rollback.sql", "drop index a_id");
    apply(&database, &files).await;
    assert_eq!(proofs(&database).await, [RollbackProof::Proven, RollbackProof::Changed]);
    let to_1 = ["rollback", "--to", "V0001"];
    let (code, said) = migrate(&database, &files, &to_1);
    assert!(code == 4 && said.contains("V0002__b.rollback.sql changed after"), "{said}");
    let (code, said) = migrate(&database, &files, &["prove"]);
    assert!(code == 1 && said.contains("WRONG   V0002__b: its rollback leaves:"), "{said}");
    assert_eq!(ask(&database, "select count(*) from pg_class where relname = 'a_id'").await, "1");

    files.write("V0002__b.rollback.sql", "drop index a_id; comment on table a is null; select 1");
    let (code, said) = migrate(&database, &files, &["prove"]);
    assert!(code == 0 && said.contains("proven  V0002__b"), "{said}");
    let (code, said) = migrate(&database, &files, &to_1);
    assert!(code == 0 && said.contains("rolled back 1 on "), "{said}");
}

/// A rollback that does not run, one that does nothing, and one after which the migration does not run again prove nothing.
#[tokio::test]
async fn what_does_not_take_a_migration_back_is_told() {
    for (rollback, expected) in [
        ("drop table nowhere", "its rollback does not run"),
        ("select 'nothing'", "its rollback changes nothing"),
        ("alter table b rename to c", "its rollback leaves:"),
        ("drop table b; create table c (); revoke all on a from public", "its rollback leaves:"),
    ] {
        let Some(database) = TestDatabase::new().await else { return };
        let files = Files::new(&[A, ("V0002__b", "create table if not exists b ()", rollback)]);
        apply(&database, &files).await;
        let (code, said) = migrate(&database, &files, &["prove", "--to", "V0001"]);
        assert!(code == 1 && said.contains(expected), "{rollback}: {said}");
        assert_eq!(proofs(&database).await[1], RollbackProof::Unproven);
        assert_eq!(tables(&database).await, "a b");
    }
}
