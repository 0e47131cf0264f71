//! One set of migrations over many databases.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use liftlock_migrate::fleet::FleetTarget;
use liftlock_testkit::TestDatabase;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::support::{Files, ask, execute, session};

const A: (&str, &str, &str) = ("V0001__a", "create table a (id int)", "drop table a");
const B: (&str, &str, &str) = ("V0002__b", "create table b (id int)", "drop table b");

/// Databases of this test alone, `PREFIX_000` and so on, on the cluster of `home`.
struct Tenants {
    home: TestDatabase,
    names: Vec<String>,
}

impl Tenants {
    async fn new(count: usize) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let home = TestDatabase::new().await?;
        let prefix = format!("tenant_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut connection = session(home.url()).await;
        let names: Vec<String> = (0..count).map(|n| format!("{prefix}_{n:03}")).collect();
        for name in &names {
            execute(&mut connection, &format!("create database {name} template template0")).await;
        }
        Some(Self { home, names })
    }

    fn url(&self, index: usize) -> SecretString {
        FleetTarget::on_server(self.home.url(), &self.names[index]).unwrap().url
    }

    fn list(&self, files: &Files) -> String {
        files.write("fleet.txt", &self.names.join("\n"));
        files.path().join("fleet.txt").to_str().unwrap().to_owned()
    }

    /// Exit code, the report, and what was said meanwhile.
    fn migrate(&self, files: &Files, arguments: &[&str]) -> (i32, Value, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
        command.arg("fleet").args(arguments).args(["--output", "json", "--directory"]);
        command.arg(files.path()).env("DATABASE_URL", self.home.url().expose_secret());
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = String::from_utf8(stderr).unwrap();
        let report = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
        (status.code().unwrap(), report, text)
    }

    /// How many of the databases have this table.
    async fn with_table(&self, table: &str) -> usize {
        let mut count = 0;
        for index in 0..self.names.len() {
            let mut connection = session(&self.url(index)).await;
            let there = sqlx::query_scalar("select to_regclass($1) is not null");
            let there: bool = there.bind(table).fetch_one(&mut connection).await.unwrap();
            count += usize::from(there);
        }
        count
    }
}

fn states(report: &Value, state: &str) -> usize {
    let results = report["results"].as_array().unwrap();
    results.iter().filter(|one| one["outcome"]["state"] == state).count()
}

/// 200 databases on one cluster, a canary first: one command brings all of them up, and again finds nothing to do.
#[tokio::test]
async fn two_hundred_databases_are_migrated_with_one_command() {
    let Some(tenants) = Tenants::new(200).await else { return };
    let files = Files::new(&[A, B]);
    let prefix = tenants.names[0].rsplit_once('_').unwrap().0;
    let query = format!(
        "select datname from pg_database where datname ~ '^{prefix}_[0-9]+$' order by datname"
    );
    let arguments = ["--query", &query, "--canary", &tenants.names[117]];
    let (code, report, said) = tenants.migrate(&files, &arguments);
    assert_eq!((code, states(&report, "applied")), (0, 200), "{said}");
    assert_eq!(report["results"][0]["name"], tenants.names[117]);
    let canary_done = said.find(&format!("[1/200] {}", tenants.names[117])).unwrap();
    assert!(canary_done < said.find("wave 1 of 2: 20 databases").unwrap(), "{said}");
    for index in [0, 117, 199] {
        let mut connection = session(&tenants.url(index)).await;
        execute(&mut connection, "select from a, b").await;
    }

    let (code, report, said) = tenants.migrate(&files, &arguments);
    assert_eq!((code, states(&report, "up_to_date")), (0, 200), "{said}");
}

/// A canary that fails touches nobody else; too many failures begin no further database; what is mended is gone on with.
#[tokio::test]
async fn failures_stop_a_fleet_and_it_can_be_gone_on_with() {
    let Some(tenants) = Tenants::new(8).await else { return };
    let files = Files::new(&[A]);
    let list = tenants.list(&files);
    let in_the_way = "create table a (other int)";
    for index in [0, 3] {
        execute(&mut session(&tenants.url(index)).await, in_the_way).await;
    }
    let (code, report, said) = tenants.migrate(&files, &["--list", &list]);
    assert_eq!(
        (code, states(&report, "failed"), states(&report, "not_tried")),
        (1, 1, 7),
        "{said}"
    );
    assert_eq!(report["stopped"], "the canary failed");
    assert!(said.contains("V0001__a.sql: relation \"a\" already exists"), "{said}");
    assert_eq!(tenants.with_table("refinery_schema_history").await, 1, "only the canary's books");

    execute(&mut session(&tenants.url(0)).await, "drop table a").await;
    // What stood in the way was mended by hand, and those runs know it.
    let one_by_one = ["--list", &list, "--concurrency", "1", "--drift", "warn"];
    let (code, report, said) = tenants.migrate(&files, &one_by_one);
    assert_eq!((code, states(&report, "applied"), states(&report, "failed")), (1, 3, 1), "{said}");
    assert_eq!(states(&report, "not_tried"), 4);
    assert_eq!(report["stopped"], "1 failed, and at most 0 may");

    let tolerant = ["--list", &list, "--max-failures", "1", "--drift", "warn"];
    let (code, report, said) = tenants.migrate(&files, &tolerant);
    assert_eq!((code, states(&report, "applied"), states(&report, "failed")), (1, 4, 1), "{said}");
    assert_eq!((states(&report, "up_to_date"), &report["stopped"]), (3, &Value::Null));

    execute(&mut session(&tenants.url(3)).await, "drop table a").await;
    let (code, report, said) = tenants.migrate(&files, &tolerant);
    assert_eq!(
        (code, states(&report, "applied"), states(&report, "up_to_date")),
        (0, 1, 7),
        "{said}"
    );
    assert_eq!(tenants.with_table("a").await, 8);
}

/// Shows how each stands with one command, which writes nothing: up to date, behind, changed by others, without books, not there.
#[tokio::test]
async fn how_each_database_of_a_fleet_stands_is_told() {
    let Some(tenants) = Tenants::new(4).await else { return };
    let files = Files::new(&[A, B]);
    let list = tenants.list(&files);
    let [whole, behind, changed, new] = &tenants.names[..] else { unreachable!() };
    files.write("whole.txt", &format!("{whole}\n{changed}\n"));
    files.write("behind.txt", behind);
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    assert_eq!(tenants.migrate(&files, &["--list", &path("whole.txt")]).0, 0);
    let (code, _, said) =
        tenants.migrate(&files, &["--list", &path("behind.txt"), "--to", "V0001"]);
    assert_eq!(code, 0, "{said}");
    let (code, report, said) =
        tenants.migrate(&files, &["--list", &list, "--canary", whole, "--status"]);
    assert_eq!(code, 0, "what is pending is no failure: {said}");
    let stands = |report: &Value, at: usize| report["databases"][at]["standing"].clone();
    let pending = |standing: &Value| standing["status"]["pending"].as_array().map(Vec::len);
    let count = |at| pending(&stands(&report, at));
    assert_eq!([0, 1, 2, 3].map(count), [0, 1, 0, 2].map(Some), "{report}");
    assert_eq!(tenants.with_table("refinery_schema_history").await, 3, "it only looked");

    execute(&mut session(&tenants.url(2)).await, "create table by_hand (id int)").await;
    files.write("all.txt", &format!("nowhere\n{}\n", tenants.names.join("\n")));
    let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
    command.args(["fleet", "--status", "--list", &path("all.txt"), "--directory"]);
    command.arg(files.path()).env("DATABASE_URL", tenants.home.url().expose_secret());
    let ended = command.output().unwrap();
    let table = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{table}");
    let line = |name: &str| {
        let line = table.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in {table}")).to_owned()
    };
    assert!(line(whole).ends_with("V0002  up to date"), "{table}");
    assert!(line(behind).ends_with("V0001  pending V0002__b"), "{table}");
    assert!(line(new).ends_with("-    2 pending, V0001__a to V0002__b"), "{table}");
    assert!(line(changed).contains("V0002  up to date; DRIFT: the schema of"), "{table}");
    assert!(line("nowhere").contains("NOT KNOWN: ") && line("nowhere").contains("nowhere"));
    let sums = "5 databases: 1 up to date, 2 behind, 1 drifted, 1 not known";
    assert!(table.trim_end().ends_with(sums), "{table}");
    files.write("all.txt", &format!("{whole}\n{whole}\n"));
    let (code, said, _) = tenants.migrate(&files, &["--list", &path("all.txt"), "--status"]);
    assert_eq!(code, 2);
    assert!(said.to_string().contains(&format!("two databases of the name {whole}")), "{said}");
}

/// Killed in the middle, it leaves databases that are done and databases that are not, and the same command ends it.
#[tokio::test]
async fn a_fleet_that_was_killed_is_gone_on_with() {
    let Some(tenants) = Tenants::new(6).await else { return };
    // The lock stands for something slow, in the fifth database alone.
    let slow = "select pg_advisory_xact_lock(77); create table a (id int)";
    let files = Files::new(&[("V0001__a", slow, "drop table a")]);
    let list = tenants.list(&files);
    let mut holder = session(&tenants.url(4)).await;
    execute(&mut holder, "select pg_advisory_lock(77)").await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
    command.args([
        "fleet",
        "--lock-timeout",
        "1h",
        "--concurrency",
        "1",
        "--list",
        &list,
        "--directory",
    ]);
    command.arg(files.path()).env("DATABASE_URL", tenants.home.url().expose_secret());
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let waits = format!(
        "select count(*) from pg_locks l join pg_database d on d.oid = l.database
         where d.datname = '{}' and l.locktype = 'advisory' and not l.granted",
        tenants.names[4]
    );
    while ask(&tenants.home, &waits).await == "0" {}
    child.kill().unwrap();
    child.wait().unwrap();
    drop(holder);
    assert_eq!(tenants.with_table("a").await, 4);

    let (code, report, said) = tenants.migrate(&files, &["--list", &list]);
    assert_eq!(
        (code, states(&report, "applied"), states(&report, "up_to_date")),
        (0, 2, 4),
        "{said}"
    );
    assert_eq!(tenants.with_table("a").await, 6);
}

/// Shows C-MIG-6: one command takes a whole fleet back, the canary first, with the scripts that each database keeps. What would lose
/// data is not done, and what stops it is mended and gone on with; what never came so far is left alone.
#[tokio::test]
async fn a_fleet_is_rolled_back_with_one_command() {
    let Some(tenants) = Tenants::new(4).await else { return };
    let files = Files::new(&[A, B]);
    let list = tenants.list(&files);
    files.write("three.txt", &tenants.names[..3].join("\n"));
    let three = files.path().join("three.txt").to_str().unwrap().to_owned();
    assert_eq!(tenants.migrate(&files, &["--list", &three]).0, 0);
    execute(&mut session(&tenants.url(1)).await, "insert into b values (1), (2)").await;
    let without = Files::new(&[]);

    let back = ["--list", &list, "--rollback-to", "V0001", "--concurrency", "1"];
    let (code, report, said) = tenants.migrate(&without, &back);
    assert_eq!((code, states(&report, "rolled_back")), (1, 1), "{said}");
    assert_eq!((states(&report, "refused"), states(&report, "not_tried")), (1, 2), "{said}");
    assert_eq!(report["results"][0]["name"], tenants.names[0], "the canary is first");
    let refused = &report["results"][1]["outcome"]["refused"]["losses"][0];
    assert_eq!(refused, "table b: 2 rows", "{report}");
    assert_eq!(tenants.with_table("b").await, 2);

    let accepted = [&back[..], &["--accept-data-loss", "--reason", "ticket 7"]].concat();
    let (code, report, said) = tenants.migrate(&without, &accepted);
    assert_eq!((code, states(&report, "rolled_back")), (0, 4), "{said}");
    let ran = |at: usize| report["results"][at]["outcome"]["ran"].as_array().map(Vec::len);
    assert_eq!([0, 1, 2, 3].map(ran), [0, 1, 1, 0].map(Some), "{report}");
    assert_eq!((tenants.with_table("a").await, tenants.with_table("b").await), (3, 0));
    let reasons = "select reason from liftlock_schema_history where action = 'rollback'";
    let reason: String =
        sqlx::query_scalar(reasons).fetch_one(&mut session(&tenants.url(1)).await).await.unwrap();
    assert_eq!(reason, "ticket 7");

    let (code, report, _) = tenants.migrate(&without, &[&back[..], &["--to", "V0001"]].concat());
    assert_eq!((code, report), (2, Value::Null), "only one way at a time");
}

#[tokio::test]
async fn a_fleet_that_makes_no_sense_is_refused() {
    let Some(tenants) = Tenants::new(1).await else { return };
    let files = Files::new(&[A]);
    files.write("twice.txt", "x\nx\n");
    files.write("empty.txt", "# nobody\n");
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let (twice, empty) = (path("twice.txt"), path("empty.txt"));
    let list = tenants.list(&files);
    for (arguments, expected) in [
        (&["--list", &list, "--canary", "nobody"][..], "the canary nobody is none of"),
        (&["--list", &twice], "two databases of the name x"),
        (&["--list", &empty], "empty.txt gives none"),
        (&["--list", "/nowhere/x"], "/nowhere/x cannot be read"),
        (&["--list", &list, "--waves", "50,10"], "waves must rise"),
        (&["--query", "select nonsense"], "the query for the fleet's databases failed on"),
        (&["--query", "create table x ()"], "read-only"),
        (&["--query", "select 'a' where false"], "the query gives none"),
        (&[], "--list"),
    ] {
        let (code, report, said) = tenants.migrate(&files, arguments);
        let error = report["error"].as_str().unwrap_or(&said);
        assert!(code == 2 && error.contains(expected), "{arguments:?}: {code} {error}");
    }
    assert_eq!(tenants.with_table("refinery_schema_history").await, 0);
}
