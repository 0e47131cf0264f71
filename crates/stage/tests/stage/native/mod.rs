//! Deployments that shift traffic by themselves: `BLUE_GREEN`, `LINEAR` and `CANARY`.

mod back;
mod refusals;
mod scheduled;
mod whole;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use liftlock_model::ImageDigest;
use liftlock_stage::{Colour, Timing};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::client::{
    Http, World, arn_of, digits, echo, eventually, of_colour, production_rule, timing,
};

pub(super) const BLUE: &str = "shop-test-web-blue";

/// A tenth of a second is a minute.
pub(super) fn quick() -> Timing {
    Timing {
        minute: Duration::from_millis(100),
        lifecycle_stage: Duration::from_millis(50),
        // A task that is slow on a busy machine has not failed.
        grace: Duration::from_secs(10),
        ..timing()
    }
}

/// No bake comes to its end.
pub(super) fn slow() -> Timing {
    Timing { minute: Duration::from_secs(3600), ..quick() }
}

pub(super) fn test_rule() -> String {
    production_rule()
        .replace(&digits("production"), &digits("test"))
        .replace(&digits("production/web"), &digits("test/web"))
}

/// Blue's load balancer with green as the other target group.
pub(super) fn balancers() -> Value {
    json!([{
        "targetGroupArn": arn_of("blue"),
        "containerName": "web",
        "containerPort": 8080,
        "advancedConfiguration": {
            "alternateTargetGroupArn": arn_of("green"),
            "productionListenerRule": production_rule(),
            "testListenerRule": test_rule(),
            "roleArn": "arn:aws:iam::000000000000:role/shop-test-balancing",
        },
    }])
}

pub(super) fn canary() -> Value {
    json!({
        "strategy": "CANARY", "bakeTimeInMinutes": 2,
        "canaryConfiguration": { "canaryPercent": 10.0, "canaryBakeTimeInMinutes": 3 },
        "deploymentCircuitBreaker": { "enable": true, "rollback": true },
    })
}

/// Begins a deployment of blue's service.
pub(super) async fn release(http: &Http, image: &ImageDigest, version: &str, configuration: Value) {
    let definition = json!({
        "family": "shop-test-web",
        "containerDefinitions": [{
            "name": "web",
            "image": format!("shop/web@{image}"),
            "environment": [{ "name": "RELEASE_VERSION", "value": version }],
        }],
    });
    let made = http.ecs("RegisterTaskDefinition", definition).await;
    let update = json!({
        "service": BLUE,
        "taskDefinition": made["taskDefinition"]["taskDefinitionArn"],
        "desiredCount": 2,
        "deploymentConfiguration": configuration,
        "loadBalancers": balancers(),
    });
    http.ecs("UpdateService", update).await;
}

impl World {
    /// Version 1 in service and target group blue, completed.
    pub(super) async fn serving(timing: Timing) -> Self {
        let world = Self::with(timing).await;
        let image = echo(world.directory.path(), &[("DELAY_MS", "2")]);
        world.http.run(Colour::Blue, &image, "1", 2).await;
        world.steady(Colour::Blue, 2).await;
        world.completed().await;
        world
    }

    pub(super) async fn completed(&self) {
        eventually("COMPLETED and alone", async || {
            let all = self.deployments().await;
            all.len() == 1 && all[0]["rolloutState"] == "COMPLETED"
        })
        .await;
    }

    pub(super) async fn deployments(&self) -> Vec<Value> {
        let told = self.http.ecs("DescribeServices", json!({ "services": [BLUE] })).await;
        told["services"][0]["deployments"].as_array().unwrap().clone()
    }

    pub(super) async fn release(&self, image: &ImageDigest, version: &str, configuration: Value) {
        release(&self.http, image, version, configuration).await;
    }

    pub(super) async fn newest_of(&self, service: &str) -> Value {
        let listed = self.http.ecs("ListServiceDeployments", json!({ "service": service })).await;
        self.deployment_of(&listed["serviceDeployments"][0]["serviceDeploymentArn"]).await
    }

    pub(super) async fn deployment_of(&self, arn: &Value) -> Value {
        let asked = json!({ "serviceDeploymentArns": [arn] });
        let (status, told) = self.http.json("ecs", "DescribeServiceDeployments", asked).await;
        assert_eq!(status, 200, "{told}");
        told["serviceDeployments"][0].clone()
    }

    /// Blue's and green's weights on the production rule, then on the test rule.
    pub(super) fn weights(&self) -> [(u32, u32); 2] {
        // In one look: between two of them ECS may shift.
        let status = self.running.status();
        let [blue, green] = Colour::BOTH.map(|colour| of_colour(&status, colour));
        [(blue.weight, green.weight), (blue.test_weight, green.test_weight)]
    }

    /// Waits until the newest deployment is in a state, and the rules' weights sum to 100 meanwhile.
    pub(super) async fn until(&self, what: &str, mut fact: impl FnMut(&Value) -> bool) -> Value {
        let mut newest = Value::Null;
        eventually(what, async || {
            for (blue, green) in self.weights() {
                assert_eq!(blue + green, 100, "weights at every look");
            }
            newest = self.newest_of(BLUE).await;
            fact(&newest)
        })
        .await;
        newest
    }

    pub(super) async fn status_is(&self, status: &str) -> Value {
        self.until(status, |newest| newest["status"] == status).await
    }

    /// Waits until a tenth of the traffic goes to the new revision.
    pub(super) async fn at_canary(&self) -> Value {
        self.until("10 %", |n| {
            n["targetServiceRevision"]["requestedProductionTrafficWeight"] == 10.0
        })
        .await
    }

    pub(super) async fn version(&self) -> String {
        let (status, version) = self.http.get(self.running.stage.url.as_str()).await.unwrap();
        assert_eq!(status, 200);
        version
    }

    /// Users that ask without a pause until they are told to stop.
    pub(super) fn users(&self) -> Users {
        let over = Arc::new(AtomicBool::new(false));
        let callers = (0..4).map(|_| {
            let (over, http) = (over.clone(), self.http.clone());
            let url = self.running.stage.url.to_string();
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    match http.get(&url).await {
                        Ok((status, _)) if status == 200 => {}
                        other => failed.push(format!("{other:?}")),
                    }
                }
                failed
            })
        });
        Users { callers: callers.collect(), over }
    }
}

pub(super) struct Users {
    callers: Vec<JoinHandle<Vec<String>>>,
    over: Arc<AtomicBool>,
}

impl Users {
    /// No request of theirs failed.
    pub(super) async fn are_content(self) {
        self.over.store(true, Ordering::Relaxed);
        for caller in self.callers {
            assert_eq!(caller.await.unwrap(), Vec::<String>::new());
        }
    }
}
