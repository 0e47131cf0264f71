//! What a schedule of EventBridge has ECS do while nobody else is there: stop a deployment, or ask for the old tasks again.

use hyper::Method;
use liftlock_stage::{Colour, Fault, Kind, Scenario};
use serde_json::{Value, json};

use super::{BLUE, canary, quick, slow};
use crate::client::{World, echo, eventually};

impl World {
    /// Has a schedule do this now, and waits until it has.
    async fn fire(&self, operation: &str, input: Value) {
        let schedule = json!({
            "ScheduleExpression": format!("at({})", jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S")),
            "ScheduleExpressionTimezone": "UTC",
            "FlexibleTimeWindow": { "Mode": "OFF" },
            "ActionAfterCompletion": "DELETE",
            "Target": {
                "Arn": format!("arn:aws:scheduler:::aws-sdk:ecs:{operation}"),
                "RoleArn": "arn:aws:iam::000000000000:role/shop-test-switch",
                "Input": input.to_string(),
            },
        });
        let (status, made) = self.http.rest(Method::POST, "schedules/switch", &schedule).await;
        assert_eq!(status, 200, "{made}");
        eventually("it has fired", async || self.running.status().schedules.is_empty()).await;
    }

    async fn is_stopped(&self, arn: &Value) {
        let stop = json!({ "ServiceDeploymentArn": arn, "StopType": "ROLLBACK" });
        self.fire("stopServiceDeployment", stop).await;
    }
}

/// A deployment that moves traffic is stopped: all of it is back at once, and users notice nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_stops_what_moves_traffic() {
    let world = World::serving(slow()).await;
    let users = world.users();
    let image = echo(world.directory.path(), &[("DELAY_MS", "2")]);
    world.release(&image, "2", canary()).await;
    let arn = world.at_canary().await["serviceDeploymentArn"].clone();
    world.is_stopped(&arn).await;
    assert_eq!(world.weights()[0], (100, 0));
    world.status_is("ROLLBACK_SUCCESSFUL").await;
    assert_eq!(world.version().await, "1");
    users.are_content().await;
    // One that is over is refused, which is what a switch that comes too late meets.
    world.is_stopped(&arn).await;
    assert_eq!(world.version().await, "1");
    world.end().await;
}

/// So is one that replaces tasks where they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_stops_what_replaces_tasks() {
    let world = World::serving(quick()).await;
    let slow = Fault { delay: Some("1h".parse().unwrap()), ..Fault::new(Kind::SlowStart) };
    world.running.add_faults(Scenario { seed: 0, faults: vec![slow] }).unwrap();
    let image = echo(world.directory.path(), &[("NEW", "1")]);
    world.http.run(Colour::Blue, &image, "2", 2).await;
    let arn = world.status_is("IN_PROGRESS").await["serviceDeploymentArn"].clone();
    world.is_stopped(&arn).await;
    world.status_is("ROLLBACK_SUCCESSFUL").await;
    assert_eq!(world.version().await, "1");
    world.end().await;
}

/// What was replaced whole comes back by asking for the old tasks, in the words in which Liftlock asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_asks_for_the_old_tasks() {
    let world = World::serving(quick()).await;
    let told = world.http.ecs("DescribeServices", json!({ "services": [BLUE] })).await;
    let old = &told["services"][0]["taskDefinition"];
    let users = world.users();
    let image = echo(world.directory.path(), &[("DELAY_MS", "2")]);
    world.release(&image, "2", canary()).await;
    world.status_is("SUCCESSFUL").await;
    assert_eq!(world.version().await, "2");
    let update = json!({
        "Cluster": "shop-test",
        "Service": BLUE,
        "TaskDefinition": old,
        "DeploymentConfiguration": {
            "Strategy": "BLUE_GREEN",
            "BakeTimeInMinutes": 0,
            "MinimumHealthyPercent": 100,
            "MaximumPercent": 200,
            "DeploymentCircuitBreaker": { "Enable": true, "Rollback": true },
        },
    });
    world.fire("updateService", update).await;
    world.completed().await;
    assert_eq!(world.version().await, "1");
    users.are_content().await;
    world.end().await;
}
