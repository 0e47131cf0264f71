//! Health checks and smoke tests against real servers, well and ill.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use liftlock_environment::config::Smoke;
use liftlock_model::Verdict;
use liftlock_probe::{DatabaseState, Prober, SmokeReport, SmokeResult};
use liftlock_testkit::ClosedPort;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use url::Url;

const SOON: Duration = Duration::from_secs(5);

async fn listen() -> (TcpListener, Url) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    (listener, url)
}

/// An address where nobody listens while the port is kept.
fn nobody() -> (ClosedPort, Url) {
    let port = ClosedPort::new();
    let url = format!("http://{}/", port.address()).parse().unwrap();
    (port, url)
}

async fn serve(router: Router) -> Url {
    let (listener, url) = listen().await;
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// A server that answers `path` so.
async fn answering(path: &str, status: u16, body: impl Into<String>) -> Url {
    let (status, body): (StatusCode, String) = (status.try_into().unwrap(), body.into());
    serve(Router::new().route(path, get(move || async move { (status, body) }))).await
}

/// A server that writes `bytes` to whoever asks, and closes.
async fn raw(bytes: &'static str) -> Url {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            if stream.read(&mut request).await.is_ok() {
                drop(stream.write_all(bytes.as_bytes()).await);
            }
        }
    });
    url
}

fn http(path: &str) -> Smoke {
    Smoke::Http {
        name: path.to_owned(),
        method: "GET".into(),
        path: path.into(),
        body: None,
        status: 200,
        contains: None,
        within: None,
    }
}

async fn smoke(tests: &[Smoke], base: Option<&Url>) -> SmokeReport {
    let prober = Prober::new().unwrap();
    prober.smoke(tests, base, None, SOON, &mut |_: &SmokeResult| {}).await
}

const HEALTHY: &str = r#"{"status":"healthy","environment":"prod","version":"1.4.0","release":"rel-0123456789ab","timestamp":"2026-03-09T13:00:00Z"}"#;

/// Shows E-APP-1: what the contract says is read.
#[tokio::test]
async fn a_healthy_application_is_read() {
    let base = answering("/health", 200, HEALTHY).await;
    let health = Prober::new().unwrap().health(&base, SOON).await;
    assert!(health.ok, "{}", health.detail);
    assert_eq!(health.status, Some(200));
    assert_eq!(health.version.as_deref(), Some("1.4.0"));
    assert_eq!(health.environment.as_deref(), Some("prod"));
    assert_eq!(health.release.as_deref(), Some("rel-0123456789ab"));
    assert!(health.detail.ends_with("status healthy, version 1.4.0, environment prod"));
}

/// Shows E-APP-1: a base with a path of its own keeps it.
#[tokio::test]
async fn the_base_path_stays_in_front() {
    let base = answering("/shop/health", 200, HEALTHY).await;
    for path in ["shop", "shop/"] {
        let health = Prober::new().unwrap().health(&base.join(path).unwrap(), SOON).await;
        assert!(health.ok, "{}", health.detail);
    }
}

/// Shows E-TEST-1: only 200 with a healthy status is well, and what is wrong is said.
#[tokio::test]
async fn whatever_else_is_answered_is_not_well() {
    let unhealthy = HEALTHY.replace("healthy", "unhealthy");
    for (status, body, expected) in [
        (503, HEALTHY, "503 Service Unavailable"),
        (200, unhealthy.as_str(), "status unhealthy"),
        (200, "<html>\u{1b}[2Jwelcome", "no JSON object: \"<html> [2Jwelcome\""),
        (200, "[1]", "no JSON object"),
        (200, r#"{"status":"ok","version":3}"#, "environment, version, timestamp missing"),
        (200, "{}", "status, environment, version, timestamp missing"),
        (404, "", "404 Not Found"),
        (204, "", "204 No Content"),
    ] {
        let base = answering("/health", status, body).await;
        let health = Prober::new().unwrap().health(&base, SOON).await;
        assert!(health.detail.contains(expected), "{}", health.detail);
        assert_eq!(health.ok, body.contains("\"ok\""), "{}", health.detail);
        assert_eq!(health.status, Some(status));
    }
    // A sick application still says which version it is.
    let base = answering("/health", 503, HEALTHY).await;
    let health = Prober::new().unwrap().health(&base, SOON).await;
    assert_eq!(health.version.as_deref(), Some("1.4.0"));
}

/// Shows E-TEST-1: no answer, half an answer, too much of an answer.
#[tokio::test]
async fn a_broken_answer_is_not_well() {
    let prober = Prober::new().unwrap();
    let (_closed, gone) = nobody();
    let (_kept, silent) = listen().await;
    let oversized = answering("/health", 200, " ".repeat(2 * 1024 * 1024)).await;
    let cases = [
        (gone, "no connection: Connection refused"),
        (silent, "no whole answer within 300ms"),
        (oversized, "a body of more than 1 MiB"),
        (
            raw("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"status\":\"healthy\"}").await,
            "the answer broke off",
        ),
        (raw("SSH-2.0-OpenSSH\r\n").await, "the answer broke off"),
        (raw("").await, "the answer broke off"),
        ("ftp://127.0.0.1".parse().unwrap(), "neither http nor https"),
    ];
    for (base, expected) in cases {
        let limit = if expected.contains("300ms") { Duration::from_millis(300) } else { SOON };
        let start = Instant::now();
        let health = prober.health(&base, limit).await;
        assert!(!health.ok);
        assert!(health.detail.contains(expected), "{expected}: {}", health.detail);
        assert!(start.elapsed() < SOON);
    }
}

/// A slow body counts like a slow answer: the limit is on the whole.
#[tokio::test]
async fn a_body_that_drips_is_late() {
    let (listener, base) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while stream.write_all(b" ").await.is_ok() {
            tick.tick().await;
        }
    });
    let health = Prober::new().unwrap().health(&base, Duration::from_millis(300)).await;
    assert!(!health.ok);
    assert_eq!(health.detail, "no whole answer within 300ms");
}

/// A redirect to a healthy place is not health.
#[tokio::test]
async fn redirects_are_not_followed() {
    let to = |place: &'static str| {
        move || async move { (StatusCode::FOUND, [(header::LOCATION, place)]) }
    };
    let router =
        Router::new().route("/health", get(to("/fine"))).route("/fine", get(|| async { HEALTHY }));
    let base = serve(router).await;
    let health = Prober::new().unwrap().health(&base, SOON).await;
    assert!(!health.ok);
    assert!(health.detail.contains("302 Found (redirects are not followed)"), "{}", health.detail);
    let report = smoke(&[http("/health")], Some(&base)).await;
    assert_eq!(report.verdict(), Verdict::Fail);
}

/// Counts connections by their client's port.
async fn counting() -> (Url, Arc<Mutex<Vec<u16>>>) {
    let ports = Arc::new(Mutex::new(Vec::new()));
    let record = ports.clone();
    let answer = move |ConnectInfo(peer): ConnectInfo<SocketAddr>, _: Request| async move {
        record.lock().unwrap().push(peer.port());
        HEALTHY.into_response()
    };
    let router = Router::new().fallback(answer);
    let (listener, url) = listen().await;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    (url, ports)
}

/// Shows D-SMOKE-1: health checks sample the load balancer anew each time, and the tests of one check share a connection.
#[tokio::test]
async fn connections_are_fresh_for_health_and_shared_within_a_check() {
    let (base, ports) = counting().await;
    let prober = Prober::new().unwrap();
    for _ in 0..5 {
        assert!(prober.health(&base, SOON).await.ok);
    }
    let mut seen: Vec<u16> = ports.lock().unwrap().drain(..).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 5);

    for _ in 0..2 {
        let tests = [http("/a"), http("/b"), http("/c")];
        let report = prober.smoke(&tests, Some(&base), None, SOON, &mut |_| {}).await;
        assert_eq!(report.verdict(), Verdict::Pass);
    }
    let mut seen: Vec<u16> = ports.lock().unwrap().drain(..).collect();
    seen.dedup();
    assert_eq!(seen.len(), 2, "one for each check");
}

/// Shows E-APP-1: what `/health/deep` says of the database.
#[tokio::test]
async fn the_database_is_reachable_unreachable_or_unknown() {
    use DatabaseState::{Reachable, Unknown, Unreachable};
    for (status, body, database, ok) in [
        (200, r#"{"status":"healthy","database":"reachable"}"#, Reachable, true),
        (200, r#"{"status":"healthy","database":{"status":"ok"}}"#, Reachable, true),
        (503, r#"{"status":"unhealthy","database":"unreachable"}"#, Unreachable, false),
        (503, r#"{"status":"unhealthy","database":"reachable"}"#, Reachable, false),
        (200, r#"{"status":"healthy","database":"none"}"#, Unknown, false),
        (200, r#"{"status":"healthy"}"#, Unknown, false),
        (500, "oops", Unknown, false),
    ] {
        let base = answering("/health/deep", status, body).await;
        let deep = Prober::new().unwrap().deep_health(&base, SOON).await;
        assert_eq!((deep.database, deep.ok), (database, ok), "{body}: {}", deep.detail);
    }
    let (_closed, gone) = nobody();
    let deep = Prober::new().unwrap().deep_health(&gone, SOON).await;
    assert_eq!((deep.database, deep.status), (Unknown, None));
}

/// Shows C-SMOKE-1 and E-TEST-1: status, text and body of a request; each result is shown as it is there.
#[tokio::test]
async fn smoke_tests_over_http() {
    let echo = |body: String| async move { (StatusCode::CREATED, format!("got {body}")) };
    let router = Router::new()
        .route("/orders", post(echo))
        .route("/list", get(|request: Request| async move { request.uri().to_string() }));
    let base = serve(router).await;
    let order = |status, contains: &str| Smoke::Http {
        name: "order".into(),
        method: "post".into(),
        path: "/orders".into(),
        body: Some(r#"{"item":1}"#.into()),
        status,
        contains: Some(contains.into()),
        within: None,
    };
    let tests = [
        order(201, r#"got {"item":1}"#),
        http("/list?page=1"),
        order(200, ""),
        order(201, "x"),
        http("/no"),
    ];
    let mut shown = Vec::new();
    let prober = Prober::new().unwrap();
    let report =
        prober.smoke(&tests, Some(&base), None, SOON, &mut |one| shown.push(one.clone())).await;
    assert_eq!(shown, report.results);
    let verdicts: Vec<Verdict> = shown.iter().map(|one| one.verdict).collect();
    use Verdict::{Fail, Pass};
    assert_eq!(verdicts, [Pass, Pass, Fail, Fail, Fail]);
    assert!(shown[2].detail.starts_with("POST /orders: 201 Created, expected 200"));
    assert!(shown[3].detail.starts_with("POST /orders: 201, without \"x\""), "{}", shown[3].detail);
    assert_eq!(report.verdict(), Fail);
}

/// Shows C-SMOKE-1: no data is never a pass.
#[tokio::test]
async fn what_could_not_be_run_is_inconclusive() {
    assert_eq!(smoke(&[], None).await.verdict(), Verdict::Inconclusive);
    let query =
        Smoke::Sql { name: "q".into(), query: "select 1".into(), equals: None, within: None };
    let base = answering("/", 200, "").await;
    for (test, base) in [(http("/"), None), (query, Some(&base))] {
        let report = smoke(&[test], base).await;
        assert_eq!(report.verdict(), Verdict::Inconclusive);
        assert!(report.results[0].detail.starts_with("not run: "));
    }
}

/// A test's own limit counts before the common one; the address's password is in no message.
#[tokio::test]
async fn a_slow_smoke_test_fails_discreetly() {
    let (_kept, mut base) = listen().await;
    base.set_username("user").unwrap();
    base.set_password(Some("hunter2")).unwrap();
    let mut test = http("/slow");
    if let Smoke::Http { within, .. } = &mut test {
        *within = Some("200ms".parse().unwrap());
    }
    let report = smoke(&[test], Some(&base)).await;
    assert_eq!(report.results[0].detail, "GET /slow: no whole answer within 200ms");
    assert_eq!(report.verdict(), Verdict::Fail);
    let (_closed, mut gone) = nobody();
    gone.set_password(Some("hunter2")).unwrap();
    let health = Prober::new().unwrap().health(&gone, SOON).await;
    assert!(!format!("{health:?}").contains("hunter2"));
}
