//! Smoke queries on a real PostgreSQL.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking and says why it skips"
)]

use std::net::TcpListener;
use std::time::Duration;

use liftlock_environment::config::Smoke;
use liftlock_model::Verdict;
use liftlock_postgres::{Cluster, ClusterOptions, Programs};
use liftlock_probe::{Prober, SmokeResult};
use secrecy::{ExposeSecret as _, SecretString};

/// A cluster, or none with a note where there is no PostgreSQL.
async fn cluster() -> Option<(Cluster, tempfile::TempDir)> {
    let required = std::env::var("LIFTLOCK_REQUIRE").unwrap_or_default();
    if let Err(error) = Programs::find() {
        assert!(!required.split(',').any(|word| word.trim() == "postgres"), "{error}");
        eprintln!("skipped: {error}");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let options =
        ClusterOptions { durable: false, ..ClusterOptions::new(directory.path().join("cluster")) };
    Some((Cluster::start(options).await.unwrap(), directory))
}

async fn ask(url: &SecretString, query: &str, equals: Option<&str>) -> SmokeResult {
    ask_within(url, query, equals, "10s").await
}

async fn ask_within(
    url: &SecretString,
    query: &str,
    equals: Option<&str>,
    limit: &str,
) -> SmokeResult {
    let test = Smoke::Sql {
        name: "query".into(),
        query: query.into(),
        equals: equals.map(str::to_owned),
        within: Some(limit.parse().unwrap()),
    };
    let prober = Prober::new().unwrap();
    let mut report =
        prober.smoke(&[test], None, Some(url), Duration::from_secs(5), &mut |_| {}).await;
    let result = report.results.remove(0);
    let password = url::Url::parse(url.expose_secret()).unwrap().password().unwrap().to_owned();
    assert!(!result.detail.contains(&password), "{}", result.detail);
    result
}

#[track_caller]
fn expect(result: &SmokeResult, verdict: Verdict, detail: &str) {
    assert_eq!(result.verdict, verdict, "{}", result.detail);
    assert!(result.detail.contains(detail), "{}", result.detail);
}

/// Shows C-SMOKE-1: simple queries, schema versions and tables by query, in one cluster since starting one takes long.
#[tokio::test]
async fn smoke_tests_over_sql() {
    let Some((cluster, _directory)) = cluster().await else { return };
    cluster.create_database("shop").await.unwrap();
    let url = cluster.url("shop");
    answers(&url).await;
    writes(&url).await;
    faults(&cluster, &url).await;
    cluster.stop().await.unwrap();
    let result = ask(&url, "select 1", None).await;
    expect(&result, Verdict::Fail, "the database cannot be reached: Connection refused");
}

async fn answers(url: &SecretString) {
    for (query, text) in [
        ("select 42", "42"),
        ("select true", "t"),
        ("select 1.50::numeric, 'second'", "1.50"),
        ("select date '2026-03-09'", "2026-03-09"),
        ("select n from generate_series(1, 100000) n", "1"),
        ("show transaction_read_only", "on"),
        ("show statement_timeout", "10s"),
    ] {
        expect(&ask(url, query, Some(text)).await, Verdict::Pass, &format!("{text:?} in "));
    }
    expect(&ask(url, "select 1", None).await, Verdict::Pass, "answered in");
    expect(&ask(url, "select 42", Some("43")).await, Verdict::Fail, "\"42\", expected \"43\"");
    expect(&ask(url, "select null", Some("")).await, Verdict::Fail, "NULL, expected");
    expect(&ask(url, "select 1 where false", Some("1")).await, Verdict::Fail, "no row, expected");
    expect(&ask(url, "select E'a\\x1b[2J'", Some("b")).await, Verdict::Fail, "\"a [2J\", expected");
}

/// A smoke test leaves nothing behind.
async fn writes(url: &SecretString) {
    let result = ask(url, "create table t (i int)", None).await;
    expect(&result, Verdict::Fail, "the query writes, and smoke tests run read-only");
    for two in ["commit; create table t (i int)", "select 1; select 2"] {
        expect(&ask(url, two, None).await, Verdict::Fail, "one statement only");
    }
    for way_out in ["commit", "set transaction read write"] {
        ask(url, way_out, None).await;
    }
    let tables = "select count(*) from pg_tables where schemaname = 'public'";
    expect(&ask(url, tables, Some("0")).await, Verdict::Pass, "\"0\" in");
}

/// Each fault in words of its own, and none with a password.
async fn faults(cluster: &Cluster, url: &SecretString) {
    let result = ask_within(url, "select pg_sleep(60)", None, "300ms").await;
    assert_eq!(result.verdict, Verdict::Fail);
    assert!(result.latency < Duration::from_secs(5));
    assert!(result.detail.contains("300ms"), "{}", result.detail);
    expect(&ask(url, "selekt", None).await, Verdict::Fail, "syntax error at or near");
    expect(&ask(url, "select * from nowhere", None).await, Verdict::Fail, "SQLSTATE 42P01");

    let missing = ask(&cluster.url("nowhere"), "select 1", None).await;
    expect(&missing, Verdict::Fail, "the server has no such database");
    let mut wrong = url::Url::parse(url.expose_secret()).unwrap();
    wrong.set_password(Some("hunter2")).unwrap();
    let refused = ask(&wrong.to_string().into(), "select 1", None).await;
    expect(&refused, Verdict::Fail, "the database refuses these credentials");

    // A server that takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    wrong.set_port(Some(silent.local_addr().unwrap().port())).unwrap();
    let late = ask_within(&wrong.to_string().into(), "select 1", None, "300ms").await;
    expect(&late, Verdict::Fail, "no answer within 300ms");
    let unreadable =
        ask(&"mysql://root:hunter2@localhost/x".to_owned().into(), "select 1", None).await;
    expect(&unreadable, Verdict::Inconclusive, "the database's URL cannot be read");
}
