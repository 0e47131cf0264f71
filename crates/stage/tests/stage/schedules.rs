//! EventBridge Scheduler: a switch outside of the caller.

use hyper::Method;
use liftlock_stage::Colour;
use serde_json::{Value, json};

use crate::client::{World, arn_of, eventually, production_rule};

/// What puts all traffic back to blue, at a time.
fn switch(at: jiff::Timestamp) -> Value {
    let back = json!({
        "RuleArn": production_rule(),
        "Actions": [{ "Type": "forward", "ForwardConfig": { "TargetGroups": [
            { "TargetGroupArn": arn_of("blue"), "Weight": 100 },
            { "TargetGroupArn": arn_of("green"), "Weight": 0 },
        ] } }],
    });
    json!({
        "ScheduleExpression": format!("at({})", at.strftime("%Y-%m-%dT%H:%M:%S")),
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": { "Mode": "OFF" },
        "ActionAfterCompletion": "DELETE",
        "Target": {
            "Arn": "arn:aws:scheduler:::aws-sdk:elasticloadbalancingv2:modifyRule",
            "RoleArn": "arn:aws:iam::000000000000:role/shop-test-switch",
            "Input": back.to_string(),
        },
    })
}

/// A schedule fires by itself: the weights go back, and it goes, as it said.
#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_puts_the_weights_back() {
    let world = World::new().await;
    assert_eq!(world.http.shift("90", "10").await.0, 200);
    let now = jiff::Timestamp::now();
    let later = switch(now + jiff::SignedDuration::from_hours(1));
    let (status, made) = world.http.rest(Method::POST, "schedules/switch", &later).await;
    assert_eq!(status, 200, "{made}");
    let (status, told) = world.http.rest(Method::GET, "schedules/switch", &Value::Null).await;
    assert_eq!((status, &told["State"]), (200, &json!("ENABLED")));
    assert_eq!(told["Target"], later["Target"]);
    let status = world.running.status();
    assert_eq!((world.colour(Colour::Green).weight, status.schedules.len()), (10, 1));

    let (status, _) = world.http.rest(Method::PUT, "schedules/switch", &switch(now)).await;
    assert_eq!(status, 200);
    eventually("the weights are back", async || world.colour(Colour::Green).weight == 0).await;
    eventually("it is gone", async || world.running.status().schedules.is_empty()).await;
    world.end().await;
}

/// What EventBridge refuses, and how.
#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_listed_changed_and_refused() {
    let world = World::new().await;
    let later = switch("2099-01-01T00:00:00Z".parse().unwrap());
    for name in ["a-1", "a-2", "b-1"] {
        let path = format!("schedules/{name}");
        assert_eq!(world.http.rest(Method::POST, &path, &later).await.0, 200);
    }
    let (_, page) =
        world.http.rest(Method::GET, "schedules?NamePrefix=a&MaxResults=1", &Value::Null).await;
    assert_eq!(page["Schedules"][0]["Name"], "a-1");
    let next = format!("schedules?NamePrefix=a&NextToken={}", page["NextToken"].as_str().unwrap());
    let (_, page) = world.http.rest(Method::GET, &next, &Value::Null).await;
    assert_eq!(
        (page["Schedules"].as_array().unwrap().len(), &page["Schedules"][0]["Name"]),
        (1, &json!("a-2"))
    );

    assert_eq!(world.http.rest(Method::POST, "schedules/a-1", &later).await.0, 409);
    assert_eq!(world.http.rest(Method::PUT, "schedules/no", &later).await.0, 404);
    assert_eq!(world.http.rest(Method::DELETE, "schedules/a-1", &Value::Null).await.0, 200);
    assert_eq!(world.http.rest(Method::GET, "schedules/a-1", &Value::Null).await.0, 404);
    let mut cron = later.clone();
    cron["ScheduleExpression"] = "cron(0 12 * * ? *)".into();
    let mut foreign = later;
    foreign["Target"]["Arn"] = "arn:aws:lambda:eu-central-1:000000000000:function:f".into();
    for bad in [cron, foreign] {
        assert_eq!(world.http.rest(Method::POST, "schedules/c", &bad).await.0, 400);
    }
    world.end().await;
}
