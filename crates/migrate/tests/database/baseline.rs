//! Databases that were there before their migrations.

use liftlock_testkit::TestDatabase;

use crate::program::{ends, migrate};
use crate::support::{Files, ask, execute, session, tables};

const A: (&str, &str, &str) =
    ("V0001__a", "create table a (id int primary key, name text)", "drop table a");
const B: (&str, &str, &str) = ("V0002__b", "create index a_name on a (name)", "drop index a_name");
const C: (&str, &str, &str) = ("V0003__c", "create table c (id int)", "drop table c");

/// Shows C-MIG-3: what is recorded without being run is proven to be there, and what differs is shown.
#[tokio::test]
async fn a_database_is_recorded_as_migrated_once_it_is_proven_to_be() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[A, B, C]);
    let mut live = session(database.url()).await;
    execute(
        &mut live,
        "create table a (name text, id int primary key); insert into a values ('x', 1)",
    )
    .await;
    for (at, code, expected) in [
        ("V0004", 2, "there is no migration V0004"),
        ("0", 2, "there is no migration V0000"),
        ("V0002", 1, "index public.a_name (removed)"),
    ] {
        let (ended, _, err) = ends(migrate(&database, &files, &["baseline", "--at", at]));
        assert!(ended == code && err.contains(expected), "{at}: {err}");
        assert_eq!(ask(&database, "to_regclass('liftlock_schema_history')").await, "null");
    }
    execute(&mut live, "create index a_name on a (name)").await;
    let (code, out, err) = ends(migrate(&database, &files, &["baseline", "--at", "V0002"]));
    assert!(code == 0 && out.contains("recorded 2 as applied on "), "{out}{err}");
    assert!(out.contains("table public.a: its columns are in another order"), "{out}");
    assert_eq!(ask(&database, "select count(*) from a").await, "1", "nothing was run");
    let (code, out, _) = ends(migrate(&database, &files, &["baseline", "--at", "V0002"]));
    assert!(code == 0 && out.starts_with("nothing to record"), "{out}");

    let (code, out, err) = ends(migrate(&database, &files, &[]));
    assert!(code == 0 && out.starts_with("applied 1 on "), "{out}{err}");
    let (code, _, err) = ends(migrate(&database, &files, &["baseline", "--at", "V0002"]));
    assert!(code == 2 && err.contains("has a history already, up to V0003"), "{err}");
    let (_, out, _) = ends(migrate(&database, &files, &["status", "--history"]));
    assert!(
        out.contains("adopt             V0001__a by alice, 0 ms: baseline: the schema is"),
        "{out}"
    );
    let (code, _, err) = ends(migrate(&database, &files, &["rollback", "--to", "1"]));
    assert_eq!(code, 0, "{err}");
    assert_eq!(ask(&database, "to_regclass('a_name')").await, "null");
}

#[tokio::test]
async fn a_database_is_recorded_without_a_proof_for_a_reason() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[A]);
    let arguments = &["baseline", "--at", "1", "--unproven", "the copy is made tonight"];
    let (code, out, err) = ends(migrate(&database, &files, arguments));
    assert!(code == 0 && out.contains("without a proof"), "{out}{err}");
    let reason = ask(&database, "select reason from liftlock_schema_history").await;
    assert_eq!(reason, "baseline, not proven: the copy is made tonight");
    assert_eq!(tables(&database).await, "null");
}
