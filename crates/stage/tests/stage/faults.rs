//! Faults on demand: each is seen as a user of the cloud would see it.

use liftlock_stage::{Colour, Fault, FaultState, Kind, Scenario};
use serde_json::{Value, json};

use crate::client::{World, echo, eventually};

impl World {
    fn fault(&self, kind: Kind, words: &[&str]) -> String {
        let fault = Fault::from_words(kind, words).unwrap();
        let names = self.running.add_faults(Scenario { seed: 7, faults: vec![fault] }).unwrap();
        names[0].clone()
    }

    fn hits(&self, name: &str) -> u64 {
        let faults = self.running.status().faults;
        faults.iter().find(|seen| seen.fault.name.as_deref() == Some(name)).unwrap().hits
    }

    /// What ECS says of a stopped task of a colour, once there is one.
    async fn dead(&self, colour: Colour) -> Value {
        let service = format!("shop-test-web-{}", colour.as_str());
        let stopped = json!({ "serviceName": service, "desiredStatus": "STOPPED" });
        let mut dead = Value::Null;
        eventually("a stopped task", async || {
            let tasks = self.http.ecs("ListTasks", stopped.clone()).await["taskArns"].clone();
            if tasks.as_array().is_none_or(Vec::is_empty) {
                return false;
            }
            let seen = self.http.ecs("DescribeTasks", json!({ "tasks": tasks })).await;
            dead = seen["tasks"][0].clone();
            dead["lastStatus"] == "STOPPED"
        })
        .await;
        dead
    }

    /// Blue with version 1 and green with version 2, both healthy; blue has all traffic.
    async fn both() -> Self {
        let world = Self::new().await;
        let image = echo(world.directory.path(), &[]);
        world.http.run(Colour::Blue, &image, "1", 1).await;
        world.http.run(Colour::Green, &image, "2", 2).await;
        world.steady(Colour::Blue, 1).await;
        world.steady(Colour::Green, 2).await;
        world
    }
}

/// Errors at a rate, aimed at one colour: the same seed hits the same requests, and CloudWatch counts them.
#[tokio::test(flavor = "multi_thread")]
async fn errors_hit_their_share_of_one_colour() {
    let world = World::both().await;
    let (url, test_url) = (world.running.stage.url.clone(), world.running.stage.test_url.clone());
    let mut runs = Vec::new();
    for _ in 0..2 {
        world.fault(Kind::Errors, &["name=e", "colour=green", "share=0.5", "status=503"]);
        let mut hit = Vec::new();
        for _ in 0..40 {
            assert_eq!(world.http.get(url.as_str()).await.unwrap().0, 200, "blue is not meant");
            let (status, _) = world.http.get(test_url.as_str()).await.unwrap();
            hit.push(status == 503);
        }
        let count = hit.iter().filter(|hit| **hit).count();
        assert!((10..=30).contains(&count), "{count} of 40");
        assert_eq!(world.hits("e"), count as u64);
        runs.push(hit);
    }
    assert_eq!(runs[0], runs[1], "the same seed draws the same");
    assert_eq!(world.running.clear_faults(None), ["e"]);
    assert_eq!(world.http.get(test_url.as_str()).await.unwrap().0, 200);
    world.end().await;
}

/// A task whose health path fails is replaced, as by a real load balancer; one whose connection breaks off gives 502.
#[tokio::test(flavor = "multi_thread")]
async fn a_health_path_that_fails_and_a_connection_that_breaks() {
    let world = World::both().await;
    world.fault(Kind::Reset, &["name=r", "colour=green", "count=1"]);
    let test_url = world.running.stage.test_url.to_string();
    assert_eq!(world.http.get(&test_url).await.unwrap().0, 502);
    assert_eq!(world.http.get(&test_url).await.unwrap().0, 200, "it was to hit one request");
    world.fault(Kind::Errors, &["path=/health", "status=500", "colour=green"]);
    let dead = world.dead(Colour::Green).await;
    let reason = dead["stoppedReason"].as_str().unwrap();
    assert!(reason.contains("failed ELB health checks") && reason.contains("[500]"), "{reason}");
    assert_eq!(world.colour(Colour::Blue).healthy, 1, "blue is not meant");
    world.end().await;
}

/// A crash that is added while tasks run kills them, and those after them end at their start, until ECS gives up.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_kills_what_runs_and_what_comes_after() {
    let world = World::both().await;
    world.fault(Kind::Crash, &["name=c", "colour=green", "exit_code=3"]);
    let codes = async || {
        let service = json!({ "serviceName": "shop-test-web-green", "desiredStatus": "STOPPED" });
        let tasks = world.http.ecs("ListTasks", service).await["taskArns"].clone();
        if tasks.as_array().is_none_or(Vec::is_empty) {
            return Vec::new();
        }
        let seen = world.http.ecs("DescribeTasks", json!({ "tasks": tasks })).await;
        let seen = seen["tasks"].as_array().unwrap().clone();
        seen.iter().map(|task| task["containers"][0]["exitCode"].clone()).collect::<Vec<_>>()
    };
    eventually("killed tasks, and tasks that end by themselves", async || {
        let codes = codes().await;
        codes.contains(&json!(137)) && codes.contains(&json!(3))
    })
    .await;
    let logs = world.directory.path().join("logs/shop-test-web-green");
    let texts = std::fs::read_dir(logs)
        .unwrap()
        .map(|log| std::fs::read_to_string(log.unwrap().path()).unwrap());
    assert!(texts.into_iter().any(|text| text.contains("fault c: the process crashes")));
    assert_eq!(world.colour(Colour::Blue).healthy, 1);
    world.running.clear_faults(Some("c"));
    world.steady(Colour::Green, 2).await;
    world.end().await;
}

/// What a new revision meets: its own faults, while the colour's old revision goes on.
#[tokio::test(flavor = "multi_thread")]
async fn faults_of_a_revision_leave_the_others_alone() {
    let world = World::both().await;
    world.fault(Kind::Crash, &["revision=3"]);
    let image = echo(world.directory.path(), &[]);
    world.http.run(Colour::Green, &image, "3", 2).await;
    eventually("FAILED", async || {
        world.http.deployment(Colour::Green).await["rolloutState"] == "FAILED"
    })
    .await;
    let (_, version) = world.http.get(world.running.stage.test_url.as_str()).await.unwrap();
    assert_eq!(version, "2", "the old tasks serve on");
    world.end().await;
}

/// Slow starts, late places and an image that is not there: tasks come all the same once the faults are used up.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_come_after_slow_starts_and_missing_images() {
    let world = World::new().await;
    let image = echo(world.directory.path(), &[]);
    let slow = world.fault(Kind::SlowStart, &["delay=300ms", "count=2"]);
    let late = world.fault(Kind::PlacementDelay, &["delay=100ms", "count=2"]);
    let words = ["count=1".to_owned(), format!("digest={image}")];
    let missing = world.fault(Kind::ImageMissing, &words.each_ref().map(String::as_str));
    world.http.run(Colour::Green, &image, "2", 2).await;
    let dead = world.dead(Colour::Green).await;
    assert_eq!(dead["stopCode"], "TaskFailedToStart");
    let reason = dead["stoppedReason"].as_str().unwrap();
    assert!(
        reason.starts_with("CannotPullContainerError") && reason.contains(image.as_str()),
        "{reason}"
    );
    world.steady(Colour::Green, 2).await;
    assert_eq!((world.hits(&slow), world.hits(&late), world.hits(&missing)), (2, 2, 1));
    world.end().await;
}

/// Memory that really grows ends in the kernel's way: 137, and the reason that ECS gives.
#[tokio::test(flavor = "multi_thread")]
async fn memory_that_grows_past_the_limit_kills_the_task() {
    let world = World::new().await;
    let image = echo(world.directory.path(), &[]);
    world.http.run(Colour::Green, &image, "2", 1).await;
    world.steady(Colour::Green, 1).await;
    world.fault(Kind::Memory, &["mib_per_second=400", "count=1"]);
    let dead = world.dead(Colour::Green).await;
    assert_eq!(dead["containers"][0]["exitCode"], 137);
    let reason = dead["containers"][0]["reason"].as_str().unwrap();
    assert_eq!(reason, "OutOfMemoryError: Container killed due to memory usage");
    world.steady(Colour::Green, 1).await;
    world.end().await;
}

/// Without room, tasks are not placed, and the service's events say so; with room they are.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_without_room_wait_for_it() {
    let world = World::new().await;
    let image = echo(world.directory.path(), &[]);
    let name = world.fault(Kind::NoCapacity, &["colour=green", "tasks=1"]);
    world.http.run(Colour::Green, &image, "2", 2).await;
    eventually("no room", async || {
        world.hits(&name) > 0 && world.colour(Colour::Green).healthy == 1
    })
    .await;
    let services = json!({ "services": ["shop-test-web-green"] });
    let seen = world.http.ecs("DescribeServices", services).await;
    let events = seen["services"][0]["events"].to_string();
    assert!(
        events.contains("was unable to place a task. Reason: Capacity is unavailable"),
        "{events}"
    );
    assert_eq!(world.colour(Colour::Green).running, 1);
    world.running.clear_faults(None);
    world.http.scale(Colour::Green, 1).await;
    world.steady(Colour::Green, 1).await;
    world.end().await;
}

/// Throttles have AWS's own form in each of its protocols, and let the agreed number of calls pass.
#[tokio::test(flavor = "multi_thread")]
async fn throttles_and_errors_have_awss_form() {
    let world = World::new().await;
    world.fault(Kind::Throttle, &["name=t", "operation=Describe*"]);
    let services = json!({ "cluster": "shop-test", "services": ["shop-test-web-blue"] });
    let (status, answer) = world.http.json("ecs", "DescribeServices", services.clone()).await;
    assert_eq!(
        (status, &answer),
        (400, &json!({ "__type": "ThrottlingException", "message": "Rate exceeded" }))
    );
    let (status, answer) =
        world.http.query("elasticloadbalancing", &[("Action", "DescribeLoadBalancers")]).await;
    assert!(
        status == 400 && answer.contains("<Code>Throttling</Code><Message>Rate exceeded"),
        "{answer}"
    );
    assert_eq!(world.http.json("ecs", "ListClusters", json!({})).await.0, 200, "it is not meant");

    world.fault(Kind::Throttle, &["name=t", "operation=ecs:DescribeServices", "per_second=0.001"]);
    assert_eq!(world.http.json("ecs", "DescribeServices", services.clone()).await.0, 200);
    assert_eq!(world.http.json("ecs", "DescribeServices", services.clone()).await.0, 400);
    world.running.clear_faults(None);

    world.fault(Kind::ApiError, &["operation=ecs:UpdateService", "count=1"]);
    let update =
        json!({ "cluster": "shop-test", "service": "shop-test-web-blue", "desiredCount": 3 });
    let (status, answer) = world.http.json("ecs", "UpdateService", update).await;
    assert_eq!((status, &answer["__type"]), (500, &json!("ServerException")));
    assert_eq!(world.colour(Colour::Blue).desired, 0, "it was not done");
    world.fault(Kind::ApiError, &["operation=rds:*", "code=AccessDenied", "status=403"]);
    let (status, answer) = world.http.query("rds", &[("Action", "DescribeDBInstances")]).await;
    assert!(status == 403 && answer.contains("<Code>AccessDenied</Code>"), "{answer}");
    world.end().await;
}

/// A lost answer is a call that was done; a call that hangs was not, and ends when the fault does.
#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_are_done_and_hanging_calls_are_not() {
    let world = World::new().await;
    let update = |count: u32| json!({ "cluster": "shop-test", "service": "shop-test-web-blue", "desiredCount": count });
    world.fault(Kind::LostAnswer, &["operation=UpdateService", "count=1"]);
    assert!(world.http.try_json("ecs", "UpdateService", update(0)).await.is_err());
    world.fault(Kind::LostAnswer, &["operation=ModifyRule", "count=1"]);
    assert!(world.http.try_shift("40", "60").await.is_err());
    assert_eq!(world.colour(Colour::Green).weight, 60, "it was done");

    world.fault(Kind::ApiHang, &["operation=UpdateService"]);
    let hanging = tokio::spawn({
        let http = world.http.clone();
        async move { http.try_json("ecs", "UpdateService", update(5)).await }
    });
    eventually("a call that hangs", async || {
        world
            .running
            .status()
            .faults
            .iter()
            .any(|seen| seen.fault.kind == Kind::ApiHang && seen.hits == 1)
    })
    .await;
    assert!(!hanging.is_finished());
    world.running.clear_faults(None);
    assert!(hanging.await.unwrap().is_err(), "the connection was closed without an answer");
    assert_eq!(world.colour(Colour::Blue).desired, 0, "it was not done");
    world.end().await;
}

/// What was just written is not told yet.
#[tokio::test(flavor = "multi_thread")]
async fn describes_may_lag_writes() {
    let world = World::new().await;
    world.fault(Kind::Lag, &["name=l", "delay=1h", "operation=Describe*"]);
    assert_eq!(world.http.shift("30", "70").await.0, 200);
    let rules =
        [("Action", "DescribeRules"), ("RuleArns.member.1", &*crate::client::production_rule())];
    let (_, told) = world.http.query("elasticloadbalancing", &rules).await;
    assert!(
        told.contains("<Weight>100</Weight>") && !told.contains("<Weight>70</Weight>"),
        "{told}"
    );
    assert_eq!(world.colour(Colour::Green).weight, 70, "traffic goes where it was sent");
    world.running.clear_faults(None);
    let (_, told) = world.http.query("elasticloadbalancing", &rules).await;
    assert!(told.contains("<Weight>70</Weight>"), "{told}");
    world.end().await;
}

/// A clock that is off shows in the header and in every time, and refuses signatures of the caller's time.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_off_everywhere() {
    let world = World::new().await;
    let created = async || {
        let services = json!({ "services": ["shop-test-web-blue"] });
        let seen = world.http.ecs("DescribeServices", services).await;
        seen["services"][0]["createdAt"].as_f64().unwrap()
    };
    let before = created().await;
    world.fault(Kind::ClockSkew, &["by=-1h"]);
    assert!((created().await - before + 3600.0).abs() < 0.01);
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let (status, answer) = world.http.at(&now).json("ecs", "ListClusters", json!({})).await;
    assert_eq!((status, answer["__type"].as_str()), (400, Some("InvalidSignatureException")));
    assert!(
        answer["message"].as_str().unwrap().starts_with("Signature not yet current"),
        "{answer}"
    );
    let (status, answer) =
        world.http.at(&now).query("sts", &[("Action", "GetCallerIdentity")]).await;
    assert!(status == 403 && answer.contains("SignatureDoesNotMatch"), "{answer}");
    world.running.clear_faults(None);
    assert_eq!(world.http.at(&now).json("ecs", "ListClusters", json!({})).await.0, 200);
    world.end().await;
}

/// A fault's time: it waits, and it ends by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_waits_for_its_time_and_ends() {
    let world = World::new().await;
    world.fault(Kind::Throttle, &["name=later", "after=1h"]);
    world.fault(Kind::Throttle, &["name=short", "for=1ms"]);
    let state = |name: &str| {
        let faults = world.running.status().faults;
        faults.into_iter().find(|seen| seen.fault.name.as_deref() == Some(name)).unwrap().state
    };
    assert_eq!(state("later"), FaultState::Waiting);
    eventually("the end of a fault", async || state("short") == FaultState::Over).await;
    assert_eq!(world.http.json("ecs", "ListClusters", json!({})).await.0, 200);
    assert!(
        world
            .running
            .add_faults(Scenario { seed: 0, faults: vec![Fault::new(Kind::Lag)] })
            .is_err()
    );
    world.end().await;
}
