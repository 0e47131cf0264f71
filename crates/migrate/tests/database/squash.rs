//! Many migrations as one.

use liftlock_testkit::TestDatabase;

use crate::program::{ends, migrate};
use crate::support::{Files, apply, ask, connect, execute, quiet, session, tables};

const KINDS: [(&str, &str, &str); 5] = [
    (
        "V0001__shop",
        "create schema shop; create extension if not exists pgcrypto;
         create type shop.state as enum ('new', 'paid');
         create table shop.orders (id serial primary key, gone int, state shop.state not null default 'new', note text);
         comment on table shop.orders is 'it''s \\ ours'; create table countries (code text primary key, name text);
         insert into countries values ('de', 'Germany'), ('it', E'It\\'s; \\n--Italy'), ('fr', null)",
        "drop table countries; drop schema shop cascade; drop extension pgcrypto",
    ),
    (
        "V0002__more",
        "create table log (id bigint generated always as identity, what text, country text references countries);
         create function touch() returns trigger language plpgsql as $$ begin
             insert into log (what) values ('touched; twice'); return new; end $$;
         create trigger touched after insert on shop.orders for each row execute function touch();
         insert into shop.orders (note) values ('first'); alter table shop.orders drop column gone;
         create view paid as select * from shop.orders where state = 'paid';
         create rule twice as on insert to countries do also (notify one; notify two)",
        "drop rule twice on countries; drop view paid; drop trigger touched on shop.orders; drop function touch(); drop table log",
    ),
    (
        "V0003__index",
        "-- migrate: no-transaction\ncreate index concurrently orders_note on shop.orders (note)",
        "-- migrate: no-transaction\ndrop index concurrently if exists shop.orders_note",
    ),
    (
        "V0004__rights",
        "alter table log enable row level security; create policy own on log using (what = current_user);
         revoke all on function touch() from public; grant select (code) on countries to public",
        "revoke select (code) on countries from public; grant execute on function touch() to public; drop policy own on log;
         alter table log disable row level security",
    ),
    ("V0005__note", "alter table log add note text not null default ''", "alter table log drop note"),
];

fn files(names: &[&str]) -> Files {
    let wanted = KINDS.into_iter().filter(|(stem, ..)| names.contains(stem));
    Files::new(&wanted.collect::<Vec<_>>())
}

fn all() -> Files {
    Files::new(&KINDS)
}

fn names(files: &Files) -> String {
    let entries = std::fs::read_dir(files.path()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names.join(" ")
}

/// Shows C-MIG-3: what takes the place of many migrations is proven to make the same schema and rows. Databases that have them have it;
/// a new one runs it alone; one in between is told what it needs.
#[tokio::test]
async fn a_squash_takes_the_place_of_what_it_is_proven_to_make() {
    let Some(old) = TestDatabase::new().await else { return };
    let (files, before) = (all(), names(&all()));
    assert_eq!(apply(&old, &files).await, [1, 2, 3, 4, 5]);
    let between = TestDatabase::new().await.unwrap();
    connect(&between).await.apply(&files.read(), Some(2), &mut quiet).await.unwrap();

    let (code, out, err) = ends(migrate(&old, &files, &["squash", "--to", "V0004", "--dry-run"]));
    assert!(code == 0 && out.contains("nothing was written"), "{out}{err}");
    assert_eq!(names(&files), before);
    let (code, out, err) = ends(migrate(&old, &files, &["squash", "--to", "V0004"]));
    assert!(
        code == 0 && out.starts_with("V0004__squash is in place of 4 migrations"),
        "{out}{err}"
    );
    assert!(
        out.contains("rows     public.countries: 3") && out.contains("leaves nothing"),
        "{out}"
    );
    assert_eq!(
        names(&files),
        "V0004__squash.rollback.sql V0004__squash.sql V0005__note.rollback.sql V0005__note.sql squashed"
    );
    let kept = std::fs::read_to_string(files.path().join("squashed/V0004/V0001__shop.sql"));
    assert_eq!(kept.unwrap(), KINDS[0].1);

    for arguments in [&["status"][..], &["prove", "--to", "4"], &["drift"], &["check"], &[]] {
        let (code, out, err) = ends(migrate(&old, &files, arguments));
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        assert!(!out.contains("pending"), "{out}");
    }
    for arguments in [&["--dry-run"][..], &[], &["status"]] {
        let (_, out, err) = ends(migrate(&between, &files, arguments));
        let said = format!("{out}{err}");
        assert!(said.contains("V0002 is the newest here, and V0004__squash stands for"), "{said}");
    }

    let new = TestDatabase::new().await.unwrap();
    let (code, out, err) = ends(migrate(&new, &files, &["--dry-run"]));
    assert!(code == 0 && out.contains("rollback: restores the schema exactly"), "{out}{err}");
    assert_eq!(apply(&new, &files).await, [4, 5]);
    let rows = "select string_agg(format('%s %s', code, name), ',' order by code) from countries";
    assert_eq!(ask(&new, rows).await, ask(&old, rows).await);
    execute(&mut session(new.url()).await, "insert into shop.orders (note) values ('second')")
        .await;
    assert_eq!(ask(&new, "select max(id) from shop.orders").await, "2");
    for arguments in [&["status"][..], &["prove"], &["drift"], &[]] {
        let (code, out, err) = ends(migrate(&new, &files, arguments));
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
    }

    let (code, _, err) = ends(migrate(&old, &all(), &["--dry-run"]));
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = ends(migrate(&new, &all(), &["--dry-run"]));
    assert!(code == 2 && err.contains("the database began with V0004__squash"), "{err}");
    assert!(!err.contains("next free number"), "{err}");
}

/// Shows C-MIG-4: a squash has a rollback script that is tried. It goes back whole or not at all, and what has the migrations one by one
/// goes back one by one.
#[tokio::test]
async fn a_squash_is_rolled_back_whole_or_not_at_all() {
    let Some(old) = TestDatabase::new().await else { return };
    let files = all();
    apply(&old, &files).await;
    let (code, _, err) = ends(migrate(&old, &files, &["squash", "--to", "4"]));
    assert_eq!(code, 0, "{err}");
    let new = TestDatabase::new().await.unwrap();
    apply(&new, &files).await;
    for arguments in [["--to", "V0002"], ["--steps", "2"]] {
        let (code, _, err) = ends(migrate(&new, &files, &[&["rollback"], &arguments[..]].concat()));
        assert!(code == 4 && err.contains("V0004__squash stands for V0001 to V0004"), "{err}");
        assert_eq!(ask(&new, "select count(*) from refinery_schema_history").await, "2");
    }
    let (code, _, err) = ends(migrate(&new, &files, &["rollback", "--to", "0"]));
    assert!(code == 1 && err.contains("countries: 3 rows"), "{err}");
    let (code, _, err) =
        ends(migrate(&new, &files, &["rollback", "--to", "0", "--accept-data-loss"]));
    assert_eq!(code, 0, "{err}");
    assert_eq!(tables(&new).await, "null");
    assert_eq!(ask(&new, "to_regnamespace('shop')").await, "null");
    assert_eq!(apply(&new, &files).await, [4, 5]);

    let (code, out, err) = ends(migrate(&old, &files, &["rollback", "--to", "3"]));
    assert!(code == 0 && out.starts_with("rolled back 2 on "), "{out}{err}");
    let (code, _, err) = ends(migrate(&old, &files, &[]));
    assert!(code == 2 && err.contains("V0003 is the newest here"), "{err}");
    assert_eq!(apply(&old, &all()).await, [4, 5]);
    let (code, _, err) = ends(migrate(&old, &files, &[]));
    assert_eq!(code, 0, "{err}");
}

#[tokio::test]
async fn a_squash_is_squashed_again_and_knows_both_histories() {
    let Some(old) = TestDatabase::new().await else { return };
    let files = all();
    apply(&old, &files).await;
    let (code, _, err) = ends(migrate(&old, &files, &["squash", "--to", "2"]));
    assert_eq!(code, 0, "{err}");
    let newer = TestDatabase::new().await.unwrap();
    assert_eq!(apply(&newer, &files).await, [2, 3, 4, 5]);
    let (code, out, err) =
        ends(migrate(&old, &files, &["squash", "--to", "5", "--delete", "--output", "json"]));
    assert_eq!(code, 0, "{out}{err}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (json["replaces"].as_array().unwrap().len(), json["way_back"]["kind"].as_str()),
        (4, Some("drops"))
    );
    assert_eq!(names(&files), "V0005__squash.rollback.sql V0005__squash.sql squashed");
    let newest = TestDatabase::new().await.unwrap();
    assert_eq!(apply(&newest, &files).await, [5]);
    for database in [&old, &newer, &newest] {
        let (code, out, err) = ends(migrate(database, &files, &[]));
        assert!(code == 0 && out.starts_with("nothing to apply on "), "{out}{err}");
    }
    let (code, _, err) = ends(migrate(&old, &files, &["squash", "--to", "5"]));
    assert!(code == 2 && err.contains("there is nothing to squash"), "{err}");

    // Another history of the same numbers and names.
    let other = TestDatabase::new().await.unwrap();
    let changed = all();
    changed.write("V0005__note.sql", "alter table log add note text");
    apply(&other, &changed).await;
    let (code, _, err) = ends(migrate(&other, &files, &[]));
    assert!(code == 2 && err.contains("those that were applied here are others"), "{err}");
}

/// Shows C-MIG-3: what differs each time, what is not in a dump, and what was changed by hand is refused, and nothing is written.
#[tokio::test]
async fn what_a_squash_cannot_stand_for_is_refused() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = files(&["V0001__shop", "V0002__more"]);
    files.write(
        "V0003__key.sql",
        "create table keys (key uuid); insert into keys values (gen_random_uuid())",
    );
    files.write("V0003__key.rollback.sql", "drop table keys");
    let before = names(&files);
    let (code, _, err) = ends(migrate(&database, &files, &["squash", "--to", "3"]));
    assert!(code == 4 && err.contains("table public.keys has other values in its 1 rows"), "{err}");
    assert_eq!(names(&files), before);
    let (code, out, err) = ends(migrate(&database, &files, &["squash", "--to", "3", "--freeze"]));
    assert_eq!(code, 0, "{out}{err}");

    // Half of it is kept by hand, and a file of what it stands for is back.
    files.write("V0002__more.sql", "select 1");
    let (code, _, err) = ends(migrate(&database, &files, &[]));
    assert!(
        code == 2 && err.contains("V0003__squash.sql stands for all up to V0003: move it away"),
        "{err}"
    );
    std::fs::remove_file(files.path().join("V0002__more.sql")).unwrap();
    files.write("V0003__squash.rollback.sql", "drop table keys");
    let (code, _, err) = ends(migrate(&database, &files, &[]));
    assert!(code == 2 && err.contains("must stand in V0003__squash.rollback.sql too"), "{err}");
}

#[tokio::test]
async fn what_the_server_has_comes_from_a_prelude() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = files(&["V0001__shop"]);
    let role = "do $$ begin if not exists (select from pg_roles where rolname = 'liftlock_squash_reader') then
                create role liftlock_squash_reader; end if; end $$;";
    let up = format!(
        "{role} alter default privileges in schema shop grant select on tables to liftlock_squash_reader;
         create table shop.seen (id int)"
    );
    files.write("V0002__role.sql", &up);
    let back = "drop table shop.seen;
        alter default privileges in schema shop revoke select on tables from liftlock_squash_reader";
    files.write("V0002__role.rollback.sql", back);
    let (code, _, err) = ends(migrate(&database, &files, &["squash", "--to", "2"]));
    assert!(code == 4 && err.contains("V0002__role.sql has `create role`"), "{err}");
    assert!(err.contains("--prelude FILE"), "{err}");
    let prelude = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(prelude.path(), role).unwrap();
    let path = prelude.path().to_str().unwrap();
    let (code, out, err) =
        ends(migrate(&database, &files, &["squash", "--to", "2", "--prelude", path]));
    assert!(code == 0 && out.contains("tried in a private server"), "{out}{err}");
    let text = std::fs::read_to_string(files.path().join("V0002__squash.sql")).unwrap();
    assert!(text.contains(role) && text.contains("ALTER DEFAULT PRIVILEGES"), "{text}");
    assert_eq!(
        ask(&database, "select count(*) from pg_roles where rolname = 'liftlock_squash_reader'")
            .await,
        "0"
    );
}
