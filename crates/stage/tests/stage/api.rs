//! What callers are told, and refused.

use liftlock_stage::Colour;
use serde_json::json;

use crate::client::{World, arn_of, echo, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn weights_that_aws_refuses_are_refused() {
    let world = World::new().await;
    for bad in ["1000", "-1", "ten"] {
        let (status, answer) = world.http.shift("0", bad).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer.contains("<Code>ValidationError</Code>"), "{answer}");
    }
    assert_eq!(world.colour(Colour::Blue).weight, 100, "nothing was changed");
    assert_eq!(world.http.shift("1", "999").await.0, 200);
    assert_eq!(world.colour(Colour::Green).weight, 999);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_has_awss_code() {
    let world = World::new().await;
    let http = &world.http;
    for (service, operation, input, code) in [
        (
            "ecs",
            "DescribeServices",
            json!({ "cluster": "no", "services": ["a"] }),
            "ClusterNotFoundException",
        ),
        (
            "ecs",
            "UpdateService",
            json!({ "cluster": "shop-test", "service": "no" }),
            "ServiceNotFoundException",
        ),
        ("ecs", "DescribeTaskDefinition", json!({ "taskDefinition": "no" }), "ClientException"),
        (
            "ecs",
            "UpdateService",
            json!({ "cluster": "shop-test", "service": "shop-test-web-blue", "desiredCount": -1 }),
            "InvalidParameterException",
        ),
        ("ssm", "GetParameter", json!({ "Name": "/no" }), "ParameterNotFound"),
        ("ssm", "Dance", json!({}), "UnknownOperationException"),
    ] {
        let (status, answer) = http.json(service, operation, input).await;
        assert_eq!((status, answer["__type"].as_str()), (400, Some(code)), "{operation}: {answer}");
    }
    let group = arn_of("no");
    for (service, form, code) in [
        (
            "elasticloadbalancing",
            vec![("Action", "DescribeTargetHealth"), ("TargetGroupArn", &group)],
            "TargetGroupNotFound",
        ),
        (
            "elasticloadbalancing",
            vec![("Action", "DescribeLoadBalancers"), ("Names.member.1", "no")],
            "LoadBalancerNotFound",
        ),
        (
            "rds",
            vec![("Action", "DescribeDBSnapshots"), ("DBSnapshotIdentifier", "no")],
            "DBSnapshotNotFound",
        ),
        (
            "rds",
            vec![("Action", "DescribeDBInstances"), ("DBInstanceIdentifier", "no")],
            "DBInstanceNotFound",
        ),
        ("elasticloadbalancing", vec![("Action", "Dance")], "InvalidAction"),
    ] {
        let (status, answer) = http.query(service, &form).await;
        assert!(
            status >= 400 && answer.contains(&format!("<Code>{code}</Code>")),
            "{status} {answer}"
        );
    }
    let failures =
        http.ecs("DescribeServices", json!({ "services": ["no"] })).await["failures"].clone();
    assert_eq!(failures[0]["reason"], "MISSING");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_is_refused() {
    let world = World::new().await;
    let http = world.http.with_key("AKIAEXAMPLE");
    let (status, answer) = http.json("ecs", "DescribeClusters", json!({})).await;
    assert_eq!((status, answer["__type"].as_str()), (400, Some("UnrecognizedClientException")));
    let (status, answer) = http.query("sts", &[("Action", "GetCallerIdentity")]).await;
    assert!(status == 403 && answer.contains("InvalidClientTokenId"), "{status} {answer}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages() {
    let world = World::new().await;
    let image = echo(world.directory.path(), &[]);
    for version in 1..=5 {
        world.http.run(Colour::Green, &image, &version.to_string(), 0).await;
    }
    let (mut token, mut seen) = (json!(null), Vec::new());
    loop {
        let mut input = json!({ "familyPrefix": "shop-test-web", "maxResults": 2 });
        if !token.is_null() {
            input["nextToken"] = token;
        }
        let page = world.http.ecs("ListTaskDefinitions", input).await;
        seen.extend(page["taskDefinitionArns"].as_array().unwrap().clone());
        token = page["nextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
    assert!(seen[4].as_str().unwrap().ends_with(":5"), "in the order of revisions");
    world.end().await;
}

/// The load balancer's own counts are what CloudWatch tells, and five errors raise the service's alarm.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_alarms_are_fed_by_requests() {
    let world = World::new().await;
    let image = echo(world.directory.path(), &[]);
    world.http.run(Colour::Blue, &image, "1", 1).await;
    world.steady(Colour::Blue, 1).await;
    let alarms = [("Action", "DescribeAlarms"), ("AlarmNames.member.1", "shop-test-web-5xx")];
    let (_, before) = world.http.query("monitoring", &alarms).await;
    assert!(before.contains("<StateValue>OK</StateValue>"), "{before}");
    let url = format!("{}fail", world.running.stage.url);
    for _ in 0..5 {
        assert_eq!(world.http.get(&url).await.unwrap().0, 500);
    }
    let (_, after) = world.http.query("monitoring", &alarms).await;
    assert!(after.contains("<StateValue>ALARM</StateValue>"), "{after}");
    let path = arn_of("blue");
    let path = path.rsplit_once(':').unwrap().1;
    let now = jiff::Timestamp::now();
    let (start, end) = (
        (now - jiff::SignedDuration::from_secs(600)).to_string(),
        (now + jiff::SignedDuration::from_secs(60)).to_string(),
    );
    let form = [
        ("Action", "GetMetricStatistics"),
        ("Namespace", "AWS/ApplicationELB"),
        ("MetricName", "HTTPCode_Target_5XX_Count"),
        ("Dimensions.member.1.Name", "TargetGroup"),
        ("Dimensions.member.1.Value", path),
        ("StartTime", &start),
        ("EndTime", &end),
        ("Period", "3600"),
        ("Statistics.member.1", "Sum"),
    ];
    let (_, statistics) = world.http.query("monitoring", &form).await;
    assert!(statistics.contains("<Sum>5</Sum>"), "{statistics}");
    world.end().await;
}

/// The load balancer's response times come as percentiles, for each target group, and what tasks use as metrics of their service.
#[tokio::test(flavor = "multi_thread")]
async fn times_and_use_are_measured() {
    let world = World::new().await;
    let slow = echo(world.directory.path(), &[("DELAY_MS", "80")]);
    world.http.run(Colour::Green, &slow, "2", 1).await;
    world.steady(Colour::Green, 1).await;
    for _ in 0..20 {
        world.http.get(world.running.stage.test_url.as_str()).await.unwrap();
    }
    let group = arn_of("green");
    let group = group.rsplit_once(':').unwrap().1;
    let p99 = [("TargetGroup", group)];
    let seen = world.http.metric("AWS/ApplicationELB", "TargetResponseTime", "p99", &p99).await;
    assert!(seen.is_some_and(|seconds| seconds >= 0.075), "{seen:?}");
    let count = world.http.metric("AWS/ApplicationELB", "RequestCount", "Sum", &p99).await;
    assert_eq!(count, Some(20.0));
    let errors =
        world.http.metric("AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", "Sum", &p99).await;
    assert_eq!(errors, None, "no data is not zero");
    let service = [("ClusterName", "shop-test"), ("ServiceName", "shop-test-web-green")];
    eventually("memory and processors", async || {
        let memory = world.http.metric("AWS/ECS", "MemoryUtilization", "Average", &service).await;
        let processors = world.http.metric("AWS/ECS", "CPUUtilization", "Average", &service).await;
        memory.is_some_and(|percent| percent > 0.1 && percent < 100.0) && processors.is_some()
    })
    .await;
    world.end().await;
}
