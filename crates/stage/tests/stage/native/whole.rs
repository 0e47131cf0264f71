//! Whole deployments: begun, shifted, baked, completed.

use std::ffi::OsString;
use std::path::Path;

use liftlock_stage::{
    Colour, Fault, Kind, Running, Scenario, ServeOptions, Stage, StageError, Timing, ensure,
    status, stop,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{BLUE, canary, quick, release, slow};
use crate::client::{Http, World, arn_of, echo, eventually, of_colour, topology};
use crate::models;

const STAGES: [&str; 10] = [
    "RECONCILE_SERVICE",
    "PRE_SCALE_UP",
    "SCALE_UP",
    "POST_SCALE_UP",
    "TEST_TRAFFIC_SHIFT",
    "POST_TEST_TRAFFIC_SHIFT",
    "PRODUCTION_TRAFFIC_SHIFT",
    "POST_PRODUCTION_TRAFFIC_SHIFT",
    "BAKE_TIME",
    "CLEAN_UP",
];

/// What looks at a deployment saw, each once, in the order in which it came.
#[derive(Debug, Default)]
struct Looks {
    stages: Vec<String>,
    production: Vec<f64>,
    statuses: Vec<String>,
}

impl Looks {
    fn add<T: PartialEq>(all: &mut Vec<T>, one: T) {
        if all.last() != Some(&one) {
            all.push(one);
        }
    }

    fn see(&mut self, deployment: &Value) {
        let (target, source) =
            (&deployment["targetServiceRevision"], &deployment["sourceServiceRevisions"][0]);
        for weight in ["requestedProductionTrafficWeight", "requestedTestTrafficWeight"] {
            let sum = target[weight].as_f64().unwrap() + source[weight].as_f64().unwrap();
            assert!((sum - 100.0).abs() < 1e-9, "{weight}: {deployment}");
        }
        let weight = target["requestedProductionTrafficWeight"].as_f64().unwrap();
        Self::add(&mut self.production, weight);
        Self::add(&mut self.statuses, deployment["status"].as_str().unwrap().to_owned());
        if let Some(stage) = deployment["lifecycleStage"].as_str() {
            Self::add(&mut self.stages, stage.to_owned());
        }
    }

    /// Every stage comes after the one before it, and no share but these is given, in this order. How many of them are seen is the
    /// machine's affair.
    fn are_in_order(&self, shares: &[f64]) {
        let places: Vec<_> =
            self.stages.iter().map(|seen| STAGES.iter().position(|stage| stage == seen)).collect();
        assert!(places.is_sorted() && !places.contains(&None), "{self:?}");
        assert!(self.production.is_sorted(), "{self:?}");
        assert!(self.production.iter().all(|seen| shares.contains(seen)), "{self:?}");
        assert_eq!(self.production.last(), Some(&100.0));
    }
}

/// A deployment from its start to its end, with users who ask all the time.
async fn whole(world: &World, version: &str, configuration: Value, shares: &[f64]) {
    let image = echo(world.directory.path(), &[("DELAY_MS", "2")]);
    let users = world.users();
    world.release(&image, version, configuration.clone()).await;
    let mut looks = Looks::default();
    let ended = world
        .until("SUCCESSFUL", |newest| {
            looks.see(newest);
            newest["status"] == "SUCCESSFUL"
        })
        .await;
    for (member, value) in configuration.as_object().unwrap() {
        assert_eq!(&ended["deploymentConfiguration"][member], value, "{member}");
    }
    assert_eq!(ended["targetServiceRevision"]["runningTaskCount"], 2, "{ended}");
    assert_eq!(ended["sourceServiceRevisions"][0]["runningTaskCount"], 0, "{ended}");
    assert_eq!(world.version().await, version);
    users.are_content().await;
    looks.are_in_order(shares);
    world.completed().await;
}

/// Where a deployment waits, it says so: for its tasks without any traffic, then by its strategy.
#[tokio::test(flavor = "multi_thread")]
async fn each_strategy_waits_where_it_bakes() {
    let world = World::serving(slow()).await;
    let linear = json!({
        "strategy": "LINEAR", "linearConfiguration": { "stepPercent": 12.5, "stepBakeTimeInMinutes": 1 },
    });
    let blue_green = json!({ "strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1 });
    let late =
        Fault::from_words(Kind::SlowStart, &["name=late", "colour=green", "delay=1h"]).unwrap();
    let test = world.weights()[1];
    for (configuration, stage, share, weights) in [
        (blue_green.clone(), "SCALE_UP", 0.0, [(100, 0), test]),
        (canary(), "PRODUCTION_TRAFFIC_SHIFT", 10.0, [(90, 10), (0, 100)]),
        (linear, "PRODUCTION_TRAFFIC_SHIFT", 12.5, [(875, 125), (0, 100)]),
        (blue_green, "BAKE_TIME", 100.0, [(0, 100), (0, 100)]),
    ] {
        if stage == "SCALE_UP" {
            let faults = vec![late.clone()];
            world.running.add_faults(Scenario { seed: 1, faults }).unwrap();
        }
        let image = echo(world.directory.path(), &[("STAGE", stage)]);
        world.release(&image, "2", configuration).await;
        let mut newest = Value::Null;
        eventually(stage, async || {
            newest = world.newest_of(BLUE).await;
            newest["lifecycleStage"] == stage
        })
        .await;
        assert_eq!(newest["targetServiceRevision"]["requestedProductionTrafficWeight"], share);
        assert_eq!(world.weights(), weights, "{stage}");
        let stop = json!({ "serviceDeploymentArn": newest["serviceDeploymentArn"] });
        assert_eq!(world.http.json("ecs", "StopServiceDeployment", stop).await.0, 200);
        assert_eq!(world.weights()[0], (100, 0));
        world.status_is("ROLLBACK_SUCCESSFUL").await;
        world.running.clear_faults(Some("late"));
    }
    world.end().await;
}

/// All at once, twice: each deployment goes to the target group without traffic, and leaves the other one empty.
#[tokio::test(flavor = "multi_thread")]
async fn blue_green_swaps_the_target_groups() {
    let world = World::serving(quick()).await;
    let configuration = json!({ "strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5 });
    whole(&world, "2", configuration.clone(), &[0.0, 100.0]).await;
    assert_eq!(world.weights(), [(0, 100), (0, 100)]);
    let (blue, green) = (world.colour(Colour::Blue), world.colour(Colour::Green));
    assert_eq!((blue.desired, blue.running, green.desired, green.running), (0, 0, 2, 2));
    assert_eq!(green.version.as_deref(), Some("2"));
    whole(&world, "3", configuration, &[0.0, 100.0]).await;
    assert_eq!(world.weights(), [(100, 0), (100, 0)]);
    assert_eq!(world.colour(Colour::Blue).healthy, 2);
    assert_eq!(world.colour(Colour::Green).running, 0);
    world.end().await;
}

/// Equal steps, each baked; the last one is what is left.
#[tokio::test(flavor = "multi_thread")]
async fn linear_goes_by_equal_steps() {
    let world = World::serving(quick()).await;
    let configuration = json!({
        "strategy": "LINEAR", "bakeTimeInMinutes": 2,
        "linearConfiguration": { "stepPercent": 40.0, "stepBakeTimeInMinutes": 3 },
    });
    whole(&world, "2", configuration, &[0.0, 40.0, 80.0, 100.0]).await;
    world.end().await;
}

/// A small share, baked, and then the rest. Both revisions are whole meanwhile, and both deployments are listed.
#[tokio::test(flavor = "multi_thread")]
async fn canary_goes_by_a_share_and_the_rest() {
    let world = World::serving(slow()).await;
    let image = echo(world.directory.path(), &[]);
    world.release(&image, "2", canary()).await;
    let now = world.at_canary().await;
    assert_eq!(world.weights(), [(90, 10), (0, 100)]);
    assert_eq!(now["lifecycleStage"], "PRODUCTION_TRAFFIC_SHIFT");
    for revision in [&now["targetServiceRevision"], &now["sourceServiceRevisions"][0]] {
        let counts = (&revision["requestedTaskCount"], &revision["runningTaskCount"]);
        assert_eq!(counts, (&json!(2), &json!(2)), "{now}");
    }
    let listed = world.deployments().await;
    let told: Vec<_> = listed.iter().map(|d| (&d["status"], &d["rolloutState"])).collect();
    let [primary, active] =
        [("PRIMARY", "IN_PROGRESS"), ("ACTIVE", "COMPLETED")].map(|(a, b)| (json!(a), json!(b)));
    assert_eq!(told, [(&primary.0, &primary.1), (&active.0, &active.1)], "{listed:?}");
    let mut new = 0;
    for _ in 0..50 {
        new += u32::from(world.version().await == "2");
    }
    assert_eq!(new, 5, "of 50 at 10 %");
    let errors = Fault::from_words(Kind::Errors, &["colour=green", "status=503"]).unwrap();
    world.running.add_faults(Scenario { seed: 1, faults: vec![errors] }).unwrap();
    let mut failed = 0;
    for _ in 0..50 {
        let (status, _) = world.http.get(world.running.stage.url.as_str()).await.unwrap();
        failed += u32::from(status == 503);
    }
    assert_eq!(failed, 5, "faults of a colour are those of the target group");
    world.end().await;

    let world = World::serving(quick()).await;
    whole(&world, "2", canary(), &[0.0, 10.0, 100.0]).await;
    world.end().await;
}

/// ECS does not look at the live weights before it shifts: what somebody set meanwhile is written over.
#[tokio::test(flavor = "multi_thread")]
async fn live_weights_are_not_looked_at() {
    let world = World::serving(quick()).await;
    let image = echo(world.directory.path(), &[]);
    world.release(&image, "2", canary()).await;
    world.at_canary().await;
    assert_eq!(world.http.shift("55", "45").await.0, 200);
    world.status_is("SUCCESSFUL").await;
    assert_eq!(world.weights()[0], (0, 100));
    world.end().await;
}

async fn again(directory: &Path, timing: Timing) -> (Running, Http) {
    let options = ServeOptions {
        timing,
        record: Some(directory.join(models::CALLS)),
        ..ServeOptions::new(directory)
    };
    // Processes that other tests are just starting hold what this one has open until they are programs of their own: the lock, too.
    let mut spawned = None;
    eventually("the lock is free", async || {
        match Stage::spawn(options.clone(), &topology()).await {
            Err(StageError::AlreadyRunning { .. }) => false,
            other => {
                spawned = Some(other.unwrap());
                true
            }
        }
    })
    .await;
    let running = spawned.unwrap();
    let http = Http::new(&running.stage);
    (running, http)
}

/// A stage that stops half way goes on where it was: same deployment, stage and weights, and both revisions' tasks.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_half_way() {
    let World { running, http, directory } = {
        let world = World::serving(slow()).await;
        let image = echo(world.directory.path(), &[]);
        world.release(&image, "2", canary()).await;
        world
    };
    let world = World { running, http, directory };
    let before = world.at_canary().await;
    let World { running, directory, .. } = world;
    running.stop().await;

    let (running, http) = again(directory.path(), slow()).await;
    let world = World { running, http, directory };
    assert_eq!(world.weights()[0], (90, 10));
    world.steady(Colour::Blue, 2).await;
    world.steady(Colour::Green, 2).await;
    let now = world.newest_of(BLUE).await;
    for member in ["serviceDeploymentArn", "status", "lifecycleStage"] {
        assert_eq!(now[member], before[member], "{member}");
    }
    let World { running, directory, .. } = world;
    running.stop().await;

    let (running, http) = again(directory.path(), quick()).await;
    let world = World { running, http, directory };
    let ended = world.status_is("SUCCESSFUL").await;
    assert_eq!(ended["serviceDeploymentArn"], before["serviceDeploymentArn"]);
    assert_eq!((world.weights()[0], world.version().await), ((0, 100), "2".to_owned()));
    world.end().await;
}

/// A revision says in which target group it is, and targets and CloudWatch's counts are that group's.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_follows_the_tasks_group() {
    let world = World::serving(quick()).await;
    let configuration = json!({ "strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0 });
    whole(&world, "2", configuration, &[0.0, 100.0]).await;
    let arn = world.newest_of(BLUE).await["targetServiceRevision"]["arn"].clone();
    let asked = json!({ "serviceRevisionArns": [arn] });
    let (_, told) = world.http.json("ecs", "DescribeServiceRevisions", asked).await;
    let resolved = &told["serviceRevisions"][0]["resolvedConfiguration"]["loadBalancers"][0];
    assert_eq!(resolved["targetGroupArn"], arn_of("green"));
    let health = async |colour: &str| {
        let arn = arn_of(colour);
        let form = [("Action", "DescribeTargetHealth"), ("TargetGroupArn", &arn)];
        world.http.query("elasticloadbalancing", &form).await.1
    };
    assert_eq!(health("green").await.matches("<State>healthy</State>").count(), 2);
    eventually("blue is empty", async || !health("blue").await.contains("<Target>")).await;
    let path = arn_of("green").rsplit_once(':').unwrap().1.to_owned();
    let requests = world
        .http
        .metric("AWS/ApplicationELB", "RequestCount", "Sum", &[("TargetGroup", &path)])
        .await;
    assert!(requests.is_some_and(|count| count > 0.0), "{requests:?}");
    world.end().await;
}

/// A stage that is killed half way goes on when it is started again, there with minutes of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_stage_goes_on_half_way() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path();
    let start = async |minute: &str| {
        let set = format!("LIFTLOCK_STAGE_MINUTE={minute}");
        let program = env!("CARGO_BIN_EXE_liftlock-stage");
        let arguments = [set.as_str(), program, "--directory"].map(OsString::from);
        let arguments = [&arguments[..], &[directory.into()]].concat();
        ensure(directory, Path::new("/usr/bin/env"), &arguments, &topology()).await.unwrap()
    };
    let green = async || of_colour(&status(directory).await.unwrap().unwrap(), Colour::Green);
    let first = start("1h").await;
    let http = Http::new(&first);
    release(&http, &echo(directory, &[]), "1", canary()).await;
    eventually("10 % of a first release", async || green().await.weight == 10).await;
    let pid = Pid::from_raw(first.pid.try_into().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    eventually("it is gone", async || status(directory).await.is_ok_and(|found| found.is_none()))
        .await;
    let second = start("50ms").await;
    eventually("all of it", async || {
        let green = green().await;
        (green.weight, green.healthy) == (100, 2)
    })
    .await;
    assert_eq!(Http::new(&second).get(second.url.as_str()).await.unwrap().1, "1");
    assert!(stop(directory).await.unwrap());
}
