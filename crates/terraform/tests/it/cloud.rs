//! The repository's own root module, made on moto by terraform and looked at with the `aws` client. One test, since making
//! it takes two minutes.

use liftlock_model::Exit;
use liftlock_terraform::{Action, PlanError, SavedPlan, Terraform, guard};
use liftlock_testkit::{Aws, Moto, TerraformHome};
use serde_json::{Value, json};

use crate::sample::{Repository, S3_STATE, iac};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const SECRET: &str = "postgres://shop:hunter2@db/shop";

fn dev(endpoint: &str) -> String {
    format!(
        r#"
[aws]
endpoint = "{endpoint}"
{S3_STATE}
[infrastructure.variables]
github_repository = "acme/shop"
parameters = {{ log-level = "info" }}
database = {{ instance_class = "db.t4g.micro", allocated_storage = 20, backup_days = 1, deletion_protection = false }}
"#
    )
}

fn prod(endpoint: &str) -> String {
    dev(endpoint)
        .replace("db.t4g.micro", "db.r6g.large")
        .replace("= 20,", "= 100,")
        .replace("= 1,", "= 7,")
}

struct Cloud {
    moto: Moto,
    home: TerraformHome,
    repository: Repository,
    aws: Aws,
}

impl Cloud {
    async fn start() -> Option<Self> {
        let home = TerraformHome::new()?;
        let moto = Moto::start().await?;
        let endpoint = moto.endpoint();
        let repository = Repository::new(&[("dev", &dev(&endpoint)), ("prod", &prod(&endpoint))]);
        let aws = moto.aws();
        aws.call([
            "s3api",
            "create-bucket",
            "--bucket",
            "states",
            "--create-bucket-configuration",
            "LocationConstraint=eu-central-1",
        ])
        .await;
        Some(Self { moto, home, repository, aws })
    }

    async fn terraform(&self, name: &str) -> Terraform {
        let environment = self.repository.load(name);
        let mut variables = self.home.variables();
        variables.extend(self.moto.variables());
        variables.push(("TF_VAR_database_url".into(), SECRET.into()));
        let variables = variables.into_iter().map(|(name, value)| (name, value.into())).collect();
        let work = self.repository.path().join(".liftlock/work").join(name);
        let terraform = Terraform::prepare(&environment, &iac(), &work, variables).await.unwrap();
        terraform.init().await.unwrap();
        terraform
    }

    async fn call(&self, arguments: &str) -> Value {
        self.aws.call(arguments.split(' ')).await
    }
}

fn plan_json(home: &TerraformHome, plan: &SavedPlan) -> Value {
    let root = plan.path.parent().unwrap().join("root");
    let mut command = std::process::Command::new(home.program());
    command.args(["show", "-json"]).arg(&plan.path).current_dir(root).envs(home.variables());
    serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
}

fn planned<'a>(plan: &'a Value, kind: &str) -> Vec<&'a Value> {
    let changes = plan["resource_changes"].as_array().unwrap();
    changes.iter().filter(|c| c["type"] == kind).map(|c| &c["change"]["after"]).collect()
}

/// Shows E-IAC-1, E-IAC-2, E-IAC-3, E-SEC-1, D-SEC-1, W-2, W-7.
#[tokio::test]
async fn an_environment_is_made_left_alone_and_guarded() {
    let Some(cloud) = Cloud::start().await else { return };
    shows_prods_sizes(&cloud).await;

    let dev = cloud.terraform("dev").await;
    let plan = dev.plan().await.unwrap();
    assert!(
        plan.summary.create.len() > 60
            && plan.summary.changes().all(|c| c.action == Action::Create)
    );
    let outputs = dev.apply(&plan).await.unwrap().outputs;
    assert_eq!(outputs["prefix"], "shop-dev");
    assert!(dev.plan().await.unwrap().summary.is_empty(), "a second plan right after the first");

    shows_topology(&cloud).await;
    shows_identity(&cloud).await;
    shows_state(&cloud).await;

    roll_out(&cloud).await;
    let after = dev.plan().await.unwrap().summary;
    assert!(after.is_empty(), "a plan after a rollout:\n{after}");

    guards_what_holds_data(&cloud).await;
    wrong_credentials_are_told_apart(&cloud).await;
}

async fn shows_prods_sizes(cloud: &Cloud) {
    let prod = cloud.terraform("prod").await;
    let plan = plan_json(&cloud.home, &prod.plan().await.unwrap());
    let database = planned(&plan, "aws_db_instance")[0];
    let shown = [
        "identifier",
        "instance_class",
        "allocated_storage",
        "backup_retention_period",
        "backup_window",
    ];
    let shown = shown.map(|name| database[name].clone());
    assert_eq!(json!(shown), json!(["shop-prod", "db.r6g.large", 100, 7, "03:00-04:00"]));
    for kind in [
        "aws_lb",
        "aws_lb_target_group",
        "aws_ecs_cluster",
        "aws_ecs_service",
        "aws_iam_role",
        "aws_security_group",
        "aws_s3_bucket",
    ] {
        for resource in planned(&plan, kind) {
            let name =
                if kind == "aws_s3_bucket" { &resource["bucket"] } else { &resource["name"] };
            assert!(name.as_str().unwrap().starts_with("shop-prod"), "{kind} {name}");
        }
    }
}

async fn shows_topology(cloud: &Cloud) {
    let services = cloud.call("ecs describe-services --cluster shop-dev --services shop-dev-backend-blue shop-dev-backend-green shop-dev-frontend-blue shop-dev-frontend-green").await;
    let services = services["services"].as_array().unwrap();
    assert_eq!(services.len(), 4);
    for service in services {
        let configuration = &service["deploymentConfiguration"];
        assert_eq!(
            (&configuration["maximumPercent"], &configuration["minimumHealthyPercent"]),
            (&json!(200), &json!(50))
        );
        assert_eq!(
            configuration["deploymentCircuitBreaker"],
            json!({"enable": true, "rollback": true})
        );
        assert_eq!(service["desiredCount"], 0);
    }
    let database = cloud.call("rds describe-db-instances --db-instance-identifier shop-dev").await;
    let database = &database["DBInstances"][0];
    let shown =
        ["DBInstanceClass", "AllocatedStorage", "BackupRetentionPeriod", "PreferredBackupWindow"];
    assert_eq!(
        json!(shown.map(|name| database[name].clone())),
        json!(["db.t4g.micro", 20, 1, "03:00-04:00"])
    );

    let logs = cloud.call("logs describe-log-groups --log-group-name-prefix /shop/dev/").await;
    let days: Vec<_> = logs["logGroups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|g| g["retentionInDays"].clone())
        .collect();
    assert_eq!(days, [14, 14]);
    let alarms = cloud
        .call("cloudwatch describe-alarms --alarm-names shop-dev-backend-5xx shop-dev-frontend-5xx")
        .await;
    for alarm in alarms["MetricAlarms"].as_array().unwrap() {
        assert_eq!(
            (&alarm["Threshold"], &alarm["ComparisonOperator"]),
            (&json!(10.0), &json!("GreaterThanThreshold"))
        );
    }
    assert_eq!(alarms["MetricAlarms"].as_array().unwrap().len(), 2);
    let dashboard = cloud.call("cloudwatch get-dashboard --dashboard-name shop-dev").await;
    assert!(dashboard["DashboardBody"].as_str().unwrap().contains("HTTPCode_Target_5XX_Count"));
}

async fn shows_identity(cloud: &Cloud) {
    let role = cloud.call("iam get-role --role-name shop-dev-deployer").await;
    let trust = &role["Role"]["AssumeRolePolicyDocument"]["Statement"][0];
    assert_eq!(trust["Action"], "sts:AssumeRoleWithWebIdentity");
    assert_eq!(
        trust["Condition"],
        json!({"StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": "repo:acme/shop:environment:dev",
        }})
    );
    let switch = cloud.call("iam get-role --role-name shop-dev-switch").await;
    let trust = &switch["Role"]["AssumeRolePolicyDocument"]["Statement"][0];
    assert_eq!(trust["Principal"], json!({ "Service": "scheduler.amazonaws.com" }));
    let policy = "iam get-role-policy --role-name shop-dev-switch --policy-name shop-dev-switch";
    let may = &cloud.call(policy).await["PolicyDocument"]["Statement"];
    for (statement, (action, resource)) in may.as_array().unwrap().iter().zip([
        ("elasticloadbalancing:ModifyRule", ":listener-rule/app/shop-dev/*"),
        ("ecs:UpdateService", ":service/shop-dev/shop-dev-*"),
        ("ecs:StopServiceDeployment", ":service-deployment/shop-dev/shop-dev-*/*"),
    ]) {
        assert_eq!(strings(&statement["Action"]), [action]);
        assert!(strings(&statement["Resource"]).iter().all(|r| r.ends_with(resource)), "{may}");
    }
    assert_eq!(may.as_array().map(Vec::len), Some(3), "{may}");

    let users = cloud.call("iam list-users").await;
    assert_eq!(users["Users"], json!([]), "nobody has a long-lived key");

    let policy = cloud
        .call("iam get-role-policy --role-name shop-dev-deployer --policy-name shop-dev-deployer")
        .await;
    for statement in policy["PolicyDocument"]["Statement"].as_array().unwrap() {
        let actions = strings(&statement["Action"]);
        assert!(actions.iter().all(|action| !action.contains('*')), "{statement}");
        if strings(&statement["Resource"]).contains(&"*".to_owned()) {
            let reads = |action: &String| {
                ["Describe", "List", "Get"].iter().any(|w| action.contains(&format!(":{w}")))
            };
            assert!(actions.iter().all(reads), "{statement}");
        } else {
            // AWS's own option groups, which an instance that is restored takes, and which nobody can change.
            let is_aws = |resource: &String| {
                resource.starts_with("arn:aws:rds:") && resource.ends_with(":og:default*")
            };
            assert!(
                strings(&statement["Resource"])
                    .iter()
                    .all(|r| r.contains("shop-dev") || r.contains("/shop/dev/") || is_aws(r)),
                "{statement}"
            );
        }
    }
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap().to_owned()).collect(),
        one => vec![one.as_str().unwrap().to_owned()],
    }
}

/// Each environment's state is its own, and no secret is in it.
async fn shows_state(cloud: &Cloud) {
    let file = cloud.repository.path().join("state.json");
    let listed = cloud.call("s3api list-objects-v2 --bucket states").await;
    let keys: Vec<_> =
        listed["Contents"].as_array().unwrap().iter().map(|o| o["Key"].as_str().unwrap()).collect();
    assert!(keys.contains(&"env:/dev/shop/terraform.tfstate"), "{keys:?}");
    assert!(keys.iter().all(|key| !key.ends_with(".tflock")), "{keys:?}");
    let path = file.display().to_string();
    cloud
        .aws
        .call([
            "s3api",
            "get-object",
            "--bucket",
            "states",
            "--key",
            "env:/dev/shop/terraform.tfstate",
            &path,
        ])
        .await;
    let state = std::fs::read_to_string(file).unwrap();
    assert!(state.contains("shop-dev-backend-base") && !state.contains("hunter2"));
    let parameter =
        cloud.call("ssm get-parameter --name /shop/dev/database-url --with-decryption").await;
    assert_eq!(
        (&parameter["Parameter"]["Value"], &parameter["Parameter"]["Type"]),
        (&json!(SECRET), &json!("SecureString"))
    );
}

/// What Liftlock does to an environment: a revision, a desired count, weights.
async fn roll_out(cloud: &Cloud) {
    let base =
        cloud.call("ecs describe-task-definition --task-definition shop-dev-backend-base").await;
    let mut container = base["taskDefinition"]["containerDefinitions"][0].clone();
    container["image"] = json!(format!("registry.example/shop-backend@{DIGEST}"));
    let containers = json!([container]).to_string();
    let register = [
        "ecs",
        "register-task-definition",
        "--family",
        "shop-dev-backend",
        "--requires-compatibilities",
        "FARGATE",
        "--network-mode",
        "awsvpc",
        "--cpu",
        "256",
        "--memory",
        "512",
        "--container-definitions",
        &containers,
    ];
    cloud.aws.call(register).await;
    cloud.call("ecs update-service --cluster shop-dev --service shop-dev-backend-green --task-definition shop-dev-backend:1 --desired-count 2").await;
    cloud
        .call("ecs wait services-stable --cluster shop-dev --services shop-dev-backend-green")
        .await;
    let tasks =
        cloud.call("ecs list-tasks --cluster shop-dev --service-name shop-dev-backend-green").await;
    let arns = strings(&tasks["taskArns"]);
    assert_eq!(arns.len(), 2);
    let tasks = cloud
        .call(&format!("ecs describe-tasks --cluster shop-dev --tasks {}", arns.join(" ")))
        .await;
    assert!(
        tasks["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .all(|task| task["containers"][0]["imageDigest"] == DIGEST)
    );
    let balancer = cloud.call("elbv2 describe-load-balancers --names shop-dev").await;
    let listeners = format!(
        "elbv2 describe-listeners --load-balancer-arn {}",
        balancer["LoadBalancers"][0]["LoadBalancerArn"].as_str().unwrap()
    );
    for listener in cloud.call(&listeners).await["Listeners"].as_array().unwrap() {
        let rules = format!(
            "elbv2 describe-rules --listener-arn {}",
            listener["ListenerArn"].as_str().unwrap()
        );
        for rule in cloud.call(&rules).await["Rules"].as_array().unwrap() {
            let mut forward = rule["Actions"][0]["ForwardConfig"].clone();
            let Some(groups) = forward["TargetGroups"].as_array_mut() else { continue };
            groups.iter_mut().for_each(|group| group["Weight"] = json!(50));
            let actions = json!([{"Type": "forward", "ForwardConfig": forward}]).to_string();
            cloud
                .aws
                .call([
                    "elbv2",
                    "modify-rule",
                    "--rule-arn",
                    rule["RuleArn"].as_str().unwrap(),
                    "--actions",
                    &actions,
                ])
                .await;
        }
    }
}

/// Other addresses for the network: everything in it would be made anew, and that is refused.
async fn guards_what_holds_data(cloud: &Cloud) {
    let text = dev(&cloud.moto.endpoint());
    cloud
        .repository
        .write("environments/dev.toml", &format!("{text}\nvpc_cidr = \"10.9.0.0/16\"\n"));
    let plan = cloud.terraform("dev").await.plan().await.unwrap();
    let violations = guard(&plan.summary, &[]).unwrap_err();
    let named: Vec<_> = violations.iter().map(|v| v.address.as_str()).collect();
    assert!(named.contains(&"module.network.aws_vpc.this"), "{named:?}");
    assert!(named.iter().any(|address| address.contains("aws_lb_target_group")), "{named:?}");
    let all: Vec<_> = violations.iter().map(|v| v.address.clone()).collect();
    assert_eq!(guard(&plan.summary, &all), Ok(()));
}

/// The account of the environment file is another one than that of the credentials.
async fn wrong_credentials_are_told_apart(cloud: &Cloud) {
    let text = dev(&cloud.moto.endpoint()).replace("[aws]", "[aws]\naccount = \"999999999999\"");
    cloud.repository.write("environments/dev.toml", &text);
    let error = cloud.terraform("dev").await.plan().await.unwrap_err();
    assert!(matches!(&error, PlanError::Command(_)), "{error}");
    assert_eq!(error.exit(), Exit::Authentication, "{error}");
}
