//! A dry-run also tells what the lint says of the texts.

use liftlock_migrate::{Database, DryRun, LintSettings, Settings, Severity};
use liftlock_model::Exit;
use liftlock_testkit::TestDatabase;

use crate::support::{Files, apply, execute, session, settings};

const A: (&str, &str, &str) = (
    "V0001__a",
    "create table a (id int primary key, x text); create table b (id int); create view v as select id from a",
    "drop view v; drop table a, b",
);

async fn tried(
    database: &TestDatabase,
    migrations: &[(&str, &str, &str)],
    lint: LintSettings,
) -> DryRun {
    let all: Vec<_> = std::iter::once(A).chain(migrations.iter().copied()).collect();
    let settings = Settings { lint, ..settings() };
    let mut database = Database::connect(database.url(), settings).await.unwrap();
    database.dry_run(&Files::new(&all).read()).await.unwrap()
}

/// Table a is not small any more.
async fn fill(database: &TestDatabase) {
    let rows = "insert into a select n from generate_series(1, 20000) n; analyze a";
    execute(&mut session(database.url()).await, rows).await;
}

fn set(rules: &[(&str, &str)]) -> LintSettings {
    let mut settings = LintSettings::default();
    rules.iter().for_each(|(rule, level)| settings.set(rule, level).unwrap());
    settings
}

fn of<'a>(run: &'a DryRun, rule: &str) -> Vec<(&'a str, usize, Severity)> {
    let found = run.findings.iter().filter(|finding| finding.rule == rule);
    found.map(|finding| (finding.file.as_str(), finding.line, finding.severity)).collect()
}

/// Shows C-MIG-7 and E-MIG-1: a dry-run tells what the lint tells, with the database's own sizes, and nothing twice.
#[tokio::test]
async fn a_dry_run_tells_what_the_lint_says_of_the_pending_texts() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A])).await;
    fill(&database).await;
    let migrations = [
        ("V0002__index", "create index i on a (x);\ncreate index j on b (id)", "drop index i, j"),
        (
            "V0003__view",
            "select 1;\ndrop view v;\ndrop table if exists never_there",
            "create view v as select id from a",
        ),
    ];
    let run = tried(&database, &migrations, LintSettings::default()).await;
    let index = "V0002__index.sql";
    assert_eq!(
        of(&run, "require-concurrent-index-creation"),
        [(index, 1, Severity::Warning), (index, 2, Severity::Note)],
        "{run}"
    );
    // Only the view was there: the trial knows that better than the text.
    assert_eq!(
        of(&run, "breaks-running-version"),
        [("V0003__view.sql", 2, Severity::Error)],
        "{run}"
    );
    // What is applied already is nobody's business any more.
    assert!(run.findings.iter().all(|finding| finding.file != "V0001__a.sql"), "{run}");
    assert_eq!((run.exit(), run.exit_strict()), (Exit::Failed, Exit::Failed), "{run}");
}

/// Shows C-MIG-7: what a project says about the rules holds for both halves of a dry-run.
#[tokio::test]
async fn a_projects_levels_hold_in_a_dry_run() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A])).await;
    fill(&database).await;
    let migrations = [(
        "V0002__view",
        "create index i on a (x);\ndrop view v",
        "drop index i; create view v as select id from a",
    )];
    let lint = set(&[
        ("require-concurrent-index-creation", "error"),
        ("scan-blocks", "error"),
        ("breaks-running-version", "off"),
    ]);
    let run = tried(&database, &migrations, lint.clone()).await;
    let file = "V0002__view.sql";
    assert_eq!(
        of(&run, "require-concurrent-index-creation"),
        [(file, 1, Severity::Error)],
        "{run}"
    );
    assert_eq!(of(&run, "scan-blocks"), [(file, 1, Severity::Error)], "{run}");
    assert_eq!(of(&run, "breaks-running-version"), [], "{run}");
    assert_eq!(run.exit(), Exit::Failed, "{run}");

    let mut all_small = lint;
    all_small.small_table_rows = 1_000_000;
    all_small.set("scan-blocks", "off").unwrap();
    let run = tried(&database, &migrations, all_small).await;
    assert_eq!(of(&run, "require-concurrent-index-creation"), [(file, 1, Severity::Note)], "{run}");
    assert_eq!(run.exit(), Exit::Done, "{run}");
}

/// Shows E-MIG-1: a comment that allows what only a dry-run sees, or a part of what it sees, is understood by both halves.
#[tokio::test]
async fn comments_that_allow_are_heard_by_both_halves() {
    let Some(database) = TestDatabase::new().await else { return };
    apply(&database, &Files::new(&[A])).await;
    let up = "-- migrate: allow ban-drop-view nobody reads it\ndrop view v;\n\
              -- migrate: allow rewrite-blocks it is night\nalter table a add y int default (random() * 9)::int;\n\
              -- migrate: allow breaks-running-version it is not used\nalter table b alter id type bigint";
    let down =
        "alter table b alter id type int; alter table a drop y; create view v as select id from a";
    let migrations = [("V0002__allowed", up, down)];
    let run = tried(&database, &migrations, set(&[("binds-running-version", "off")])).await;
    let file = "V0002__allowed.sql";
    let breaks = of(&run, "breaks-running-version");
    assert!(breaks.contains(&(file, 2, Severity::Note)), "{run}");
    assert!(breaks.iter().all(|(_, _, severity)| *severity == Severity::Note), "{run}");
    assert_eq!((of(&run, "unknown-rule"), of(&run, "unused-allow")), (vec![], vec![]), "{run}");
}
