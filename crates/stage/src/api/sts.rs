//! STS: who am I.

use crate::refusal::Refusal;
use crate::tree::{Tree, map};
use crate::world::World;

pub(super) fn perform(world: &World, operation: &str) -> Result<Tree, Refusal> {
    if operation != "GetCallerIdentity" {
        return Err(super::unknown(&format!("sts:{operation}"), super::Protocol::Query));
    }
    let inner = world.look();
    let account = inner.topology().map_or("000000000000", |topology| topology.account.as_str());
    Ok(map([
        ("UserId", "stage".into()),
        ("Account", account.into()),
        ("Arn", format!("arn:aws:iam::{account}:user/stage").into()),
    ]))
}
