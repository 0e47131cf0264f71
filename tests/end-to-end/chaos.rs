//! Something goes wrong at a random time, for a random while, and the promotion is killed at a random time, with its dead-man's switch left to
//! fire or not: whatever it is, traffic is never where it must not be, and the end is the new version whole or the world as it was.
//!
//! `LIFTLOCK_CHAOS_ROUNDS` says how many rounds are run in each strategy, `LIFTLOCK_CHAOS_SEED` with which it begins: each round has a seed of
//! its own, which a failure names.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use liftlock_stage::{Kind, Scenario, ServiceStatus, Span};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::{Signal, kill_process};
use tokio_util::sync::CancellationToken;

use crate::project::{Ran, until};
use crate::scenarios::{CANARY, ECS_CANARY, ROLLING, Room, Strategy, rows};

/// How many rounds are run in each strategy where nobody says.
const ROUNDS: u64 = 5;
/// How often traffic is looked at.
const LOOK: Duration = Duration::from_millis(15);

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// What is drawn for one round.
#[derive(Debug)]
struct Round {
    row: usize,
    /// When the fault comes, and for how long, in milliseconds.
    comes: i64,
    lasts: i64,
    /// When the promotion is killed, in milliseconds; if it still runs then.
    killed: Option<u64>,
    /// Whether nobody comes before its switch has fired.
    is_left: bool,
}

impl Round {
    fn draw(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        Self {
            row: random.random_range(0..rows().len()),
            comes: random.random_range(0..9000),
            lasts: random.random_range(300..6000),
            killed: random.random_bool(0.5).then(|| random.random_range(500..12_000)),
            is_left: random.random_bool(0.5),
        }
    }
}

/// Looks at the stage itself, all the while, and tells what must never be.
async fn watch(stage: PathBuf, kills_tasks: bool, end: CancellationToken) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut before = BTreeMap::<String, ServiceStatus>::new();
    while !end.is_cancelled() {
        let status = liftlock_stage::status(&stage).await.ok().flatten();
        for now in status.into_iter().flat_map(|status| status.services) {
            let sum: u32 = now.colours.iter().map(|colour| colour.weight).sum();
            if sum != 100 {
                wrong.push(format!("weights are {sum} in all: {now:?}"));
            }
            let last = before.insert(now.name.clone(), now.clone());
            for (now, last) in now.colours.iter().zip(last.iter().flat_map(|last| &last.colours)) {
                let deserted = now.weight > 0 && now.healthy == 0;
                if deserted && !kills_tasks && last.weight > 0 && last.healthy == 0 {
                    wrong.push(format!("users are left with tasks that are not healthy: {now:?}"));
                }
                let risen = now.weight > last.weight;
                if risen && !kills_tasks && now.healthy == 0 && last.healthy == 0 {
                    wrong.push(format!("users were sent to tasks that are not healthy: {now:?}"));
                }
                let lowered = now.desired < last.desired;
                if lowered && now.weight > 0 && last.weight > 0 {
                    wrong.push(format!("tasks were taken from users: {last:?} to {now:?}"));
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    wrong
}

/// Promotes, and kills that after a while if it is to be and still runs.
async fn promote(room: &Room, version: &str, killed: Option<u64>) -> Ran {
    let arguments = ["promote", "--env", "local", "--release", version];
    let promotion = room.project.start(&arguments, &[]);
    let pid = promotion.pid();
    let killing = killed.map(|after| {
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            kill_process(pid, Signal::KILL)
        })
    });
    let ran = promotion.end().await;
    if let Some(killing) = killing {
        killing.abort();
    }
    ran
}

async fn round(room: &mut Room, seed: u64) {
    let drawn = Round::draw(seed);
    let row = &rows()[drawn.row];
    let told = format!("seed {seed}: {} {drawn:?}", row.what);
    let before = room.project.world().await;
    let version = room.next_version().await;
    let mut fault = Room::fault(row, &version);
    fault.after = Some(Span::milliseconds(drawn.comes));
    fault.lasts = Some(Span::milliseconds(drawn.lasts));
    let stage = room.project.path(".liftlock/local/stage");
    let scenario = Scenario { seed, faults: vec![fault] };
    liftlock_stage::add_faults(&stage, &scenario).await.unwrap();
    let kills_tasks = matches!(row.kind, Kind::Crash | Kind::Memory | Kind::DatabaseCut);
    let end = CancellationToken::new();
    let watching = tokio::spawn(watch(stage.clone(), kills_tasks, end.clone()));

    let ran = promote(room, &version, drawn.killed).await;
    liftlock_stage::clear_faults(&stage, None).await.unwrap();
    if ran.status.code().is_none() && drawn.is_left {
        until("its switches have fired", async || room.project.schedules().await.is_empty()).await;
    }
    let resumed = match ran.status.code() {
        Some(0..=4) => None,
        // Killed, or stuck in what is gone now. Nothing to resume is what it says where it was killed before its first record, or after its last.
        _ => Some(room.project.run(&["promote", "--env", "local", "--resume"]).await),
    };
    end.cancel();
    let report = || {
        let resumed = resumed.as_ref().map(Ran::report).unwrap_or_default();
        format!("{told}\n{}\n{resumed}", ran.report())
    };
    let wrong = watching.await.unwrap();
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", report());
    if let Some(resumed) = &resumed {
        assert!(matches!(resumed.status.code(), Some(0..=2)), "{}", report());
    }
    let now = room.project.world().await;
    if now != before {
        let last = resumed.as_ref().unwrap_or(&ran).status.code();
        assert!(last != Some(1), "what failed leaves the world as it was: {now:#?}\n{}", report());
        assert_eq!(now.schema, before.schema + 1, "{}", report());
        room.project.serves(&version).await;
    }
    if resumed.is_some_and(|resumed| resumed.status.code() == Some(2)) {
        // Killed before its first record or after its last: there is nothing to take back, and the lease of the dead keeps nobody out.
        room.project.run(&["audit", "verify"]).await.exits(0).says("unbroken");
    } else {
        room.project.is_settled().await;
    }
}

async fn rounds(strategy: &'static Strategy) {
    let Some(mut room) = Room::new(strategy).await else { return };
    // A few seconds, so that a switch that is left to fire does.
    room.project.switch_after("6s");
    let first = number("LIFTLOCK_CHAOS_SEED", 1);
    for seed in first..first + number("LIFTLOCK_CHAOS_ROUNDS", ROUNDS) {
        round(&mut room, seed).await;
    }
}

/// Shows A-RB-1, C-RB-1 and E-SLA-1's ground: of random faults and random kills nothing is left, and on the way users are never sent where nobody
/// answers, nor tasks taken from them.
#[tokio::test(flavor = "multi_thread")]
async fn random_faults_and_kills_leave_nothing_half_way() {
    rounds(&CANARY).await;
}

/// The same where ECS replaces tasks.
#[tokio::test(flavor = "multi_thread")]
async fn random_faults_and_kills_leave_nothing_half_replaced() {
    rounds(&ROLLING).await;
}

/// The same where ECS moves the traffic.
#[tokio::test(flavor = "multi_thread")]
async fn random_faults_and_kills_leave_nothing_half_way_by_ecs() {
    rounds(&ECS_CANARY).await;
}
