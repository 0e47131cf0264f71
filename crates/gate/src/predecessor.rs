//! The environment before must have proven the release.

use jiff::Timestamp;
use liftlock_environment::config::Gates;
use liftlock_model::{DeploymentStatus, EnvName, ReleaseId};

use crate::evaluation::Evaluation;
use crate::facts::{Facts, Proof};
use crate::moment;

const GATE: &str = "predecessor";

/// What counts in an environment, after all that happened in it.
#[derive(Debug, PartialEq, Eq)]
enum Standing<'a> {
    /// No release is proven there.
    Nothing,
    /// This release serves there, proven.
    Proven(&'a Proof),
    /// A deployment ended with something left over: what serves there is not known.
    Unclear(&'a Proof),
}

pub(crate) fn evaluate(gates: &Gates, facts: &Facts<'_>) -> Option<Evaluation> {
    let after = gates.after.as_ref()?;
    let mut proofs: Vec<&Proof> =
        facts.proofs.iter().filter(|proof| &proof.environment == after).collect();
    proofs.sort_by_key(|proof| proof.at);
    Some(match standing(&proofs) {
        Standing::Proven(proof) if &proof.release == facts.release => {
            proven(gates, facts, after, proof.at)
        }
        Standing::Proven(other) => superseded(facts, after, other, &proofs),
        Standing::Unclear(proof) => unclear(after, proof),
        Standing::Nothing => unproven(facts, after, &proofs),
    })
}

/// Replays what happened, oldest first. A failed attempt that was rolled back leaves the release before it proven, unless it
/// was an attempt with that same release.
fn standing<'a>(proofs: &[&'a Proof]) -> Standing<'a> {
    proofs.iter().fold(Standing::Nothing, |standing, proof| match (proof.status, standing) {
        (DeploymentStatus::Succeeded, _) => Standing::Proven(proof),
        (DeploymentStatus::Stuck, _) => Standing::Unclear(proof),
        (DeploymentStatus::RolledBack, Standing::Proven(before))
            if before.release == proof.release =>
        {
            Standing::Nothing
        }
        (DeploymentStatus::RolledBack, standing) => standing,
    })
}

fn proven(gates: &Gates, facts: &Facts<'_>, after: &EnvName, at: Timestamp) -> Evaluation {
    let age = moment::age(at, facts.now);
    match gates.proof_max_age {
        Some(limit) if moment::after(at, limit.duration()) < facts.now => Evaluation::refused(
            GATE,
            format!(
                "{after} proved {} {age} ago, and a proof holds for {limit} only",
                facts.release
            ),
            Some(promote(after, facts.release)),
        ),
        _ => Evaluation::open(
            GATE,
            format!("{after} proved {} {age} ago ({})", facts.release, moment::utc(at)),
        ),
    }
}

fn superseded(facts: &Facts<'_>, after: &EnvName, other: &Proof, proofs: &[&Proof]) -> Evaluation {
    let what = history(facts.release, after, proofs);
    let reason =
        format!("{what}; proven there is {} since {}", other.release, moment::utc(other.at));
    let next = format!(
        "{}, or prove this one: {}",
        promote(facts.environment, &other.release),
        promote(after, facts.release)
    );
    Evaluation::refused(GATE, reason, Some(next))
}

fn unclear(after: &EnvName, proof: &Proof) -> Evaluation {
    let reason = format!(
        "{after} proves nothing since {}: the deployment of {} failed and was not fully rolled back",
        moment::utc(proof.at),
        proof.release
    );
    Evaluation::refused(GATE, reason, Some(format!("liftlock status --env {after}")))
}

fn unproven(facts: &Facts<'_>, after: &EnvName, proofs: &[&Proof]) -> Evaluation {
    let reason = format!("{}; no release is proven there", history(facts.release, after, proofs));
    Evaluation::refused(GATE, reason, Some(promote(after, facts.release)))
}

/// What became of a release that does not count in an environment.
fn history(release: &ReleaseId, environment: &EnvName, proofs: &[&Proof]) -> String {
    let last = proofs.iter().rev().find(|proof| &proof.release == release);
    let succeeded = proofs
        .iter()
        .any(|proof| &proof.release == release && proof.status == DeploymentStatus::Succeeded);
    match last {
        None => format!("{release} was never promoted to {environment}"),
        Some(last) => {
            let at = moment::utc(last.at);
            match last.status {
                DeploymentStatus::Succeeded => {
                    format!("{release} succeeded in {environment} ({at}) and was replaced since")
                }
                _ if succeeded => {
                    format!("{release} failed in {environment} ({at}) after it had succeeded there")
                }
                _ => format!("{release} failed in {environment} ({at})"),
            }
        }
    }
}

fn promote(environment: &EnvName, release: &ReleaseId) -> String {
    format!("liftlock promote --env {environment} --release {release}")
}
