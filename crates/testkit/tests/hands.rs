//! moto with hands is a data plane: tasks run, load balancers send traffic to them by weight.

#![expect(clippy::unwrap_used, reason = "in a test, what is not there is a failure")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use liftlock_testkit::{Aws, Moto, MotoOptions, Venv};
use serde_json::{Value, json};

struct Plane {
    moto: Moto,
    aws: Aws,
    rule: String,
    groups: BTreeMap<&'static str, String>,
    client: reqwest::Client,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a text")).to_owned()
}

impl Plane {
    async fn start() -> Option<Self> {
        let venv = Venv::ensure().await.ok()?;
        let task = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/task.py");
        let program = format!("'{}' '{}'", venv.program("python").display(), task.display());
        let moto = Moto::start_with(MotoOptions { task_program: Some(program) }).await?;
        let aws = moto.aws();
        let (rule, groups) = balancer(&aws).await;
        services(&aws, &groups).await;
        // The providers' builder needs one; a second installation says that it is there.
        rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Some(Self { moto, aws, rule, groups, client })
    }

    async fn release(&self, version: &str, colour: &str) {
        let container = json!([{
            "name": "app",
            "image": format!("registry.example/app@sha256:{version}"),
            "environment": [{"name": "RELEASE_VERSION", "value": version}],
            "secrets": [{"name": "DATABASE_URL", "valueFrom": "arn:aws:ssm:eu-central-1:123456789012:parameter/app/url"}],
        }]);
        let family = format!("app-{version}");
        let container = container.to_string();
        self.aws
            .call([
                "ecs",
                "register-task-definition",
                "--family",
                &family,
                "--requires-compatibilities",
                "FARGATE",
                "--network-mode",
                "awsvpc",
                "--cpu",
                "256",
                "--memory",
                "512",
                "--container-definitions",
                &container,
            ])
            .await;
        self.aws
            .call([
                "ecs",
                "update-service",
                "--cluster",
                "app",
                "--service",
                &format!("app-{colour}"),
                "--task-definition",
                &family,
                "--desired-count",
                "2",
            ])
            .await;
    }

    async fn weigh(&self, blue: u8, green: u8) {
        let groups = json!([
            {"TargetGroupArn": self.groups["blue"], "Weight": blue},
            {"TargetGroupArn": self.groups["green"], "Weight": green},
        ]);
        let action =
            json!([{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]).to_string();
        self.aws
            .call(["elbv2", "modify-rule", "--rule-arn", &self.rule, "--actions", &action])
            .await;
    }

    /// Waits until a deployment of this task definition is in this state.
    async fn deployment(&self, colour: &str, family: &str, state: &str) -> Value {
        let name = format!("app-{colour}");
        let mut last = Value::Null;
        let seen = async {
            loop {
                let said = self
                    .aws
                    .call(["ecs", "describe-services", "--cluster", "app", "--services", &name])
                    .await;
                last = said["services"][0].clone();
                let is = |d: &Value| {
                    d["rolloutState"] == state
                        && text(&d["taskDefinition"]).ends_with(&format!("/{family}:1"))
                };
                if last["deployments"].as_array().unwrap().iter().any(is) {
                    return;
                }
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(60), seen).await;
        assert!(seen.is_ok(), "{last}\n{}", self.moto.log());
        last
    }

    async fn answers(&self, count: usize) -> BTreeMap<String, usize> {
        let port = self.moto.hands().await.load_balancers["app"]["production"];
        let mut answers = BTreeMap::new();
        for _ in 0..count {
            let answer = self.client.get(format!("http://127.0.0.1:{port}/")).send().await.unwrap();
            let said = format!("{} {}", answer.status().as_u16(), answer.text().await.unwrap());
            *answers.entry(said.trim_end().to_owned()).or_insert(0) += 1;
        }
        answers
    }
}

async fn balancer(aws: &Aws) -> (String, BTreeMap<&'static str, String>) {
    let subnets =
        aws.call(["ec2", "describe-subnets", "--query", "Subnets[:2].[SubnetId,VpcId]"]).await;
    let (one, two, vpc) = (text(&subnets[0][0]), text(&subnets[1][0]), text(&subnets[0][1]));
    let made =
        aws.call(["elbv2", "create-load-balancer", "--name", "app", "--subnets", &one, &two]).await;
    let balancer = text(&made["LoadBalancers"][0]["LoadBalancerArn"]);
    let mut groups = BTreeMap::new();
    for colour in ["blue", "green"] {
        let name = format!("app-{colour}");
        let made = aws
            .call([
                "elbv2",
                "create-target-group",
                "--name",
                &name,
                "--protocol",
                "HTTP",
                "--port",
                "8080",
                "--vpc-id",
                &vpc,
                "--target-type",
                "ip",
                "--health-check-path",
                "/health",
            ])
            .await;
        groups.insert(colour, text(&made["TargetGroups"][0]["TargetGroupArn"]));
    }
    let made = aws
        .call([
            "elbv2",
            "create-listener",
            "--load-balancer-arn",
            &balancer,
            "--protocol",
            "HTTP",
            "--port",
            "80",
            "--tags",
            "Key=liftlock:listener,Value=production",
            "--default-actions",
            r#"[{"Type":"fixed-response","FixedResponseConfig":{"StatusCode":"404"}}]"#,
        ])
        .await;
    let listener = text(&made["Listeners"][0]["ListenerArn"]);
    let action = json!([{"Type": "forward", "TargetGroupArn": groups["blue"]}]).to_string();
    let made = aws
        .call([
            "elbv2",
            "create-rule",
            "--listener-arn",
            &listener,
            "--priority",
            "1",
            "--conditions",
            "Field=path-pattern,Values=/*",
            "--actions",
            &action,
        ])
        .await;
    (text(&made["Rules"][0]["RuleArn"]), groups)
}

async fn services(aws: &Aws, groups: &BTreeMap<&'static str, String>) {
    let subnets = aws.call(["ec2", "describe-subnets", "--query", "Subnets[0].SubnetId"]).await;
    let group =
        aws.call(["ec2", "describe-security-groups", "--query", "SecurityGroups[0].GroupId"]).await;
    let network = json!({"awsvpcConfiguration": {"subnets": [subnets], "securityGroups": [group]}})
        .to_string();
    aws.call([
        "ssm",
        "put-parameter",
        "--name",
        "/app/url",
        "--type",
        "SecureString",
        "--value",
        "postgres://db",
    ])
    .await;
    aws.call(["ecs", "create-cluster", "--cluster-name", "app"]).await;
    aws.call([
        "ecs",
        "register-task-definition",
        "--family",
        "app-base",
        "--requires-compatibilities",
        "FARGATE",
        "--network-mode",
        "awsvpc",
        "--cpu",
        "256",
        "--memory",
        "512",
        "--container-definitions",
        r#"[{"name":"app","image":"app:none"}]"#,
    ])
    .await;
    for (colour, arn) in groups {
        let balancers =
            json!([{"targetGroupArn": arn, "containerName": "app", "containerPort": 8080}])
                .to_string();
        aws.call([
            "ecs",
            "create-service",
            "--cluster",
            "app",
            "--service-name",
            &format!("app-{colour}"),
            "--task-definition",
            "app-base",
            "--desired-count",
            "0",
            "--launch-type",
            "FARGATE",
            "--network-configuration",
            &network,
            "--load-balancers",
            &balancers,
            "--deployment-configuration",
            r#"{"deploymentCircuitBreaker":{"enable":true,"rollback":true}}"#,
        ])
        .await;
    }
}

#[tokio::test]
async fn traffic_goes_to_real_tasks_by_the_rules_weights_and_a_crash_trips_the_breaker() {
    let Some(plane) = Plane::start().await else { return };
    assert_eq!(plane.answers(2).await, BTreeMap::from([("503".to_owned(), 2)]));

    plane.release("1", "blue").await;
    let service = plane.deployment("blue", "app-1", "COMPLETED").await;
    assert_eq!(service["runningCount"], 2, "{service}");
    assert_eq!(plane.answers(10).await, BTreeMap::from([("200 1 postgres://db".to_owned(), 10)]));

    plane.release("2", "green").await;
    plane.deployment("green", "app-2", "COMPLETED").await;
    let health = plane
        .aws
        .call(["elbv2", "describe-target-health", "--target-group-arn", &plane.groups["green"]])
        .await;
    let states: Vec<_> = health["TargetHealthDescriptions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| text(&t["TargetHealth"]["State"]))
        .collect();
    assert_eq!(states, ["healthy", "healthy"]);
    plane.weigh(50, 50).await;
    let answers = plane.answers(60).await;
    assert!(answers.len() == 2 && answers.values().all(|count| *count > 10), "{answers:?}");
    plane.weigh(0, 100).await;
    assert_eq!(plane.answers(10).await, BTreeMap::from([("200 2 postgres://db".to_owned(), 10)]));

    plane.release("crash", "blue").await;
    let service = plane.deployment("blue", "app-crash", "FAILED").await;
    assert!(
        text(&service["taskDefinition"]).ends_with("app-1:1"),
        "rolled back to what worked: {service}"
    );
    assert_eq!(plane.answers(10).await, BTreeMap::from([("200 2 postgres://db".to_owned(), 10)]));
}
