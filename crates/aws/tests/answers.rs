//! Answers that AWS gives on bad days, from a scripted server on loopback.
#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use liftlock_aws::{
    ACTIONS, AwsErrorKind, Clients, Credentials, EcsSwitch, EcsTarget, SsmParameters,
};
use liftlock_environment::config;
use liftlock_rollout::{Back, Colour, Switch, Target, TargetErrorKind, TaskDefinition};
use liftlock_testkit::ClosedPort;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with a request: a status and a body, or nothing: the connection is closed.
type Answer = Option<(u16, String)>;

/// A server that answers each call by the name of its operation, and remembers them.
struct Server {
    url: url::Url,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), calls.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone(), seen.clone()));
            }
        });
        Self { url, calls }
    }

    async fn clients(&self) -> Clients {
        let region = "eu-central-1".to_owned();
        let aws = config::Aws { region, account: "123456789012".into(), endpoint: None };
        let secret = "the-secret-key".to_owned().into();
        let credentials = Credentials::Static { access_key: "AKIAEXAMPLE".into(), secret };
        Clients::connect(&aws, Some(&self.url), credentials).await.unwrap()
    }

    fn calls(&self, operation: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|call| call.as_str() == operation).count()
    }
}

async fn serve(
    stream: TcpStream,
    answer: Arc<impl Fn(&str, usize) -> Answer>,
    calls: Arc<Mutex<Vec<String>>>,
) {
    let mut stream = BufReader::new(stream);
    let (mut length, mut operation) = (0, String::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        let (name, value) = line.trim().split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            // AmazonEC2ContainerServiceV20141113.DescribeClusters
            "x-amz-target" => operation = value.rsplit('.').next().unwrap().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).await.is_err() || operation.is_empty() {
        return;
    }
    let before = {
        let mut calls = calls.lock().unwrap();
        calls.push(operation.clone());
        calls.iter().filter(|call| **call == operation).count() - 1
    };
    if let Some((status, body)) = answer(&operation, before) {
        let head = format!(
            "HTTP/1.1 {status} Answer\r\ncontent-type: application/x-amz-json-1.1\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }
}

fn refusal(code: &str, message: &str) -> Answer {
    Some((400, format!(r#"{{"__type":"{code}","message":"{message}"}}"#)))
}

#[tokio::test]
async fn wrong_credentials_are_told_from_a_missing_environment() {
    for code in [
        "ExpiredTokenException",
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "AccessDeniedException",
    ] {
        let server = Server::start(move |_, _| refusal(code, "no")).await;
        let error = server.clients().await.check("shop-dev").await.unwrap_err();
        assert_eq!(error.kind(), AwsErrorKind::Authentication, "{error}");
        for part in [code, "ecs:DescribeClusters", "cluster shop-dev", "127.0.0.1"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(!error.to_string().contains("the-secret-key"), "{error}");
        assert_eq!(server.calls("DescribeClusters"), 1, "trying again is of no use");
    }
    let missing = r#"{"clusters":[],"failures":[{"arn":"shop-dev","reason":"MISSING"}]}"#;
    let server = Server::start(move |_, _| Some((200, missing.to_owned()))).await;
    let error = server.clients().await.check("shop-dev").await.unwrap_err();
    assert_eq!(error.kind(), AwsErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn throttled_calls_are_repeated_with_an_end() {
    let cluster = r#"{"clusters":[{"clusterName":"shop-dev","status":"ACTIVE"}],"failures":[]}"#;
    let server = Server::start(move |_, before| match before {
        0 => refusal("ThrottlingException", "Rate exceeded"),
        // The answer is lost.
        1 => None,
        _ => Some((200, cluster.to_owned())),
    });
    let server = server.await;
    server.clients().await.check("shop-dev").await.unwrap();
    assert_eq!(server.calls("DescribeClusters"), 3);

    let failure = r#"{"__type":"ServerException","message":"Try again"}"#;
    let server = Server::start(|_, _| Some((500, failure.to_owned()))).await;
    let error = server.clients().await.check("shop-dev").await.unwrap_err();
    assert_eq!(error.kind(), AwsErrorKind::Transient, "{error}");
    assert_eq!(server.calls("DescribeClusters"), 5);
}

/// Being throttled says nothing but "later": a call does not give up where one that fails has long done so.
#[tokio::test]
async fn a_throttled_call_is_patient() {
    let cluster = r#"{"clusters":[{"clusterName":"shop-dev","status":"ACTIVE"}],"failures":[]}"#;
    let server = Server::start(move |_, before| match before {
        0..=4 => refusal("ThrottlingException", "Rate exceeded"),
        _ => Some((200, cluster.to_owned())),
    });
    let server = server.await;
    server.clients().await.check("shop-dev").await.unwrap();
    assert_eq!(server.calls("DescribeClusters"), 6);
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_is_named() {
    let closed = ClosedPort::new();
    let address = closed.address().to_string();
    let gone = Server { url: format!("http://{address}").parse().unwrap(), calls: Arc::default() };
    let error = gone.clients().await.check("shop-dev").await.unwrap_err();
    assert_eq!(error.kind(), AwsErrorKind::Transient, "{error}");
    assert!(error.to_string().contains(&address), "{error}");
}

const BASE: &str = r#"{"taskDefinition":{"taskDefinitionArn":"arn:aws:ecs:eu-central-1:123456789012:task-definition/shop-dev-backend-base:1","family":"shop-dev-backend-base","revision":1,"status":"ACTIVE","containerDefinitions":[{"name":"backend","image":"none","cpu":0}]}}"#;
const OURS: &str = "arn:aws:ecs:eu-central-1:123456789012:task-definition/shop-dev-backend:1";

/// The first registration is done, but its answer is lost: the revision is found, and no second is made.
#[tokio::test]
async fn a_registration_whose_answer_was_lost_is_not_done_twice() {
    let digest = "a".repeat(64);
    let ours = BASE
        .replace("shop-dev-backend-base", "shop-dev-backend")
        .replace("\"none\"", &format!("\"registry.example/shop@sha256:{digest}\""));
    let server = Server::start(move |operation, before| match (operation, before) {
        ("DescribeTaskDefinition", 0) => Some((200, BASE.to_owned())),
        ("DescribeTaskDefinition", _) => Some((200, ours.clone())),
        ("ListTaskDefinitions", 0) => Some((200, r#"{"taskDefinitionArns":[]}"#.to_owned())),
        ("ListTaskDefinitions", _) => {
            Some((200, format!(r#"{{"taskDefinitionArns":["{OURS}"]}}"#)))
        }
        _ => None,
    });
    let server = server.await;
    let target = EcsTarget::new(&server.clients().await, "shop-dev", &"backend".parse().unwrap());
    let image = format!("registry.example/shop@sha256:{digest}").parse().unwrap();
    let revision = target.register(&image, &BTreeMap::new()).await.unwrap();
    assert_eq!(revision.as_str(), OURS);
    assert_eq!(server.calls("RegisterTaskDefinition"), 1);
    for call in server.calls.lock().unwrap().iter() {
        assert!(ACTIONS.contains(&format!("ecs:{call}").as_str()), "{call} is not declared");
    }
}

#[tokio::test]
async fn a_base_without_our_container_is_named() {
    let server = Server::start(|_, _| Some((200, BASE.to_owned()))).await;
    let target = EcsTarget::new(&server.clients().await, "shop-dev", &"frontend".parse().unwrap());
    let image = format!("registry.example/shop@sha256:{}", "a".repeat(64)).parse().unwrap();
    let error = target.register(&image, &BTreeMap::new()).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("no container called frontend"), "{error}");
}

/// A secret never stands in a message, not even when the answer is broken.
#[tokio::test]
async fn a_broken_answer_does_not_show_the_secret() {
    let server = Server::start(|_, _| {
        Some((200, r#"{"Parameter":{"Name":"x","Value":"postgres://hush","Version":"#.to_owned()))
    });
    let server = server.await;
    let error = SsmParameters::new(&server.clients().await).get("/shop/dev/x").await.unwrap_err();
    assert!(!error.to_string().contains("hush"), "{error}");
    assert!(error.to_string().contains("/shop/dev/x"), "{error}");
}

const SERVICES: &str = r#"{"services":[
    {"serviceName":"shop-dev-backend-blue","status":"ACTIVE","desiredCount":2,"runningCount":4,"pendingCount":0,
     "taskDefinition":"arn:aws:ecs:eu-central-1:123456789012:task-definition/shop-dev-backend:8",
     "deploymentConfiguration":{"strategy":"CANARY"},
     "deployments":[{"id":"ecs-svc/2","status":"PRIMARY","rolloutState":"IN_PROGRESS"}]},
    {"serviceName":"shop-dev-backend-green","status":"ACTIVE","desiredCount":0,"runningCount":0,"pendingCount":0}]}"#;
const DEPLOYMENTS: &str = r#"{"serviceDeployments":[{"status":"IN_PROGRESS",
    "serviceDeploymentArn":"arn:aws:ecs:eu-central-1:123456789012:service-deployment/shop-dev/shop-dev-backend-blue/2"}]}"#;

/// A deployment that was just begun is listed a moment later: the dead-man's switch that is to stop it looks again.
#[tokio::test]
async fn a_deployment_that_is_listed_later_is_waited_for() {
    let server = Server::start(|operation, before| match (operation, before) {
        ("DescribeServices", _) => Some((200, SERVICES.to_owned())),
        ("ListServiceDeployments", 0) => Some((200, r#"{"serviceDeployments":[]}"#.to_owned())),
        ("ListServiceDeployments", _) => Some((200, DEPLOYMENTS.to_owned())),
        _ => None,
    });
    let server = server.await;
    let target = EcsTarget::new(&server.clients().await, "shop-dev", &"backend".parse().unwrap());
    let target = target.shifted_by_ecs("123456789012", "shop-dev-traffic");
    let switch = EcsSwitch::new(&target, "123456789012", "shop-dev-switch");
    let back = |revision: &str| Back::Tasks {
        colour: Colour::Blue,
        task_definition: TaskDefinition::new(revision),
    };
    switch.aim(&back("shop-dev-backend:7")).await.unwrap();
    assert_eq!(server.calls("ListServiceDeployments"), 2);
    // What brings the old tasks back is not looked for, since nobody is to stop it.
    switch.aim(&back("shop-dev-backend:8")).await.unwrap();
    assert_eq!(server.calls("ListServiceDeployments"), 2);
}
