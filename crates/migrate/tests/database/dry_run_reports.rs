//! The reports of a dry-run.

use liftlock_migrate::{DryRun, markdown, sarif};
use liftlock_testkit::TestDatabase;
use serde_json::Value;

use crate::program::{ends, migrate};
use crate::support::{Files, connect};

const BAD: (&str, &str, &str) =
    ("V0001__a", "create table a (id int);\n  create table \"b|`x\" (id int)", "drop table a");

async fn tried(database: &TestDatabase, files: &Files) -> DryRun {
    connect(database).await.dry_run(&files.read()).await.unwrap()
}

/// What SARIF 2.1.0 requires of a log, a run, a result and a region, and what GitHub's code scanning takes.
fn check_sarif(log: &Value) {
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().contains("sarif-2.1.0"));
    for run in log["runs"].as_array().unwrap() {
        let driver = &run["tool"]["driver"];
        assert!(!driver["name"].as_str().unwrap().is_empty());
        let rules = driver["rules"].as_array().unwrap();
        for result in run["results"].as_array().unwrap() {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"]);
            assert!(["note", "warning", "error"].contains(&result["level"].as_str().unwrap()));
            assert!(!result["message"]["text"].as_str().unwrap().is_empty());
            let place = &result["locations"][0]["physicalLocation"];
            let uri = place["artifactLocation"]["uri"].as_str().unwrap();
            assert!(!uri.contains([' ', '\\']) && !uri.starts_with('/'), "{uri}");
            let region = &place["region"];
            assert!(
                region["startLine"].as_u64().unwrap() >= 1
                    && region["startColumn"].as_u64().unwrap() >= 1
            );
        }
    }
}

/// Shows C-MIG-7: the same facts as JSON, Markdown and SARIF; the exit code says whether something must be mended.
#[tokio::test]
async fn reports_are_written_for_machines_pull_requests_and_code_scanning() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[BAD]);
    let place = tempfile::tempdir().unwrap();
    let (log, summary) = (place.path().join("found.sarif"), place.path().join("summary.md"));
    std::fs::write(&summary, "before\n").unwrap();
    let mut command = migrate(&database, &files, &["--dry-run", "--output", "json"]);
    command.arg("--sarif").arg(&log).env("GITHUB_STEP_SUMMARY", &summary).current_dir(files.path());
    let (code, out, err) = ends(command);
    assert_eq!(code, 1, "{err}");
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (json["version"].as_u64(), json["migrations"][0]["rollback"]["verdict"].as_str()),
        (Some(1), Some("leaves"))
    );
    assert_eq!(json["migrations"][0]["statements"][1]["line"], 2);

    let log: Value = serde_json::from_str(&std::fs::read_to_string(&log).unwrap()).unwrap();
    check_sarif(&log);
    let result = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert!(
        result["artifactLocation"]["uri"].as_str().unwrap().starts_with("V0001__a."),
        "{log:#}"
    );

    let summary = std::fs::read_to_string(&summary).unwrap();
    assert!(
        summary.starts_with("before\n### ❌ Dry\\-run")
            || summary.starts_with("before\n### ❌ Dry-run"),
        "{summary}"
    );
    assert!(summary.contains("does NOT restore the schema"), "{summary}");
    assert!(
        summary.contains(r#"left is: table public."b\|\`x" (added)"#),
        "a name is no Markdown: {summary}"
    );

    let (code, out, _) = ends(migrate(&database, &files, &["--dry-run", "--output", "markdown"]));
    assert!(code == 1 && out.starts_with("### ❌"), "{out}");
    let (code, _, err) = ends(migrate(&database, &files, &["status", "--output", "markdown"]));
    assert!(code == 2 && err.contains("only a dry-run has Markdown"), "{err}");
}

/// What does not fit is left out, and said to be.
#[tokio::test]
async fn markdown_keeps_to_its_limit() {
    let Some(database) = TestDatabase::new().await else { return };
    let columns: Vec<String> = (0..60).map(|i| format!("column_number_{i} int")).collect();
    let wide = |name: &str| {
        (format!("create table {name} ({})", columns.join(", ")), format!("drop table {name}"))
    };
    let scripts: Vec<(String, (String, String))> =
        (1..=9).map(|i| (format!("V000{i}__t{i}"), wide(&format!("t{i}")))).collect();
    let all: Vec<(&str, &str, &str)> = scripts
        .iter()
        .map(|(stem, (up, down))| (stem.as_str(), up.as_str(), down.as_str()))
        .collect();
    let run = tried(&database, &Files::new(&all)).await;
    let whole = markdown(&run, usize::MAX);
    assert!(
        whole.contains("column\\_number\\_59") || whole.contains("column_number_59"),
        "{whole}"
    );
    for limit in [10_000, 3_000, 1_000, 300] {
        let text = markdown(&run, limit);
        assert!(text.len() <= limit && text.contains("fit"), "{limit}: {text}");
    }
    check_sarif(&sarif(&run.findings, &run.directory, std::path::Path::new("/nowhere")));
}

/// Exit codes: 2 where it cannot be told, with the next step.
#[tokio::test]
async fn what_cannot_be_told_ends_with_two() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[BAD]);
    let mut command = migrate(&database, &files, &["--dry-run"]);
    command.env("DATABASE_URL", "postgres://nobody:x@127.0.0.1:1/none");
    let (code, _, err) = ends(command);
    assert!(code == 2 && err.contains("does not answer"), "{code} {err}");
    let mut command = migrate(&database, &files, &["--dry-run"]);
    command.env("PG_BIN", "/nowhere");
    let (code, _, err) = ends(command);
    assert!(code == 2 && err.contains("PG_BIN"), "{code} {err}");
}
