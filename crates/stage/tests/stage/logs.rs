//! What tasks wrote, as CloudWatch Logs tells it.

use liftlock_stage::Colour;
use serde_json::{Value, json};

use crate::client::{SERVICE, World, echo, eventually};

const GROUP: &str = "/shop/test/web";

impl World {
    /// Runs an image whose tasks log as the task definition says.
    async fn run_logged(&self, fault: &str) {
        let image = echo(self.directory.path(), &[("FAULT", fault)]);
        let definition = json!({
            "family": format!("shop-test-{SERVICE}"),
            "containerDefinitions": [{
                "name": SERVICE,
                "image": format!("shop/web@{image}"),
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {
                        "awslogs-group": GROUP,
                        "awslogs-region": "eu-central-1",
                        "awslogs-stream-prefix": "task",
                    },
                },
            }],
        });
        let made = self.http.ecs("RegisterTaskDefinition", definition).await;
        let arn = &made["taskDefinition"]["taskDefinitionArn"];
        let service = format!("shop-test-{SERVICE}-{}", Colour::Green.as_str());
        let update = json!({ "service": service, "taskDefinition": arn, "desiredCount": 1 });
        self.http.ecs("UpdateService", update).await;
    }

    /// The id of a task that has stopped.
    async fn stopped(&self) -> String {
        let asked = json!({ "serviceName": "shop-test-web-green", "desiredStatus": "STOPPED" });
        let mut id = None;
        eventually("a stopped task", async || {
            let tasks = self.http.ecs("ListTasks", asked.clone()).await["taskArns"].clone();
            id = tasks[0].as_str().and_then(|arn| arn.rsplit('/').next()).map(str::to_owned);
            id.is_some()
        })
        .await;
        id.unwrap()
    }

    async fn events(&self, mut input: Value) -> (u16, Value) {
        if input["logGroupName"].is_null() {
            input["logGroupName"] = GROUP.into();
        }
        self.http.json("logs", "GetLogEvents", input).await
    }
}

/// A task's output is in the group and the stream that its task definition names, with AWS's paging; what is not there is refused as AWS does.
#[tokio::test(flavor = "multi_thread")]
async fn a_tasks_output_is_in_its_log_stream() {
    let world = World::new().await;
    world.run_logged("crash").await;
    let id = world.stopped().await;
    let stream = format!("task/{SERVICE}/{id}");
    let (status, told) = world.events(json!({ "logStreamName": stream, "limit": 10 })).await;
    let messages: Vec<&str> =
        told["events"].as_array().unwrap().iter().filter_map(|e| e["message"].as_str()).collect();
    assert!(status == 200 && messages.iter().any(|m| m.contains("FAULT=crash")), "{told}");
    let (_, end) = world
        .events(json!({ "logStreamName": stream, "nextToken": told["nextForwardToken"] }))
        .await;
    assert_eq!((&end["events"], &end["nextForwardToken"]), (&json!([]), &told["nextForwardToken"]));

    for (input, code) in [
        (json!({ "logStreamName": "task/web/none" }), "ResourceNotFoundException"),
        (json!({ "logStreamName": format!("other/web/{id}") }), "ResourceNotFoundException"),
        (json!({ "logStreamName": "task/web/../../stage" }), "ResourceNotFoundException"),
        (
            json!({ "logGroupName": "/shop/test/none", "logStreamName": stream }),
            "ResourceNotFoundException",
        ),
        (json!({ "logStreamName": stream, "limit": 10_001 }), "InvalidParameterException"),
        (json!({}), "InvalidParameterException"),
    ] {
        let (status, told) = world.events(input.clone()).await;
        assert_eq!((status, &told["__type"]), (400, &json!(code)), "{input}: {told}");
    }
    world.end().await;
}
