//! Views of a ledger as a promotion writes it.

use jiff::Timestamp;
use liftlock_ledger::projection::{self, Decision};
use liftlock_ledger::{Draft, Ledger, Query};
use liftlock_model::{
    Actor, ArtifactHash, Deployment, DeploymentStatus, EnvName, Event, Left, Outcome, Record,
    Release, ReleaseContent, RunId, RunKind, StepName,
};
use serde_json::json;

use crate::place::{Place, ann, dev, on_both, run};

on_both! {
    the_history_tells_what_was_deployed_and_what_serves,
    gates_see_approvals_and_promotions,
    an_interrupted_run_is_found_until_it_ends,
}

pub(crate) fn release(version: &str) -> Release {
    Release::new(ReleaseContent {
        version: version.into(),
        commit: "c0ffee00".repeat(5).parse().unwrap(),
        branch: Some("main".into()),
        subject: Some("Weigh anchor".into()),
        pull_request: Some(7),
        images: [(
            "backend".parse().unwrap(),
            format!("registry.example/shop@sha256:{}", "ab".repeat(32)).parse().unwrap(),
        )]
        .into(),
        migrations: vec![],
        migrations_archive: ArtifactHash::of(b"migrations"),
        infrastructure_archive: ArtifactHash::of(b"infrastructure"),
    })
}

pub(crate) struct Writer<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) environment: EnvName,
    pub(crate) run: RunId,
}

impl Writer<'_> {
    pub(crate) async fn write(&self, event: Event) -> Timestamp {
        let draft = Draft {
            environment: Some(self.environment.clone()),
            run: Some(self.run.clone()),
            actor: ann(),
            event,
            fence: None,
        };
        self.ledger.append(draft).await.unwrap().at
    }

    pub(crate) async fn started(&self, kind: RunKind, release: &Release) -> Timestamp {
        let (release, reason) = (Some(release.id.clone()), Some("because".to_owned()));
        self.write(Event::RunStarted { kind, release, reason, options: vec![] }).await
    }

    pub(crate) async fn record(&self, record: Record) {
        self.write(Event::Journal { record }).await;
    }

    /// A whole run, from its start to its line in the history.
    pub(crate) async fn deployed(
        &self,
        kind: RunKind,
        release: &Release,
        outcome: Outcome,
        previous: Option<&Release>,
    ) -> Deployment {
        let started = self.started(kind, release).await;
        let finished = Timestamp::from_microsecond(started.as_microsecond() + 90_000_000).unwrap();
        let left = match outcome {
            Outcome::Stuck => vec![Left { what: "weights".into(), command: "liftlock x".into() }],
            _ => vec![],
        };
        let deployment = Deployment {
            environment: self.environment.clone(),
            kind,
            release: release.id.clone(),
            version: release.content.version.clone(),
            commit: release.content.commit.clone(),
            subject: release.content.subject.clone(),
            pull_request: release.content.pull_request,
            images: release.content.images.clone(),
            actor: ann(),
            started,
            finished,
            status: outcome.into(),
            previous: previous.map(|release| release.id.clone()),
            schema_before: Some(3),
            schema_after: Some(4),
            left: left.clone(),
            skipped_canary: None,
        };
        let recorded = Event::DeploymentRecorded { deployment: deployment.clone() };
        self.write(recorded).await;
        self.record(Record::Finished { outcome, left }).await;
        deployment
    }
}

/// Shows E-DATA-1 and C-AUD-3: environment, version, commit, time, who, status, the release that a rollback brings back,
/// pull request, commit message and duration; and E-RB-1 as far as the release to go back to is known.
async fn the_history_tells_what_was_deployed_and_what_serves(place: Place) {
    let ledger = place.ledger().await;
    let (one, two, three) = (release("1.0"), release("1.1"), release("1.2"));
    for release in [&one, &two, &three, &one] {
        let event = Event::ReleaseCreated { release: release.clone() };
        let draft = Draft { environment: None, run: None, actor: ann(), event, fence: None };
        ledger.append(draft).await.unwrap();
    }
    let writer =
        |name: &str| Writer { ledger: &ledger, environment: name.parse().unwrap(), run: run() };
    use {Outcome::*, RunKind::*};
    let a = writer("dev").deployed(Promotion, &one, Succeeded, None).await;
    let b = writer("dev").deployed(Promotion, &two, Succeeded, Some(&one)).await;
    let c = writer("dev").deployed(Promotion, &three, RolledBack, Some(&two)).await;
    let p = writer("prod").deployed(Promotion, &one, Stuck, None).await;
    let entries = ledger.entries(&Query::all()).await.unwrap();
    assert_eq!(projection::current(&entries, &dev()), Some(b.clone()));
    assert_eq!(projection::current(&entries, &"prod".parse().unwrap()), None);

    let back = writer("dev");
    let d = back.deployed(Rollback, &one, Succeeded, Some(&one)).await;
    writer("dev").deployed(Migration, &two, Succeeded, None).await;
    let entries = ledger.entries(&Query::all()).await.unwrap();
    assert_eq!(projection::current(&entries, &dev()), Some(d.clone()));
    let history = projection::deployments(&entries, Some(&dev()));
    let told: Vec<_> = history.iter().map(|line| line.deployment.clone()).collect();
    assert_eq!(told[..4], [a, b, c, d]);
    assert_eq!(history[3].run.as_ref(), Some(&back.run));
    let all = projection::deployments(&entries, None);
    assert_eq!(all[3].deployment, p);
    assert_eq!(
        (p.finished.as_second() - p.started.as_second(), p.status),
        (90, DeploymentStatus::Stuck)
    );
    assert_eq!(p.left[0].command, "liftlock x");

    let releases = projection::releases(&entries);
    let versions: Vec<_> = releases.iter().map(|r| &r.release.content.version[..]).collect();
    assert_eq!(versions, ["1.0", "1.1", "1.2"], "made twice, told once");
    assert_eq!(projection::release(&entries, &two.id), Some(two));
    assert_eq!(projection::release(&entries, &"rel-000000000000".parse().unwrap()), None);
    let proofs = projection::proofs(&entries);
    assert_eq!(proofs.len(), 5, "a migration alone proves no release");
    assert_eq!((&proofs[2].release, proofs[2].status), (&three.id, DeploymentStatus::RolledBack));
}

/// Shows C-AUD-2: who approved, when, with which comment.
async fn gates_see_approvals_and_promotions(place: Place) {
    let ledger = place.ledger().await;
    let one = release("1.0");
    for (name, who, event) in [
        ("dev", "ann", Event::Approved { release: one.id.clone(), comment: Some("go".into()) }),
        ("prod", "bob", Event::Rejected { release: one.id.clone(), comment: None }),
    ] {
        let environment = Some(name.parse().unwrap());
        let actor = Actor::new(who);
        let draft = Draft { environment, run: None, actor, event, fence: None };
        ledger.append(draft).await.unwrap();
    }
    let writer = Writer { ledger: &ledger, environment: dev(), run: run() };
    let at = writer.started(RunKind::Promotion, &one).await;
    writer.started(RunKind::Rollback, &one).await;
    let entries = ledger.entries(&Query::all()).await.unwrap();
    let all = projection::approvals(&entries, None);
    assert_eq!(all.len(), 2);
    let here = projection::approvals(&entries, Some(&dev()));
    assert_eq!((here.len(), here[0].decision, &here[0].actor), (1, Decision::Approved, &ann()));
    assert_eq!((here[0].comment.as_deref(), here[0].at), (Some("go"), entries[0].at));
    let started = projection::promotions_started(&entries, &dev());
    assert_eq!(started.len(), 1, "a rollback is never limited");
    assert_eq!((started[0].at, started[0].run.as_ref()), (at, Some(&writer.run)));
}

/// Shows C-AUD-3: start, end and outcome of a run.
async fn an_interrupted_run_is_found_until_it_ends(place: Place) {
    let ledger = place.ledger().await;
    let one = release("1.0");
    let unfinished =
        async || projection::unfinished(&ledger.entries(&Query::all()).await.unwrap(), &dev());
    assert_eq!(unfinished().await, None);
    let earlier = Writer { ledger: &ledger, environment: dev(), run: run() };
    earlier.deployed(RunKind::Promotion, &one, Outcome::Succeeded, None).await;
    let other = Writer { ledger: &ledger, environment: "prod".parse().unwrap(), run: run() };
    other.started(RunKind::Promotion, &one).await;
    assert_eq!(unfinished().await, None);

    let writer = Writer { ledger: &ledger, environment: dev(), run: run() };
    writer.started(RunKind::Promotion, &one).await;
    let step = StepName::new("snapshot");
    let intended = Record::Intended { step: step.clone(), before: json!({"b": 1, "a": [null]}) };
    writer.record(intended.clone()).await;
    assert_eq!(unfinished().await.as_ref(), Some(&writer.run));
    let entries = ledger.entries(&Query::all().run(&writer.run)).await.unwrap();
    let view = projection::run(&entries, &writer.run).unwrap();
    assert_eq!((view.records, view.finished), (vec![intended], None));
    assert_eq!((view.actor, view.reason.as_deref()), (ann(), Some("because")));
    assert_eq!((view.release, view.environment), (Some(one.id.clone()), Some(dev())));

    // Infrastructure that is applied by hand hides nothing, whether it ends or dies.
    let by_hand = Writer { ledger: &ledger, environment: dev(), run: run() };
    by_hand.started(RunKind::Infrastructure, &one).await;
    assert_eq!(unfinished().await.as_ref(), Some(&writer.run));

    let finished = Record::Finished { outcome: Outcome::RolledBack, left: vec![] };
    writer.record(finished).await;
    assert_eq!(unfinished().await, None);
    let entries = ledger.entries(&Query::all()).await.unwrap();
    let view = projection::run(&entries, &writer.run).unwrap();
    assert_eq!(view.finished, Some((Outcome::RolledBack, vec![])));
    assert_eq!(projection::run(&entries, &run()), None);
}
