//! Two at once: one runs, and the other is told which.

use crate::project::{Pace, Project, Ran};

/// How often two promotions meet.
const TIMES: usize = 20;

/// Shows W-5 and C-AUD-6: two promotions at once: exactly one runs, and the other exits 7 and names it; twenty times.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_promotions_at_once_exactly_one_runs() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    let recorded = project.json(&["history", "--env", "local"]).await.len();
    for time in 1..=TIMES {
        let version = format!("2.{time}.0");
        project.add_version(&version, 2);
        let promote = ["promote", "--env", "local", "--release", version.as_str()];
        let (one, other) = (project.start(&promote, &[]), project.start(&promote, &[]));
        let (one, other) = tokio::join!(one.end(), other.end());
        let (ran, refused) = match (one.status.code(), other.status.code()) {
            (Some(0), Some(7)) => (one, other),
            (Some(7), Some(0)) => (other, one),
            _ => panic!("time {time}: {}\n{}", one.report(), other.report()),
        };
        names_the_run(&refused, &run_of(&ran));
        project.serves(&version).await;
    }
    assert_eq!(
        project.json(&["history", "--env", "local", "--limit", "100"]).await.len(),
        recorded + TIMES
    );
    project.is_settled().await;
}

/// Shows W-5: nobody resumes, or rolls back, what is not dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_at_work_is_not_resumed() {
    let Some(project) = Project::serving(Pace::FAST).await else { return };
    project.set_pace(Pace { step_bake: 60_000, bake: 60_000 });
    project.add_version("2.0.0", 2);
    let promotion = project.start(&["promote", "--env", "local", "--release", "2.0.0"], &[]);
    let promotion = promotion.heard_until("rollout/wave-1/smoke").await;
    let run =
        promotion.said.split_whitespace().find(|word| word.starts_with("run-")).unwrap().to_owned();
    for arguments in
        [&["promote", "--env", "local", "--resume"][..], &["rollback", "--env", "local"]]
    {
        let refused = project.run(arguments).await.exits(7);
        names_the_run(&refused, &run);
    }
    project.run(&["status", "--env", "local"]).await.exits(0).says(&run);
    rustix::process::kill_process(promotion.started.pid(), rustix::process::Signal::TERM).unwrap();
    promotion.end().await.exits(1);
    project.serves("1.1.0").await;
}

fn run_of(ran: &Ran) -> String {
    let run = ran.stdout.split_whitespace().find(|word| word.starts_with("run-"));
    run.unwrap_or_else(|| panic!("{}", ran.report())).to_owned()
}

fn names_the_run(refused: &Ran, run: &str) {
    let told = refused.stderr.contains(run) && refused.stderr.contains("tester");
    assert!(told, "{run} is not named: {}", refused.report());
}
