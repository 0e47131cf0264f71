//! What a directory of migrations may hold.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use liftlock_migrate::Migrations;
use proptest::prelude::*;

fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

/// The problems of a directory, one line each.
fn problems(directory: &Path) -> Vec<String> {
    match Migrations::read(directory) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems.iter().map(ToString::to_string).collect(),
    }
}

const UP: (&str, &[u8]) = ("V0001__a.sql", b"select 1");
const DOWN: (&str, &[u8]) = ("V0001__a.rollback.sql", b"select 1");

/// Shows C-MIG-1.
#[test]
fn migrations_are_in_the_order_of_their_numbers_not_of_their_names() {
    let names = [
        "V1__a", "V2__b", "V03__c", "V4__d", "V5__e", "V6__f", "V7__g", "V8__h", "V9__i", "V10__j",
    ];
    let top = tempfile::tempdir().unwrap();
    for name in names {
        std::fs::write(top.path().join(format!("{name}.sql")), "select 1").unwrap();
        std::fs::write(top.path().join(format!("{name}.rollback.sql")), "select 1").unwrap();
    }
    std::fs::write(top.path().join("README.md"), "not a migration").unwrap();
    std::fs::write(top.path().join(".gitkeep"), "").unwrap();
    let migrations = Migrations::read(top.path()).unwrap();
    let read: Vec<i32> = migrations.all().iter().map(|migration| migration.id.version).collect();
    assert_eq!(read, (1..=10).collect::<Vec<_>>());
    assert_eq!(migrations.latest(), Some(10));
    assert_eq!(migrations.stamps()[2].id.to_string(), "V0003__c");
    assert_eq!(migrations.archive().len(), 20, "what a release archives is the scripts alone");
}

/// Each bad file alone, and what is said of it. Shows C-MIG-4 and W-3.
#[test]
fn each_bad_file_is_named_with_its_problem() {
    type Files = &'static [(&'static str, &'static [u8])];
    let table: &[(Files, &str)] = &[
        (&[UP], "V0001__a.sql: it has no rollback script: write V0001__a.rollback.sql"),
        (&[DOWN], "V0001__a.rollback.sql: no migration V0001 is there that it belongs to"),
        (
            &[UP, DOWN, ("V0001__b.verify.sql", b"select 1")],
            "V0001__b.verify.sql: no migration V0001 of the same name",
        ),
        (
            &[UP, DOWN, ("V3__c.sql", b"select 1"), ("V3__c.rollback.sql", b"select 1")],
            "V0002 is missing before it",
        ),
        (
            &[UP, DOWN, ("V9__c.sql", b"select 1"), ("V9__c.rollback.sql", b"select 1")],
            "V0002 to V0008 is missing",
        ),
        (&[UP, DOWN, ("V1__b.sql", b"select 1")], "V1__b.sql: V0001__a.sql has the same number"),
        (&[("V0__a.sql", b"select 1")], "V0__a.sql: numbers begin with 1"),
        (&[("V99999999999__a.sql", b"select 1")], "larger than 2147483647"),
        (&[("U1__a.sql", b"select 1")], "unversioned migrations"),
        (&[("V1_a.sql", b"select 1")], "V1_a.sql: expected V0001__name.sql"),
        (&[("V1__.sql", b"select 1")], "V1__.sql: expected V0001__name.sql"),
        (&[("V1__a-b.sql", b"select 1")], "V1__a-b.sql: expected V0001__name.sql"),
        (&[("|1__x.sql", b"select 1")], "|1__x.sql: expected V0001__name.sql"),
        (&[("v1__a.sql", b"select 1")], "v1__a.sql: expected V0001__name.sql"),
        (&[("create.sql", b"select 1")], "create.sql: expected V0001__name.sql"),
        (&[("V1__a.SQL", b"select 1")], "V1__a.SQL: expected V0001__name.sql"),
        (&[("V1.5__a.sql", b"select 1")], "V1.5__a.sql: `.5__a.sql` is no kind of script"),
        (&[("V1__a.down.sql", b"select 1")], "`.down.sql` is no kind of script"),
        (&[("V1__a.sql.bak", b"select 1")], "V1__a.sql.bak: expected V0001__name.sql"),
        (&[DOWN, ("V0001__a.sql", b"")], "V0001__a.sql: it holds no statement"),
        (
            &[UP, ("V0001__a.rollback.sql", b"-- nothing")],
            "V0001__a.rollback.sql: it holds no statement",
        ),
        (&[DOWN, ("V0001__a.sql", b"select 1;\nselect '\xff'")], "V0001__a.sql:2: it is not UTF-8"),
        (
            &[DOWN, ("V0001__a.sql", b"\xef\xbb\xbfselect 1")],
            "V0001__a.sql:1: it begins with a byte order mark",
        ),
        (&[DOWN, ("V0001__a.sql", b"select 1;\n\n\0")], "V0001__a.sql:3: it holds a NUL byte"),
        (
            &[DOWN, ("V0001__a.sql", b"select 1;\ncommit;")],
            "V0001__a.sql:2: `COMMIT` is not allowed",
        ),
        (
            &[UP, ("V0001__a.rollback.sql", b"rollback;")],
            "V0001__a.rollback.sql:1: `ROLLBACK` is not allowed",
        ),
    ];
    for (files, expected) in table {
        let top = directory(files);
        let found = problems(top.path());
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}\n{found:#?}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let top = directory(&[UP, ("V0002__b.sql", b""), ("V0004__d.sql", b"commit"), ("x.sql", b"")]);
    let found = problems(top.path());
    assert_eq!(found.len(), 7, "{found:#?}");
}

#[test]
fn a_link_out_of_the_directory_is_refused_and_one_within_is_not() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    let top =
        directory(&[DOWN, ("V0002__b.sql", b"select 2"), ("V0002__b.rollback.sql", b"select 2")]);
    let link = top.path().join("V0001__a.sql");
    std::os::unix::fs::symlink(outside.path(), &link).unwrap();
    let found = problems(top.path());
    assert!(found.len() == 1 && found[0].contains("outside of the directory"), "{found:?}");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    assert!(problems(top.path())[0].contains("cannot be read"));
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("V0002__b.sql", &link).unwrap();
    assert_eq!(problems(top.path()), [] as [String; 0]);
}

#[test]
fn a_missing_directory_is_named() {
    let top = tempfile::tempdir().unwrap();
    let error = Migrations::read(&top.path().join("nowhere")).unwrap_err().to_string();
    assert!(error.contains("nowhere") && error.contains("cannot be read"), "{error}");
}

#[test]
fn an_empty_directory_has_no_migrations() {
    let top = tempfile::tempdir().unwrap();
    assert_eq!(Migrations::read(top.path()).unwrap().latest(), None);
}

/// The sample application's own migrations.
#[test]
fn the_sample_migrations_are_complete() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let migrations = Migrations::read(&top).unwrap();
    assert!(migrations.latest() >= Some(3));
    assert!(migrations.all().iter().any(|migration| migration.verify.is_some()));
}

#[test]
fn line_ends_of_other_systems_and_large_files_are_read() {
    let windows = b"-- migrate: phase contract\r\ncreate table a (id int);\r\n\r\nselect 1;\r\n";
    let top = directory(&[DOWN, ("V0001__a.sql", windows)]);
    let migrations = Migrations::read(top.path()).unwrap();
    assert_eq!(migrations.all()[0].phase(), liftlock_model::Phase::Contract);
    assert_eq!(migrations.all()[0].up.sql.as_bytes(), windows);

    let row = "insert into a values ('it''s; here', $$;$$, 1); -- one\n";
    let large = row.repeat(50_000_000 / row.len() + 1);
    let top = directory(&[DOWN, ("V0001__a.sql", large.as_bytes())]);
    let migrations = Migrations::read(top.path()).unwrap();
    assert_eq!(migrations.all()[0].up.sql.len(), large.len());
}

/// Files of these beginnings and ends, and of any content.
fn any_file() -> impl Strategy<Value = (String, Vec<u8>)> {
    let stem = prop_oneof![
        "V[0-9]{1,12}__[a-z_]{0,6}",
        "[VvUR][0-9]{0,3}_{0,3}[a-zé. -]{0,5}",
        "[a-zA-Z0-9_ é|'\"$;&-]{1,12}",
    ];
    let kind =
        prop::sample::select(vec![".sql", ".rollback.sql", ".verify.sql", ".SQL", "", ".sql~"]);
    let text = prop_oneof![
        "\\PC{0,40}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..40),
        "(-- migrate: [a-z -]{0,20}\n)?(select 1|copy t from stdin|\\\\c x|do \\$\\$;\\$\\$|/\\*|'|commit)(;|\r\n)?"
            .prop_map(String::into_bytes),
    ];
    (stem, kind, text).prop_map(|(stem, kind, text)| (format!("{stem}{kind}"), text))
}

proptest! {
    /// Whatever a directory holds: it is read, or each problem names a file that is there.
    #[test]
    fn any_directory_is_read_or_its_files_are_named(files in prop::collection::vec(any_file(), 0..6)) {
        let top = tempfile::tempdir().unwrap();
        for (name, content) in &files {
            // Two of one name: the last one is there.
            std::fs::write(top.path().join(name), content).unwrap();
        }
        match Migrations::read(top.path()) {
            Ok(migrations) => {
                let numbers: Vec<i32> = migrations.all().iter().map(|one| one.id.version).collect();
                prop_assert!(numbers.iter().copied().eq(1..=i32::try_from(numbers.len()).unwrap()));
            }
            Err(error) => for problem in error.problems {
                prop_assert!(top.path().join(&problem.file).is_file(), "{problem}");
                let text = std::fs::read(top.path().join(&problem.file)).unwrap();
                let lines = 1 + text.iter().filter(|byte| **byte == b'\n').count();
                prop_assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem}");
                prop_assert!(!problem.to_string().contains('\0'), "{problem:?}");
            },
        }
    }
}
