//! dev → staging → prod on real parts: terraform with the AWS provider and the AWS API of moto, PostgreSQL, processes of the
//! example application, and the `aws` command-line client to read back what was done.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use liftlock_testkit::moto::{ACCOUNT, REGION};
use liftlock_testkit::{Aws, Moto, MotoOptions, TerraformHome, TestDatabase};
use secrecy::ExposeSecret;
use serde_json::Value;
use sqlx::{Connection, PgConnection, Row};

const BUCKET: &str = "liftlock-states";
const DEADLINE: Duration = Duration::from_secs(900);

/// The repository of a user, and the cloud that it talks to.
struct Chain {
    root: tempfile::TempDir,
    moto: Moto,
    terraform: TerraformHome,
    databases: BTreeMap<&'static str, TestDatabase>,
}

/// An environment of the chain, and what its file says beside what all say.
struct Stage {
    name: &'static str,
    gates: &'static str,
    ports: (u16, u16),
}

impl Chain {
    /// None if the machine lacks a part and it is not required.
    async fn new() -> Option<Self> {
        let terraform = TerraformHome::new()?;
        let mut databases = BTreeMap::new();
        for name in ["dev", "staging", "prod", "ledger"] {
            databases.insert(name, TestDatabase::new().await?);
        }
        let shop = env!("CARGO_BIN_EXE_shop-under-test").to_owned();
        let moto = Moto::start_with(MotoOptions { task_program: Some(shop) }).await?;
        let chain = Self { root: tempfile::tempdir().unwrap(), moto, terraform, databases };
        chain.lay_out();
        let make = ["s3api", "create-bucket", "--bucket", BUCKET, "--create-bucket-configuration"];
        let place = format!("LocationConstraint={REGION}");
        chain.aws().call(make.into_iter().chain([place.as_str()])).await;
        Some(chain)
    }

    fn aws(&self) -> Aws {
        self.moto.aws()
    }

    fn lay_out(&self) {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for directory in ["iac", "migrations"] {
            copy(&repository.join(directory), &self.root.path().join(directory));
        }
        let environments = self.root.path().join("environments");
        std::fs::create_dir_all(&environments).unwrap();
        std::fs::copy(repository.join("environments/base.toml"), environments.join("base.toml"))
            .unwrap();
        let approvals = "[gates.approvals]\nrequired = 2\nfrom = [\"alice\", \"bob\", \"carol\"]\n";
        let prod = format!("[gates]\nafter = \"staging\"\nproof_max_age = \"24h\"\n{approvals}");
        let prod: &'static str = Box::leak(prod.into_boxed_str());
        for stage in [
            Stage { name: "dev", gates: "", ports: free_ports() },
            Stage { name: "staging", gates: "[gates]\nafter = \"dev\"\n", ports: free_ports() },
            Stage { name: "prod", gates: prod, ports: free_ports() },
        ] {
            let file = environments.join(format!("{}.toml", stage.name));
            std::fs::write(file, self.environment(&stage)).unwrap();
        }
    }

    fn environment(&self, stage: &Stage) -> String {
        let (name, (production, test)) = (stage.name, stage.ports);
        let endpoint = self.moto.endpoint();
        let rollout = "tasks = 2\nrollout = { steps = [10, 50, 100], step_bake = \"1s\", bake = \"1s\", poll = \"200ms\", \
                       start_timeout = \"60s\", breaker = { interval = \"250ms\" } }\n";
        format!(
            "[ledger]\nurl = {{ from = \"env\", variable = \"LIFTLOCK_LEDGER_URL\" }}\n\n\
             [aws]\naccount = \"{ACCOUNT}\"\nendpoint = \"{endpoint}\"\n\n\
             [infrastructure]\ntimeout = \"15m\"\n\n\
             [infrastructure.backend]\nkind = \"s3\"\nbucket = \"{BUCKET}\"\nkey = \"{name}/terraform.tfstate\"\n\n\
             [infrastructure.variables]\nproduction_port = {production}\ntest_port = {test}\nderegistration_delay = 1\n\n\
             [infrastructure.variables.database]\ndeletion_protection = false\n\n\
             [database]\nurl = {{ from = \"ssm\", parameter = \"/shop/{name}/database-url\" }}\n\n\
             [database.snapshot]\nkeep_days = 7\n\n\
             [services.backend]\n{rollout}\n[services.frontend]\n{rollout}\n{}",
            stage.gates
        )
    }

    /// Runs the program as somebody.
    async fn run_as(&self, actor: &str, arguments: &[&str]) -> Ran {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_liftlock-under-test"));
        command
            .args(arguments)
            .arg("--root")
            .arg(self.root.path())
            .envs(self.moto.variables())
            .envs(self.terraform.variables())
            .env("LIFTLOCK_ACTOR", actor)
            .env("LIFTLOCK_LEDGER_URL", self.databases["ledger"].url().expose_secret())
            .env("LIFTLOCK_OUTPUT", "plain")
            .env_remove("CI")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(DEADLINE, command.output())
            .await
            .expect("it ends in time")
            .unwrap();
        Ran { what: arguments.join(" "), output }
    }

    async fn run(&self, arguments: &[&str]) -> Ran {
        self.run_as("deployer", arguments).await
    }

    /// The environment's database, as its own client sees it.
    async fn ask(&self, environment: &str, query: &'static str) -> String {
        let url = self.databases[environment].url();
        let mut connection = PgConnection::connect(url.expose_secret()).await.unwrap();
        sqlx::query(query).fetch_one(&mut connection).await.unwrap().get::<String, _>(0)
    }

    /// The weights of a service's rule on the production listener, by target group, as the `aws` client reads them.
    async fn weights(&self, environment: &str, service: &str) -> BTreeMap<String, i64> {
        let aws = self.aws();
        let balancer = format!("shop-{environment}");
        let found = aws.call(["elbv2", "describe-load-balancers", "--names", &balancer]).await;
        let balancer = found["LoadBalancers"][0]["LoadBalancerArn"].as_str().unwrap().to_owned();
        let listeners =
            aws.call(["elbv2", "describe-listeners", "--load-balancer-arn", &balancer]).await;
        for listener in listeners["Listeners"].as_array().unwrap() {
            let listener = listener["ListenerArn"].as_str().unwrap();
            let tags = aws.call(["elbv2", "describe-tags", "--resource-arns", listener]).await;
            let tags = tags["TagDescriptions"][0]["Tags"].as_array().unwrap().clone();
            if !tags
                .iter()
                .any(|tag| tag["Key"] == "liftlock:listener" && tag["Value"] == "production")
            {
                continue;
            }
            let rules = aws.call(["elbv2", "describe-rules", "--listener-arn", listener]).await;
            for rule in rules["Rules"].as_array().unwrap() {
                let weights = forward_weights(rule);
                if weights
                    .keys()
                    .any(|group| group.starts_with(&format!("shop-{environment}-{service}-")))
                {
                    return weights;
                }
            }
        }
        panic!("no rule of {service} on the production listener of {environment}");
    }
}

fn forward_weights(rule: &Value) -> BTreeMap<String, i64> {
    let groups =
        rule["Actions"][0]["ForwardConfig"]["TargetGroups"].as_array().cloned().unwrap_or_default();
    groups
        .iter()
        .map(|group| {
            let arn = group["TargetGroupArn"].as_str().unwrap();
            (arn.split('/').nth(1).unwrap().to_owned(), group["Weight"].as_i64().unwrap())
        })
        .collect()
}

/// What a command did.
struct Ran {
    what: String,
    output: Output,
}

impl Ran {
    fn text(&self) -> String {
        let (out, err) = (&self.output.stdout, &self.output.stderr);
        format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
    }

    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.output.status.code(),
            Some(code),
            "liftlock {}:\n{}",
            self.what,
            self.text()
        );
        self
    }

    #[track_caller]
    fn says(self, words: &str) -> Self {
        assert!(
            self.text().contains(words),
            "liftlock {} does not say {words:?}:\n{}",
            self.what,
            self.text()
        );
        self
    }

    /// The last JSON line of a type.
    fn line(&self, kind: &str) -> Value {
        let lines = String::from_utf8_lossy(&self.output.stdout).into_owned();
        let parsed = lines.lines().rev().map(|line| serde_json::from_str::<Value>(line).unwrap());
        parsed
            .into_iter()
            .find(|line| line["type"] == kind)
            .unwrap_or_else(|| panic!("no {kind} in:\n{lines}"))
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with(".terraform") || name.contains(".tfstate") {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Two ports for the load balancer of moto, which takes them when the infrastructure is applied, much later: none that the machine gives to
/// connections, and none of the stage's, so that nobody else has them by then.
fn free_ports() -> (u16, u16) {
    let free = || loop {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", rand::random_range(16_000..18_000))) {
            return listener;
        }
    };
    // The first is held while the second is chosen, so that they are two.
    let [production, test] = [free(), free()].map(|listener| listener.local_addr().unwrap().port());
    (production, test)
}

fn images(seed: char) -> [String; 2] {
    let digest = seed.to_string().repeat(64);
    ["backend", "frontend"]
        .map(|service| format!("{service}=registry.example/shop/{service}@sha256:{digest}"))
}

async fn create_release(chain: &Chain, version: &str, seed: char) -> String {
    let [backend, frontend] = images(seed);
    let commit = "c0ffee00".repeat(5);
    let made = chain
        .run(&[
            "release",
            "create",
            "--output",
            "json",
            "--version",
            version,
            "--commit",
            &commit,
            "--image",
            &backend,
            "--image",
            &frontend,
        ])
        .await
        .exits(0);
    made.line("release")["id"].as_str().unwrap().to_owned()
}

/// Plans and applies an environment's infrastructure, and puts its database's URL where the application finds it.
async fn make_infrastructure(chain: &Chain, environment: &'static str) {
    chain.run(&["infra", "render", "--env", environment]).await.exits(0);
    chain.run(&["infra", "render", "--check", "--env", environment]).await.exits(0);
    chain.run(&["infra", "plan", "--env", environment]).await.exits(0).says("to create");
    chain.run(&["infra", "apply", "--env", environment]).await.exits(0);
    let url = chain.databases[environment].url();
    let name = format!("/shop/{environment}/database-url");
    let put = [
        "ssm",
        "put-parameter",
        "--overwrite",
        "--type",
        "SecureString",
        "--name",
        &name,
        "--value",
    ];
    chain.aws().call(put.into_iter().chain([url.expose_secret()])).await;
}

/// Shows E-IAC-1: every environment has a state of its own, under its own key and in its own workspace.
async fn states_are_apart(chain: &Chain) {
    let listed = chain.aws().call(["s3api", "list-objects-v2", "--bucket", BUCKET]).await;
    let keys: Vec<_> = listed["Contents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| object["Key"].as_str().unwrap().to_owned())
        .collect();
    for environment in ["dev", "staging", "prod"] {
        let own = format!("{environment}/terraform.tfstate");
        assert!(
            keys.iter().any(|key| key.contains(environment) && key.ends_with(&own)),
            "{own} in {keys:?}"
        );
    }
}

/// A promotion left everything as it says: weights, the snapshot, the schema, the version that users see.
async fn is_whole(chain: &Chain, environment: &str, version: &str, schema: &str) {
    for service in ["backend", "frontend"] {
        let weights = chain.weights(environment, service).await;
        assert_eq!(weights.values().sum::<i64>(), 100, "{weights:?}");
        assert!(
            weights.values().any(|weight| *weight == 100),
            "{environment} {service}: {weights:?}"
        );
    }
    let newest = "select max(version)::text from refinery_schema_history";
    assert_eq!(chain.ask(environment, newest).await, schema, "the schema of {environment}");
    let hands = chain.moto.hands().await;
    let port = hands.load_balancers[&format!("shop-{environment}")]["production"];
    let url = format!("http://127.0.0.1:{port}/health");
    let answer: Value =
        serde_json::from_str(&reqwest::get(url).await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(
        (&answer["version"], &answer["environment"]),
        (&version.into(), &environment.into())
    );
}

async fn snapshots(chain: &Chain, environment: &str) -> Vec<String> {
    let instance = format!("shop-{environment}");
    // The automated ones are RDS's own.
    let listed = chain
        .aws()
        .call([
            "rds",
            "describe-db-snapshots",
            "--snapshot-type",
            "manual",
            "--db-instance-identifier",
            &instance,
        ])
        .await;
    let all = listed["DBSnapshots"].as_array().cloned().unwrap_or_default();
    all.iter().map(|one| one["DBSnapshotIdentifier"].as_str().unwrap().to_owned()).collect()
}

/// Shows W-5, W-7, W-8, A-PIPE-3, E-ENV-1, E-IAC-1, E-RB-2, E-DATA-1 and C-MIG-1: one release travels from dev over staging to prod
/// through terraform, RDS snapshots, SSM, PostgreSQL and the load balancer's weights; prod takes what staging has proven and
/// refuses anything else; and the way back works.
#[tokio::test(flavor = "multi_thread")]
async fn one_release_from_dev_to_prod() {
    rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
    let Some(chain) = Chain::new().await else { return };
    let release = create_release(&chain, "1.0.0", 'a').await;

    // Nothing is proven yet: nobody gets to staging or prod by accident.
    chain.run(&["promote", "--env", "prod", "--release", &release]).await.exits(4).says("staging");
    chain
        .run(&["promote", "--env", "staging"])
        .await
        .exits(2)
        .says("no release has been proven in dev");

    tokio::join!(
        make_infrastructure(&chain, "dev"),
        make_infrastructure(&chain, "staging"),
        make_infrastructure(&chain, "prod")
    );
    states_are_apart(&chain).await;

    chain.run(&["promote", "--env", "dev"]).await.exits(0).says("1.0.0");
    is_whole(&chain, "dev", "1.0.0", "3").await;
    assert_eq!(snapshots(&chain, "dev").await.len(), 1);
    chain.run(&["promote", "--env", "prod", "--release", &release]).await.exits(4).says("staging");

    // Another release, which only dev gets: staging takes what dev has proven last.
    chain.run(&["promote", "--env", "staging"]).await.exits(0);
    is_whole(&chain, "staging", "1.0.0", "3").await;

    prod_needs_two_approvals(&chain, &release).await;
    is_whole(&chain, "prod", "1.0.0", "3").await;
    // Terraform owns the topology, Liftlock the weights, revisions and counts: a plan right after the rollout is empty.
    chain.run(&["infra", "plan", "--env", "prod"]).await.exits(0).says("nothing to change");

    the_next_release_and_the_way_back(&chain, &release).await;
    chain.run(&["audit", "verify"]).await.exits(0).says("unbroken");
    no_secret_was_kept(&chain).await;
}

/// Shows C-GATE-5 and A-GATE-1 as far as names go: two people from the list, and not the one who asks.
async fn prod_needs_two_approvals(chain: &Chain, release: &str) {
    let promote = ["promote", "--env", "prod"];
    chain.run_as("alice", &promote).await.exits(5).says("liftlock approve --env prod");
    assert!(snapshots(chain, "prod").await.is_empty(), "nothing was touched while it waited");
    let approve = ["approve", "--env", "prod", "--release", release];
    chain.run_as("mallory", &approve).await.exits(4).says("alice, bob, carol");
    chain.run_as("alice", &approve).await.exits(0);
    chain.run_as("bob", &approve).await.exits(0);
    chain.run_as("alice", &promote).await.exits(5);
    chain.run_as("carol", &promote).await.exits(0).says("1.0.0");
}

/// Shows A-TEST-1 and C-RB-2 on terraform and moto: version 2 in dev, refused by prod, rolled back, version 1 answers again.
async fn the_next_release_and_the_way_back(chain: &Chain, first: &str) {
    let migrations = chain.root.path().join("migrations");
    std::fs::write(
        migrations.join("V0004__add_notes.sql"),
        "create table notes (id int primary key);\n",
    )
    .unwrap();
    std::fs::write(migrations.join("V0004__add_notes.rollback.sql"), "drop table notes;\n")
        .unwrap();
    let before = chain.weights("dev", "backend").await;
    let second = create_release(chain, "1.1.0", 'b').await;
    chain.run(&["promote", "--env", "dev"]).await.exits(0).says("1.1.0");
    is_whole(chain, "dev", "1.1.0", "4").await;
    assert_ne!(chain.weights("dev", "backend").await, before, "the other colour serves");
    chain.run_as("carol", &["promote", "--env", "prod", "--release", &second]).await.exits(4);
    is_whole(chain, "prod", "1.0.0", "3").await;

    let rollback = ["rollback", "--env", "dev", "--reason", "the end-to-end test wants it back"];
    chain.run(&rollback).await.exits(0).says(first);
    is_whole(chain, "dev", "1.0.0", "3").await;
    assert_eq!(chain.weights("dev", "backend").await, before);
}

/// The databases' passwords stand nowhere: not in the ledger, not in plans, states or rendered files.
async fn no_secret_was_kept(chain: &Chain) {
    let passwords: Vec<String> = chain
        .databases
        .values()
        .map(|database| {
            let url = database.url().expose_secret().to_owned();
            url.split_once("://")
                .unwrap()
                .1
                .split_once('@')
                .unwrap()
                .0
                .split_once(':')
                .unwrap()
                .1
                .to_owned()
        })
        .collect();
    let ledger = chain.run(&["audit", "export"]).await.exits(0).text();
    assert!(ledger.contains("deployment_recorded"));
    for password in &passwords {
        assert!(!ledger.contains(password), "a password stands in the ledger");
    }
    for file in files(chain.root.path()) {
        let content = std::fs::read(&file).unwrap();
        for password in &passwords {
            let found = content.windows(password.len()).any(|window| window == password.as_bytes());
            assert!(!found, "a password stands in {}", file.display());
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => all.extend(files(&entry.path())),
            kind if kind.is_file() => all.push(entry.path()),
            _ => {}
        }
    }
    all
}
