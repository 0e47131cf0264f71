//! What ECS does not take.

use serde_json::{Value, json};

use super::{BLUE, balancers, canary, quick};
use crate::client::{World, arn_of, echo, production_rule};

/// The load balancers with one member of their `advancedConfiguration` changed, or without it.
fn with(member: &str, value: Value) -> Value {
    let mut all = balancers();
    let advanced = all[0]["advancedConfiguration"].as_object_mut().unwrap();
    if value.is_null() {
        advanced.remove(member)
    } else {
        advanced.insert(member.into(), value)
    };
    all
}

fn canary_of(percent: f64, bake: i64) -> Value {
    json!({
        "strategy": "CANARY",
        "canaryConfiguration": { "canaryPercent": percent, "canaryBakeTimeInMinutes": bake },
    })
}

fn linear_of(percent: f64) -> Value {
    json!({ "strategy": "LINEAR", "linearConfiguration": { "stepPercent": percent } })
}

/// Each is refused with ECS's code and a message that says what is wrong, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn bad_combinations_are_refused() {
    let world = World::with(quick()).await;
    world.completed().await;
    let plain = json!([{ "targetGroupArn": arn_of("blue"), "containerName": "web", "containerPort": 8080 }]);
    let mut named = balancers();
    named[0]["containerName"] = "other".into();
    let gone = production_rule().replace("listener-rule/app", "listener-rule/app/gone");
    let listener =
        "arn:aws:elasticloadbalancing:eu-central-1:000000000000:listener/app/shop-test/1/2";
    let cases = [
        (canary(), Value::Null, "advancedConfiguration field is required"),
        (canary(), plain, "advancedConfiguration field is required"),
        (canary(), with("productionListenerRule", gone.into()), "does not exist"),
        (canary(), with("productionListenerRule", listener.into()), "Must be RuleArn for ALB"),
        (
            canary(),
            with("productionListenerRule", Value::Null),
            "productionListenerRule cannot be empty",
        ),
        (
            canary(),
            with("testListenerRule", production_rule().into()),
            "as both production and test",
        ),
        (
            canary(),
            with("alternateTargetGroupArn", arn_of("blue").into()),
            "Duplicate targetGroupArn",
        ),
        (canary(), with("alternateTargetGroupArn", arn_of("red").into()), "does not exist"),
        (canary(), with("roleArn", Value::Null), "roleArn cannot be empty"),
        (canary(), named, "other does not exist in the task definition"),
        (canary_of(0.0, 1), balancers(), "canaryPercent 0.0 is not a multiple of 0.1 from 0.1"),
        (canary_of(100.5, 1), balancers(), "canaryPercent 100.5"),
        (canary_of(5.05, 1), balancers(), "canaryPercent 5.05"),
        (canary_of(5.0, 1441), balancers(), "canaryBakeTimeInMinutes 1441 is not 0 to 1440"),
        (canary_of(5.0, -1), balancers(), "canaryBakeTimeInMinutes -1 is not 0 to 1440"),
        (linear_of(2.9), balancers(), "stepPercent 2.9 is not a multiple of 0.1 from 3.0"),
        (json!({ "strategy": "BLUE_GREEN" }), balancers(), "bakeTimeInMinutes is required"),
        (
            json!({ "strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1, "canaryConfiguration": {} }),
            balancers(),
            "canaryConfiguration is only valid",
        ),
    ];
    let before = world.http.ecs("DescribeServices", json!({ "services": [BLUE] })).await;
    for (configuration, balancers, why) in cases {
        let mut update = json!({
            "cluster": "shop-test", "service": BLUE, "desiredCount": 3,
            "deploymentConfiguration": configuration,
        });
        if !balancers.is_null() {
            update["loadBalancers"] = balancers;
        }
        let (status, refused) = world.http.json("ecs", "UpdateService", update).await;
        assert_eq!(
            (status, &refused["__type"]),
            (400, &json!("InvalidParameterException")),
            "{why}"
        );
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains(why), "{why} is not in {message}");
    }
    let hooks = json!([{ "targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"] }]);
    let update = json!({
        "cluster": "shop-test", "service": BLUE, "loadBalancers": balancers(),
        "deploymentConfiguration": { "strategy": "CANARY", "lifecycleHooks": hooks },
    });
    let (_, refused) = world.http.json("ecs", "UpdateService", update).await;
    assert_eq!(refused["__type"], "UnsupportedFeatureException");
    let after = world.http.ecs("DescribeServices", json!({ "services": [BLUE] })).await;
    assert_eq!(before, after, "nothing changed");
    world.end().await;
}

/// What was configured is told back, with ECS's defaults; and shifts can be left for rolling updates again.
#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_told_back() {
    let world = World::serving(quick()).await;
    let told = async || {
        let told = world.http.ecs("DescribeServices", json!({ "services": [BLUE] })).await;
        told["services"][0].clone()
    };
    assert_eq!(told().await["deploymentConfiguration"]["strategy"], "ROLLING");
    let update = json!({
        "service": BLUE, "loadBalancers": balancers(), "deploymentConfiguration": { "strategy": "LINEAR" },
    });
    world.http.ecs("UpdateService", update).await;
    let service = told().await;
    assert_eq!(service["loadBalancers"], balancers());
    let linear = json!({ "stepPercent": 10.0, "stepBakeTimeInMinutes": 6 });
    assert_eq!(service["deploymentConfiguration"]["linearConfiguration"], linear);
    assert_eq!(
        service["deployments"].as_array().unwrap().len(),
        2,
        "new load balancers are a new deployment"
    );
    let arn = world.newest_of(BLUE).await["serviceDeploymentArn"].clone();
    let stop = json!({ "serviceDeploymentArn": arn });
    assert_eq!(world.http.json("ecs", "StopServiceDeployment", stop).await.0, 200);
    world.status_is("ROLLBACK_SUCCESSFUL").await;

    let image = echo(world.directory.path(), &[]);
    world.release(&image, "2", json!({ "strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0 })).await;
    world.status_is("SUCCESSFUL").await;
    world.release(&image, "3", json!({ "strategy": "ROLLING" })).await;
    world.status_is("SUCCESSFUL").await;
    assert_eq!((world.version().await, world.weights()[0]), ("3".to_owned(), (0, 100)));
    let strategy = told().await["deploymentConfiguration"].clone();
    assert!(
        strategy["strategy"] == "ROLLING" && strategy["linearConfiguration"].is_null(),
        "{strategy}"
    );
    world.end().await;
}
