//! Tasks of the new version that die while somebody watches.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use liftlock_model::ServiceName;
use liftlock_rollout::{Colour, Death, Target, TargetError, TaskDefinition};
use tokio::sync::Mutex;

use crate::site::Site;

/// Of each service: of the colour that the test listener shows, since the first look that learned something.
pub(crate) struct Deaths<'a>(Vec<(&'a ServiceName, &'a dyn Target, Mutex<Tally>)>);

/// What is known of one service.
#[derive(Default)]
struct Tally {
    /// Whose deaths count. What it is does not change while a run watches it.
    of: Option<(Colour, TaskDefinition)>,
    /// By task: whether it died since, and why. Kept, since the platform forgets.
    died: BTreeMap<String, Option<String>>,
}

impl Tally {
    fn count(&mut self, is_first: bool, deaths: Vec<Death>) {
        for Death { task, why, .. } in deaths {
            match self.died.get_mut(&task) {
                // How its containers ended may be told later.
                Some(Some(known)) => *known = why,
                Some(None) => {}
                None => {
                    self.died.insert(task, (!is_first).then_some(why));
                }
            }
        }
    }

    fn since(&self) -> impl Iterator<Item = &String> {
        self.died.values().flatten()
    }
}

impl<'a> Deaths<'a> {
    /// Nothing is known yet.
    pub(crate) fn of(site: &'a Site) -> Self {
        let targets = site.targets.iter();
        Self(targets.map(|(name, target)| (name, target.as_ref(), Mutex::default())).collect())
    }

    /// Looks, and tells why tasks died since the first look. None if that is not known of any service.
    pub(crate) async fn look(&self) -> Option<Vec<String>> {
        let looks = self.0.iter().map(|(service, target, tally)| one(service, *target, tally));
        let told = try_join_all(looks).await.ok()?;
        Some(told.concat())
    }
}

async fn one(
    service: &ServiceName,
    target: &dyn Target,
    tally: &Mutex<Tally>,
) -> Result<Vec<String>, TargetError> {
    let mut tally = tally.lock().await;
    let is_first = tally.of.is_none();
    let of = match &tally.of {
        Some(of) => Some(of.clone()),
        None => {
            let live = target.outline().await?;
            let revision = live.colour(live.test).task_definition.clone();
            revision.map(|revision| (live.test, revision))
        }
    };
    let Some((colour, revision)) = of else { return Ok(Vec::new()) };
    let deaths = target.died(colour, &revision).await?;
    tally.count(is_first, deaths);
    tally.of = Some((colour, revision));
    Ok(tally.since().map(|why| format!("a task of {service} died: {why}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death(task: &str, why: &str) -> Death {
        Death { task: task.into(), why: why.into(), log: Vec::new(), no_log: None }
    }

    /// Shows A-RB-1 in part: deaths from before do not count, each later one counts once, also when the platform has forgotten it.
    #[test]
    fn each_death_since_the_first_look_counts_once() {
        let mut tally = Tally::default();
        tally.count(true, vec![death("old", "exited")]);
        assert_eq!(tally.since().count(), 0);
        tally.count(false, vec![death("new", "exited"), death("old", "exited")]);
        tally.count(false, vec![death("new", "exited; container web exited with 1")]);
        assert_eq!(tally.since().collect::<Vec<_>>(), ["exited; container web exited with 1"]);
        tally.count(false, Vec::new());
        assert_eq!(tally.since().count(), 1);
    }
}
