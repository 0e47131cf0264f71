//! ECS deployments as their own API tells them: begun, taken back, stopped.

use liftlock_stage::{Colour, Fault, Kind, Scenario};
use serde_json::{Value, json};

use crate::client::{World, echo, eventually};

const SERVICE: &str = "shop-test-web-blue";

impl World {
    /// Blue with version 1, completed.
    async fn complete() -> Self {
        let world = Self::new().await;
        let image = echo(world.directory.path(), &[]);
        world.http.run(Colour::Blue, &image, "1", 2).await;
        world.steady(Colour::Blue, 2).await;
        eventually("COMPLETED", async || {
            world.http.deployment(Colour::Blue).await["rolloutState"] == "COMPLETED"
        })
        .await;
        world
    }

    async fn configure(&self, configuration: Value) {
        let update = json!({ "service": SERVICE, "deploymentConfiguration": configuration });
        self.http.ecs("UpdateService", update).await;
    }

    /// The newest service deployment, whole.
    async fn newest(&self) -> Value {
        let listed = self.http.ecs("ListServiceDeployments", json!({ "service": SERVICE })).await;
        let arn = listed["serviceDeployments"][0]["serviceDeploymentArn"].clone();
        let asked = json!({ "serviceDeploymentArns": [arn] });
        let (status, told) = self.http.json("ecs", "DescribeServiceDeployments", asked).await;
        assert_eq!(status, 200, "{told}");
        told["serviceDeployments"][0].clone()
    }

    async fn ends(&self, status: &str) -> Value {
        let mut newest = Value::Null;
        eventually(status, async || {
            newest = self.newest().await;
            newest["status"] == status
        })
        .await;
        newest
    }

    async fn serves(&self, version: &str) {
        let (status, seen) = self.http.get(self.running.stage.url.as_str()).await.unwrap();
        assert_eq!((status.as_u16(), seen.as_str()), (200, version));
    }

    async fn version_of_revision(&self, arn: &Value) -> Value {
        let asked = json!({ "serviceRevisionArns": [arn] });
        let (_, told) = self.http.json("ecs", "DescribeServiceRevisions", asked).await;
        told["serviceRevisions"][0].clone()
    }
}

/// The circuit breaker with `rollback`: what was complete comes back, and ECS says so; the revision tells the image's digest.
#[tokio::test(flavor = "multi_thread")]
async fn the_breaker_brings_the_completed_revision_back() {
    let world = World::complete().await;
    world
        .configure(json!({ "deploymentCircuitBreaker": { "enable": true, "rollback": true } }))
        .await;
    let bad = echo(world.directory.path(), &[("FAULT", "crash")]);
    world.http.run(Colour::Blue, &bad, "2", 2).await;
    let ended = world.ends("ROLLBACK_SUCCESSFUL").await;
    assert_eq!(ended["deploymentCircuitBreaker"]["status"], "TRIGGERED");
    assert_eq!(ended["deploymentCircuitBreaker"]["threshold"], 3);
    assert_eq!(
        ended["rollback"]["reason"],
        "ECS deployment circuit breaker: tasks failed to start."
    );
    let target = world.version_of_revision(&ended["targetServiceRevision"]["arn"]).await;
    assert_eq!(target["containerImages"][0]["imageDigest"], bad.as_str());
    let back = world.version_of_revision(&ended["rollback"]["serviceRevisionArn"]).await;
    let now = world.http.deployment(Colour::Blue).await;
    assert_eq!(back["taskDefinition"], now["taskDefinition"]);
    assert_eq!(now["rolloutState"], "COMPLETED");
    world.serves("1").await;
    world.end().await;
}

/// A deployment that somebody stops goes back, and only one that is under way can be stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_deployment_goes_back() {
    let world = World::complete().await;
    let slow = Fault { delay: Some("1h".parse().unwrap()), ..Fault::new(Kind::SlowStart) };
    world.running.add_faults(Scenario { seed: 0, faults: vec![slow] }).unwrap();
    let image = echo(world.directory.path(), &[("NEW", "1")]);
    world.http.run(Colour::Blue, &image, "2", 2).await;
    let arn = world.ends("IN_PROGRESS").await["serviceDeploymentArn"].clone();
    let stop = json!({ "serviceDeploymentArn": arn, "stopType": "ROLLBACK" });
    assert_eq!(world.http.json("ecs", "StopServiceDeployment", stop.clone()).await.0, 200);
    world.ends("ROLLBACK_SUCCESSFUL").await;
    let (status, refused) = world.http.json("ecs", "StopServiceDeployment", stop).await;
    assert_eq!((status, &refused["__type"]), (400, &json!("ConflictException")));
    let missing = json!({ "serviceDeploymentArn": "arn:aws:ecs:eu-central-1:000000000000:no" });
    let (_, refused) = world.http.json("ecs", "StopServiceDeployment", missing).await;
    assert_eq!(refused["__type"], "ServiceDeploymentNotFoundException");
    world.serves("1").await;
    world.end().await;
}

/// Deployments are listed newest first, by state, and in pages.
#[tokio::test(flavor = "multi_thread")]
async fn deployments_are_listed_in_pages() {
    let world = World::complete().await;
    let image = echo(world.directory.path(), &[]);
    for version in ["2", "3"] {
        world.http.run(Colour::Blue, &image, version, 1).await;
        world.ends("SUCCESSFUL").await;
    }
    let (mut token, mut seen) = (Value::Null, Vec::new());
    loop {
        let mut ask = json!({ "service": SERVICE, "maxResults": 2, "status": ["SUCCESSFUL"] });
        if !token.is_null() {
            ask["nextToken"] = token;
        }
        let page = world.http.ecs("ListServiceDeployments", ask).await;
        seen.extend(page["serviceDeployments"].as_array().unwrap().clone());
        token = page["nextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    let times: Vec<f64> = seen.iter().map(|d| d["createdAt"].as_f64().unwrap()).collect();
    assert!(times.len() >= 3 && times.is_sorted_by(|a, b| a >= b), "{times:?}");
    world.end().await;
}

/// With 0 and 100 percent the old task goes before the new one comes.
#[tokio::test(flavor = "multi_thread")]
async fn percentages_are_kept() {
    let world = World::complete().await;
    world.http.scale(Colour::Blue, 1).await;
    world.steady(Colour::Blue, 1).await;
    world.configure(json!({ "minimumHealthyPercent": 0, "maximumPercent": 100 })).await;
    let image = echo(world.directory.path(), &[]);
    world.http.run(Colour::Blue, &image, "2", 1).await;
    eventually("version 2", async || {
        let running = world.http.ecs("ListTasks", json!({ "serviceName": SERVICE })).await;
        assert!(running["taskArns"].as_array().unwrap().len() <= 1, "{running}");
        let seen = world.http.get(world.running.stage.url.as_str()).await.unwrap();
        seen.0 == 200 && seen.1 == "2"
    })
    .await;
    world.end().await;
}

/// A task that somebody stops says who did it, and another takes its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_can_be_stopped() {
    let world = World::complete().await;
    let tasks = world.http.ecs("ListTasks", json!({ "serviceName": SERVICE })).await;
    let stop =
        json!({ "cluster": "shop-test", "task": tasks["taskArns"][0], "reason": "an exercise" });
    let (status, told) = world.http.json("ecs", "StopTask", stop).await;
    assert_eq!((status, &told["task"]["desiredStatus"]), (200, &json!("STOPPED")));
    assert_eq!(told["task"]["stopCode"], "UserInitiated");
    assert_eq!(told["task"]["stoppedReason"], "an exercise");
    eventually("another task", async || {
        let now = world.http.ecs("ListTasks", json!({ "serviceName": SERVICE })).await;
        now["taskArns"] != tasks["taskArns"] && world.colour(Colour::Blue).healthy == 2
    })
    .await;
    world.end().await;
}
