//! What each gate answers, case by case.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use jiff::Timestamp;
use liftlock_environment::Period;
use liftlock_environment::config::{Approvals, Day, Freeze, Gates, Rate, Window};
use liftlock_gate::{
    Approval, ApprovalDecision, Decision, Evaluation, Facts, Proof, decide, describe, evaluate,
};
use liftlock_model::{Actor, DeploymentStatus, EnvName, ReleaseId, Verdict};

const A: &str = "rel-aaaaaaaaaaaa";
const B: &str = "rel-bbbbbbbbbbbb";

struct World {
    environment: EnvName,
    release: ReleaseId,
    now: Timestamp,
    requester: Option<Actor>,
    proofs: Vec<Proof>,
    promotions: Vec<Timestamp>,
    approvals: Vec<Approval>,
}

impl World {
    fn at(now: &str) -> Self {
        Self {
            environment: "prod".parse().unwrap(),
            release: A.parse().unwrap(),
            now: time(now),
            requester: None,
            proofs: vec![],
            promotions: vec![],
            approvals: vec![],
        }
    }

    fn staging(mut self, at: &str, release: &str, status: DeploymentStatus) -> Self {
        let environment = "staging".parse().unwrap();
        self.proofs.push(Proof {
            environment,
            release: release.parse().unwrap(),
            at: time(at),
            status,
        });
        self
    }

    fn decision(mut self, at: &str, by: &str, decision: ApprovalDecision) -> Self {
        self.approvals.push(Approval {
            by: Actor::new(by),
            at: time(at),
            release: A.parse().unwrap(),
            decision,
            comment: Some("a\u{1b}[2Jword".into()),
        });
        self
    }

    fn approved(self, at: &str, by: &str) -> Self {
        self.decision(at, by, ApprovalDecision::Approved)
    }

    fn rejected(self, at: &str, by: &str) -> Self {
        self.decision(at, by, ApprovalDecision::Rejected)
    }

    fn ask(&self, gates: &Gates) -> Vec<Evaluation> {
        let facts = Facts {
            environment: &self.environment,
            release: &self.release,
            now: self.now,
            requester: self.requester.as_ref(),
            proofs: &self.proofs,
            promotions: &self.promotions,
            approvals: &self.approvals,
        };
        evaluate(gates, &facts)
    }

    #[track_caller]
    fn answer(&self, gates: &Gates) -> (Decision, String, String) {
        let mut all = self.ask(gates);
        assert_eq!(all.len(), 1);
        let one = all.remove(0);
        (one.decision, one.reason, one.next.unwrap_or_default())
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn after_staging() -> Gates {
    Gates {
        after: Some("staging".parse().unwrap()),
        proof_max_age: Some(Period::from_secs(24 * 3600)),
        ..Gates::default()
    }
}

fn window(days: &[Day], from: &str, until: &str, zone: &str) -> Gates {
    let window = Window {
        days: days.to_vec(),
        from: from.into(),
        until: until.into(),
        timezone: zone.into(),
    };
    Gates { windows: vec![window], ..Gates::default() }
}

fn business() -> Gates {
    let days = [Day::Monday, Day::Tuesday, Day::Wednesday, Day::Thursday];
    window(&days, "09:00", "15:00", "America/New_York")
}

fn people(required: u32, from: &[&str]) -> Gates {
    let from = from.iter().map(|name| (*name).to_owned()).collect();
    let approvals = Approvals { required, from, expires: Period::from_secs(86_400) };
    Gates { approvals: Some(approvals), ..Gates::default() }
}

use DeploymentStatus::{RolledBack, Stuck, Succeeded};

/// Shows A-PIPE-3: production takes the very release that the environment before ran.
#[test]
fn a_proven_release_may_pass() {
    let world = World::at("2026-03-09T13:00:00Z").staging("2026-03-09T10:00:00Z", A, Succeeded);
    let (decision, reason, _) = world.answer(&after_staging());
    assert_eq!(decision, Decision::Open);
    assert_eq!(reason, format!("staging proved {A} 3h ago (2026-03-09 10:00 UTC)"));
}

/// Shows A-PIPE-3: nothing else than the proven release passes, and the refusal says which one is proven.
#[test]
fn another_release_is_refused_and_the_proven_one_named() {
    let never = World::at("2026-03-09T13:00:00Z").staging("2026-03-09T10:00:00Z", B, Succeeded);
    let (decision, reason, next) = never.answer(&after_staging());
    assert_eq!(decision, Decision::Refused);
    assert!(reason.starts_with(&format!("{A} was never promoted to staging; proven there is {B}")));
    assert!(next.starts_with(&format!("liftlock promote --env prod --release {B}")), "{next}");

    // In the wrong order on purpose: the time counts, not the place.
    let replaced = never.staging("2026-03-09T09:00:00Z", A, Succeeded);
    let (decision, reason, _) = replaced.answer(&after_staging());
    assert_eq!(decision, Decision::Refused);
    assert!(reason.contains("was replaced since"), "{reason}");
}

/// Shows A-PIPE-3: a release that was rolled back or failed since is not proven any more.
#[test]
fn what_was_undone_proves_nothing() {
    let proven = || World::at("2026-03-09T13:00:00Z").staging("2026-03-09T09:00:00Z", A, Succeeded);
    let cases = [
        (proven().staging("2026-03-09T10:00:00Z", A, RolledBack), "after it had succeeded there"),
        (proven().staging("2026-03-09T10:00:00Z", B, Stuck), "not fully rolled back"),
        (proven().staging("2026-03-09T10:00:00Z", A, Stuck), "not fully rolled back"),
        (World::at("2026-03-09T13:00:00Z"), "never promoted to staging; no release is proven"),
        (
            World::at("2026-03-09T13:00:00Z").staging("2026-03-09T10:00:00Z", A, RolledBack),
            "failed in staging",
        ),
    ];
    for (world, expected) in cases {
        let (decision, reason, next) = world.answer(&after_staging());
        assert_eq!(decision, Decision::Refused, "{reason}");
        assert!(reason.contains(expected), "{reason}");
        assert!(next.contains("--env staging"), "{next}");
    }
    // An attempt with another release that was rolled back leaves the proof standing.
    let world = proven().staging("2026-03-09T10:00:00Z", B, RolledBack);
    assert_eq!(world.answer(&after_staging()).0, Decision::Open);
    // What happened in other environments says nothing.
    let mut world = proven();
    world.proofs[0].environment = "dev".parse().unwrap();
    assert_eq!(world.answer(&after_staging()).0, Decision::Refused);
}

/// Shows C-GATE-4 (its first half): the proof holds for 24 hours.
#[test]
fn an_old_proof_is_refused() {
    let world = World::at("2026-03-09T13:00:00Z").staging("2026-03-08T13:00:00Z", A, Succeeded);
    assert_eq!(world.answer(&after_staging()).0, Decision::Open);
    let world = World::at("2026-03-09T13:00:01Z").staging("2026-03-08T13:00:00Z", A, Succeeded);
    let (decision, reason, next) = world.answer(&after_staging());
    assert_eq!(decision, Decision::Refused);
    assert!(reason.ends_with("24h ago, and a proof holds for 24h only"), "{reason}");
    assert_eq!(next, format!("liftlock promote --env staging --release {A}"));
}

/// Shows C-GATE-1: Monday to Thursday, 9:00 to 15:00 in New York, summer and winter.
#[test]
fn the_window_follows_daylight_saving_time() {
    for (now, open) in [
        ("2026-03-05T13:59:59Z", false), // Thursday 08:59:59 EST
        ("2026-03-05T14:00:00Z", true),  // Thursday 09:00 EST
        ("2026-03-05T19:59:59Z", true),  // Thursday 14:59:59 EST
        ("2026-03-05T20:00:00Z", false), // Thursday 15:00 EST
        ("2026-03-06T16:00:00Z", false), // Friday
        ("2026-03-09T13:00:00Z", true),  // Monday 09:00 EDT
        ("2026-03-09T19:00:00Z", false), // Monday 15:00 EDT
    ] {
        let (decision, reason, _) = World::at(now).answer(&business());
        assert_eq!(decision == Decision::Open, open, "{now}: {reason}");
    }
}

/// Shows C-GATE-1: the refusal says when the window opens, there and in UTC.
#[test]
fn the_next_opening_is_named() {
    let (_, reason, next) = World::at("2026-03-06T16:00:00Z").answer(&business());
    assert_eq!(
        reason,
        "outside the window Mon, Tue, Wed, Thu 09:00–15:00 America/New_York: it is Fri 2026-03-06 11:00 EST \
         (America/New_York), 2026-03-06 16:00 UTC"
    );
    assert_eq!(next, "opens Mon 2026-03-09 09:00 EDT (America/New_York), 2026-03-09 13:00 UTC");
}

/// Shows C-GATE-1: 02:30 does not exist on 8 March 2026 in New York; the window opens at the skip, 03:00.
#[test]
fn a_time_that_is_skipped_stands_for_the_skip() {
    let gates = window(&[Day::Sunday], "02:30", "04:00", "America/New_York");
    let (decision, _, next) = World::at("2026-03-08T06:59:59Z").answer(&gates);
    assert_eq!(decision, Decision::Refused);
    assert_eq!(next, "opens Sun 2026-03-08 03:00 EDT (America/New_York), 2026-03-08 07:00 UTC");
    assert_eq!(World::at("2026-03-08T07:00:00Z").answer(&gates).0, Decision::Open);
    // A window that is wholly skipped is missing on that day.
    let gates = window(&[Day::Sunday], "02:00", "03:00", "America/New_York");
    let (_, _, next) = World::at("2026-03-08T06:30:00Z").answer(&gates);
    assert_eq!(next, "opens Sun 2026-03-15 02:00 EDT (America/New_York), 2026-03-15 06:00 UTC");
}

/// Shows C-GATE-1: 01:30 comes twice on 1 November 2026 in New York; the window begins at the second and ends at the first.
#[test]
fn a_time_that_comes_twice_never_lengthens_the_window() {
    let gates = window(&[Day::Sunday], "01:30", "03:00", "America/New_York");
    for (now, open) in [
        ("2026-11-01T05:45:00Z", false), // 01:45 EDT, the first
        ("2026-11-01T06:15:00Z", false), // 01:15 EST
        ("2026-11-01T06:30:00Z", true),  // 01:30 EST, the second
        ("2026-11-01T07:59:59Z", true),
        ("2026-11-01T08:00:00Z", false),
    ] {
        assert_eq!(World::at(now).answer(&gates).0 == Decision::Open, open, "{now}");
    }
    let gates = window(&[Day::Sunday], "00:00", "01:30", "America/New_York");
    assert_eq!(World::at("2026-11-01T05:29:59Z").answer(&gates).0, Decision::Open);
    assert_eq!(World::at("2026-11-01T06:10:00Z").answer(&gates).0, Decision::Refused);
}

/// Shows C-GATE-3: nothing begins in a freeze, and freezes that follow on each other are one.
#[test]
fn a_freeze_refuses_until_it_is_over() {
    let freeze = |from: &str, until: &str, reason: &str| Freeze {
        from: from.into(),
        until: until.into(),
        reason: reason.into(),
    };
    let gates = Gates {
        freezes: vec![
            freeze("2026-12-24T00:00:00-05:00", "2026-12-27T00:00:00-05:00", "Christmas"),
            freeze("2026-12-27T00:00:00-05:00", "2027-01-02T00:00:00-05:00", "year's end"),
        ],
        ..Gates::default()
    };
    let (decision, reason, next) = World::at("2026-12-24T05:00:00Z").answer(&gates);
    assert_eq!(decision, Decision::Refused);
    assert_eq!(reason, "frozen: Christmas (until 2026-12-27 05:00 UTC)");
    assert_eq!(next, "opens 2027-01-02 05:00 UTC");
    let (decision, reason, _) = World::at("2026-12-24T04:59:59Z").answer(&gates);
    assert_eq!(decision, Decision::Open);
    assert_eq!(reason, "not frozen; next 2026-12-24 05:00 UTC (Christmas)");
    assert_eq!(World::at("2027-01-02T05:00:00Z").answer(&gates).0, Decision::Open);
}

/// Shows C-GATE-2: at most one production deployment in four hours, and when the next may begin.
#[test]
fn the_rate_is_held() {
    let rate = Rate { at_most: 1, within: Period::from_secs(4 * 3600) };
    let gates = Gates { rate: Some(rate), ..Gates::default() };
    let mut world = World::at("2026-03-09T13:00:00Z");
    assert_eq!(world.answer(&gates).0, Decision::Open);
    world.promotions = vec![time("2026-03-09T09:00:00.5Z"), time("2026-03-08T13:00:00Z")];
    let (decision, reason, next) = world.answer(&gates);
    assert_eq!(decision, Decision::Refused);
    assert!(reason.contains("at most 1 in 4h"), "{reason}");
    assert_eq!(next, "opens 2026-03-09 13:00:01 UTC");
    world.now = time("2026-03-09T13:00:00.5Z");
    assert_eq!(world.answer(&gates).0, Decision::Open);
}

/// Shows A-GATE-1, C-GATE-5 and D-GATE-1: two people, distinct and of the list; who is missing, and the command.
#[test]
fn approvals_are_counted_by_name() {
    let gates = people(2, &["qa-lead", "tech-lead"]);
    let world = World::at("2026-03-09T13:00:00Z")
        .approved("2026-03-09T10:00:00Z", "qa-lead")
        .approved("2026-03-09T11:00:00Z", "qa-lead")
        .approved("2026-03-09T11:00:00Z", "eve");
    let (decision, reason, next) = world.answer(&gates);
    assert_eq!(decision, Decision::Waiting);
    assert_eq!(
        reason,
        "1 of 2 approvals (qa-lead); 1 still needed of tech-lead; not counted: eve (not on the list)"
    );
    assert_eq!(next, format!("liftlock approve --env prod --release {A}"));
    let world = world.approved("2026-03-09T12:00:00Z", "tech-lead");
    let (decision, reason, _) = world.answer(&gates);
    assert_eq!(decision, Decision::Open);
    assert_eq!(reason, "approved by qa-lead, tech-lead");
}

/// Shows A-GATE-1: an approval of another release does not count.
#[test]
fn an_approval_is_for_one_release() {
    let mut world = World::at("2026-03-09T13:00:00Z").approved("2026-03-09T10:00:00Z", "ops");
    world.release = B.parse().unwrap();
    assert_eq!(world.answer(&people(1, &["ops"])).0, Decision::Waiting);
}

/// Shows A-PIPE-2: an approval holds for 24 hours.
#[test]
fn an_approval_expires() {
    let world = World::at("2026-03-09T09:59:59Z").approved("2026-03-08T10:00:00Z", "ops");
    assert_eq!(world.answer(&people(1, &["ops"])).0, Decision::Open);
    let world = World::at("2026-03-09T10:00:00Z").approved("2026-03-08T10:00:00Z", "ops");
    let (decision, reason, _) = world.answer(&people(1, &["ops"]));
    assert_eq!(decision, Decision::Waiting);
    assert!(reason.contains("expired: ops"), "{reason}");
}

/// Shows A-PIPE-2: a rejection stops the promotion until the same person approves.
#[test]
fn a_rejection_refuses() {
    let gates = people(1, &["ops", "qa"]);
    let world = World::at("2026-03-09T13:00:00Z")
        .approved("2026-03-09T10:00:00Z", "ops")
        .rejected("2026-03-09T11:00:00Z", "qa");
    let (decision, reason, _) = world.answer(&gates);
    assert_eq!(decision, Decision::Refused);
    assert_eq!(reason, format!("qa rejected {A} (2026-03-09 11:00 UTC): a [2Jword"));
    let world = world.approved("2026-03-09T11:30:00Z", "ops");
    assert_eq!(world.answer(&gates).0, Decision::Refused, "another's approval does not lift it");
    let world = world.approved("2026-03-09T12:00:00Z", "qa");
    assert_eq!(world.answer(&gates).0, Decision::Open);
    let world = world.rejected("2026-03-09T12:30:00Z", "eve");
    assert_eq!(world.answer(&gates).0, Decision::Open, "eve is not on the list");
}

/// Shows C-GATE-5: who asks may not approve, and a wait that could never end is refused.
#[test]
fn nobody_approves_what_they_ask_for() {
    let mut world = World::at("2026-03-09T13:00:00Z").approved("2026-03-09T10:00:00Z", "ops");
    world.requester = Some(Actor::new("ops"));
    let (decision, reason, _) = world.answer(&people(1, &["ops", "qa"]));
    assert_eq!(decision, Decision::Waiting);
    assert!(reason.contains("ops (asks for it)"), "{reason}");
    let (decision, _, next) = world.answer(&people(1, &["ops"]));
    assert_eq!(decision, Decision::Refused);
    assert!(next.starts_with("somebody else than ops starts it"), "{next}");
}

/// A gate that cannot be read is never open.
#[test]
fn what_cannot_be_read_refuses() {
    let freeze = |from: &str, until: &str| Gates {
        freezes: vec![Freeze { from: from.into(), until: until.into(), reason: "x".into() }],
        ..Gates::default()
    };
    for gates in [
        window(&[Day::Monday], "09:00", "15:00", "America/Newyork"),
        window(&[Day::Monday], "15:00", "09:00", "UTC"),
        window(&[Day::Monday], "9:00", "15:00", "UTC"),
        window(&[Day::Monday], "09:00", "24:00", "UTC"),
        freeze("tomorrow", "2026-12-24T00:00:00Z"),
        freeze("2026-12-24T00:00:00Z", "2026-12-23T00:00:00Z"),
        people(3, &["ops", "qa", "qa"]),
        people(0, &["ops"]),
        Gates { rate: Some(Rate { at_most: 0, within: Period::from_secs(1) }), ..Gates::default() },
    ] {
        let (decision, reason, next) = World::at("2026-03-09T13:00:00Z").answer(&gates);
        assert_eq!(decision, Decision::Refused, "{reason}");
        assert_eq!(next, "mend `gates` in environments/prod.toml");
    }
}

/// All gates are asked, in one order; a refusal beats a wait.
#[test]
fn every_gate_answers() {
    let gates = Gates {
        after: Some("staging".parse().unwrap()),
        windows: business().windows,
        freezes: vec![Freeze {
            from: "2026-12-24T00:00:00Z".into(),
            until: "2026-12-25T00:00:00Z".into(),
            reason: "Christmas".into(),
        }],
        rate: Some(Rate { at_most: 2, within: Period::from_secs(3600) }),
        approvals: people(1, &["ops"]).approvals,
        proof_max_age: None,
        forbid_skip_canary: false,
    };
    let world = World::at("2026-03-09T13:00:00Z");
    let answers = world.ask(&gates);
    let names: Vec<&str> = answers.iter().map(|answer| answer.gate.as_str()).collect();
    assert_eq!(names, ["predecessor", "window", "freeze", "rate", "approval"]);
    assert_eq!(decide(&answers), Decision::Refused);
    let world = world.staging("2026-03-09T10:00:00Z", A, Succeeded);
    let answers = world.ask(&gates);
    assert_eq!(decide(&answers), Decision::Waiting);
    assert_eq!(answers[4].verdict(), Verdict::Inconclusive);
    assert_eq!(decide(&world.ask(&Gates::default())), Decision::Open);
    assert_eq!(
        describe(&gates),
        [
            "predecessor: staging has proven the release",
            "window: Mon, Tue, Wed, Thu 09:00–15:00 America/New_York",
            "freeze: not from 2026-12-24T00:00:00Z until 2026-12-25T00:00:00Z (Christmas)",
            "rate: at most 2 in 1h",
            "approval: 1 of ops, each holding for 24h",
        ]
    );
}
