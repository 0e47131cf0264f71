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

/// Shows C-MIG-3, C-MIG-4: the first migration of a database that never had one is proven to be what is there, and has a rollback script.
#[tokio::test]
async fn a_database_without_migrations_gets_its_first_one() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[]);
    let first = ["baseline", "--from-database"];
    let (code, _, err) = ends(migrate(&database, &files, &first));
    assert!(code == 2 && err.contains("holds nothing"), "{err}");
    let mut live = session(database.url()).await;
    let role = "do $$ begin create role liftlock_baseline_app; exception when duplicate_object then end $$";
    execute(&mut live, role).await;
    execute(
        &mut live,
        "create schema shop; create table shop.orders (id serial primary key, state text check (state in ('new', 'paid')));
         insert into shop.orders (state) values ('new'); alter table shop.orders owner to liftlock_baseline_app;
         create table public.notes (id int references shop.orders, note varchar(20) default 'x');
         create function public.f() returns text language sql as $$ select '\\restrict; commit' $$;
         create view shop.paid as select * from shop.orders where state = 'paid';
         grant select on public.notes to liftlock_baseline_app; revoke all on function public.f() from public",
    )
    .await;
    let (code, out, err) = ends(migrate(&database, &files, &[&first[..], &["--dry-run"]].concat()));
    assert!(code == 0 && out.contains("nothing was written"), "{out}{err}");
    assert_eq!(std::fs::read_dir(files.path()).unwrap().count(), 0);
    assert_eq!(ask(&database, "to_regclass('liftlock_schema_history')").await, "null");
    let (code, out, err) = ends(migrate(&database, &files, &first));
    assert!(code == 0 && out.contains("and recorded as applied there"), "{out}{err}");
    assert!(out.contains("leaves nothing") && out.contains("liftlock_baseline_app"), "{out}");
    let text = std::fs::read_to_string(files.path().join("V0001__baseline.sql")).unwrap();
    assert!(!text.contains("OWNER TO") && !text.contains("lock_timeout"), "{text}");
    for arguments in [&["status"][..], &["drift"], &["check"], &["prove"], &[]] {
        let (code, out, err) = ends(migrate(&database, &files, arguments));
        assert!(code == 0 && !out.contains("pending"), "{arguments:?}: {out}{err}");
    }
    let new = TestDatabase::new().await.unwrap();
    let (code, out, err) = ends(migrate(&new, &files, &[]));
    assert!(code == 0 && out.starts_with("applied 1 on "), "{out}{err}");
    assert_eq!(ask(&new, "select count(*) from shop.paid").await, "0");
    let (code, _, err) = ends(migrate(&database, &files, &["rollback", "--to", "0"]));
    assert!(code == 1 && err.contains("shop.orders: 1 row"), "{err}");
    for (database, expected) in [(&database, "has migrations already"), (&new, "has migrations")] {
        let (code, _, err) = ends(migrate(database, &files, &first));
        assert!(code == 2 && err.contains(expected), "{err}");
    }
    let (code, _, err) = ends(migrate(&new, &Files::new(&[]), &first));
    assert!(code == 2 && err.contains("has a history already, up to V0001"), "{err}");
}

#[tokio::test]
async fn the_first_migration_says_who_owns_what_if_asked() {
    let Some(database) = TestDatabase::new().await else { return };
    let mut live = session(database.url()).await;
    let role = "do $$ begin create role liftlock_baseline_owner; exception when duplicate_object then end $$";
    execute(&mut live, role).await;
    execute(&mut live, "create table a (id int); create table b (id int); alter table a owner to liftlock_baseline_owner").await;
    let files = Files::new(&[]);
    let arguments =
        ["baseline", "--from-database", "--owners", "--name", "What was there", "--output", "json"];
    let (code, out, err) = ends(migrate(&database, &files, &arguments));
    assert_eq!(code, 0, "{out}{err}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (json["written"].as_bool(), json["way_back"]["kind"].as_str()),
        (Some(true), Some("drops"))
    );
    let text = std::fs::read_to_string(files.path().join("V0001__What_was_there.sql")).unwrap();
    assert!(text.contains("ALTER TABLE public.a OWNER TO liftlock_baseline_owner"), "{text}");
    assert_eq!(text.matches("OWNER TO").count(), 1, "{text}");
}
