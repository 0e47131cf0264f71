//! Reading and comparing schemas: every kind of object, changed and changed back.

use liftlock_migrate::schema::{Change, Schema};
use liftlock_testkit::TestDatabase;

use crate::support::{execute, session};

/// What every case starts from.
const BASE: &str = include_str!("schema_base.sql");
const CASES: &str = include_str!("schema_cases.sql");
const CASES_18: &str = include_str!("schema_cases_18.sql");

pub(crate) async fn base() -> Option<(TestDatabase, sqlx::PgConnection)> {
    let database = TestDatabase::new().await?;
    let mut connection = session(database.url()).await;
    let role = "do $$ begin create role schema_owner; exception when duplicate_object or unique_violation then end $$";
    execute(&mut connection, role).await;
    execute(&mut connection, BASE).await;
    Some((database, connection))
}

/// A change, its reversal, and how the change is told, as far as the server knows such things.
pub(crate) fn cases(connection: &sqlx::PgConnection) -> Vec<(&'static str, &'static str, String)> {
    let newer = connection.server_version_num().is_some_and(|version| version >= 180_000);
    let blocks = CASES.split("\n\n").chain(CASES_18.split("\n\n").filter(|_| newer));
    let blocks = blocks.filter(|block| block.contains("\n--> "));
    let case = |block: &'static str| {
        let mut lines = block.trim().lines();
        let (up, down) = (lines.next().unwrap(), lines.next().unwrap());
        let told = lines.next().unwrap().strip_prefix("--> ").unwrap().replace("\\n", "\n");
        (up, down, told)
    };
    blocks.map(case).collect()
}

/// Shows C-MIG-3.
#[tokio::test]
async fn every_kind_of_object_is_seen_to_change_and_to_be_restored() {
    let Some((_database, mut connection)) = base().await else { return };
    // Lets an index be marked invalid.
    execute(&mut connection, "set allow_system_table_mods = on").await;
    let mut wrong = Vec::new();
    let cases = cases(&connection);
    assert!(cases.len() > 90, "{}", cases.len());
    let mut before = Schema::read(&mut connection).await.unwrap();
    for (up, down, told) in cases {
        execute(&mut connection, up).await;
        let changed = Schema::read(&mut connection).await.unwrap();
        let difference = Schema::compare(&before, &changed);
        if !difference.to_string().contains(&told) || before.fingerprint() == changed.fingerprint()
        {
            wrong.push(format!("{up}\n{told:?} is not in\n{difference}"));
        }
        execute(&mut connection, down).await;
        let after = Schema::read(&mut connection).await.unwrap();
        let difference = Schema::compare(&before, &after);
        let fine = difference.only_column_order()
            || difference.is_empty() && before.fingerprint() == after.fingerprint();
        if !fine || difference.is_empty() == down.ends_with("-- last") {
            wrong.push(format!("{up} and back\n{difference}"));
        }
        before = after;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_column_that_comes_back_last_is_told_apart() {
    let Some((_database, mut connection)) = base().await else { return };
    let before = Schema::read(&mut connection).await.unwrap();
    execute(&mut connection, "alter table shop.cache drop k, add k text").await;
    let moved = Schema::read(&mut connection).await.unwrap();
    let difference = Schema::compare(&before, &moved);
    assert!(difference.only_column_order() && !difference.is_empty(), "{difference}");
    assert_eq!(difference.objects()[0].change, Change::ColumnOrder);
    assert!(
        difference.to_string().starts_with("table shop.cache (column order)\n"),
        "{difference}"
    );
    execute(&mut connection, "alter table shop.cache alter k set not null").await;
    let difference = Schema::compare(&before, &Schema::read(&mut connection).await.unwrap());
    assert!(!difference.only_column_order() && !difference.is_empty(), "{difference}");
    // Values of an enumeration compare by their order.
    execute(&mut connection, "create type e as enum ('a', 'b')").await;
    let before = Schema::read(&mut connection).await.unwrap();
    execute(&mut connection, "drop type e; create type e as enum ('b', 'a')").await;
    let difference = Schema::compare(&before, &Schema::read(&mut connection).await.unwrap());
    assert!(!difference.only_column_order() && !difference.is_empty(), "{difference}");
}

#[tokio::test]
async fn the_schema_is_the_same_whoever_reads_it_and_however_their_session_is_set() {
    let Some((database, mut connection)) = base().await else { return };
    execute(
        &mut connection,
        "create foreign data wrapper f; create server s foreign data wrapper f",
    )
    .await;
    execute(&mut connection, "create user mapping for postgres server s options (password 'hush')")
        .await;
    execute(&mut connection, "create table shop.at (t timestamptz default '2020-01-01 00:00+00', f float8 default 0.1, i interval default '1 day 2 hours', b bytea default '\\x00')").await;
    let first = Schema::read(&mut connection).await.unwrap();
    assert!(!first.to_text().contains("hush"));
    let odd = "set search_path = shop; set quote_all_identifiers = on; set datestyle = 'German'; set timezone = 'Asia/Tokyo';
               set intervalstyle = 'sql_standard'; set extra_float_digits = -10; set bytea_output = escape;
               create temporary table users (id text); set role schema_owner; set default_transaction_read_only = on";
    execute(&mut connection, odd).await;
    let second = Schema::read(&mut connection).await.unwrap();
    let difference = Schema::compare(&first, &second);
    assert!(difference.is_empty(), "{difference}");
    let mut settings = "select concat_ws(',', current_setting('search_path'), current_setting('quote_all_identifiers'), current_setting('timezone'))";
    for begin in ["set default_transaction_read_only = off", "begin; set local timezone = 'UTC'"] {
        execute(&mut connection, begin).await;
        let before: String = sqlx::query_scalar(settings).fetch_one(&mut connection).await.unwrap();
        let difference = Schema::compare(&first, &Schema::read(&mut connection).await.unwrap());
        assert!(difference.is_empty(), "{difference}");
        let after: String = sqlx::query_scalar(settings).fetch_one(&mut connection).await.unwrap();
        assert_eq!(before, after);
    }
    // Inside a transaction it sees what that has done, and leaves it open.
    execute(&mut connection, "reset role; create table shop.new (a int)").await;
    let inside = Schema::read(&mut connection).await.unwrap();
    assert_eq!(Schema::compare(&first, &inside).objects()[0].name, "shop.new");
    execute(&mut connection, "rollback").await;
    settings = "select count(*)::text from pg_class where relname = 'new'";
    let left: String = sqlx::query_scalar(settings).fetch_one(&mut connection).await.unwrap();
    assert_eq!(left, "0");
    drop(database);
}

#[tokio::test]
async fn what_is_kept_is_read_again_and_what_extensions_and_histories_hold_is_left_out() {
    let Some((_database, mut connection)) = base().await else { return };
    let before = Schema::read(&mut connection).await.unwrap();
    let history = "create table refinery_schema_history (version int primary key, name text);
                   create table shop.liftlock_schema_history (id bigint generated always as identity primary key, t text unique);
                   grant select on refinery_schema_history to schema_owner; comment on table refinery_schema_history is 'x';
                   create index on refinery_schema_history (name)";
    execute(&mut connection, history).await;
    let same = Schema::read(&mut connection).await.unwrap();
    assert!(Schema::compare(&before, &same).is_empty(), "{}", Schema::compare(&before, &same));
    execute(&mut connection, "create extension hstore; create extension pgcrypto").await;
    let more = Schema::read(&mut connection).await.unwrap();
    let changes = Schema::compare(&before, &more);
    let names: Vec<_> = changes
        .objects()
        .iter()
        .map(|object| (object.kind.as_str(), object.name.as_str()))
        .collect();
    assert_eq!(names, [("extension", "hstore"), ("extension", "pgcrypto")]);

    let text = more.to_text();
    let read = Schema::from_text(&text).unwrap();
    assert_eq!((read.fingerprint(), read.to_text()), (more.fingerprint(), text.clone()));
    assert!(Schema::compare(&read, &more).is_empty() && read == more);
    let newer = text.replacen("\"format\":1", "\"format\":2", 1);
    let error = Schema::from_text(&newer).unwrap_err().to_string();
    assert!(error.contains("kept in format 2"), "{error}");
    assert!(Schema::from_text("nonsense").is_err() && Schema::from_text("").is_err());
    // An extension's version is told, and is no difference.
    let other =
        Schema::from_text(&text.replace("\"note\":\"version 1.8\"", "\"note\":\"version 9\""))
            .unwrap();
    assert!(other != more && Schema::compare(&other, &more).is_empty());
    assert_eq!(other.fingerprint(), more.fingerprint());
}
