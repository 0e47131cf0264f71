//! Named checks: what an environment's file says besides health is asked in every bake and pause, and turns back.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::project::{Pace, Project, Ran, until, wave_of};

const TOKEN: &str = "metrics-token-4711";

/// A server that answers as Prometheus does, to those who have the token; and with a JSON document at `/stats`.
#[derive(Clone)]
struct Metrics {
    url: String,
    told: Arc<Mutex<Told>>,
}

#[derive(Default)]
struct Told {
    /// The values of the vector that each query gets.
    values: Vec<String>,
    /// The bodies of the queries.
    queries: Vec<String>,
    depth: Value,
}

impl Metrics {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let metrics = Self { url, told: Arc::default() };
        let router = Router::new()
            .route("/api/v1/query", post(query))
            .route("/stats", get(stats))
            .with_state(metrics.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        metrics
    }

    fn says(&self, values: &[&str]) {
        self.told.lock().unwrap().values = values.iter().map(ToString::to_string).collect();
    }

    fn depth(&self, depth: Value) {
        self.told.lock().unwrap().depth = depth;
    }

    /// Lines of a check by a query.
    fn check(&self, more: &str) -> String {
        let url = &self.url;
        format!(
            "prometheus = {{ url = \"{url}\", query = '''p95{{service=\"{{{{service}}}}\", colour=\"{{{{colour}}}}\", not=\"{{{{baseline_colour}}}}\"}}''', \
             token = {{ from = \"file\", path = \"token\" }} }}\nbelow = 0.5\ninterval = \"100ms\"\nfailures = 2\npatience = \"300ms\"\n{more}"
        )
    }
}

async fn query(
    State(metrics): State<Metrics>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, String) {
    if headers.get("authorization").is_none_or(|value| value != &format!("Bearer {TOKEN}")) {
        return (StatusCode::UNAUTHORIZED, "no".into());
    }
    let mut told = metrics.told.lock().unwrap();
    told.queries.push(body);
    let now = jiff::Timestamp::now().as_millisecond() as f64 / 1000.0;
    let samples: Vec<_> =
        told.values.iter().map(|value| json!({ "metric": {}, "value": [now, value] })).collect();
    let data = json!({ "resultType": "vector", "result": samples });
    (StatusCode::OK, json!({ "status": "success", "data": data }).to_string())
}

async fn stats(State(metrics): State<Metrics>) -> String {
    json!({ "queue": { "depth": metrics.told.lock().unwrap().depth } }).to_string()
}

/// A serving project whose backend has this check, `latency`.
async fn project(lines: &str) -> Option<Project> {
    let project = Project::serving(Pace::FAST).await?;
    std::fs::write(project.path("token"), format!("{TOKEN}\n")).unwrap();
    project.add_check("backend", "latency", lines);
    project.add_version("1.2.1", 3);
    Some(project)
}

async fn promote(project: &Project) -> Ran {
    project.run(&["promote", "--env", "local", "--release", "1.2.1"]).await
}

/// What the newest run has on record.
async fn record(project: &Project) -> Ran {
    let runs = project.json(&["history", "--env", "local", "--limit", "1"]).await;
    project.run(&["history", "--run", runs[0]["run"].as_str().unwrap()]).await.exits(0)
}

/// Asserts that the token stands in nothing that was printed or written.
fn is_secret(project: &Project, ran: &Ran) {
    assert!(!ran.report().contains(TOKEN), "{}", ran.report());
    let kept = walk(&project.path(".liftlock"));
    let holds = |file: &std::path::PathBuf| {
        let bytes = std::fs::read(file).unwrap_or_default();
        bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes())
    };
    let found: Vec<_> = kept.into_iter().filter(holds).collect();
    assert!(found.is_empty(), "{found:?}");
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().flatten();
    // The database's own files hold nothing of it, and are many.
    let kept = entries.filter(|entry| entry.file_name() != "postgres");
    kept.flat_map(|entry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => walk(&entry.path()),
        kind if kind.is_file() => vec![entry.path()],
        _ => Vec::new(),
    })
    .collect()
}

/// Shows D-RB-1 as data: what Prometheus says of the new version turns it back, with the value, the limit and the time; the same check
/// passes a good version. The token is nowhere but in its header.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_to_prometheus_decides() {
    let metrics = Metrics::start().await;
    let Some(project) = project(&metrics.check("")).await else { return };
    let before = project.world().await;
    metrics.says(&["0.7"]);
    let ran = promote(&project).await.exits(1);
    let ran =
        ran.says("check backend/latency: 0.7 at 20").says("is not below 0.5, 2 times in a row");
    assert_eq!(project.world().await, before, "{}", ran.report());
    is_secret(&project, &ran);
    let told = record(&project).await;
    let told =
        told.says("rollout/wave-1/bake: check backend/latency: fail (2 of 2 bad): 0.7 at 20");
    is_secret(&project, &told);
    let watch = project.run(&["rollout", "watch", "--env", "local", "--once"]).await.exits(0);
    watch.says("check backend/latency").says("is not below 0.5");
    let new =
        if before.services["backend"].weights["blue"] == json!(100) { "green" } else { "blue" };
    let old = if new == "green" { "blue" } else { "green" };
    let asked = metrics.told.lock().unwrap().queries.clone();
    let wanted = format!("service%3D%22backend%22%2C+colour%3D%22{new}%22%2C+not%3D%22{old}%22");
    assert!(asked.iter().all(|query| query.contains(&wanted)), "{asked:?}");

    metrics.says(&["0.25"]);
    promote(&project).await.exits(0).says("check backend/latency: 0.25 at 20");
    record(&project).await.says("check backend/latency: pass (");
    project.serves("1.2.1").await;
    project.is_settled().await;
}

/// Shows A-RB-1's condition that no data is never a pass: nothing, NaN and too many samples turn back unless the file leaves them to the
/// circuit breaker, and then they are on record as inconclusive.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_without_data_is_inconclusive_and_the_file_says_what_becomes_of_it() {
    let metrics = Metrics::start().await;
    let Some(project) = project(&metrics.check("")).await else { return };
    let before = project.world().await;
    for (values, why) in [
        (&[][..], "no data: the query found no series"),
        (&["NaN"][..], "no data: NaN"),
        (&["0.1", "0.1"][..], "the query gives 2 samples, and one is wanted"),
    ] {
        metrics.says(values);
        let ran = promote(&project).await.exits(1);
        ran.says("inconclusive: check backend/latency: ").says(why).says("no_data is \"breaker\"");
        assert_eq!(project.world().await, before);
    }
    record(&project).await.says("check backend/latency: inconclusive (0 of 0 bad)");
    project.set_pace(Pace::FAST);
    project.add_check("backend", "latency", &metrics.check("no_data = \"breaker\""));
    metrics.says(&[]);
    promote(&project).await.exits(0).says("inconclusive: the circuit breaker decides");
    record(&project).await.says("check backend/latency: inconclusive (0 of 0 bad)");
    project.serves("1.2.1").await;
}

/// Shows D-RB-1 as data: a check goes on while a rollout waits for a person, and turns it back with nobody there.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_turns_bad_in_a_pause_turns_back() {
    let metrics = Metrics::start().await;
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    std::fs::write(project.path("token"), TOKEN).unwrap();
    let before = project.world().await;
    project.set_steps(Pace::FAST, "steps = [{ share = 10, pause = true }, 100]");
    project.add_check("backend", "latency", &metrics.check(""));
    project.add_version("1.2.1", 3);
    metrics.says(&["0.1"]);
    let promotion = project.start(&["promote", "--env", "local", "--release", "1.2.1"], &[]);
    until("it waits", async || {
        let status = project.json(&["status", "--env", "local"]).await;
        status[0]["paused"]["share"] == json!(10)
    })
    .await;
    assert_eq!(wave_of(&project.services().await["backend"].weights), Some(10));
    metrics.says(&["0.9"]);
    let ran = promotion.end().await.exits(1);
    let ran = ran.says("rollout/wave-1/pause: check backend/latency: 0.9 at 20");
    assert_eq!(project.world().await, before, "{}", ran.report());
    record(&project).await.says("rollout/wave-1/pause: check backend/latency: fail (");
    project.is_settled().await;
}

/// Shows D-RB-1 as data where ECS replaces the tasks: that ECS is through does not say that the new version is well.
#[tokio::test(flavor = "multi_thread")]
async fn what_turned_bad_until_ecs_is_through_turns_back() {
    let metrics = Metrics::start().await;
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    std::fs::write(project.path("token"), TOKEN).unwrap();
    let check =
        metrics.check("").replace("\"100ms\"", "\"1h\"").replace("failures = 2", "failures = 1");
    let before = project.world().await;
    for (strategy, version) in [("ecs-blue-green", "1.2.1"), ("rolling", "1.2.2")] {
        let pace = Pace { step_bake: 60_000, bake: if strategy == "rolling" { 0 } else { 60_000 } };
        project.set_steps(pace, &format!("strategy = \"{strategy}\""));
        project.add_check("backend", "latency", &check);
        project.add_version(version, 3);
        metrics.says(&["0.1"]);
        metrics.told.lock().unwrap().queries.clear();
        let promotion = project.start(&["promote", "--env", "local", "--release", version], &[]);
        // The only look before the end.
        until("it is asked", async || !metrics.told.lock().unwrap().queries.is_empty()).await;
        metrics.says(&["0.9"]);
        let ran = promotion.end().await.exits(1);
        let ran = ran.says("rollout/wave-1/bake: check backend/latency: 0.9 at 20");
        assert_eq!(project.world().await, before, "{}", ran.report());
        project.is_settled().await;
    }
}

/// Shows D-RB-1 as data: a value in a JSON document and an alarm by its whole name decide, too; an alarm that is not there is no data.
#[tokio::test(flavor = "multi_thread")]
async fn a_json_endpoint_and_an_alarm_decide() {
    let metrics = Metrics::start().await;
    let url = &metrics.url;
    let json = format!(
        "json = {{ url = \"{url}/stats\", pointer = \"/queue/depth\" }}\nbelow = 100\nfailures = 1"
    );
    let Some(project) = project(&json).await else { return };
    project.add_check("frontend", "errors", "alarm = \"shop-{{environment}}-{{service}}-5xx\"");
    metrics.depth(json!(250));
    let ran = promote(&project).await.exits(1);
    ran.says("check backend/latency: 250 at 20").says("is not below 100");
    metrics.depth(json!(3));
    let ran = promote(&project).await.exits(0);
    ran.says("check frontend/errors: the alarm shop-local-frontend-5xx is OK at 20");
    project.add_check("frontend", "other", "alarm = \"another-team\"\npatience = \"100ms\"");
    project.add_version("1.2.2", 3);
    let ran = project.run(&["promote", "--env", "local", "--release", "1.2.2"]).await.exits(1);
    ran.says("inconclusive: check frontend/other: no data: there is no alarm another-team");
}

/// A token that is not there is found before anything is touched.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_missing_touches_nothing() {
    let metrics = Metrics::start().await;
    let Some(project) = project(&metrics.check("")).await else { return };
    std::fs::remove_file(project.path("token")).unwrap();
    let before = project.world().await;
    let ran = promote(&project).await.exits(2);
    ran.says("token does not exist");
    assert_eq!(project.world().await, before);
    assert!(metrics.told.lock().unwrap().queries.is_empty());
}
