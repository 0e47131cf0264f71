//! A ledger as an earlier version exported it: it must verify and project for ever. When a kind of event is added, the old file stays
//! as it is and a new one is added beside it, written by this test with `LIFTLOCK_WRITE_GOLDEN` set to its name.

use std::path::PathBuf;
use std::process::Stdio;

use liftlock_ledger::{Query, VerifyError, projection, verify_export};
use liftlock_model::{
    DeploymentStatus, Entry, Event, Fingerprint, Left, Outcome, Record, Reversal, RunKind, Sample,
    StepName, StepPlan, Verdict,
};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::place::{Place, dev, on_both, run};
use crate::projections::{Writer, release};

on_both! { an_export_verifies_without_the_ledger }

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn first() -> String {
    std::fs::read_to_string(directory().join("v1.jsonl")).unwrap()
}

#[test]
fn the_golden_ledger_verifies() {
    let text = first();
    let verified = verify_export(text.lines()).unwrap();
    assert_eq!(verified.entries, i64::try_from(text.lines().count()).unwrap());
    let head = "c8b7f8c1ac1de8f9cf90e8dcd93342007284de9a06cff0a198ab3b90ca4d0026";
    assert_eq!(verified.head.as_str(), head);
}

/// Shows E-DATA-1 and C-AUD-3 of a ledger that an earlier version wrote.
#[test]
fn the_golden_ledger_projects() {
    let entries: Vec<Entry> =
        first().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let current = projection::current(&entries, &dev()).unwrap();
    assert_eq!(current.version, "1.0");
    assert_eq!(current.status, DeploymentStatus::Succeeded);
    assert_eq!(current.pull_request, Some(7));
    let history = projection::deployments(&entries, Some(&dev()));
    let statuses: Vec<_> = history.iter().map(|line| line.deployment.status).collect();
    assert_eq!(statuses, [DeploymentStatus::Succeeded, DeploymentStatus::Stuck]);
    let failed = projection::run(&entries, history[1].run.as_ref().unwrap()).unwrap();
    assert_eq!((failed.kind, failed.reason.as_deref()), (RunKind::Promotion, Some("because")));
    assert!(matches!(failed.finished, Some((Outcome::Stuck, left)) if left.len() == 1));
    assert!(projection::unfinished(&entries, &dev()).is_some());
    assert_eq!(projection::approvals(&entries, Some(&dev())).len(), 2);
    assert_eq!(projection::releases(&entries).len(), 2);
    let id = projection::unfinished(&entries, &dev()).unwrap();
    let records = projection::run(&entries, &id).unwrap().records;
    let steps: Vec<_> = records.iter().filter_map(Record::step).map(StepName::as_str).collect();
    assert_eq!(steps, ["snapshot"; 6]);
}

#[test]
fn a_changed_export_is_named() {
    let text = first();
    let mut lines: Vec<&str> = text.lines().collect();
    let named = |lines: &[&str]| match verify_export(lines.iter().copied()) {
        Err(VerifyError::Broken { sequence, .. }) => sequence,
        other => panic!("{other:?}"),
    };
    let changed = lines[3].replace("\"ann\"", "\"eve\"");
    let spaced = lines[4].replace(":", ": ");
    assert_eq!(named(&[&lines[..3], &[&changed], &lines[4..]].concat()), 4);
    assert_eq!(named(&[&lines[..4], &[&spaced], &lines[5..]].concat()), 5);
    assert_eq!(named(&[&lines[..4], &["no JSON"], &lines[5..]].concat()), 5);
    assert_eq!(named(&[&lines[..2], &[lines[1]], &lines[2..]].concat()), 2);
    lines.remove(6);
    assert_eq!(named(&lines), 7);
}

/// The README says that `jq` and `sha256sum` are enough.
#[tokio::test]
async fn an_auditor_needs_only_jq_and_sha256sum() {
    for line in first().lines() {
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-c", "jq -cjS 'del(.hash)' | sha256sum"]).kill_on_drop(true);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        child.stdin.take().unwrap().write_all(line.as_bytes()).await.ok();
        let output = child.wait_with_output().await.unwrap();
        if !output.stderr.is_empty() {
            eprintln!("skipped: {}", String::from_utf8_lossy(&output.stderr));
            return;
        }
        let entry: Entry = serde_json::from_str(line).unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed.split_whitespace().next(), Some(entry.hash.as_str()));
    }
}

/// Every kind of event and of journal record, by way of a run that fails and one that is interrupted.
async fn an_export_verifies_without_the_ledger(place: Place) {
    let ledger = place.ledger().await;
    let (one, two) = (release("1.0"), release("1.1"));
    let writer = |run| Writer { ledger: &ledger, environment: dev(), run };
    let (good, bad, cut) = (writer(run()), writer(run()), writer(run()));
    for release in [&one, &two] {
        good.write(Event::ReleaseCreated { release: release.clone() }).await;
    }
    let said = |comment: &str| Some(comment.to_owned());
    let id = one.id.clone();
    good.write(Event::Approved { release: id, comment: said("gut, \u{1f6a2} \"ahoi\"\n") }).await;
    good.deployed(RunKind::Promotion, &one, Outcome::Succeeded, None).await;
    bad.write(Event::Rejected { release: two.id.clone(), comment: None }).await;
    bad.write(Event::MigrationRan {
        id: liftlock_model::MigrationId { version: 1, name: "create_orders".into() },
        database: None,
        rollback: false,
        milliseconds: 12,
    })
    .await;
    bad.write(Event::MigrationLong {
        id: liftlock_model::MigrationId { version: 1, name: "create_orders".into() },
        database: said("shop_7"),
        seconds: 300,
        blocked_by: vec!["bob (pid 7)".into()],
    })
    .await;
    bad.write(Event::MigrationsByHand {
        command: "baseline".into(),
        detail: "recorded 3".into(),
        reason: None,
    })
    .await;
    let marker = liftlock_model::Marker {
        time: "2026-01-31T10:15:00.123456Z".parse().unwrap(),
        lsn: said("0/16B3748"),
        timeline: Some(1),
        restore_point: None,
    };
    bad.write(Event::SnapshotTaken {
        id: "shop-dev-run-1".into(),
        place: "arn:aws:rds:eu-central-1:123456789012:snapshot:shop-dev-run-1".into(),
        keep_until: Some("2033-01-31".parse().unwrap()),
        marker: Some(marker),
    })
    .await;
    let (id, place) = ("shop-dev-run-1".into(), "db:5432/shop".into());
    bad.write(Event::SnapshotRestored { id, place, before: said("shop_before") }).await;
    bad.deployed(RunKind::Promotion, &two, Outcome::Stuck, Some(&one)).await;
    let fail = |gate: &str| Event::GateEvaluated {
        gate: gate.into(),
        verdict: Verdict::Fail,
        reason: "closed".into(),
    };
    bad.write(fail("window")).await;
    bad.write(Event::IncidentOpened { summary: "rolled back by itself".into() }).await;
    bad.write(Event::Notified { channel: "slack".into(), error: said("timeout") }).await;
    cut.write(Event::LeaseTakenOver { from: bad.run.clone(), token: 2 }).await;
    cut.started(RunKind::Promotion, &two).await;
    cut.write(Event::RunResumed { interrupted: liftlock_model::Actor::new("bob") }).await;
    cut.write(Event::Observed {
        check: "smoke".into(),
        verdict: Verdict::Pass,
        sample: Sample { size: 5, bad: 0 },
        detail: "5 of 5".into(),
    })
    .await;
    for record in journal() {
        cut.record(record).await;
    }
    let lines = ledger.export(&Query::all()).await.unwrap();
    let verified = verify_export(lines.iter().map(String::as_str)).unwrap();
    assert_eq!(verified, ledger.verify().await.unwrap());
    if let Ok(name) = std::env::var("LIFTLOCK_WRITE_GOLDEN") {
        std::fs::write(directory().join(name), lines.join("\n") + "\n").unwrap();
    }
}

fn journal() -> Vec<Record> {
    let step = StepName::new("snapshot");
    let left = vec![Left { what: "a snapshot".into(), command: "aws rds …".into() }];
    let error = "no space".to_owned();
    let reversals = [
        Reversal::ReadOnly,
        Reversal::Undo("deletes it".into()),
        Reversal::Kept("harms nobody".into()),
        Reversal::Irreversible("data".into()),
    ];
    let plan = |reversal| StepPlan {
        step: step.clone(),
        does: "takes a snapshot".into(),
        details: vec!["of shop-dev".into()],
        reversal,
    };
    let steps: Vec<_> = reversals.map(plan).into();
    vec![
        Record::Planned { fingerprint: Fingerprint::of(&steps), steps },
        Record::Intended { step: step.clone(), before: json!({"z": 1, "a": [true, null, -3]}) },
        Record::Done { step: step.clone(), output: json!({}), note: "done".into() },
        Record::Failed { step: step.clone(), error: error.clone() },
        Record::UndoIntended { step: step.clone() },
        Record::Undone { step: step.clone(), left, note: "undone".into() },
        Record::UndoFailed { step, error },
    ]
}
