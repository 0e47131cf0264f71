//! What must hold before a run begins: the environment's gates before a promotion, and what it demands of a rollback by hand.

use jiff::Timestamp;
use liftlock_environment::Environment;
use liftlock_environment::config::Gates;
use liftlock_gate::{Approval, Decision, Evaluation, Facts};
use liftlock_ledger::projection;
use liftlock_model::{Entry, ReleaseId};

use crate::choose;
use crate::run::Ask;
use crate::site::Site;

/// Asks the environment's gates about a release, now.
pub(crate) fn evaluate_gates(
    site: &Site,
    release: &ReleaseId,
    entries: &[Entry],
) -> Vec<Evaluation> {
    let environment = &site.environment.name;
    let proofs = choose::proofs(entries);
    let promotions: Vec<_> = projection::promotions_started(entries, environment)
        .into_iter()
        .map(|started| started.at)
        .collect();
    let approvals = choose::approvals(entries, environment);
    liftlock_gate::evaluate(
        &site.environment.config.gates,
        &Facts {
            environment,
            release,
            now: Timestamp::now(),
            requester: Some(&site.actor),
            proofs: &proofs,
            promotions: &promotions,
            approvals: &approvals,
        },
    )
}

/// Asks what the environment demands of a rollback by hand (C-RB-3): a reason, and approvals of the release that comes back. No
/// gate of promotions bars it.
pub(crate) fn evaluate_way_back(
    site: &Site,
    ask: &Ask,
    release: &ReleaseId,
    entries: &[Entry],
) -> Vec<Evaluation> {
    let environment = &site.environment.name;
    let mut evaluations: Vec<Evaluation> =
        reason_gate(&site.environment, ask.reason.as_deref()).into_iter().collect();
    // What was approved when it was promoted was not approved to come back.
    let since = projection::current(entries, environment).map(|serving| serving.started);
    let newer = |approval: &Approval| since.is_none_or(|since| approval.at >= since);
    let approvals: Vec<_> =
        choose::approvals(entries, environment).into_iter().filter(newer).collect();
    let demanded =
        Gates { approvals: site.environment.config.rollback.approvals.clone(), ..Gates::default() };
    let facts = Facts {
        environment,
        release,
        now: Timestamp::now(),
        requester: Some(&site.actor),
        proofs: &[],
        promotions: &[],
        approvals: &approvals,
    };
    let promote = format!("liftlock promote --env {environment} --release {release}");
    let back = format!("liftlock rollback --env {environment} --to {release}");
    evaluations.extend(liftlock_gate::evaluate(&demanded, &facts).into_iter().map(|mut one| {
        one.next = one.next.map(|next| next.replace(&promote, &back));
        one
    }));
    evaluations
}

/// Whether somebody said why, where the environment demands it; none where it does not.
pub fn reason_gate(environment: &Environment, reason: Option<&str>) -> Option<Evaluation> {
    if !environment.config.rollback.reason_required {
        return None;
    }
    let said = reason.is_some_and(|reason| !reason.trim().is_empty());
    Some(Evaluation {
        gate: "reason".into(),
        decision: if said { Decision::Open } else { Decision::Refused },
        reason: match said {
            true => "it is said why".into(),
            false => format!("{} takes nothing back without a reason", environment.name),
        },
        next: (!said).then(|| "say why with --reason TEXT".into()),
    })
}

/// Whether the shares below all traffic may be skipped (D-DEP-2), where that is asked for: with a reason, and unless the environment
/// forbids it.
pub(crate) fn skip_canary(environment: &Environment, ask: &Ask) -> Option<Evaluation> {
    if !ask.skip_canary {
        return None;
    }
    let gate = "skip-canary".to_owned();
    let why = ask.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
    let (reason, next) = match why {
        _ if environment.config.gates.forbid_skip_canary => (
            format!("{} forbids it (gates.forbid_skip_canary)", environment.name),
            "promote without --skip-canary".to_owned(),
        ),
        None => ("nothing is skipped without a reason".into(), "say why with --reason TEXT".into()),
        Some(why) => {
            let reason = format!("all traffic moves at once: {why}");
            return Some(Evaluation { gate, decision: Decision::Open, reason, next: None });
        }
    };
    Some(Evaluation { gate, decision: Decision::Refused, reason, next: Some(next) })
}
