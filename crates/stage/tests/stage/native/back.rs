//! Deployments that are taken back: by the circuit breaker, by somebody, or by the next one.

use std::time::Duration;

use liftlock_stage::{Colour, Fault, Kind, Scenario, Timing};
use serde_json::{Value, json};

use super::{BLUE, canary, quick, slow};
use crate::client::{World, echo, eventually};

impl World {
    /// Version 1 has all traffic and the tasks that it had, and nothing of the new one is left.
    async fn is_as_it_was(&self) {
        assert_eq!(self.weights()[0], (100, 0));
        self.steady(Colour::Blue, 2).await;
        self.steady(Colour::Green, 0).await;
        assert_eq!(self.version().await, "1");
        self.completed().await;
    }

    async fn stop(&self, arn: &Value, stop_type: &str) -> (u16, Value) {
        let stop = json!({ "serviceDeploymentArn": arn, "stopType": stop_type });
        self.http.json("ecs", "StopServiceDeployment", stop).await
    }
}

/// Tasks that never start get no traffic, and the breaker takes the deployment back; users notice nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_is_rolled_back_before_any_shift() {
    let world = World::serving(quick()).await;
    let test_before = world.weights()[1];
    let users = world.users();
    let bad = echo(world.directory.path(), &[("FAULT", "crash")]);
    world.release(&bad, "2", canary()).await;
    let ended = world.status_is("ROLLBACK_SUCCESSFUL").await;
    assert_eq!(ended["deploymentCircuitBreaker"]["status"], "TRIGGERED");
    assert_eq!(ended["lifecycleStage"], "SCALE_UP");
    assert_eq!(ended["rollback"]["serviceRevisionArn"], ended["sourceServiceRevisions"][0]["arn"]);
    world.is_as_it_was().await;
    users.are_content().await;
    assert_eq!(world.weights()[1], test_before, "a rule that was not touched stays");
    world.end().await;
}

/// Tasks that die while they have traffic: all of it is back at once, on both listeners.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_dies_gets_no_traffic_any_more() {
    let world = World::serving(slow()).await;
    let image = echo(world.directory.path(), &[]);
    world.release(&image, "2", canary()).await;
    world.at_canary().await;
    let crash = Fault::from_words(Kind::Crash, &["colour=green"]).unwrap();
    world.running.add_faults(Scenario { seed: 1, faults: vec![crash] }).unwrap();
    let ended = world.status_is("ROLLBACK_SUCCESSFUL").await;
    assert_eq!(ended["targetServiceRevision"]["requestedProductionTrafficWeight"], 0.0);
    assert_eq!(ended["sourceServiceRevisions"][0]["requestedProductionTrafficWeight"], 100.0);
    assert_eq!(world.weights(), [(100, 0), (100, 0)]);
    world.is_as_it_was().await;
    world.end().await;
}

/// Somebody stops it half way: the weights are back with the answer, and users notice nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_stopped_half_way() {
    for (stop_type, status) in [("ROLLBACK", "ROLLBACK_SUCCESSFUL"), ("ABORT", "STOPPED")] {
        let world = World::serving(slow()).await;
        let users = world.users();
        let image = echo(world.directory.path(), &[("DELAY_MS", "2")]);
        world.release(&image, "2", canary()).await;
        let arn = world.at_canary().await["serviceDeploymentArn"].clone();
        assert_eq!(world.stop(&arn, stop_type).await.0, 200);
        assert_eq!(world.weights(), [(100, 0), (100, 0)], "with the answer");
        let ended = world.status_is(status).await;
        assert_eq!(ended["rollback"].is_object(), stop_type == "ROLLBACK", "{ended}");
        assert_eq!(ended["deploymentCircuitBreaker"]["status"], "MONITORING_COMPLETE");
        world.is_as_it_was().await;
        users.are_content().await;
        let (code, refused) = world.stop(&arn, stop_type).await;
        assert_eq!((code, &refused["__type"]), (400, &json!("ConflictException")));
        world.end().await;
    }
}

/// The next deployment takes over from what was complete, not from what was half way.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_overtaken_gives_its_traffic_back_first() {
    let world = World::serving(slow()).await;
    let users = world.users();
    let image = echo(world.directory.path(), &[("DELAY_MS", "2")]);
    world.release(&image, "2", canary()).await;
    let overtaken = world.at_canary().await["serviceDeploymentArn"].clone();
    world.release(&image, "3", json!({ "strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0 })).await;
    assert_eq!(world.weights(), [(100, 0), (100, 0)]);
    let ended = world.status_is("SUCCESSFUL").await;
    users.are_content().await;
    assert_eq!((world.weights()[0], world.version().await), ((0, 100), "3".to_owned()));
    assert_eq!(ended["sourceServiceRevisions"][0]["requestedTaskCount"], 0);
    let overtaken = world.deployment_of(&overtaken).await;
    assert_eq!(overtaken["status"], "STOPPED");
    assert_eq!(overtaken["targetServiceRevision"]["requestedProductionTrafficWeight"], 0.0);
    world.completed().await;
    world.end().await;
}

/// A new deployment may begin while the last one is still on its way back.
#[tokio::test(flavor = "multi_thread")]
async fn a_way_back_can_be_overtaken() {
    let world = World::serving(Timing { minute: Duration::from_millis(200), ..quick() }).await;
    let image = echo(world.directory.path(), &[("DELAY_MS", "2")]);
    world.release(&image, "2", canary()).await;
    let arn = world.at_canary().await["serviceDeploymentArn"].clone();
    // A request under way keeps its task, and so the way back, from its end.
    let slow = Fault::from_words(Kind::Latency, &["colour=green", "delay=2s"]).unwrap();
    world.running.add_faults(Scenario { seed: 1, faults: vec![slow] }).unwrap();
    let (http, url) = (world.http.clone(), world.running.stage.test_url.to_string());
    let held = tokio::spawn(async move { http.get(&url).await.unwrap().1 });
    eventually("a request under way", async || world.running.status().faults[0].hits > 0).await;
    assert_eq!(world.stop(&arn, "ROLLBACK").await.0, 200);
    assert_eq!(world.newest_of(BLUE).await["status"], "ROLLBACK_IN_PROGRESS");
    world.release(&image, "3", canary()).await;
    world.running.clear_faults(None);
    assert_eq!(world.deployment_of(&arn).await["status"], "ROLLBACK_SUCCESSFUL");
    world.status_is("SUCCESSFUL").await;
    assert_eq!((held.await.unwrap(), world.version().await), ("2".to_owned(), "3".to_owned()));
    world.end().await;
}

/// With a third revision on the stage, ECS first makes the complete one whole, and only then lets the other go.
#[tokio::test(flavor = "multi_thread")]
async fn three_revisions_are_reconciled() {
    let world = World::serving(slow()).await;
    let image = echo(world.directory.path(), &[]);
    world.release(&image, "2", canary()).await;
    world.at_canary().await;
    let crash = Fault::from_words(Kind::Crash, &["name=blue", "colour=blue"]).unwrap();
    world.running.add_faults(Scenario { seed: 1, faults: vec![crash] }).unwrap();
    eventually("blue is gone", async || world.colour(Colour::Blue).healthy == 0).await;
    world.release(&image, "3", json!({ "strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0 })).await;
    world.until("RECONCILE", |newest| newest["lifecycleStage"] == "RECONCILE_SERVICE").await;
    assert_eq!((world.deployments().await.len(), world.colour(Colour::Green).healthy), (3, 2));
    world.running.clear_faults(None);
    world.status_is("SUCCESSFUL").await;
    assert_eq!((world.version().await, world.deployments().await.len()), ("3".to_owned(), 1));
    world.end().await;
}

/// Without a group that has all the traffic, ECS does not begin, and touches no weight.
#[tokio::test(flavor = "multi_thread")]
async fn a_split_that_somebody_left_is_not_begun_on() {
    let world = World::serving(quick()).await;
    assert_eq!(world.http.shift("60", "40").await.0, 200);
    let image = echo(world.directory.path(), &[]);
    world.release(&image, "2", canary()).await;
    let ended = world.status_is("ROLLBACK_SUCCESSFUL").await;
    let why = ended["statusReason"].as_str().unwrap();
    assert!(why.contains("found 2 target groups which are serving traffic"), "{why}");
    assert_eq!(world.weights()[0], (60, 40));
    assert_eq!(world.colour(Colour::Green).running, 0);
    world.end().await;
}

/// A first release that fails leaves a service without tasks, as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_release_that_fails_leaves_nothing() {
    let world = World::with(quick()).await;
    let bad = echo(world.directory.path(), &[("FAULT", "crash")]);
    world.release(&bad, "1", canary()).await;
    world.status_is("ROLLBACK_SUCCESSFUL").await;
    let told = world.http.ecs("DescribeServices", json!({ "services": [BLUE] })).await;
    assert_eq!(told["services"][0]["desiredCount"], 0);
    eventually("no task is left", async || {
        let tasks = world.http.ecs("ListTasks", json!({ "serviceName": BLUE })).await;
        tasks["taskArns"].as_array().unwrap().is_empty()
    })
    .await;
    let good = echo(world.directory.path(), &[]);
    world.release(&good, "2", canary()).await;
    world.status_is("SUCCESSFUL").await;
    assert_eq!(world.version().await, "2");
    world.end().await;
}
