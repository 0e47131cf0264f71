//! Migrations in promotions and rollbacks: drift, what takes long, what a way back needs, and fleets.

use liftlock_testkit::webhook;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::project::{Pace, Project};

const DEADLINE: std::time::Duration = std::time::Duration::from_secs(120);

async fn execute(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
}

/// Adds to the environment's file.
fn say(project: &Project, more: &str) {
    let path = project.path("environments/local.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}\n{more}")).unwrap();
}

fn add_regions(project: &Project) {
    let (up, rollback) = ("create table regions (name text);", "drop table regions;");
    project.add_migration(4, "create_regions", up, rollback);
    project.add_version("2.0.0", 4);
}

async fn events(project: &Project) -> Vec<Value> {
    let lines = project.run(&["audit", "export"]).await.exits(0).stdout;
    lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect()
}

async fn of_kind(project: &Project, kind: &str) -> Vec<Value> {
    let mut all: Vec<Value> =
        events(project).await.into_iter().map(|mut one| one["event"].take()).collect();
    all.retain(|event| event["kind"] == kind);
    all.into_iter().map(|mut event| event["data"].take()).collect()
}

const PROMOTE: [&str; 5] = ["promote", "--env", "local", "--release", "2.0.0"];

/// Shows B-DEP-2 and C-MIG-3: what somebody changed in the schema by hand stops a promotion before anything is touched, and is no
/// run, until it is settled.
#[tokio::test(flavor = "multi_thread")]
async fn drift_stops_a_promotion_before_anything_is_touched() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    add_regions(&project);
    let before = project.services().await;
    execute(&mut project.database().await, "alter table items add by_hand text").await;
    let runs = of_kind(&project, "run_started").await.len();
    let refused = project.run(&PROMOTE).await.exits(4);
    refused.says("nothing was touched").says("by_hand").says("migrate drift --env local --accept");
    assert_eq!(project.services().await, before);
    assert_eq!(of_kind(&project, "run_started").await.len(), runs, "it is no run");
    assert!(of_kind(&project, "incident_opened").await.is_empty());

    let accept = ["migrate", "drift", "--env", "local", "--accept", "a hot fix"];
    project.run(&accept).await.exits(0);
    project.run(&PROMOTE).await.exits(0);
    assert_eq!(project.schema().await, 4);
    // A way back is not barred by it.
    execute(&mut project.database().await, "alter table items add again text").await;
    project.run(&["rollback", "--env", "local"]).await.exits(0);
    project.serves("1.1.0").await;
}

/// Shows C-MIG-10: in a promotion, too, people are told of a migration that takes long while it is still running.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_migration_of_a_promotion_is_told_while_it_runs() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    say(
        &project,
        "[database.migrations]\nalert_after = \"100ms\"\nlock_timeout = \"100s\"\nstatement_timeout = \"100s\"\n\n\
         [[notifications]]\nkind = \"slack\"\nname = \"ops\"\nurl = { from = \"env\", variable = \"OPS_WEBHOOK\" }\n\
         on = [\"migration-long\"]\n",
    );
    // Its newest migration is one that waits for the lock on the items.
    project.add_version("2.0.0", 3);
    let (url, mut messages) = webhook().await;
    let mut blocker = project.database().await;
    execute(&mut blocker, "begin; lock table items in row exclusive mode").await;
    let promotion = project.start(&PROMOTE, &[("OPS_WEBHOOK", &url)]);
    let message = tokio::time::timeout(DEADLINE, messages.recv()).await.unwrap().unwrap();
    let text = message["text"].as_str().unwrap();
    assert!(text.contains("V0003__create_orders") && text.contains("still running"), "{text}");
    let long = of_kind(&project, "migration_long").await;
    assert_eq!(long[0]["id"]["version"], 3, "{long:#?}");
    let status = project.json(&["status", "--env", "local"]).await;
    assert_ne!(status[0]["holder"], Value::Null, "it is at work: {status:?}");
    execute(&mut blocker, "commit").await;
    promotion.end().await.exits(0);
    project.serves("2.0.0").await;
}

/// Shows C-RB-3: a rollback to a named version needs a reason and an approval where the environment says so. What was approved
/// when it was promoted does not count, and the reason is on record, in the ledger and in the database.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_needs_a_reason_and_an_approval() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let first = project.last_deployment().await["release"].as_str().unwrap().to_owned();
    let schema = project.schema().await;
    let approve = ["approve", "--env", "local", "--release", &first];
    let lead = [("LIFTLOCK_ACTOR", "tech-lead")];
    project.start(&approve, &lead).end().await.exits(0);
    add_regions(&project);
    project.run(&PROMOTE).await.exits(0);
    say(
        &project,
        "[rollback]\nreason_required = true\n\n[rollback.approvals]\nrequired = 1\nfrom = [\"tech-lead\"]\n",
    );
    let (before, back) = (project.world().await, ["rollback", "--env", "local", "--to", &first]);
    let refused = project.run(&back).await.exits(4);
    refused.says("--reason").says("nothing was touched");
    let reason = [&back[..], &["--reason", "orders vanish"]].concat();
    let waiting = project.run(&reason).await.exits(5);
    waiting.says("1 still needed of tech-lead").says("approve --env local --release");
    assert_eq!(project.world().await, before);

    project.start(&approve, &lead).end().await.exits(0);
    project.run(&back).await.exits(4).says("--reason");
    project.run(&reason).await.exits(0);
    project.serves("1.1.0").await;
    assert_eq!(project.schema().await, schema);
    let started = of_kind(&project, "run_started").await;
    assert_eq!(started.last().unwrap()["reason"], "orders vanish", "{started:#?}");
    let history = ["migrate", "status", "--env", "local", "--history"];
    project.run(&history).await.exits(0).says("orders vanish");
    let gates = of_kind(&project, "gate_evaluated").await;
    let refusals = gates.iter().filter(|one| one["gate"] == "reason" && one["verdict"] == "fail");
    assert_eq!(refusals.count(), 2, "{gates:#?}");
}

/// Shows C-RB-2: the last good release is found, the schema goes back, the application goes back, smoke tests say that it serves,
/// people are told, and an incident is on record.
#[tokio::test(flavor = "multi_thread")]
async fn a_way_back_has_its_order_and_its_record() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let good = project.last_deployment().await["release"].clone();
    say(
        &project,
        "[[notifications]]\nkind = \"slack\"\nname = \"ops\"\nurl = { from = \"env\", variable = \"OPS_WEBHOOK\" }\n\
         on = [\"rolled-back\"]\n",
    );
    let (url, mut messages) = webhook().await;
    let broken = ["promote", "--env", "local", "--release", "1.2.0-errors"];
    project.start(&broken, &[("OPS_WEBHOOK", &url)]).end().await.exits(1);
    let message = tokio::time::timeout(DEADLINE, messages.recv()).await.unwrap().unwrap();
    let text = message["text"].as_str().unwrap();
    assert!(text.contains("local: 1.2.0-errors") && text.contains("was rolled back"), "{text}");

    let run = project.json(&["history", "--env", "local", "--limit", "1"]).await[0]["run"].clone();
    let events: Vec<Value> =
        events(&project).await.into_iter().filter(|one| one["run"] == run).collect();
    let at = |is: &dyn Fn(&Value) -> bool| {
        let found = events.iter().position(|one| is(&one["event"]));
        found.unwrap_or_else(|| panic!("{events:#?}"))
    };
    let back = at(&|event| event["kind"] == "migration_ran" && event["data"]["rollback"] == true);
    let serves = at(&|event| {
        let data = &event["data"];
        let check = data["check"].as_str().unwrap_or_default();
        check.starts_with("after the rollback") && data["verdict"] == "pass"
    });
    let incident = at(&|event| event["kind"] == "incident_opened");
    let told = at(&|event| event["kind"] == "notified" && event["data"]["error"].is_null());
    assert!(back < serves && serves < incident && serves < told, "{events:#?}");
    assert_eq!(project.last_deployment().await["previous"], good);
    project.serves("1.1.0").await;
}

/// The databases of a fleet: the application's own, and others beside it.
struct Fleet {
    base: secrecy::SecretString,
    names: Vec<String>,
}

impl Fleet {
    async fn beside(project: &Project) -> Self {
        let base = liftlock_stage::database_url(&project.path(".liftlock/local/stage")).unwrap();
        let mut own = project.database().await;
        let name: String = sqlx::query_scalar("select current_database()::text")
            .fetch_one(&mut own)
            .await
            .unwrap();
        let mut names = vec![name];
        for number in 1..=3 {
            let tenant = format!("tenant_{number}");
            execute(&mut own, &format!("create database {tenant} template template0")).await;
            names.push(tenant);
        }
        say(
            project,
            &format!(
                "[database.fleet]\ndatabases = {{ from = \"list\", names = {names:?} }}\nwaves = [50, 100]\n"
            ),
        );
        Self { base, names }
    }

    async fn session(&self, name: &str) -> PgConnection {
        let base = self.base.expose_secret();
        let (server, rest) = base.rsplit_once('/').unwrap();
        let query = rest.split_once('?').map(|(_, query)| format!("?{query}")).unwrap_or_default();
        PgConnection::connect(&format!("{server}/{name}{query}")).await.unwrap()
    }

    /// The newest migration of each.
    async fn schemas(&self) -> Vec<i32> {
        let mut found = Vec::new();
        for name in &self.names {
            let newest = "select coalesce(max(version), 0) from refinery_schema_history";
            let newest = sqlx::query_scalar(newest).fetch_one(&mut self.session(name).await).await;
            found.push(newest.unwrap_or(0));
        }
        found
    }
}

/// A release goes over all databases of the fleet. When one of them fails, each goes back to where it was, and when the release
/// goes back by hand, so do they.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_takes_the_fleet_along_and_back() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let schema = i32::try_from(project.schema().await).unwrap();
    let fleet = Fleet::beside(&project).await;
    add_regions(&project);
    project.run(&PROMOTE).await.exits(0);
    assert_eq!(fleet.schemas().await, [4; 4]);
    let ran = of_kind(&project, "migration_ran").await;
    let of_fleet: Vec<&Value> = ran.iter().filter(|one| one["database"].is_string()).collect();
    let pending = usize::try_from(4 - schema).unwrap();
    assert_eq!(of_fleet.len(), pending + 3 * 4, "{of_fleet:#?}");
    assert_eq!(of_fleet[0]["database"], fleet.names[0].as_str(), "the canary is first");

    let up = "create table towns (); do $$ begin if current_database() = 'tenant_3' then raise exception 'not here'; end if; end $$;";
    project.add_migration(5, "towns", up, "drop table towns;");
    project.add_version("2.1.0", 5);
    let before = project.services().await;
    let failed = ["promote", "--env", "local", "--release", "2.1.0"];
    let ended = project.run(&failed).await.exits(1);
    ended.says("tenant_3").says("of the fleet's 4 databases failed").says("not here");
    let ran = of_kind(&project, "migration_ran").await;
    let taken = ran.iter().filter(|one| one["id"]["version"] == 5 && one["rollback"] == true);
    assert_eq!(taken.count(), 3, "what was applied was taken back: {ran:#?}");
    assert_eq!(fleet.schemas().await, [4; 4]);
    assert_eq!(project.services().await, before);
    project.is_settled().await;

    project.run(&["rollback", "--env", "local", "--reason", "a test"]).await.exits(0);
    project.serves("1.1.0").await;
    assert_eq!(fleet.schemas().await, [schema; 4]);
    project.is_settled().await;
}
