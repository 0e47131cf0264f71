//! A promotion that dies or is told to stop: at every record of its journal, forward and on its way back, and in the middle
//! of a bake.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::Value;
use sqlx::Row as _;

use crate::project::{Pace, Project, Ran, ServiceWorld, World, until};

/// The newest migration of the version that serves when a test of this file begins.
const BASE_SCHEMA: usize = 2;
/// How long traffic may take to go back after a signal (a fact, not a benchmark: it takes a tenth of that).
const BACK_WITHIN: Duration = Duration::from_secs(5);
/// How many runs are killed in one project.
const RECORDS_A_PROJECT: usize = 14;

/// One more version with one more migration.
fn next_version(project: &Project, turn: usize, backend: &str) -> String {
    let number = BASE_SCHEMA + 1 + turn;
    let version = format!("2.{turn}.0");
    // V0003 is there already.
    if turn > 0 {
        let name = format!("create_step_{number}");
        let apply = format!("create table step_{number} (id bigint primary key);\n");
        project.add_migration(number, &name, &apply, &format!("drop table step_{number};\n"));
    }
    project.add_version_with(&version, number, backend);
    version
}

async fn promote(project: &Project, version: &str, fault: Option<String>) -> Ran {
    let arguments = ["promote", "--env", "local", "--release", version];
    match fault {
        Some(fault) => project.run_with_fault(&fault, &arguments).await,
        None => project.run(&arguments).await,
    }
}

/// The records in the journal of the newest run.
async fn journal(project: &Project) -> Vec<Value> {
    let runs = project.json(&["history", "--env", "local", "--limit", "1"]).await;
    let run = runs[0]["run"].as_str().unwrap();
    let entries = project.json(&["history", "--run", run]).await;
    let journal = entries.into_iter().filter(|entry| entry["event"]["kind"] == "journal");
    journal.map(|mut entry| entry["event"]["data"]["record"].take()).collect()
}

/// Asserts that each service has all traffic on one colour, whose tasks are all there, and nothing on the other.
fn is_whole(world: &World) {
    for (name, service) in &world.services {
        let (live, idle) = match service.weights["blue"].as_u64() {
            Some(100) => (&service.blue, &service.green),
            Some(0) => (&service.green, &service.blue),
            _ => panic!("traffic of {name} is split: {service:#?}"),
        };
        assert_eq!(live["healthy_targets"], 2, "{name}: {service:#?}");
        assert_eq!(live["running"], 2, "{name}: {service:#?}");
        assert_eq!(
            (&idle["desired"], &idle["running"]),
            (&0.into(), &0.into()),
            "{name}: {service:#?}"
        );
    }
}

/// Asserts that no migration was applied again while it was applied.
async fn no_migration_ran_twice(project: &Project) {
    let mut database = project.database().await;
    let rows = sqlx::query(
        "select version, count(*) filter (where action = 'apply') as applied,
                count(*) filter (where action = 'rollback') as rolled_back
         from liftlock_schema_history group by version order by version",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    assert!(rows.len() > BASE_SCHEMA, "the history has what was applied");
    for row in rows {
        let version: i32 = row.get("version");
        let (applied, back): (i64, i64) = (row.get("applied"), row.get("rolled_back"));
        assert!(applied - back == 1 || applied == back, "V{version:04}: {applied} and {back}");
    }
}

/// Kills promotions of healthy versions at each of their records that is `wanted` by its number and kind, resumes each, and looks at
/// the end.
async fn killed_at_records(kill: &str, wanted: impl Fn(usize, &str) -> bool) {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let version = next_version(&project, 0, "");
    promote(&project, &version, None).await.exits(0);
    let records = journal(&project).await;
    assert!(records.len() > 50, "{} records", records.len());
    drop(project);
    // Each run reads the whole ledger: several short ones are faster than one long one.
    let kinds = records.iter().map(|record| record["record"].as_str().unwrap());
    let all = kinds.enumerate().map(|(index, kind)| (index + 1, kind));
    let all: Vec<_> = all.filter(|(number, kind)| wanted(*number, kind)).collect();
    let all: Vec<_> = all.into_iter().map(|(number, _)| number).collect();
    assert!(all.len() > 20, "{all:?}");
    for some in all.chunks(RECORDS_A_PROJECT) {
        killed_at_these_records(kill, some).await;
    }
}

async fn killed_at_these_records(kill: &str, records: &[usize]) {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    for (turn, record) in records.iter().enumerate() {
        let version = next_version(&project, turn, "");
        let killed = promote(&project, &version, Some(format!("{kill}:{record}"))).await;
        let place = format!("{kill}:{record}");
        assert_eq!(killed.status.signal(), Some(9), "{place}: {}", killed.report());
        if turn == 1 && killed.stdout.contains("infrastructure/plan") {
            let refused = project.run(&["promote", "--env", "local"]).await.exits(7);
            refused.says("was interrupted in local").says("promote --env local --resume");
        }
        // Nothing is wrong with these versions, so that each is finished; one that went back whole would be no mixture, and
        // still a promotion lost for nothing.
        let resumed = project.run(&["promote", "--env", "local", "--resume"]).await.exits(0);
        let world = project.world().await;
        let schema = i64::try_from(BASE_SCHEMA + 1 + turn).unwrap();
        assert_eq!(world.schema, schema, "{place}: {}", resumed.report());
        is_whole(&world);
        project.serves(&version).await;
        project.is_free().await;
    }
    project.is_settled().await;
    no_migration_ran_twice(&project).await;
}

/// Shows C-PIPE-2, W-5: `kill -9` when a step has acted and its result is not on record yet, for each step, then `--resume`: the new
/// release whole, no migration twice, the chain unbroken, no lease left.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_killed_before_any_result_is_on_record_is_resumed() {
    killed_at_records("kill-before-record", |_, kind| kind != "intended").await;
}

/// Shows C-PIPE-2, W-5: as above, when what a step is going to do is on record and not done yet; and between some of the steps (the
/// saga's own tests are killed between all).
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_killed_after_any_intent_is_resumed() {
    killed_at_records("kill-after-record", |number, kind| kind == "intended" || number % 8 == 1)
        .await;
}

/// Shows C-RB-1 and C-MIG-6: a version fails under traffic, and the promotion dies at each record of its way back; `--resume`
/// ends with the old release whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_killed_at_any_record_is_resumed() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let broken = "FAULT = \"wears-out\"";
    let before = project.world().await;
    let version = next_version(&project, 0, broken);
    promote(&project, &version, None).await.exits(1);
    let journal = journal(&project).await;
    let failed = journal.iter().position(|record| record["record"] == "failed").unwrap() + 1;
    assert!(journal.len() - failed > 10, "{journal:#?}");
    for (turn, record) in (failed..=journal.len()).enumerate() {
        let version = next_version(&project, turn + 1, broken);
        let kill = if record % 2 == 0 { "kill-before-record" } else { "kill-after-record" };
        let killed = promote(&project, &version, Some(format!("{kill}:{record}"))).await;
        if killed.status.code() == Some(1) {
            // It failed a wave earlier than the first one did, so that it has not as many records.
            let records = self::journal(&project).await.len();
            assert!(records < record, "{kill} {record} of {records}: {}", killed.report());
            assert_eq!(project.world().await, before, "{kill} {record}");
            continue;
        }
        assert_eq!(killed.status.signal(), Some(9), "{kill} {record}: {}", killed.report());
        project.run(&["promote", "--env", "local", "--resume"]).await.exits(1);
        assert_eq!(project.world().await, before, "{kill} {record}");
        project.serves("1.1.0").await;
        project.is_free().await;
    }
    project.is_settled().await;
    no_migration_ran_twice(&project).await;
}

fn weights(services: &BTreeMap<String, ServiceWorld>) -> Vec<&Value> {
    services.values().map(|service| &service.weights).collect()
}

/// Asks a promotion to stop while it watches, with a tenth of the traffic on the new version.
async fn stopped_while_it_watches(signal: Signal) {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let before = project.world().await;
    project.set_pace(Pace { step_bake: 60_000, bake: 60_000 });
    project.add_version("2.0.0", 3);
    let promotion = project.start(&["promote", "--env", "local", "--release", "2.0.0"], &[]);
    let promotion = promotion.heard_until("rollout/wave-1/smoke").await;
    assert_ne!(weights(&project.services().await), weights(&before.services));

    let told = Instant::now();
    kill_process(promotion.started.pid(), signal).unwrap();
    until("traffic is back", async || {
        weights(&project.services().await) == weights(&before.services)
    })
    .await;
    assert!(told.elapsed() < BACK_WITHIN, "traffic was back after {:?}", told.elapsed());
    let said = promotion.end().await.exits(1).stdout;
    assert!(said.contains("stopping: traffic goes back first"), "{said}");
    assert!(said.contains("was rolled back"), "{said}");
    assert_eq!(project.world().await, before);
    project.serves("1.1.0").await;
    project.is_settled().await;
}

/// Shows A-RB-1 (an operator's word): SIGTERM in the middle of a bake gives traffic back at once, and exits 1.
#[tokio::test(flavor = "multi_thread")]
async fn traffic_is_back_within_seconds_of_sigterm() {
    stopped_while_it_watches(Signal::TERM).await;
}

/// Shows A-RB-1 (an operator's word): so does Ctrl-C.
#[tokio::test(flavor = "multi_thread")]
async fn traffic_is_back_within_seconds_of_sigint() {
    stopped_while_it_watches(Signal::INT).await;
}
