//! The chain of environments: each names the one before it, so the check reads the others' files, too.

use liftlock_model::EnvName;

use crate::load::{self, Environment};
use crate::nearest::{did_you_mean, list};
use crate::problem::Finding;
use crate::source::Sources;
use crate::tree::Node;

const AFTER: [&str; 2] = ["gates", "after"];

/// Follows `gates.after` from an environment to the first of its chain.
pub(crate) fn check(environment: &Environment, tree: &Node, sources: &mut Sources) -> Vec<Finding> {
    let known = load::stems(environment.root()).unwrap_or_default();
    let mut chain = vec![environment.name.to_string()];
    let mut tree = tree.clone();
    while let Some(after) = tree.find(&AFTER).and_then(Node::text).map(str::to_owned) {
        let place = tree.place(&AFTER);
        let round = chain.contains(&after);
        chain.push(after.clone());
        if round {
            let message = format!("the chain of environments goes round: {}", chain.join(" → "));
            let help =
                "a release could never enter it; take `gates.after` out of its first environment";
            return vec![Finding::at(place, message).help(help)];
        }
        let name = after.parse::<EnvName>().ok().filter(|_| known.contains(&after));
        let Some(name) = name else {
            let message =
                format!("`gates.after` names `{after}`, and there is no such environment");
            let help = did_you_mean(&after, known.iter().map(String::as_str));
            let help = format!("{help}environments here: {}", list(&known));
            return vec![Finding::at(place, message).help(help)];
        };
        let (next, findings) = load::read_tree(sources, environment.root(), &name);
        if !findings.is_empty() {
            return findings;
        }
        tree = next;
    }
    Vec::new()
}
