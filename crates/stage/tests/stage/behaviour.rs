//! Tasks, health, traffic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use liftlock_stage::Colour;
use serde_json::json;

use crate::client::{World, echo, eventually};

/// Shows W-4: weights on the rule split real requests, as the rule says at each of them.
#[tokio::test(flavor = "multi_thread")]
async fn weights_split_requests() {
    let world = World::new().await;
    let image = echo(world.directory.path(), &[]);
    world.http.run(Colour::Blue, &image, "1", 2).await;
    world.http.run(Colour::Green, &image, "2", 2).await;
    world.steady(Colour::Blue, 2).await;
    world.steady(Colour::Green, 2).await;
    for (blue, green, least, most) in
        [("100", "0", 0, 0), ("90", "10", 19, 21), ("0", "100", 200, 200)]
    {
        assert_eq!(world.http.shift(blue, green).await.0, 200);
        let mut greens = 0;
        for _ in 0..200 {
            let (status, version) = world.http.get(world.running.stage.url.as_str()).await.unwrap();
            assert_eq!(status, 200);
            greens += u32::from(version == "2");
        }
        assert!((least..=most).contains(&greens), "{greens} of 200 at {green} %");
    }
    let (_, version) = world.http.get(world.running.stage.test_url.as_str()).await.unwrap();
    assert_eq!(version, "2", "the test listener shows green");
    world.end().await;
}

/// Shows E-SLA-1: raising a colour, shifting to it step by step and lowering the other fails no request.
#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_rollout_fails_no_request() {
    let world = World::new().await;
    let image = echo(world.directory.path(), &[("DELAY_MS", "5")]);
    world.http.run(Colour::Blue, &image, "1", 2).await;
    world.steady(Colour::Blue, 2).await;

    let (over, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (over, requests) = (over.clone(), requests.clone());
            let (http, url) = (world.http.clone(), world.running.stage.url.to_string());
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    match http.get(&url).await {
                        Ok((status, _)) if status == 200 => {}
                        other => failed.push(format!("{other:?}")),
                    }
                    requests.fetch_add(1, Ordering::Relaxed);
                }
                failed
            })
        })
        .collect();
    let (mut from, mut to) = (Colour::Blue, Colour::Green);
    for round in 2..5 {
        world.http.run(to, &image, &round.to_string(), 2).await;
        world.steady(to, 2).await;
        for share in [10, 50, 100] {
            let (new, old) = (share.to_string(), (100 - share).to_string());
            let (blue, green) = if to == Colour::Green { (old, new) } else { (new, old) };
            assert_eq!(world.http.shift(&blue, &green).await.0, 200);
            let before = requests.load(Ordering::Relaxed);
            eventually("more requests", async || requests.load(Ordering::Relaxed) > before + 50)
                .await;
        }
        world.http.scale(from, 0).await;
        world.steady(from, 0).await;
        (from, to) = (to, from);
    }
    over.store(true, Ordering::Relaxed);
    let mut failed = Vec::new();
    for caller in callers {
        failed.extend(caller.await.unwrap());
    }
    let requests = requests.load(Ordering::Relaxed);
    assert!(failed.is_empty(), "{} of {requests} failed: {:?}", failed.len(), &failed[..1]);
    world.end().await;
}

/// A new task definition on a colour that serves replaces its tasks without a failed request.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_deployment_fails_no_request() {
    let world = World::new().await;
    let image = echo(world.directory.path(), &[]);
    world.http.run(Colour::Blue, &image, "1", 2).await;
    world.steady(Colour::Blue, 2).await;
    world.http.run(Colour::Blue, &image, "2", 2).await;
    eventually("all answers from version 2", async || {
        let mut versions = Vec::new();
        for _ in 0..10 {
            let (status, version) = world.http.get(world.running.stage.url.as_str()).await.unwrap();
            assert_eq!(status, 200, "{version}");
            versions.push(version);
        }
        versions.iter().all(|version| version == "2")
            && world.http.deployment(Colour::Blue).await["rolloutState"] == "COMPLETED"
    })
    .await;
    world.end().await;
}

/// Shows W-4: tasks that crash trip the deployment circuit breaker, and say why they stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_trips_the_breaker() {
    let world = World::new().await;
    let image = echo(world.directory.path(), &[("FAULT", "crash")]);
    world.http.run(Colour::Green, &image, "2", 2).await;
    eventually("FAILED", async || {
        world.http.deployment(Colour::Green).await["rolloutState"] == "FAILED"
    })
    .await;
    let deployment = world.http.deployment(Colour::Green).await;
    let reason = deployment["rolloutStateReason"].as_str().unwrap().to_owned();
    assert_eq!(reason, "ECS deployment circuit breaker: tasks failed to start.");
    let stopped = json!({ "serviceName": "shop-test-web-green", "desiredStatus": "STOPPED" });
    let tasks = world.http.ecs("ListTasks", stopped).await["taskArns"].clone();
    let described = world.http.ecs("DescribeTasks", json!({ "tasks": tasks })).await;
    let task = &described["tasks"][0];
    assert_eq!(task["stopCode"], "EssentialContainerExited");
    assert_eq!(task["containers"][0]["exitCode"], 1);
    assert_eq!(task["containers"][0]["imageDigest"], image.as_str());
    world.end().await;
}

/// Tasks that never become healthy trip the breaker, too, and get no request.
#[tokio::test(flavor = "multi_thread")]
async fn unhealthy_tasks_trip_the_breaker() {
    let world = World::new().await;
    let image = echo(world.directory.path(), &[("FAULT", "unhealthy")]);
    world.http.shift("0", "100").await;
    world.http.run(Colour::Green, &image, "2", 2).await;
    eventually("FAILED", async || {
        let (status, _) = world.http.get(world.running.stage.url.as_str()).await.unwrap();
        assert_eq!(status, 503, "nobody is healthy");
        world.http.deployment(Colour::Green).await["rolloutState"] == "FAILED"
    })
    .await;
    world.end().await;
}

/// An image that is not there is what ECS says it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_image_cannot_be_pulled() {
    let world = World::new().await;
    let missing = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
    world.http.run(Colour::Green, &missing, "2", 1).await;
    let stopped = json!({ "serviceName": "shop-test-web-green", "desiredStatus": "STOPPED" });
    eventually("a stopped task", async || {
        let tasks = world.http.ecs("ListTasks", stopped.clone()).await["taskArns"].clone();
        tasks.as_array().is_some_and(|tasks| !tasks.is_empty())
    })
    .await;
    let tasks = world.http.ecs("ListTasks", stopped).await["taskArns"].clone();
    let described = world.http.ecs("DescribeTasks", json!({ "tasks": tasks })).await;
    let reason = described["tasks"][0]["stoppedReason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("CannotPullContainerError"), "{reason}");
    assert!(reason.contains(&"ab".repeat(32)), "{reason}");
    world.end().await;
}

/// A task that is killed is started again.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_task_comes_back() {
    let world = World::new().await;
    let image = echo(world.directory.path(), &[]);
    world.http.run(Colour::Blue, &image, "1", 1).await;
    world.steady(Colour::Blue, 1).await;
    let running = json!({ "serviceName": "shop-test-web-blue" });
    let tasks = world.http.ecs("ListTasks", running).await["taskArns"].clone();
    let described = world.http.ecs("DescribeTasks", json!({ "tasks": tasks })).await;
    let pid: i32 =
        described["tasks"][0]["containers"][0]["runtimeId"].as_str().unwrap().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    eventually("another task", async || {
        let now = world.http.ecs("ListTasks", json!({ "serviceName": "shop-test-web-blue" })).await;
        now["taskArns"] != tasks && world.colour(Colour::Blue).healthy == 1
    })
    .await;
    let described = world.http.ecs("DescribeTasks", json!({ "tasks": tasks })).await;
    assert_eq!(described["tasks"][0]["containers"][0]["exitCode"], 137);
    world.end().await;
}

/// Large bodies pass in both directions, and lowering a colour waits for requests that are open.
#[tokio::test(flavor = "multi_thread")]
async fn open_requests_finish_before_a_task_ends() {
    let world = World::new().await;
    let image = echo(world.directory.path(), &[("DELAY_MS", "700")]);
    world.http.run(Colour::Blue, &image, "1", 1).await;
    world.steady(Colour::Blue, 1).await;
    let url = world.running.stage.url.to_string();
    let body: Vec<u8> = (0..1_500_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    assert_eq!(world.http.post(&format!("{url}post"), body.clone()).await, body);
    let slow = tokio::spawn({
        let (http, url) = (world.http.clone(), url.clone());
        async move { http.get(&url).await }
    });
    // It has reached the task when the load balancer says so in a moment; lowered at once, either order must be fine.
    tokio::task::yield_now().await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    world.http.scale(Colour::Blue, 0).await;
    assert_eq!(slow.await.unwrap().unwrap().0, 200);
    world.steady(Colour::Blue, 0).await;
    assert_eq!(world.http.get(&url).await.unwrap().0, 503);
    world.end().await;
}
