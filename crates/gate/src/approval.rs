//! Who must have approved.

use std::collections::BTreeSet;

use liftlock_environment::config::Approvals;

use crate::evaluation::Evaluation;
use crate::facts::{Approval, ApprovalDecision, Facts};
use crate::moment;

const GATE: &str = "approval";

/// What the people of the list decided about the release.
struct Count<'a> {
    /// Whose approval counts.
    approved: Vec<&'a str>,
    /// Whose approval is too old.
    expired: Vec<&'a str>,
    /// Who may still approve.
    open: Vec<&'a str>,
    /// The newest rejection that its author did not take back.
    rejected: Option<&'a Approval>,
}

pub(crate) fn evaluate(approvals: &Approvals, facts: &Facts<'_>) -> Evaluation {
    let people: BTreeSet<&str> = approvals.from.iter().map(String::as_str).collect();
    let required = usize::try_from(approvals.required).unwrap_or(usize::MAX);
    if people.len() < required || required == 0 {
        let fault = format!("{required} approvals are required of {} people", people.len());
        return Evaluation::unreadable(GATE, &fault, facts);
    }
    let count = count(approvals, &people, facts);
    if let Some(rejection) = count.rejected {
        return rejected(rejection, facts);
    }
    let missing = required.saturating_sub(count.approved.len());
    if missing == 0 {
        return Evaluation::open(GATE, format!("approved by {}", list(&count.approved)));
    }
    if count.open.len() < missing {
        return out_of_people(&count, required, facts);
    }
    waiting(&count, missing, required, facts)
}

fn count<'a>(approvals: &Approvals, people: &BTreeSet<&'a str>, facts: &Facts<'a>) -> Count<'a> {
    let mut count =
        Count { approved: Vec::new(), expired: Vec::new(), open: Vec::new(), rejected: None };
    for person in people {
        let own = facts.requester.is_some_and(|requester| requester.as_str() == *person);
        let last = last_of(person, facts);
        match last.map(|last| (last.decision, last)) {
            Some((ApprovalDecision::Rejected, rejection)) => {
                let newest = count.rejected.is_none_or(|other| other.at < rejection.at);
                count.rejected = if newest { Some(rejection) } else { count.rejected };
            }
            _ if own => {}
            Some((ApprovalDecision::Approved, approval)) => {
                let until = moment::after(approval.at, approvals.expires.duration());
                if facts.now < until {
                    count.approved.push(person);
                } else {
                    count.expired.push(person);
                    count.open.push(person);
                }
            }
            None => count.open.push(person),
        }
    }
    count
}

/// The newest decision of a person about this release. Of two at the same moment, the rejection counts.
fn last_of<'a>(person: &str, facts: &Facts<'a>) -> Option<&'a Approval> {
    facts
        .approvals
        .iter()
        .filter(|approval| approval.by.as_str() == person && &approval.release == facts.release)
        .max_by_key(|approval| (approval.at, approval.decision == ApprovalDecision::Rejected))
}

fn rejected(rejection: &Approval, facts: &Facts<'_>) -> Evaluation {
    let comment = rejection.comment.as_deref().map(clean).filter(|comment| !comment.is_empty());
    let comment = comment.map(|comment| format!(": {comment}")).unwrap_or_default();
    let reason = format!(
        "{} rejected {} ({}){comment}",
        rejection.by,
        facts.release,
        moment::utc(rejection.at)
    );
    let next = format!("{} takes it back with: {}", rejection.by, command(facts));
    Evaluation::refused(GATE, reason, Some(next))
}

fn out_of_people(count: &Count<'_>, required: usize, facts: &Facts<'_>) -> Evaluation {
    let requester = facts.requester.map_or("the requester", |requester| requester.as_str());
    let reason = format!(
        "{} of {required} approvals, and {} can still be given: {requester} asks for it and may not approve it",
        count.approved.len(),
        count.open.len()
    );
    let next = format!(
        "somebody else than {requester} starts it: liftlock promote --env {} --release {}",
        facts.environment, facts.release
    );
    Evaluation::refused(GATE, reason, Some(next))
}

fn waiting(count: &Count<'_>, missing: usize, required: usize, facts: &Facts<'_>) -> Evaluation {
    let mut reason = format!("{} of {required} approvals", count.approved.len());
    if !count.approved.is_empty() {
        reason.push_str(&format!(" ({})", list(&count.approved)));
    }
    reason.push_str(&format!("; {missing} still needed of {}", list(&count.open)));
    if !count.expired.is_empty() {
        reason.push_str(&format!("; expired: {}", list(&count.expired)));
    }
    let strangers = strangers(count, facts);
    if !strangers.is_empty() {
        reason.push_str(&format!("; not counted: {}", strangers.join(", ")));
    }
    Evaluation::waiting(GATE, reason, command(facts))
}

/// Who approved although it does not count: they are not on the list, or asked for the promotion themselves.
fn strangers(count: &Count<'_>, facts: &Facts<'_>) -> Vec<String> {
    let known = |name: &str| count.approved.contains(&name) || count.open.contains(&name);
    let names: BTreeSet<&str> = facts
        .approvals
        .iter()
        .filter(|approval| &approval.release == facts.release)
        .filter(|approval| approval.decision == ApprovalDecision::Approved)
        .map(|approval| approval.by.as_str())
        .filter(|name| !known(name))
        .collect();
    let own = |name: &str| facts.requester.is_some_and(|requester| requester.as_str() == name);
    let why = |name| if own(name) { "asks for it" } else { "not on the list" };
    names.into_iter().map(|name| format!("{name} ({})", why(name))).collect()
}

fn command(facts: &Facts<'_>) -> String {
    format!("liftlock approve --env {} --release {}", facts.environment, facts.release)
}

fn list(names: &[&str]) -> String {
    names.join(", ")
}

/// A comment on one line, without control characters.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(200)
        .collect::<String>()
        .trim()
        .to_owned()
}
