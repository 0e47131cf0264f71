//! Many databases of one environment.

use liftlock_migrate::fleet::FleetTarget;
use liftlock_testkit::Moto;
use secrecy::{ExposeSecret as _, SecretString};

use crate::project::{Project, execute, is_there, session};

/// Makes databases beside the project's own, named after it.
async fn tenants(project: &Project, count: usize) -> Vec<String> {
    let mut home = project.session().await;
    let names: Vec<String> =
        (0..count).map(|n| format!("{}_{n}", project.database.name())).collect();
    for name in &names {
        execute(&mut home, &format!("create database {name} template template0")).await;
    }
    names
}

fn url(project: &Project, name: &str) -> SecretString {
    FleetTarget::on_server(project.database.url(), name).unwrap().url
}

async fn with_table(project: &Project, names: &[String], table: &str) -> Vec<bool> {
    let mut found = Vec::new();
    for name in names {
        found.push(is_there(&mut session(&url(project, name)).await, table).await);
    }
    found
}

/// An environment's list of databases: the canary first; a failure there ends it; the next run goes on; and the ledger says which
/// migration ran in which database.
#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_migrated_by_its_environment() {
    let Some(project) = Project::new("").await else { return };
    let names = tenants(&project, 4).await;
    project.environment(&format!(
        "[database.fleet]\ndatabases = {{ from = \"list\", names = {names:?} }}\ncanary = {:?}\nwaves = [50, 100]\n",
        names[2]
    ));
    let up = "create table a (); do $$ begin if current_setting('shop.broken', true) = 'yes' then raise exception 'not here'; end if; end $$;";
    project.add("V0001__a", up, "drop table a;");
    let mut home = project.session().await;
    execute(&mut home, &format!("alter database {} set shop.broken = 'yes'", names[2])).await;
    let failed = project.run(&["migrate", "fleet"]).await.exits(1);
    failed.says("the canary failed").says("not here").says("3 not tried");
    assert_eq!(with_table(&project, &names, "a").await, [false; 4]);

    execute(&mut home, &format!("alter database {} reset shop.broken", names[2])).await;
    project.run(&["migrate", "fleet"]).await.exits(0).says("4 databases: 4 applied");
    assert_eq!(with_table(&project, &names, "a").await, [true; 4]);
    project.run(&["migrate", "fleet"]).await.exits(0).says("4 up to date");
    let ran = project.events("migration_ran").await;
    assert_eq!(ran.len(), 4, "{ran:#?}");
    assert_eq!(ran[0]["database"], names[2].as_str(), "the canary is first: {ran:#?}");

    // One of them alone.
    project.run(&["migrate", "status"]).await.exits(2).says("--database NAME");
    let one = |command| ["migrate", command, "--database", &names[1]];
    project.run(&one("status")).await.exits(0).says("V0001__a").says(&names[1]);
    let back = [&one("rollback")[..], &["--steps", "1"]].concat();
    project.run(&back).await.exits(0).says("rolled back V0001__a");
    assert_eq!(with_table(&project, &names, "a").await, [true, false, true, true]);
    let ran = project.events("migration_ran").await;
    assert_eq!(ran.last().unwrap()["database"], names[1].as_str());

    // All of them, each from where it is.
    let back = ["migrate", "fleet", "--rollback-to", "0", "--reason", "ticket 7"];
    project.run(&back).await.exits(0).says("3 rolled back, 1 had nothing newer");
    assert_eq!(with_table(&project, &names, "a").await, [false; 4]);
    let ran = project.events("migration_ran").await;
    let rolled_back = |one: &&serde_json::Value| one["rollback"] == true;
    assert_eq!(ran.iter().filter(rolled_back).count(), 4, "{ran:#?}");
    let by_hand = project.events("migrations_by_hand").await;
    assert_eq!(by_hand.last().unwrap()["reason"], "ticket 7", "{by_hand:#?}");

    let nobody = ["migrate", "status", "--database", "nobody"];
    project.run(&nobody).await.exits(2).says("none of the fleet's 4 databases");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_may_be_what_a_query_finds() {
    let Some(project) = Project::new("").await else { return };
    let names = tenants(&project, 2).await;
    let sql = format!(
        "select datname from pg_database where datname like '{}\\_%' order by 1",
        project.database.name()
    );
    project.environment(&format!(
        "[database.fleet]\ndatabases = {{ from = \"query\", sql = {sql:?} }}\n"
    ));
    project.add("V0001__a", "create table a ();", "drop table a;");
    project.run(&["migrate", "fleet"]).await.exits(0).says("2 databases: 2 applied");
    assert_eq!(with_table(&project, &names, "a").await, [true; 2]);
    assert!(
        !is_there(&mut project.session().await, "a").await,
        "the one with the list is none of them"
    );
}

/// Parameters below a path of SSM Parameter Store: more than one page of them, each with its database's URL.
#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_may_be_what_ssm_knows() {
    let Some(mut project) = Project::new("").await else { return };
    let Some(moto) = Moto::start().await else { return };
    let names = tenants(&project, 12).await;
    let aws = moto.aws();
    for name in &names {
        let parameter = format!("/shop/prod/databases/{name}");
        let value = url(&project, name).expose_secret().to_owned();
        let put = ["ssm", "put-parameter", "--type", "SecureString", "--name", &parameter];
        aws.call([&put[..], &["--value", &value]].concat()).await;
    }
    for (name, value) in moto.variables() {
        project.set(&name, value);
    }
    let path =
        "[database.fleet]\ndatabases = { from = \"ssm\", path = \"/shop/prod/databases\" }\n";
    project.environment(path);
    project.add("V0001__a", "create table a ();", "drop table a;");
    let ran = project.run(&["migrate", "fleet"]).await.exits(0);
    ran.says("12 databases: 12 applied").says(&names[11]);
    assert_eq!(with_table(&project, &names, "a").await, [true; 12]);

    project.environment(&path.replace("/databases\"", "/nothing\""));
    project
        .run(&["migrate", "fleet"])
        .await
        .exits(2)
        .says("the SSM path `/shop/prod/nothing` gives none");
}
