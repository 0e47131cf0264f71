//! How many tasks of which deployment there are to be while traffic shifts: decisions only.

use std::collections::BTreeMap;

use super::Lifecycle;
use crate::state::{RolloutState, Service};

/// Tasks that stay, by deployment: id, and whether healthy.
pub(crate) type Tasks = BTreeMap<String, Vec<(String, bool)>>;

/// What is to be done for one service.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Orders {
    /// How many tasks of which deployment start.
    pub(crate) start: Vec<(String, u32)>,
    pub(crate) stop: Vec<String>,
}

/// Decides; none where tasks are replaced one by one. A deployment that has failed starts nothing more. What is neither the new
/// deployment nor its source stays until the source is whole.
pub(crate) fn orders(service: &Service, tasks: &Tasks) -> Option<Orders> {
    let wanted = service.wanted()?;
    let failed = |id: &str| {
        service.deployments.iter().any(|d| d.id == id && d.rollout == RolloutState::Failed)
    };
    let none = Vec::new();
    let mut orders = Orders::default();
    for (id, want) in &wanted {
        let have = tasks.get(*id).unwrap_or(&none);
        let missing = (*want as usize).saturating_sub(have.len());
        if missing > 0 && !failed(id) {
            orders.start.push(((*id).to_owned(), u32::try_from(missing).unwrap_or(u32::MAX)));
        }
        // Those that are not healthy go first.
        let mut have: Vec<&(String, bool)> = have.iter().collect();
        have.sort_by_key(|(_, healthy)| *healthy);
        let surplus = have.len().saturating_sub(*want as usize);
        orders.stop.extend(have.iter().take(surplus).map(|(id, _)| id.clone()));
    }
    let whole = service.shift().is_none_or(|shift| {
        let source = tasks.get(&shift.source).unwrap_or(&none);
        let healthy = source.iter().filter(|(_, healthy)| *healthy).count();
        let reconciles = shift.stage == Some(Lifecycle::ReconcileService);
        let source_is_whole = healthy >= shift.source_tasks as usize;
        shift.stage > Some(Lifecycle::ReconcileService) || reconciles && source_is_whole
    });
    if whole {
        let others = tasks.iter().filter(|(id, _)| !wanted.contains_key(id.as_str()));
        orders.stop.extend(others.flat_map(|(_, tasks)| tasks).map(|(id, _)| id.clone()));
    }
    Some(orders)
}

#[cfg(test)]
mod tests {
    use super::super::{Share, Shift, Strategy};
    use super::*;
    use crate::deployments::{Configuration, Ending};

    /// Two tasks of `a:1`, complete, and `a:2` on its way.
    fn service_at(stage: Lifecycle) -> (Service, String, String) {
        let mut service = Service::new("a:1");
        service.desired = 2;
        service.complete();
        let old = service.primary().id.clone();
        service.deploy("a:2".into());
        service.primary_mut().shift = Some(Shift {
            configuration: Configuration {
                strategy: Strategy::BlueGreen,
                ..Configuration::default()
            },
            source: old.clone(),
            source_tasks: 2,
            from: "blue".into(),
            to: "green".into(),
            production_rule: "production".into(),
            test_rule: None,
            stage: Some(stage),
            since: jiff::Timestamp::UNIX_EPOCH,
            production: Share::NONE,
            test: Share::NONE,
            invalid: None,
        });
        let new = service.primary().id.clone();
        (service, old, new)
    }

    fn tasks(all: &[(&str, &str, bool)]) -> Tasks {
        let mut tasks = Tasks::new();
        for (deployment, id, healthy) in all {
            tasks.entry((*deployment).into()).or_default().push(((*id).into(), *healthy));
        }
        tasks
    }

    #[test]
    fn both_revisions_are_whole_until_the_end() {
        let (service, old, new) = service_at(Lifecycle::BakeTime);
        let both = tasks(&[(&old, "a", true), (&new, "b", true), (&new, "c", true)]);
        let orders = orders(&service, &both).unwrap();
        assert_eq!(orders, Orders { start: vec![(old, 1)], stop: vec![] });
    }

    #[test]
    fn nothing_new_starts_before_its_stage_and_the_old_goes_at_the_end() {
        let (service, old, _) = service_at(Lifecycle::PreScaleUp);
        let before = tasks(&[(&old, "a", true), (&old, "b", true)]);
        assert_eq!(orders(&service, &before), Some(Orders::default()));
        let (service, old, new) = service_at(Lifecycle::CleanUp);
        let both = [(&*old, "a", true), (&*old, "b", true), (&*new, "c", true), (&*new, "d", true)];
        let stop = vec!["a".into(), "b".into()];
        assert_eq!(orders(&service, &tasks(&both)), Some(Orders { start: vec![], stop }));
    }

    #[test]
    fn a_third_revision_stays_until_the_source_is_whole() {
        let (mut service, old, _) = service_at(Lifecycle::ReconcileService);
        let half = tasks(&[(&old, "a", true), (&old, "b", false), ("ecs-svc/x", "x", true)]);
        assert_eq!(orders(&service, &half), Some(Orders::default()));
        let whole = tasks(&[(&old, "a", true), (&old, "b", true), ("ecs-svc/x", "x", true)]);
        assert_eq!(orders(&service, &whole).unwrap().stop, ["x"]);
        let shift = service.primary_mut().shift.as_mut().unwrap();
        shift.stage = None;
        assert_eq!(orders(&service, &whole), Some(Orders::default()), "while it is pending");
    }

    #[test]
    fn what_was_taken_back_goes_at_once() {
        let (mut service, old, new) = service_at(Lifecycle::ProductionTrafficShift);
        service.turn_back(&old, "tasks failed to start.", Ending::RolledBack);
        assert_eq!(service.primary().id, old);
        let both = tasks(&[(&old, "a", true), (&new, "b", true)]);
        let orders = orders(&service, &both).unwrap();
        assert_eq!(orders, Orders { start: vec![(old, 1)], stop: vec!["b".into()] });
    }

    #[test]
    fn one_that_failed_starts_nothing_more() {
        let (mut service, old, new) = service_at(Lifecycle::ScaleUp);
        service.give_up(&new, "tasks failed to start.", false);
        let both = tasks(&[(&old, "a", true), (&old, "b", true), (&new, "c", true)]);
        assert_eq!(orders(&service, &both), Some(Orders::default()));
    }
}
