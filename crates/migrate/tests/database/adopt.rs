//! Taking over what other tools migrated. What their history tables hold was recorded from dbmate 2.36.0 and sqitch 1.3.1; for
//! sqlx 0.9.0, diesel, flyway and golang-migrate the tables are made by hand, as these tools' own SQL makes them.

use std::path::Path;

use liftlock_testkit::TestDatabase;
use serde_json::Value;

use crate::program::{ends, migrate};
use crate::support::{Files, ask, execute, session, tables};

/// What a tool left behind: two migrations applied, one not.
struct Left {
    tool: &'static str,
    /// Path, text.
    files: &'static [(&'static str, &'static str)],
    /// Its history table, and the tables that its migrations made.
    database: &'static str,
    table: &'static str,
    flags: &'static [&'static str],
    /// Our file's name, and what the other tool runs, byte for byte.
    made: &'static [(&'static str, &'static str)],
    /// When the first was applied, as far as that is known.
    at: &'static str,
}

const SQITCH: Left = Left {
    tool: "sqitch",
    files: &[
        (
            "sqitch.plan",
            "%syntax-version=1.0.0\n%project=flipr\n\nusers 2026-11-21T10:22:02Z Alice <a@b.c> # users table\n\
             tags [users] 2026-11-21T10:22:04Z Alice <a@b.c> # tags\n@v1 2026-11-21T10:22:05Z Alice <a@b.c>\n\
             later 2026-11-21T10:23:04Z Alice <a@b.c>\n",
        ),
        (
            "deploy/users.sql",
            "-- Deploy flipr:users to pg\n\nBEGIN;\n\nCREATE TABLE users (id int);\n\nCOMMIT;\n",
        ),
        ("revert/users.sql", "BEGIN;\n\nDROP TABLE users;\n\nCOMMIT;\n"),
        ("verify/users.sql", "BEGIN;\n\nSELECT id FROM users WHERE FALSE;\n\nROLLBACK;\n"),
        ("deploy/tags.sql", "BEGIN;\r\nCREATE TABLE tags (id int);\r\nCOMMIT;\r\n"),
        ("revert/tags.sql", "BEGIN;\nDROP TABLE tags;\nCOMMIT;\n"),
        ("verify/tags.sql", "BEGIN;\n\n-- XXX Add verifications here.\n\nROLLBACK;\n"),
        ("deploy/later.sql", "CREATE TABLE later (id int);\n"),
        ("revert/later.sql", "DROP TABLE later;\n"),
    ],
    database: "create schema sqitch;
        create table sqitch.changes (
            change_id text not null primary key, script_hash text, change text not null, project text not null,
            note text not null default '', committed_at timestamptz not null default clock_timestamp(),
            committer_name text not null, committer_email text not null, planned_at timestamptz not null,
            planner_name text not null, planner_email text not null, unique (project, script_hash));
        insert into sqitch.changes values ('93f5fa94c34b1f7170a32bd8b6dba42affd4272f', '94347252cf6933d9b1c3cc627afba5d1ed18b00d',
            'users', 'flipr', 'users table', '2026-11-21 10:22:08.596507+00', 'Alice', 'a@b.c', '2026-11-21 10:22:02+00', 'Alice', 'a@b.c');
        insert into sqitch.changes values ('bffd73554323e320d72dd7b69b6e6963425c0836', '346621b9931231287783d92499020e3617bc8d58',
            'tags', 'flipr', 'tags', '2026-11-21 10:22:08.880721+00', 'Alice', 'a@b.c', '2026-11-21 10:22:04+00', 'Alice', 'a@b.c');
        insert into sqitch.changes values ('x', 'y', 'other', 'other', '', now(), 'x', 'x', now(), 'x', 'x');
        create table users (id int); create table tags (id int)",
    table: "sqitch.changes",
    flags: &["--strip-transaction"],
    made: &[
        (
            "V0001__users.sql",
            "-- Deploy flipr:users to pg\n\n\n\nCREATE TABLE users (id int);\n\n\n",
        ),
        ("V0001__users.verify.sql", "\n\nSELECT id FROM users WHERE FALSE;\n\n\n"),
        ("V0002__tags.sql", "\r\nCREATE TABLE tags (id int);\r\n\r\n"),
        ("V0003__later.sql", "CREATE TABLE later (id int);\n"),
    ],
    at: "2026-11-21T10:22:08.596507Z",
};

const DBMATE: Left = Left {
    tool: "dbmate",
    files: &[
        (
            "20240101000000_create-users.sql",
            "-- a header\n-- migrate:up\ncreate table users (id int);\n-- a note; with a semicolon\n\n-- migrate:down\ndrop table users;\n",
        ),
        (
            "20240102000000_index.sql",
            "-- migrate:up transaction:false\r\ncreate index concurrently users_id on users (id);\r\n-- migrate:down\r\ndrop index users_id;\r\n",
        ),
        (
            "20240103000000_later.sql",
            "--migrate:up\ncreate table later ();\n--  migrate:down\ndrop table later;",
        ),
    ],
    database: "create table schema_migrations (version character varying not null primary key);
        insert into schema_migrations values ('20240101000000'), ('20240102000000');
        create table users (id int); create index users_id on users (id)",
    table: "schema_migrations",
    flags: &["--mark-no-transaction"],
    made: &[
        (
            "V0001__create_users.sql",
            "create table users (id int);\n-- a note; with a semicolon\n\n",
        ),
        ("V0001__create_users.rollback.sql", "drop table users;\n"),
        (
            "V0002__index.sql",
            "-- migrate: no-transaction\ncreate index concurrently users_id on users (id);\r\n",
        ),
        ("V0002__index.rollback.sql", "drop index users_id;\r\n"),
        ("V0003__later.rollback.sql", "drop table later;"),
    ],
    at: "",
};

const SQLX: Left = Left {
    tool: "sqlx",
    files: &[
        ("20240101000000_a.up.sql", "create table a (id int);\n"),
        ("20240101000000_a.down.sql", "drop table a;\n"),
        ("20240102000000_b-and-c.up.sql", "create table b (id int);\n"),
        ("20240102000000_b-and-c.down.sql", "drop table b;\n"),
        ("20240103000000_later.up.sql", "create table later ();\n"),
        ("20240103000000_later.down.sql", "drop table later;\n"),
        ("README.md", "no migration"),
    ],
    // The checksums are those of `sha384sum`.
    database: "create table _sqlx_migrations (version bigint primary key, description text not null,
            installed_on timestamptz not null default now(), success boolean not null, checksum bytea not null,
            execution_time bigint not null);
        insert into _sqlx_migrations values
            (20240101000000, 'a', '2024-01-02 03:04:05+00', true, sha384('create table a (id int);\n'), 5000000),
            (20240102000000, 'b-and-c', '2024-01-02 03:04:06+00', true, sha384('create table b (id int);\n'), -1);
        create table a (id int); create table b (id int)",
    table: "_sqlx_migrations",
    flags: &[],
    made: &[
        ("V0001__a.sql", "create table a (id int);\n"),
        ("V0002__b_and_c.rollback.sql", "drop table b;\n"),
    ],
    at: "2024-01-02T03:04:05Z",
};

const DIESEL: Left = Left {
    tool: "diesel",
    files: &[
        ("00000000000000_diesel_initial_setup/up.sql", "create table a (id int);\n"),
        ("00000000000000_diesel_initial_setup/down.sql", "drop table a;\n"),
        ("2024-01-02-000000_b/up.sql", "create table b (id int);\n"),
        ("2024-01-02-000000_b/down.sql", "drop table b;\n"),
        ("2024-01-03-000000_later/up.sql", "create table if not exists later ();\n"),
        ("2024-01-03-000000_later/down.sql", "drop table if exists later;\n"),
        ("2024-01-03-000000_later/metadata.toml", "run_in_transaction = false\n"),
    ],
    database: "create table __diesel_schema_migrations (version varchar(50) primary key not null,
            run_on timestamp not null default current_timestamp);
        insert into __diesel_schema_migrations values
            ('00000000000000', timestamptz '2024-01-02 03:04:05+00'), ('20240102000000', now());
        create table a (id int); create table b (id int)",
    table: "__diesel_schema_migrations",
    flags: &["--mark-no-transaction"],
    made: &[
        ("V0001__diesel_initial_setup.sql", "create table a (id int);\n"),
        ("V0003__later.sql", "-- migrate: no-transaction\ncreate table if not exists later ();\n"),
    ],
    at: "2024-01-02T03:04:05Z",
};

const FLYWAY: Left = Left {
    tool: "flyway",
    files: &[
        (
            "V1__a_table.sql",
            "create table a (id int);\r\n-- ü\n\ninsert into a values (1);",
        ),
        ("sub/V1.1__b.sql", "create table b (id int);\n"),
        ("V002__later.sql", "create table later ();\n"),
        ("U1__a_table.sql", "drop table a;\n"),
        ("sub/U1_1__b.sql", "drop table b;\n"),
        ("U2__later.sql", "drop table later;\n"),
        ("R__view.sql", "create or replace view v as select 1;\n"),
    ],
    // The first checksum is that of Java's CRC32.
    database: "create table flyway_schema_history (installed_rank int not null primary key, version varchar(50),
            description varchar(200) not null, type varchar(20) not null, script varchar(1000) not null, checksum int,
            installed_by varchar(100) not null, installed_on timestamp not null default now(), execution_time int not null,
            success boolean not null);
        insert into flyway_schema_history values
            (1, null, '<< Flyway Schema Creation >>', 'SCHEMA', '\"x\"', null, 'bob', now(), 0, true),
            (2, '1', 'a table', 'SQL', 'V1__a_table.sql', -600864434, 'bob', timestamptz '2024-01-02 03:04:05+00', 5, true),
            (3, '1.1', 'b', 'SQL', 'sub/V1.1__b.sql', null, 'bob', now(), 5, true),
            (4, '2', 'later', 'SQL', 'V002__later.sql', null, 'bob', now(), 5, true),
            (5, '2', 'later', 'UNDO_SQL', 'U2__later.sql', null, 'bob', now(), 5, true),
            (6, null, 'view', 'SQL', 'R__view.sql', 77, 'bob', now(), 5, true);
        create table a (id int); insert into a values (1); create table b (id int)",
    table: "flyway_schema_history",
    flags: &["--leave-out", "R__view.sql"],
    made: &[
        (
            "V0001__a_table.sql",
            "create table a (id int);\r\n-- ü\n\ninsert into a values (1);",
        ),
        ("V0002__b.rollback.sql", "drop table b;\n"),
        ("V0003__later.sql", "create table later ();\n"),
    ],
    at: "2024-01-02T03:04:05Z",
};

const GOLANG: Left = Left {
    tool: "golang-migrate",
    files: &[
        ("000000_a.up.sql", "create table a (id int);\n"),
        ("000000_a.down.sql", "drop table a;\n"),
        ("000005_b.up.sql", "begin;\ncreate table b (id int);\nend;\n"),
        ("000005_b.down.sql", "drop table b;\n"),
        ("000010_later.up.sql", "create table later ();\n"),
        ("000010_later.down.sql", "drop table later;\n"),
    ],
    database: "create table schema_migrations (version bigint not null primary key, dirty boolean not null);
        insert into schema_migrations values (5, false); create table a (id int); create table b (id int)",
    table: "schema_migrations",
    flags: &["--strip-transaction"],
    made: &[
        ("V0001__a.sql", "create table a (id int);\n"),
        ("V0002__b.sql", "\ncreate table b (id int);\n\n"),
    ],
    at: "",
};

impl Left {
    fn source(&self) -> tempfile::TempDir {
        let source = tempfile::tempdir().unwrap();
        for (path, text) in self.files {
            write(source.path(), path, text);
        }
        source
    }

    fn adopt(
        &self,
        database: &TestDatabase,
        source: &Path,
        target: &Files,
        more: &[&str],
    ) -> (i32, String, String) {
        let source = source.to_str().unwrap();
        let mut arguments =
            vec!["adopt", "--from", self.tool, "--source", source, "--database-too"];
        arguments.extend(self.flags);
        arguments.extend(more);
        ends(migrate(database, target, &arguments))
    }

    async fn database(&self) -> Option<TestDatabase> {
        let database = TestDatabase::new().await?;
        execute(&mut session(database.url()).await, self.database).await;
        Some(database)
    }
}

fn write(directory: &Path, path: &str, text: &str) {
    let path = directory.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

async fn goes_on(left: &Left) {
    let Some(database) = left.database().await else { return };
    let (source, target) = (left.source(), Files::new(&[]));
    let rows = format!("select string_agg(t::text, '|') from {} t", left.table);
    let (before, rows_before) = (tables(&database).await, ask(&database, &rows).await);

    let (code, out, err) = left.adopt(&database, source.path(), &target, &["--dry-run"]);
    assert!(code == 0 && out.contains("would record 2 as applied"), "{}: {out}{err}", left.tool);
    assert_eq!(target.path().read_dir().unwrap().count(), 0, "a dry-run writes nothing");
    assert_eq!(ask(&database, "to_regclass('liftlock_schema_history')").await, "null");

    let (code, out, err) = left.adopt(&database, source.path(), &target, &[]);
    assert!(code == 0 && out.contains("recorded 2 as applied on "), "{}: {out}{err}", left.tool);
    assert!(out.contains("; 1 pending\n"), "{out}");
    for (name, text) in left.made {
        let bytes = std::fs::read_to_string(target.path().join(name)).unwrap();
        assert_eq!(bytes, *text, "{}: {name}", left.tool);
    }
    assert_eq!(tables(&database).await, before, "nothing was run");
    assert_eq!(ask(&database, &rows).await, rows_before, "the other tool's table is as it was");
    let at = "select applied_on from refinery_schema_history where version = 1";
    let at = ask(&database, at).await;
    assert!(at.starts_with(left.at.trim_end_matches('Z')) && at.ends_with('Z'), "{at}");

    let (code, out, err) = ends(migrate(&database, &target, &[]));
    assert!(code == 0 && out.starts_with("applied 1 on "), "{}: {out}{err}", left.tool);
    let (code, out, _) = left.adopt(&database, source.path(), &target, &["--output", "json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &json["history"]["new"], &json["history"]["pending"]),
        (0, &0.into(), &0.into())
    );
    assert_eq!(json["files"], serde_json::json!([]));
    let (_, out, _) = ends(migrate(&database, &target, &["status", "--history"]));
    assert!(out.contains(&format!(": from {}: ", left.tool)), "{out}");
    let (code, _, err) = ends(migrate(&database, &target, &["rollback", "--steps", "1"]));
    assert_eq!(code, 0, "{err}");
    assert_eq!(tables(&database).await, before);
}

#[tokio::test]
async fn a_database_of_sqitch_goes_on() {
    goes_on(&SQITCH).await;
}

#[tokio::test]
async fn a_database_of_dbmate_goes_on() {
    goes_on(&DBMATE).await;
}

#[tokio::test]
async fn a_database_of_sqlx_goes_on() {
    goes_on(&SQLX).await;
}

#[tokio::test]
async fn a_database_of_diesel_goes_on() {
    goes_on(&DIESEL).await;
}

#[tokio::test]
async fn a_database_of_flyway_goes_on() {
    goes_on(&FLYWAY).await;
}

#[tokio::test]
async fn a_database_of_golang_migrate_goes_on() {
    goes_on(&GOLANG).await;
}

/// What does not fit stops everything, and the row is named.
#[tokio::test]
async fn a_history_that_does_not_fit_its_files_stops_before_anything_is_written() {
    for (left, sql, expected) in [
        (
            &SQLX,
            "update _sqlx_migrations set checksum = 'x' where version = 20240102000000",
            "row 20240102000000 has the checksum 78, and 20240102000000_b-and-c.up.sql has ",
        ),
        (
            &SQLX,
            "update _sqlx_migrations set success = false where version = 20240102000000",
            "row 20240102000000 is failed",
        ),
        (
            &SQLX,
            "delete from _sqlx_migrations where version = 20240101000000",
            "20240101000000_a.up.sql is not applied, and 20240102000000_b-and-c.up.sql after it is",
        ),
        (&SQLX, "drop table _sqlx_migrations", "has no table _sqlx_migrations"),
        (
            &DBMATE,
            "insert into schema_migrations values ('7')",
            "row 7 is applied, and no file is there",
        ),
        (&GOLANG, "update schema_migrations set dirty = true", "row 5 is dirty"),
        (
            &FLYWAY,
            "update flyway_schema_history set checksum = 1 where version = '1'",
            "row 1 has the checksum 1, and V1__a_table.sql has -600864434",
        ),
        (
            &FLYWAY,
            "update flyway_schema_history set success = false where version = '1.1'",
            "row 1.1 is failed",
        ),
        (
            &SQITCH,
            "update sqitch.changes set script_hash = 'z' where change = 'tags'",
            "the checksum z, and deploy/tags.sql has 346621b9931231287783d92499020e3617bc8d58",
        ),
    ] {
        let Some(database) = left.database().await else { return };
        execute(&mut session(database.url()).await, sql).await;
        let (source, target) = (left.source(), Files::new(&[]));
        let (code, out, err) = left.adopt(&database, source.path(), &target, &[]);
        assert!(code == 2 && err.contains(expected), "{expected}: {out}{err}");
        assert_eq!(target.path().read_dir().unwrap().count(), 0, "{expected}");
        let ours = "coalesce(to_regclass('liftlock_schema_history'), to_regclass('refinery_schema_history'))";
        assert_eq!(ask(&database, ours).await, "null", "{expected}");
    }
}

/// Shows C-MIG-4: what has no rollback script is not taken over in silence. It is written, or refuses when it is asked for.
#[tokio::test]
async fn a_missing_rollback_script_is_named_or_refuses() {
    let Some(database) = SQLX.database().await else { return };
    let (source, target) = (SQLX.source(), Files::new(&[]));
    for down in ["20240101000000_a.down.sql", "20240102000000_b-and-c.down.sql"] {
        std::fs::remove_file(source.path().join(down)).unwrap();
    }
    write(source.path(), "20240102000000_b-and-c.down.sql", "-- nothing\n");
    let (code, _, err) = SQLX.adopt(&database, source.path(), &target, &[]);
    assert!(
        code == 2
            && err.contains(
                "20240101000000_a.up.sql: nothing takes it back: write V0001__a.rollback.sql"
            ),
        "{err}"
    );
    assert!(
        err.contains("b-and-c.down.sql holds no statement: write V0002__b_and_c.rollback.sql"),
        "{err}"
    );
    assert_eq!(target.path().read_dir().unwrap().count(), 0);

    target.write("V0001__a.rollback.sql", "drop table a;");
    let refuse = &["--missing-rollback", "refuse"];
    let (code, out, err) = SQLX.adopt(&database, source.path(), &target, refuse);
    assert!(code == 0 && out.contains("no rollback: one that refuses was written"), "{out}{err}");
    let (code, _, err) = ends(migrate(&database, &target, &["rollback", "--to", "0"]));
    let expected = "V0002__b_and_c has no rollback: it came from sqlx without one";
    assert!(code == 1 && err.contains(expected), "{err}");
    assert_eq!(tables(&database).await, "_sqlx_migrations a b");

    // Written later, it is kept in place of the one that refuses.
    target.write("V0002__b_and_c.rollback.sql", "drop table b;");
    let (code, out, err) = SQLX.adopt(&database, source.path(), &target, &[]);
    assert!(code == 0 && out.contains("the files are there already"), "{out}{err}");
    ends(migrate(&database, &target, &[]));
    let (code, out, err) = ends(migrate(&database, &target, &["prove"]));
    assert!(code == 0 && out.contains("proven  V0002__b_and_c"), "{out}{err}");
    let (code, _, err) = ends(migrate(&database, &target, &["rollback", "--to", "0"]));
    assert_eq!((code, tables(&database).await.as_str()), (0, "_sqlx_migrations"), "{err}");
}

/// Everything that cannot be taken over as it is, each with what to do.
#[tokio::test]
async fn files_that_cannot_be_taken_over_as_they_are_are_named() {
    let Some(database) = TestDatabase::new().await else { return };
    let target = Files::new(&[("V0002__mine", "select 1", "select 1")]);
    let source = tempfile::tempdir().unwrap();
    let path = source.path().to_str().unwrap();
    for (file, text) in [
        ("V1__a.sql", "create table a ();"),
        ("U1__a.sql", "begin; drop table a; commit;"),
        ("V2__other.sql", "vacuum;"),
        ("U2__other.sql", "select 1;\n\\echo x"),
        ("V3__empty.sql", "-- nothing"),
        ("V5__twice.sql", "create table b ();\ncommit;\ncreate table c ();"),
        ("U5__twice.sql", "begin; drop table c; end; drop table b;"),
        ("B3__all.sql", "select 1"),
        ("V4__x.java", "class X {}"),
        ("R__view.sql", "select 1"),
    ] {
        write(source.path(), file, text);
    }
    let (code, _, err) =
        ends(migrate(&database, &target, &["adopt", "--from", "flyway", "--source", path]));
    for expected in [
        "U1__a.sql:1: it begins and ends a transaction of its own (`begin;`, `commit;`)",
        "`--strip-transaction` leaves these two",
        "V5__twice.sql:2: it ends a transaction of its own (`commit;` on line 2)",
        "`--strip-transaction` leaves each of them",
        "V2__other.sql: `VACUUM` cannot run in a transaction: `--mark-no-transaction`",
        "U2__other.sql:2: commands of psql",
        "V3__empty.sql: it holds no statement: `--fill-empty`",
        "B3__all.sql: it stands for all migrations up to its number",
        "V4__x.java: it is a program, not SQL",
        "R__view.sql: flyway runs it again whenever it changes, which has no place in an order: `--leave-out R__view.sql`",
    ] {
        assert!(code == 2 && err.contains(expected), "{expected}: {err}");
    }

    write(source.path(), "U2__other.sql", "select 1");
    write(source.path(), "U3__empty.sql", "select 1");
    let mut arguments = vec!["adopt", "--from", "flyway", "--source", path];
    arguments.extend(["--strip-transaction", "--mark-no-transaction", "--fill-empty"]);
    arguments.extend([
        "--leave-out",
        "B3__all.sql",
        "--leave-out",
        "V4__x.java",
        "--leave-out",
        "R__view.sql",
    ]);
    let (code, _, err) = ends(migrate(&database, &target, &arguments));
    assert!(code == 2 && err.contains("has the same number"), "{err}");
    assert_eq!(target.path().read_dir().unwrap().count(), 2, "nothing was written beside mine");
    let other = Files::new(&[]);
    let (code, out, err) = ends(migrate(&database, &other, &arguments));
    assert!(code == 0 && out.contains("left out `begin;` and `commit;`"), "{out}{err}");
    assert!(out.contains("left out `begin;` on line 1 and `end;` on line 1"), "{out}");
    assert_eq!(other.read().latest(), Some(4));
    let kept = std::fs::read_to_string(other.path().join("V0004__twice.sql")).unwrap();
    assert_eq!(kept, "create table b ();\n\ncreate table c ();");
    let (code, _, err) = ends(migrate(
        &database,
        &other,
        &["adopt", "--from", "sqlx", "--source", other.path().to_str().unwrap()],
    ));
    assert!(code == 2 && err.contains("cannot be Liftlock's"), "{err}");
}

/// refinery's own directory: the files stay what they are where their numbers can; where they cannot, its table is kept aside.
#[tokio::test]
async fn refinery_goes_on_in_its_directory_or_with_new_numbers() {
    let table = "create table refinery_schema_history (version int4 primary key, name varchar(255), applied_on varchar(255),
                 checksum varchar(255)); create table a ();";
    let checksum = |number: i32| {
        refinery_core::Migration::unapplied(&format!("V{number}__a"), "create table a ();")
            .unwrap()
            .checksum()
    };
    for (number, in_place) in [(1, true), (7, false)] {
        let Some(database) = TestDatabase::new().await else { return };
        let rows = format!(
            "{table} insert into refinery_schema_history values ({number}, 'a', '2024-01-02T03:04:05Z', '{}')",
            checksum(number)
        );
        execute(&mut session(database.url()).await, &rows).await;
        let source = Files::new(&[]);
        source.write(&format!("V{number}__a.sql"), "create table a ();");
        let other = Files::new(&[]);
        let target = if in_place { &source } else { &other };
        let path = source.path().to_str().unwrap();
        let mut arguments = vec!["adopt", "--from", "refinery", "--source", path, "--database-too"];
        arguments.extend(["--missing-rollback", "refuse"]);
        for expected in ["recorded 1 as applied", "nothing to record"] {
            let (code, out, err) = ends(migrate(&database, target, &arguments));
            assert!(code == 0 && out.contains(expected), "{number}: {out}{err}");
        }
        let stem = if in_place { "V1__a" } else { "V0001__a" };
        assert!(target.path().join(format!("{stem}.rollback.sql")).exists());
        let rows =
            "select string_agg(version || ' ' || applied_on, '; ') from refinery_schema_history";
        assert!(ask(&database, rows).await.starts_with("1 2024-01-02T03:04:05"));
        let aside = "to_regclass('refinery_schema_history_before_liftlock')";
        assert_eq!(ask(&database, aside).await == "null", in_place);
        let (code, out, err) = ends(migrate(&database, target, &[]));
        assert!(code == 0 && out.starts_with("nothing to apply"), "{out}{err}");
    }
}
