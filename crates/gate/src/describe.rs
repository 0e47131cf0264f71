//! What gates ask for, for plans and documentation.

use liftlock_environment::config::Gates;

use crate::window;

/// Each configured gate in one line, in the order in which they are asked.
pub fn describe(gates: &Gates) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(after) = &gates.after {
        let age = gates.proof_max_age.map(|age| format!(", at most {age} ago")).unwrap_or_default();
        lines.push(format!("predecessor: {after} has proven the release{age}"));
    }
    if !gates.windows.is_empty() {
        let windows: Vec<String> = gates.windows.iter().map(window::text).collect();
        lines.push(format!("window: {}", windows.join(" or ")));
    }
    if !gates.freezes.is_empty() {
        let freezes: Vec<String> = gates
            .freezes
            .iter()
            .map(|freeze| format!("{} until {} ({})", freeze.from, freeze.until, freeze.reason))
            .collect();
        lines.push(format!("freeze: not from {}", freezes.join(", nor from ")));
    }
    if let Some(rate) = &gates.rate {
        lines.push(format!("rate: at most {} in {}", rate.at_most, rate.within));
    }
    if let Some(approvals) = &gates.approvals {
        lines.push(format!(
            "approval: {} of {}, each holding for {}",
            approvals.required,
            approvals.from.join(", "),
            approvals.expires
        ));
    }
    lines
}
