//! The linter over the corpus: every case has the findings that its `expect.toml` lists, and no others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use liftlock_migrate::{Known, LintSettings, Migrations, lint};
use serde::Deserialize;

/// What a case expects.
#[derive(Debug, Deserialize)]
struct Expected {
    /// The newest migration that is applied; 0 if it is left out and the case knows of no database.
    applied: Option<i32>,
    #[serde(default)]
    rows: BTreeMap<String, u64>,
    /// `file:line severity rule`; a case without it is about something else than the lint.
    findings: Option<Vec<String>>,
}

fn cases() -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let entries = std::fs::read_dir(corpus).expect("the corpus is there");
    let paths = entries.map(|entry| entry.expect("its cases can be listed").path());
    let mut cases: Vec<PathBuf> = paths.filter(|path| path.join("expect.toml").is_file()).collect();
    cases.sort();
    cases
}

/// Shows E-MIG-1 and B-DEP-2: what the running version cannot live with, and what stops its traffic, is found before anything is
/// touched, and what harms nobody is not told.
#[test]
fn each_case_has_the_findings_that_it_expects_and_no_others() {
    let mut looked_at = 0;
    let mut wrong = Vec::new();
    for case in cases() {
        let text = std::fs::read_to_string(case.join("expect.toml")).unwrap();
        let expected: Expected = toml::from_str(&text).unwrap();
        let Some(mut findings) = expected.findings else { continue };
        let migrations = Migrations::read(&case).unwrap();
        let known = Known { applied: expected.applied, rows: expected.rows };
        let lint = lint(&migrations, &known, &LintSettings::default());
        let found = lint.findings.iter();
        let found = found.map(|it| format!("{}:{} {} {}", it.file, it.line, it.severity, it.rule));
        let mut found: Vec<String> = found.collect();
        found.sort();
        findings.sort();
        if found != findings {
            let name = case.file_name().unwrap().to_string_lossy().into_owned();
            wrong.push(format!("{name}\n  expected {findings:#?}\n  found {found:#?}"));
        }
        looked_at += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(looked_at > 40, "{looked_at} cases");
}

/// Directories of one migration with this script.
fn one(sql: &str) -> liftlock_migrate::Lint {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text);
    write("V0001__a.sql", sql).expect("a file can be written");
    write("V0001__a.rollback.sql", "select 'nothing to do'").expect("a file can be written");
    let Ok(migrations) = Migrations::read(directory.path()) else {
        return liftlock_migrate::Lint::default();
    };
    lint(&migrations, &Known::default(), &LintSettings::default())
}

#[test]
fn texts_that_nest_deep_or_are_long_are_looked_at_without_a_crash() {
    for sql in [
        format!("select {}1{}", "(".repeat(30_000), ")".repeat(30_000)),
        format!("select {}1", "- ".repeat(30_000)),
        format!("select {}", "case when ".repeat(500)),
        format!("select 1 {}", "|| 1 ".repeat(1_000)),
        format!("insert into t values {} (1)", "(1), ".repeat(30_000)),
        "select 1;\n".repeat(2_000),
        "create table t (".into(),
    ] {
        one(&sql);
    }
    let long = format!("insert into t values {} (1);\ndrop table t", "(1), ".repeat(20_000));
    let found = one(&long).findings.into_iter().filter(|it| it.file == "V0001__a.sql");
    let rules: Vec<_> = found.map(|it| (it.line, it.rule)).collect();
    assert_eq!(rules, [(1, "not-parsed".to_owned()), (2, "breaks-running-version".to_owned())]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_looked_at_without_a_panic(text in "(create|alter|table|index|drop|column|;|\\(|\\)|'|\"|\\$\\$| |\\n|é|[a-z,=.]{1,3}){0,60}") {
        one(&text);
    }
}
