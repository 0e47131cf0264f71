//! Rolling migrations back by hand.

use crate::project::{Project, is_there};

const DEMANDS: &str = "[rollback]\nreason_required = true\n";

/// Shows C-RB-3 and C-MIG-6: where the environment demands a reason, nothing goes back without one, and the reason is in the
/// database's history and in the ledger. So is that it was refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_by_hand_needs_a_reason() {
    let Some(project) = Project::new(DEMANDS).await else { return };
    project.add("V0001__a", "create table a ();", "drop table a;");
    project.add("V0002__b", "create table b ();", "drop table b;");
    project.run(&["migrate"]).await.exits(0);
    let mut session = project.session().await;

    for more in [&[][..], &["--reason", "  "]] {
        let command = [&["migrate", "rollback", "--steps", "1"][..], more].concat();
        let refused = project.run(&command).await.exits(4);
        refused.says("without a reason").says("--reason TEXT").says("nothing was touched");
        assert!(is_there(&mut session, "b").await);
    }
    let refusals = project.events("gate_evaluated").await;
    assert_eq!(refusals.len(), 2, "{refusals:#?}");
    assert!(refusals.iter().all(|one| one["gate"] == "reason" && one["verdict"] == "fail"));

    let back = ["migrate", "rollback", "--to", "V0001", "--reason", "it broke the till"];
    project.run(&back).await.exits(0).says("rolled back V0002__b");
    assert!(!is_there(&mut session, "b").await && is_there(&mut session, "a").await);
    let status = project.run(&["migrate", "status", "--history"]).await.exits(0);
    status.says("it broke the till").says("by ann");
    let by_hand = project.events("migrations_by_hand").await;
    assert_eq!(by_hand[0]["reason"], "it broke the till", "{by_hand:#?}");
    let ran = project.events("migration_ran").await;
    assert_eq!(ran.iter().filter(|one| one["rollback"] == true).count(), 1, "{ran:#?}");
}

/// Shows B-DEP-2's audit trail, and that no reason is demanded where the environment does not say so.
#[tokio::test(flavor = "multi_thread")]
async fn other_environments_demand_none() {
    let Some(project) = Project::new("").await else { return };
    project.add("V0001__a", "create table a (id int);", "drop table a;");
    project.run(&["migrate"]).await.exits(0);
    let mut session = project.session().await;
    sqlx::raw_sql("insert into a values (1)").execute(&mut session).await.unwrap();
    let back = ["migrate", "rollback", "--steps", "1"];
    project.run(&back).await.exits(4).says("1 row").says("--accept-data-loss");
    assert!(is_there(&mut session, "a").await);
    project.run(&[&back[..], &["--accept-data-loss"]].concat()).await.exits(0);
    assert!(!is_there(&mut session, "a").await);
}
