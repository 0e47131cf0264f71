//! A dry-run leaves its database as it was.

use std::process::{Command, Stdio};

use liftlock_migrate::Database;
use liftlock_testkit::TestDatabase;
use secrecy::{ExposeSecret as _, SecretString};

use crate::program::{ends, migrate};
use crate::support::{Files, apply, ask, connect, execute, session, settings};

const A: (&str, &str, &str) = (
    "V0001__a",
    "create table a (id int primary key, x text); create view v as select x from a; create index on a (x)",
    "drop view v; drop table a",
);

/// Every row of every catalog, as text, but for what counts and what changes by itself; the roles; the databases; the dump.
async fn catalog(database: &TestDatabase) -> String {
    let catalogs = "select string_agg(format('%s %s', relname, (xpath('/row/m/text()', query_to_xml(format(
            'select md5(coalesce(string_agg(t::text || t.ctid::text || t.xmin::text, %L order by t::text), %L)) as m from pg_catalog.%I t',
            '|', '', relname), false, true, '')))[1]::text), E'\n' order by relname)
        from pg_class where relnamespace = 'pg_catalog'::regnamespace and relkind = 'r'
          and relname not in ('pg_statistic', 'pg_statistic_ext_data', 'pg_database', 'pg_shdepend', 'pg_db_role_setting',
                              'pg_authid', 'pg_auth_members', 'pg_shdescription', 'pg_shseclabel', 'pg_largeobject')";
    let rows = ask(database, catalogs).await;
    let dump = Command::new("pg_dump")
        .args(["--schema-only", "--dbname", database.url().expose_secret()])
        .env("PATH", path())
        .output()
        .unwrap();
    assert!(dump.status.success());
    let text = String::from_utf8(dump.stdout).unwrap();
    let dump: Vec<&str> = text.lines().filter(|line| !line.contains("restrict")).collect();
    format!("{rows}\n{}", dump.join("\n"))
}

/// Says which lines are different.
async fn assert_is_as(before: &str, database: &TestDatabase) {
    let after = catalog(database).await;
    let different: Vec<(&str, &str)> =
        before.lines().zip(after.lines()).filter(|(before, after)| before != after).collect();
    assert!(before == after, "{different:?}");
}

fn path() -> String {
    let programs = liftlock_postgres::Programs::find().unwrap();
    format!("{}:{}", programs.directory().display(), std::env::var("PATH").unwrap_or_default())
}

/// Shows C-MIG-7: byte for byte as before, whether the trial is clean or fails.
#[tokio::test]
async fn the_catalog_is_the_same_before_and_after() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A])).await;
    let before = catalog(&database).await;
    assert!(before.contains("pg_class") && before.contains("CREATE VIEW"), "{before}");
    for (up, rollback) in [
        (
            "alter table a add y int; create table t (id int); insert into a values (1)",
            "drop table t; alter table a drop y",
        ),
        ("alter table a add y int; select nonsense", "select 1"),
        ("alter table a add y int", "select 1"),
    ] {
        let files = Files::new(&[A, ("V0002__b", up, rollback)]);
        let run = connect(&database).await.dry_run(&files.read()).await.unwrap();
        assert_eq!(run.migrations.len(), 1);
        assert_is_as(&before, &database).await;
    }
}

/// A migration that makes a role, or anything else that all databases of a server share, is not tried on that server.
#[tokio::test]
async fn what_a_server_shares_is_tried_on_a_private_one() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A])).await;
    let role = format!("app_{}", database.name());
    let name = database.name();
    let before = catalog(&database).await;
    let up = format!(
        "do $$ begin create role {role}; end $$; alter database {name} set timezone = 'UTC'; grant select on a to {role}"
    );
    let down = format!(
        "revoke select on a from {role}; alter database {name} reset timezone; drop role {role}"
    );
    let files = Files::new(&[A, ("V0002__b", &up, &down)]);
    let run = connect(&database).await.dry_run(&files.read()).await.unwrap();
    assert!(run.tried_on.as_ref().unwrap().starts_with("a private server"), "{run}");
    assert!(run.notes.iter().any(|note| note.contains("V0002__b.sql has `create role`")), "{run}");
    assert!(run.is_clean(), "{run}");
    assert_eq!(
        ask(&database, &format!("select count(*) from pg_roles where rolname = '{role}'")).await,
        "0"
    );
    let settings = format!(
        "select count(*) from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase where datname = '{name}'"
    );
    assert_eq!(ask(&database, &settings).await, "0");
    assert_is_as(&before, &database).await;
}

/// Shows C-MIG-7: stopped by SIGTERM in the middle, it leaves no database.
#[tokio::test]
async fn a_stopped_dry_run_leaves_no_trace() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A])).await;
    let before = catalog(&database).await;
    let files = Files::new(&[
        A,
        ("V0002__slow", "alter table a add y int; select pg_sleep(62)", "select 1"),
    ]);
    let mut command = migrate(&database, &files, &["--dry-run"]);
    let child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let shadow = "select min(datname) from pg_stat_activity where query like 'select pg_sleep(62)%' and datname like 'liftlock_dry_run_%'";
    let shadow = loop {
        let name = ask(&database, shadow).await;
        if name != "null" {
            break name;
        }
    };
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("stopped by request"));
    assert_eq!(
        ask(&database, &format!("select count(*) from pg_database where datname = '{shadow}'"))
            .await,
        "0"
    );
    assert_is_as(&before, &database).await;
}

/// The URL of a user who may do what `rights` say.
async fn user(database: &TestDatabase, name: &str, rights: &str) -> SecretString {
    let sql = format!("create role {name} login password 'humble'; {rights}");
    execute(&mut session(database.url()).await, &sql).await;
    let url = database.url().expose_secret();
    let at = url.find('@').unwrap();
    format!("postgres://{name}:humble{}", &url[at..]).into()
}

/// Who may only read tries on a private server, as the same user: what they may not do there fails as it would.
#[tokio::test]
async fn a_user_who_may_only_read_is_told_what_they_may_not() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A])).await;
    let name = format!("reader_{}", database.name());
    let rights = format!(
        "grant usage on schema public to {name}; grant select on all tables in schema public to {name}"
    );
    let url = user(&database, &name, &rights).await;
    let before = catalog(&database).await;
    let files = Files::new(&[A, ("V0002__b", "alter table a add y int", "alter table a drop y")]);
    let mut reader = Database::connect(&url, settings()).await.unwrap();
    let run = reader.dry_run(&files.read()).await.unwrap();
    assert!(run.tried_on.as_ref().unwrap().starts_with("a private server"), "{run}");
    let failure = run.migrations[0].failure.as_ref().unwrap();
    assert!(failure.contains("permission denied") || failure.contains("must be owner"), "{run}");
    drop(reader);
    assert_is_as(&before, &database).await;
}

/// Who may not even read the schema is told what is needed.
#[tokio::test]
async fn a_user_without_rights_is_told_what_is_needed() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A])).await;
    let name = format!("blind_{}", database.name());
    let history =
        format!("grant select on refinery_schema_history, liftlock_schema_history to {name}");
    let url = user(&database, &name, &history).await;
    let files = Files::new(&[A, ("V0002__b", "alter table a add y int", "alter table a drop y")]);
    let mut blind = Database::connect(&url, settings()).await.unwrap();
    let error = blind.dry_run(&files.read()).await.unwrap_err();
    assert!(error.to_string().contains("grant pg_read_all_data"), "{error}");
    assert_eq!(error.exit().code(), 2);

    let mut command = migrate(&database, &files, &["--dry-run"]);
    command.env("DATABASE_URL", url.expose_secret().replace("humble@", "wrong@"));
    assert_eq!(ends(command).0, 3);
}
