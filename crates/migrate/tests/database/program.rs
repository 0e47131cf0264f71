//! The program `migrate`: its exit codes, what it prints, and what is left when it is killed.

use std::process::{Command, Output, Stdio};

use liftlock_testkit::TestDatabase;
use secrecy::ExposeSecret as _;

use crate::support::{Files, ask, tables};

const A: (&str, &str, &str) = ("V0001__a", "create table a (id int)", "drop table a");

pub(crate) fn migrate(database: &TestDatabase, files: &Files, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
    command.args(arguments).arg("--directory").arg(files.path());
    command.env("DATABASE_URL", database.url().expose_secret()).env("LIFTLOCK_ACTOR", "alice");
    command
}

/// Exit code, standard output, standard error.
pub(crate) fn ends(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Shows W-6.
#[tokio::test]
async fn the_commands_say_what_they_did_and_end_with_the_right_code() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[A]);
    let (code, out, _) = ends(migrate(&database, &files, &["check"]));
    assert!(code == 0 && out.contains("1 migration looked at: nothing to mend"), "{out}");
    let (code, out, err) = ends(migrate(&database, &files, &["--dry-run"]));
    assert!(code == 0 && out.contains("rollback: restores the schema exactly"), "{out}{err}");
    let (code, out, err) = ends(migrate(&database, &files, &[]));
    assert!(code == 0 && out.starts_with("applied 1 on 127.0.0.1:"), "{out}{err}");
    assert!(err.starts_with("applying V0001__a (1 of 1)\napplied V0001__a in "), "{err}");
    let (code, out, _) = ends(migrate(&database, &files, &["status"]));
    assert!(
        code == 0 && out.contains("applied  V0001__a  ") && out.contains(" by alice, "),
        "{out}"
    );
    let (code, out, _) = ends(migrate(&database, &files, &["status", "--output", "json"]));
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, json["applied"][0]["name"].as_str()), (0, Some("a")));

    let mut session = crate::support::session(database.url()).await;
    crate::support::execute(&mut session, "insert into a values (1)").await;
    let (code, _, err) = ends(migrate(&database, &files, &["rollback", "--to", "0"]));
    assert!(
        code == 1
            && err.contains(
                "V0001__a stays applied, since its rollback would lose:\n  table a: 1 row"
            ),
        "{err}"
    );
    let (code, out, _) =
        ends(migrate(&database, &files, &["rollback", "--to", "0", "--accept-data-loss"]));
    assert!(code == 0 && out.starts_with("rolled back 1 on "), "{out}");

    files.write("V0002__bad.sql", "select nonsense");
    let (code, _, err) = ends(migrate(&database, &files, &[]));
    assert!(code == 2 && err.contains("V0002__bad.sql: it has no rollback script"), "{err}");
    files.write("V0002__bad.rollback.sql", "select 1");
    let (code, _, err) = ends(migrate(&database, &files, &["--dry-run"]));
    assert!(code == 1 && err.contains("FAILED") && err.contains("nonsense"), "{err}");
    let (code, _, err) = ends(migrate(&database, &files, &[]));
    assert!(code == 1 && err.contains("(1 migration was applied before)"), "{err}");
}

/// Shows E-MIG-1: what takes away something that an older version may need waits until somebody says that none is left.
#[tokio::test]
async fn what_is_of_the_contract_phase_waits() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[A]);
    let contract = "-- migrate: phase contract\nalter table a drop column id";
    files.write("V0002__b.sql", contract);
    files.write("V0002__b.rollback.sql", "alter table a add column id int");
    let (code, out, err) = ends(migrate(&database, &files, &["--to", "V0001"]));
    assert!(code == 0 && out.starts_with("applied 1 on ") && !out.contains("waits"), "{out}{err}");
    let (code, out, _) = ends(migrate(&database, &files, &[]));
    assert!(code == 0 && out.starts_with("nothing to apply on "), "{out}");
    assert!(out.contains("V0002__b waits") && out.contains("migrate --contract"), "{out}");
    let (code, out, _) = ends(migrate(&database, &files, &["--contract"]));
    assert!(code == 0 && out.starts_with("applied 1 on ") && !out.contains("waits"), "{out}");

    // There is no older version where there is no schema.
    let Some(new) = TestDatabase::new().await else { return };
    let (code, out, _) = ends(migrate(&new, &files, &[]));
    assert!(code == 0 && out.starts_with("applied 2 on "), "{out}");
}

#[tokio::test]
async fn what_is_wrong_with_the_command_or_the_url_has_its_own_code() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[A]);
    for (arguments, expected) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["rollback"], "--to"),
        (&["rollback", "--to", "x"], "is not a migration"),
        (&["--lock-timeout", "soon"], "expected a time"),
        (&["--lock-timeout", "0s"], "expected a time"),
        (&["--to", "V0009"], "there is no migration V0009"),
        (&["--database-url-env", "NOT_SET"], "the variable NOT_SET holds no database URL"),
        (&["--env-file", "/nowhere"], "/nowhere cannot be read"),
    ] {
        let (code, _, err) = ends(migrate(&database, &files, arguments));
        assert!(code == 2 && err.contains(expected), "{arguments:?}: {code} {err}");
    }
    let wrong = database.url().expose_secret().replace("//postgres:", "//postgres:wrong");
    let env_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(env_file.path(), format!("DATABASE_URL={wrong}\n")).unwrap();
    let path = env_file.path().to_str().unwrap();
    let (code, _, err) = ends(migrate(&database, &files, &["--env-file", path]));
    assert!(code == 3 && err.contains("does not let user postgres in"), "{err}");
    assert_eq!(tables(&database).await, "null");
}

/// Shows C-MIG-2: killed with SIGKILL in the middle of a migration, it leaves what was committed, and the same command goes on from
/// there without waiting for a lock that nobody holds any more.
#[tokio::test]
async fn killed_in_the_middle_it_goes_on_where_it_was() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[
        A,
        ("V0002__b", "create table b (id int); select pg_sleep(60)", "drop table b"),
    ]);
    let mut child = migrate(&database, &files, &[])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let sleeps = "select count(*) from pg_stat_activity
                  where query like '%pg_sleep(60)%' and datname = current_database() and pid <> pg_backend_pid()";
    while ask(&database, sleeps).await == "0" {}
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(tables(&database).await, "a");

    files.write("V0002__b.sql", "create table b (id int)");
    let (code, out, err) = ends(migrate(&database, &files, &[]));
    assert!(code == 0 && out.starts_with("applied 1 on "), "{out}{err}");
    assert_eq!(tables(&database).await, "a b");
}

#[tokio::test]
async fn a_signal_stops_it_and_the_migration_is_taken_back() {
    let Some(database) = TestDatabase::new().await else { return };
    let files =
        Files::new(&[("V0001__a", "create table a (id int); select pg_sleep(61)", "drop table a")]);
    let child = migrate(&database, &files, &[])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let sleeps = "select count(*) from pg_stat_activity
                  where query like '%pg_sleep(61)%' and datname = current_database() and pid <> pg_backend_pid()";
    while ask(&database, sleeps).await == "0" {}
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("stopped by request"));
    while ask(&database, sleeps).await != "0" {}
    assert_eq!(tables(&database).await, "null");
}

/// Shows B-DEP-2: the files are checked, with what is known of the database or without one.
#[tokio::test]
async fn check_tells_what_is_wrong_at_its_place_and_ends_with_the_right_code() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[A]);
    files.write("V0002__b.sql", "create index a_id on a (id);\n");
    files.write("V0002__b.rollback.sql", "drop index a_id");
    let (code, out, _) = ends(migrate(&database, &files, &["check"]));
    let place = "V0002__b.sql:1:1\n  |\n1 | create index a_id on a (id);\n  | ^^^";
    assert!(code == 0 && out.contains("warning[require-concurrent-index-creation]"), "{out}");
    assert!(out.contains(place) && out.contains("1 warning\n"), "{out}");
    let (code, _, err) = ends(migrate(&database, &files, &["check", "--strict"]));
    assert!(code == 1 && err.contains("1 warning"), "{err}");
    let (code, out, _) = ends(migrate(&database, &files, &["check", "--since", "0", "--strict"]));
    assert!(code == 0 && out.contains("2 migrations looked at: nothing to mend"), "{out}");

    let rule = "--lint-rule=require-concurrent-index-creation=error";
    let (code, out, _) = ends(migrate(&database, &files, &["check", rule, "--output", "json"]));
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, json["errors"].as_u64(), json["findings"][0]["line"].as_u64()),
        (1, Some(1), Some(1))
    );
    let sarif = files.path().join("found.sarif");
    let mut check = migrate(&database, &files, &["check", "--sarif", sarif.to_str().unwrap()]);
    check.env("GITHUB_ACTIONS", "true");
    let (code, _, err) = ends(check);
    assert!(
        code == 0 && err.starts_with("::warning file=") && err.contains("line=1,col=1"),
        "{err}"
    );
    let log: serde_json::Value = serde_json::from_slice(&std::fs::read(sarif).unwrap()).unwrap();
    assert_eq!(log["runs"][0]["results"][0]["ruleId"], "require-concurrent-index-creation");

    let (code, _, err) =
        ends(migrate(&database, &files, &["check", "--lint-rule", "ban-dropcolumn=off"]));
    assert!(code == 2 && err.contains("did you mean `ban-drop-column`?"), "{err}");

    // The database knows what is applied, and that the table is small.
    let (code, _, err) = ends(migrate(&database, &files, &["--to", "1"]));
    assert_eq!(code, 0, "{err}");
    let (code, out, _) = ends(migrate(&database, &files, &["check", "--pending", "--strict"]));
    assert!(code == 0 && out.contains("1 migration looked at: 1 note"), "{out}");
    let mut session = crate::support::session(database.url()).await;
    crate::support::execute(
        &mut session,
        "insert into a select generate_series(1, 20000); analyze a",
    )
    .await;
    let (code, _, err) = ends(migrate(&database, &files, &["check", "--pending", "--strict"]));
    assert!(code == 1 && err.contains("1 migration looked at: 1 warning"), "{err}");
}
