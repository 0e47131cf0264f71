//! The `aws` command-line client against the stage: it speaks AWS's protocols, not ours.

use std::process::{Command, Output};

use liftlock_stage::{Colour, Fault, Kind, Scenario};
use liftlock_testkit::Venv;
use liftlock_testkit::requirement::{self, Requirement};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use crate::client::{World, arn_of, echo, production_rule};

struct Aws<'a> {
    world: &'a World,
    venv: Venv,
}

impl Aws<'_> {
    fn run(&self, arguments: &str) -> Output {
        let stage = &self.world.running.stage;
        let mut command = Command::new(self.venv.program("aws"));
        command
            .args(arguments.split_whitespace())
            .env("AWS_ENDPOINT_URL", stage.endpoint.as_str())
            .env("AWS_ACCESS_KEY_ID", &stage.access_key)
            .env("AWS_SECRET_ACCESS_KEY", stage.secret_key.expose_secret())
            .env("AWS_DEFAULT_REGION", "eu-central-1")
            .env("AWS_DEFAULT_OUTPUT", "json")
            .env("AWS_MAX_ATTEMPTS", "1")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .output()
            .unwrap()
    }

    fn json(&self, arguments: &str) -> Value {
        let said = self.run(arguments);
        assert!(said.status.success(), "{arguments}: {}", String::from_utf8_lossy(&said.stderr));
        if said.stdout.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&said.stdout).unwrap()
    }
}

/// Reads, changes, waits and fails as it does on AWS.
#[tokio::test(flavor = "multi_thread")]
async fn the_aws_client_works_as_on_aws() {
    let Some(venv) = requirement::met(Requirement::Moto, Venv::ensure().await) else { return };
    let world = World::new().await;
    let image = echo(world.directory.path(), &[]);
    world.http.run(Colour::Blue, &image, "1", 1).await;
    let aws = Aws { world: &world, venv };
    aws.json("ecs wait services-stable --cluster shop-test --services shop-test-web-blue");
    world.steady(Colour::Blue, 1).await;
    let services =
        aws.json("ecs describe-services --cluster shop-test --services shop-test-web-blue");
    assert_eq!(services["services"][0]["runningCount"], 1);
    let listed =
        aws.json("ecs list-service-deployments --cluster shop-test --service shop-test-web-blue");
    let revision = listed["serviceDeployments"][0]["targetServiceRevisionArn"].as_str().unwrap();
    let told =
        aws.json(&format!("ecs describe-service-revisions --service-revision-arns {revision}"));
    assert_eq!(told["serviceRevisions"][0]["containerImages"][0]["imageDigest"], image.as_str());

    let (rule, blue, green) = (production_rule(), arn_of("blue"), arn_of("green"));
    let actions = format!(
        r#"[{{"Type":"forward","ForwardConfig":{{"TargetGroups":[{{"TargetGroupArn":"{blue}","Weight":90}},{{"TargetGroupArn":"{green}","Weight":10}}]}}}}]"#
    );
    let rules = aws.json(&format!("elbv2 modify-rule --rule-arn {rule} --actions {actions}"));
    let groups = &rules["Rules"][0]["Actions"][0]["ForwardConfig"]["TargetGroups"];
    assert_eq!(groups[1]["Weight"], 10);
    let health = aws.json(&format!("elbv2 describe-target-health --target-group-arn {blue}"));
    assert_eq!(health["TargetHealthDescriptions"][0]["TargetHealth"]["State"], "healthy");
    assert_eq!(aws.json("sts get-caller-identity")["Account"], "000000000000");
    aws.json("ssm put-parameter --name /shop/test/colour --type String --value blue");
    let read = aws.json("ssm get-parameter --name /shop/test/colour");
    assert_eq!(read["Parameter"]["Value"], "blue");
    assert_eq!(aws.json("cloudwatch describe-alarms")["MetricAlarms"][0]["StateValue"], "OK");
    assert_eq!(aws.json("rds describe-db-instances")["DBInstances"], serde_json::json!([]));

    let none = aws.run("logs get-log-events --log-group-name /shop/test/web --log-stream-name no");
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(said.contains("(ResourceNotFoundException)"), "{said}");
    assert_eq!(aws.json("scheduler list-schedules")["Schedules"], serde_json::json!([]));

    let throttle = Fault { operation: Some("ecs:*".into()), ..Fault::new(Kind::Throttle) };
    world.running.add_faults(Scenario { seed: 0, faults: vec![throttle] }).unwrap();
    let refused = aws.run("ecs list-clusters");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("(ThrottlingException)") && said.contains("Rate exceeded"), "{said}");
    world.end().await;
}
