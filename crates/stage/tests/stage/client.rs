//! A caller of the stage, and what the tests wait for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use liftlock_model::ImageDigest;
use liftlock_stage::{
    Colour, ColourStatus, Running, ServeOptions, ServiceTopology, Stage, Status, Timing, Topology,
    build_image,
};
use serde_json::{Value, json};

use crate::models;

pub(crate) const SERVICE: &str = "web";

pub(crate) fn topology() -> Topology {
    Topology {
        application: "shop".parse().unwrap(),
        environment: "test".parse().unwrap(),
        region: "eu-central-1".to_owned(),
        account: "000000000000".to_owned(),
        services: vec![ServiceTopology {
            name: SERVICE.parse().unwrap(),
            repository: "shop/web".to_owned(),
            port: 8080,
            paths: None,
            priority: 10,
            tasks: 2,
            health_path: "/health".to_owned(),
            cpu: 256,
            memory: 64,
        }],
        database: None,
    }
}

/// Times that let tests see in seconds what takes minutes.
pub(crate) fn timing() -> Timing {
    Timing {
        health_interval: Duration::from_millis(100),
        grace: Duration::from_millis(500),
        back_off: Duration::from_millis(20),
        usage_interval: Duration::from_millis(100),
        ..Timing::default()
    }
}

/// A stage in this process, on a directory of its own.
pub(crate) struct World {
    pub(crate) running: Running,
    pub(crate) http: Http,
    pub(crate) directory: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(timing()).await
    }

    pub(crate) async fn with(timing: Timing) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = ServeOptions::new(directory.path());
        options.timing = timing;
        options.record = Some(directory.path().join(models::CALLS));
        let running = Stage::spawn(options, &topology()).await.unwrap();
        Self { http: Http::new(&running.stage), running, directory }
    }

    /// Ends the stage, and checks every call of this test with its answer against AWS's service models.
    pub(crate) async fn end(self) {
        self.running.stop().await;
        models::check(self.directory.path()).await;
    }

    pub(crate) fn colour(&self, colour: Colour) -> ColourStatus {
        of_colour(&self.running.status(), colour)
    }

    /// Waits until a colour has so many healthy tasks, and no others.
    pub(crate) async fn steady(&self, colour: Colour, tasks: u32) {
        eventually(&format!("{tasks} healthy {colour:?} tasks"), async || {
            let now = self.colour(colour);
            now.healthy == tasks && now.running == tasks
        })
        .await;
    }
}

pub(crate) fn of_colour(status: &Status, colour: Colour) -> ColourStatus {
    let all = &status.services[0].colours;
    all.iter().find(|seen| seen.colour == colour).unwrap().clone()
}

/// Waits for a fact.
pub(crate) async fn eventually(what: &str, mut fact: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !fact().await {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn echo(directory: &Path, variables: &[(&str, &str)]) -> ImageDigest {
    let environment: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_stage-echo"));
    build_image(directory, &program, &[], &environment).unwrap()
}

/// Calls a stage as an AWS client does.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    endpoint: String,
    access_key: String,
    /// When requests say that they were signed; nothing if left out.
    signed: Option<String>,
}

impl Http {
    pub(crate) fn new(stage: &Stage) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            endpoint: stage.endpoint.to_string(),
            access_key: stage.access_key.clone(),
            signed: None,
        }
    }

    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { access_key: key.to_owned(), ..self.clone() }
    }

    pub(crate) fn at(&self, time: &str) -> Self {
        Self { signed: Some(time.to_owned()), ..self.clone() }
    }

    fn authorization(&self, service: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential={}/20261121/eu-central-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=00",
            self.access_key
        )
    }

    /// AWS JSON.
    pub(crate) async fn json(&self, service: &str, operation: &str, input: Value) -> (u16, Value) {
        self.try_json(service, operation, input).await.unwrap()
    }

    /// AWS JSON; an error if there is no answer.
    pub(crate) async fn try_json(
        &self,
        service: &str,
        operation: &str,
        input: Value,
    ) -> Result<(u16, Value), String> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.endpoint)
            .header("authorization", self.authorization(service))
            .header("x-amz-date", self.signed.as_deref().unwrap_or_default())
            .header("x-amz-target", format!("Any.{operation}"))
            .body(Full::new(Bytes::from(input.to_string())))
            .unwrap();
        let answer = self.client.request(request).await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        Ok((status, serde_json::from_slice(&body).unwrap()))
    }

    pub(crate) async fn ecs(&self, operation: &str, mut input: Value) -> Value {
        if operation.contains("Service") || operation.contains("Tasks") {
            input["cluster"] = "shop-test".into();
        }
        let (status, answer) = self.json("ecs", operation, input).await;
        assert_eq!(status, 200, "{operation}: {answer}");
        answer
    }

    /// REST with JSON, of EventBridge Scheduler.
    pub(crate) async fn rest(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.endpoint))
            .header("authorization", self.authorization("scheduler"))
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let answer = self.client.request(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// AWS Query.
    pub(crate) async fn query(&self, service: &str, form: &[(&str, &str)]) -> (u16, String) {
        self.try_query(service, form).await.unwrap()
    }

    /// AWS Query; an error if there is no answer.
    pub(crate) async fn try_query(
        &self,
        service: &str,
        form: &[(&str, &str)],
    ) -> Result<(u16, String), String> {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.endpoint)
            .header("authorization", self.authorization(service))
            .header("x-amz-date", self.signed.as_deref().unwrap_or_default())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(body.finish())))
            .unwrap();
        let answer = self.client.request(request).await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Runs one task of an image on a colour, with the database's URL as its secret.
    pub(crate) async fn run_with_database(&self, colour: Colour, image: &ImageDigest) {
        let definition = json!({
            "family": format!("shop-test-{SERVICE}"),
            "containerDefinitions": [{
                "name": SERVICE,
                "image": format!("shop/web@{image}"),
                "secrets": [{ "name": "DATABASE_URL", "valueFrom": "/shop/test/database-url" }],
            }],
        });
        let made = self.ecs("RegisterTaskDefinition", definition).await;
        let arn = &made["taskDefinition"]["taskDefinitionArn"];
        let service = format!("shop-test-{SERVICE}-{}", colour.as_str());
        let update = json!({ "service": service, "taskDefinition": arn, "desiredCount": 1 });
        self.ecs("UpdateService", update).await;
    }

    /// One statistic of a metric over the last minutes, as `GetMetricData` tells it; none without data.
    pub(crate) async fn metric(
        &self,
        namespace: &str,
        name: &str,
        statistic: &str,
        dimensions: &[(&str, &str)],
    ) -> Option<f64> {
        let now = jiff::Timestamp::now();
        let around = |seconds: i64| (now + jiff::SignedDuration::from_secs(seconds)).to_string();
        let base = "MetricDataQueries.member.1";
        let mut form = vec![
            ("Action".to_owned(), "GetMetricData".to_owned()),
            ("StartTime".to_owned(), around(-600)),
            ("EndTime".to_owned(), around(60)),
            (format!("{base}.Id"), "m".to_owned()),
            (format!("{base}.MetricStat.Metric.Namespace"), namespace.to_owned()),
            (format!("{base}.MetricStat.Metric.MetricName"), name.to_owned()),
            (format!("{base}.MetricStat.Period"), "86400".to_owned()),
            (format!("{base}.MetricStat.Stat"), statistic.to_owned()),
        ];
        for (at, (name, value)) in dimensions.iter().enumerate() {
            let member = format!("{base}.MetricStat.Metric.Dimensions.member.{}", at + 1);
            form.push((format!("{member}.Name"), (*name).to_owned()));
            form.push((format!("{member}.Value"), (*value).to_owned()));
        }
        let form: Vec<(&str, &str)> = form.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let (status, answer) = self.query("monitoring", &form).await;
        assert_eq!(status, 200, "{answer}");
        let values = answer.split_once("<Values>")?.1.split_once("</Values>")?.0;
        let first = values.split_once("<member>")?.1.split_once("</member>")?.0;
        first.parse().ok()
    }

    /// Runs an image on a colour.
    pub(crate) async fn run(&self, colour: Colour, image: &ImageDigest, version: &str, tasks: u32) {
        let definition = json!({
            "family": format!("shop-test-{SERVICE}"),
            "containerDefinitions": [{
                "name": SERVICE,
                "image": format!("shop/web@{image}"),
                "environment": [{ "name": "RELEASE_VERSION", "value": version }],
            }],
        });
        let made = self.ecs("RegisterTaskDefinition", definition).await;
        let arn = &made["taskDefinition"]["taskDefinitionArn"];
        let service = format!("shop-test-{SERVICE}-{}", colour.as_str());
        let update = json!({ "service": service, "taskDefinition": arn, "desiredCount": tasks });
        self.ecs("UpdateService", update).await;
    }

    pub(crate) async fn scale(&self, colour: Colour, tasks: u32) {
        let service = format!("shop-test-{SERVICE}-{}", colour.as_str());
        self.ecs("UpdateService", json!({ "service": service, "desiredCount": tasks })).await;
    }

    pub(crate) async fn deployment(&self, colour: Colour) -> Value {
        let service = format!("shop-test-{SERVICE}-{}", colour.as_str());
        let answer = self.ecs("DescribeServices", json!({ "services": [service] })).await;
        answer["services"][0]["deployments"][0].clone()
    }

    /// Sets the production rule's weights.
    pub(crate) async fn shift(&self, blue: &str, green: &str) -> (u16, String) {
        self.try_shift(blue, green).await.unwrap()
    }

    /// Sets the production rule's weights; an error if there is no answer.
    pub(crate) async fn try_shift(&self, blue: &str, green: &str) -> Result<(u16, String), String> {
        let arn = |group: &str| arn_of(group);
        let form = [
            ("Action", "ModifyRule"),
            ("RuleArn", &production_rule()),
            ("Actions.member.1.Type", "forward"),
            ("Actions.member.1.ForwardConfig.TargetGroups.member.1.TargetGroupArn", &arn("blue")),
            ("Actions.member.1.ForwardConfig.TargetGroups.member.1.Weight", blue),
            ("Actions.member.1.ForwardConfig.TargetGroups.member.2.TargetGroupArn", &arn("green")),
            ("Actions.member.1.ForwardConfig.TargetGroups.member.2.Weight", green),
        ];
        self.try_query("elasticloadbalancing", &form).await
    }

    pub(crate) async fn get(&self, url: &str) -> Result<(StatusCode, String), String> {
        let request = Request::get(url).body(Full::default()).unwrap();
        let answer = self.client.request(request).await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| format!("{error:?}"))?;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    }

    pub(crate) async fn post(&self, url: &str, body: Vec<u8>) -> Bytes {
        let request = Request::post(url).body(Full::from(body)).unwrap();
        let answer = self.client.request(request).await.unwrap();
        answer.into_body().collect().await.unwrap().to_bytes()
    }
}

pub(crate) fn digits(text: &str) -> String {
    use sha2::Digest as _;
    hex::encode(&sha2::Sha256::digest(text.as_bytes())[..8])
}

pub(crate) fn arn_of(colour: &str) -> String {
    let name = format!("shop-test-{SERVICE}-{colour}");
    let place = "arn:aws:elasticloadbalancing:eu-central-1:000000000000";
    format!("{place}:targetgroup/{name}/{}", digits(&name))
}

pub(crate) fn production_rule() -> String {
    format!(
        "arn:aws:elasticloadbalancing:eu-central-1:000000000000:listener-rule/app/shop-test/{}/{}/{}",
        digits("shop-test"),
        digits("production"),
        digits(&format!("production/{SERVICE}")),
    )
}
