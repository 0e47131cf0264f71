//! ECS deployments: begun, completed, given up, taken back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::native::Strategy;
use crate::state::{Deployment, RolloutState, Service};

/// How many deployments that are over can still be described.
const PAST: usize = 50;

/// `deploymentConfiguration`, as far as the stage keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Configuration {
    /// `minimumHealthyPercent`.
    pub(crate) minimum: u32,
    /// `maximumPercent`.
    pub(crate) maximum: u32,
    /// `deploymentCircuitBreaker.enable` and `.rollback`.
    pub(crate) breaker: bool,
    pub(crate) roll_back: bool,
    #[serde(default)]
    pub(crate) strategy: Strategy,
    /// `bakeTimeInMinutes`.
    #[serde(default)]
    pub(crate) bake: u32,
}

impl Default for Configuration {
    fn default() -> Self {
        let strategy = Strategy::Rolling;
        Self { minimum: 100, maximum: 200, breaker: true, roll_back: false, strategy, bake: 0 }
    }
}

/// What becomes of a deployment that is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It only fails.
    Failed,
    /// What was complete before comes back.
    RolledBack,
    /// As rolled back, at somebody's request to abort.
    Stopped,
}

/// How a deployment is taken back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Undo {
    pub(crate) reason: String,
    pub(crate) started_at: Timestamp,
    /// The task definition that comes back.
    pub(crate) definition: String,
    /// Whether it came back; none while it is on the way.
    pub(crate) done: Option<bool>,
    /// Whether the deployment was aborted, which ECS does not call a rollback.
    #[serde(default)]
    pub(crate) stopped: bool,
}

/// `ServiceDeployment.status`.
pub(crate) fn status(deployment: &Deployment, is_primary: bool) -> &'static str {
    match (&deployment.undo, deployment.rollout) {
        (Some(Undo { done: None, stopped: true, .. }), _) => "STOP_REQUESTED",
        (Some(Undo { stopped: true, .. }), _) => "STOPPED",
        (Some(Undo { done: None, .. }), _) => "ROLLBACK_IN_PROGRESS",
        (Some(Undo { done: Some(true), .. }), _) => "ROLLBACK_SUCCESSFUL",
        (Some(Undo { done: Some(false), .. }), _) => "ROLLBACK_FAILED",
        (None, RolloutState::Completed) => "SUCCESSFUL",
        // It was complete before, and comes back.
        (None, RolloutState::InProgress) if deployment.undoes.is_some() => "SUCCESSFUL",
        (None, RolloutState::InProgress) if is_primary => match &deployment.shift {
            Some(shift) if shift.stage.is_none() => "PENDING",
            _ => "IN_PROGRESS",
        },
        // Given up by the breaker, stopped by somebody, or overtaken by the next one.
        (None, _) => "STOPPED",
    }
}

impl Service {
    /// Begins a deployment.
    pub(crate) fn deploy(&mut self, definition: String) {
        let mut deployment = Deployment::new(definition);
        deployment.sources = self.deployments.iter().map(|d| d.definition.clone()).collect();
        deployment.sources.dedup();
        self.deployments.insert(0, deployment);
    }

    /// Every deployment that somebody asked for, the newest first, and whether it is the one under way.
    pub(crate) fn asked_for(&self) -> Vec<(&Deployment, bool)> {
        let live = self.deployments.iter().enumerate().map(|(at, d)| (d, at == 0));
        let all = live.chain(self.past.iter().map(|d| (d, false)));
        let mut all: Vec<_> = all.filter(|(deployment, _)| !deployment.made_to_undo).collect();
        all.sort_by_key(|(deployment, _)| std::cmp::Reverse(deployment.created_at));
        all
    }

    fn any_mut(&mut self, id: &str) -> Option<&mut Deployment> {
        let mut all = self.deployments.iter_mut().chain(&mut self.past);
        all.find(|deployment| deployment.id == id)
    }

    /// Puts deployments away whose tasks are gone. True if there were any.
    pub(crate) fn put_away(&mut self, has_tasks: impl Fn(&str) -> bool) -> bool {
        let before = self.deployments.len();
        // What a shift may have to go back to stays, even if none of its tasks runs just now.
        let source = self.shift().filter(|shift| shift.can_return()).map(|s| s.source.clone());
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for (at, deployment) in std::mem::take(&mut self.deployments).into_iter().enumerate() {
            let needed = source.as_ref() == Some(&deployment.id);
            let stays = at == 0 || needed || has_tasks(&deployment.id);
            if stays { kept.push(deployment) } else { gone.push(deployment) }
        }
        self.deployments = kept;
        self.past.splice(0..0, gone);
        self.past.truncate(PAST);
        self.deployments.len() != before
    }

    /// The newest deployment has all its tasks, and no other has any.
    pub(crate) fn complete(&mut self) {
        let primary = self.primary_mut();
        let reason = format!("ECS deployment {} completed.", primary.id);
        primary.turn(RolloutState::Completed, reason);
        primary.finished_at = Some(Timestamp::now());
        let (undone, definition) = (primary.undoes.take(), primary.definition.clone());
        self.last_good = Some(definition);
        if let Some(undone) = undone.and_then(|id| self.any_mut(&id)) {
            undone.finished_at = Some(Timestamp::now());
            if let Some(undo) = &mut undone.undo {
                undo.done = Some(true);
            }
        }
    }

    /// Gives a deployment up. With `roll_back`, what was complete before comes back; true if it does. Where nothing ever was
    /// complete, there is nothing to go back to, and the deployment stalls.
    pub(crate) fn give_up(&mut self, id: &str, reason: &str, roll_back: bool) -> bool {
        let good = self.last_good.clone();
        let Some(failed) = self.any_mut(id) else { return false };
        failed.turn(RolloutState::Failed, reason.to_owned());
        failed.finished_at = Some(Timestamp::now());
        let back = good.filter(|good| roll_back && *good != failed.definition);
        if let Some(undone) = failed.undoes.clone() {
            // The way back failed, too: there is no other.
            if let Some(undo) = self.any_mut(&undone).and_then(|undone| undone.undo.as_mut()) {
                undo.done = Some(false);
            }
            return false;
        }
        let Some(definition) = back else { return false };
        failed.undo = Some(Undo {
            reason: reason.to_owned(),
            started_at: Timestamp::now(),
            definition: definition.clone(),
            done: None,
            stopped: false,
        });
        // Tasks of it that still run are kept.
        let there = self.deployments.iter().position(|d| d.definition == definition);
        let next = match there {
            Some(at) => self.deployments.remove(at),
            None => Deployment { made_to_undo: true, ..Deployment::new(definition) },
        };
        self.bring_back(next, id.to_owned());
        true
    }

    /// Gives the newest deployment up for one that is still there whole.
    pub(crate) fn turn_back(&mut self, to: &str, reason: &str, ending: Ending) {
        let Some(at) = self.deployments.iter().position(|d| d.id == to) else { return };
        let next = self.deployments.remove(at);
        let failed = self.primary_mut();
        failed.turn(RolloutState::Failed, reason.to_owned());
        failed.undo = Some(Undo {
            reason: reason.to_owned(),
            started_at: Timestamp::now(),
            definition: next.definition.clone(),
            done: None,
            stopped: ending == Ending::Stopped,
        });
        let id = failed.id.clone();
        self.bring_back(next, id);
    }

    fn bring_back(&mut self, mut next: Deployment, undone: String) {
        let why =
            format!("ECS deployment circuit breaker: rolling back to deploymentId {}.", next.id);
        next.turn(RolloutState::InProgress, why);
        (next.undoes, next.failed_tasks) = (Some(undone), 0);
        let event = format!("rolling back to (deployment {}).", next.id);
        self.deployments.insert(0, next);
        self.event(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(definition: &str) -> Service {
        Service::new(definition)
    }

    fn states(service: &Service) -> Vec<&'static str> {
        service
            .asked_for()
            .into_iter()
            .map(|(deployment, primary)| status(deployment, primary))
            .collect()
    }

    #[test]
    fn what_was_complete_comes_back() {
        let mut service = service("a:1");
        service.complete();
        let first = service.primary().id.clone();
        service.deploy("a:2".into());
        let second = service.primary().id.clone();
        assert_eq!(states(&service), ["IN_PROGRESS", "SUCCESSFUL"]);
        assert!(service.give_up(&second, "tasks failed to start.", true));
        assert_eq!(service.primary().id, first, "its tasks are kept");
        service.complete();
        assert_eq!(service.primary().definition, "a:1");
        let of_second = service
            .asked_for()
            .into_iter()
            .find(|(d, _)| d.id == second)
            .map(|(d, p)| status(d, p));
        assert_eq!(of_second, Some("ROLLBACK_SUCCESSFUL"));
    }

    #[test]
    fn without_anything_complete_it_stalls() {
        let mut service = service("a:1");
        let id = service.primary().id.clone();
        assert!(!service.give_up(&id, "tasks failed to start.", true));
        assert_eq!(states(&service), ["STOPPED"]);
        assert_eq!(service.primary().definition, "a:1");
    }

    #[test]
    fn a_way_back_that_fails_is_told() {
        let mut service = service("a:1");
        service.complete();
        service.deploy("a:2".into());
        let second = service.primary().id.clone();
        service.put_away(|_| false);
        service.give_up(&second, "tasks failed to start.", true);
        let back = service.primary().id.clone();
        assert_ne!(back, second);
        assert!(!service.give_up(&back, "tasks failed to start.", true), "there is no way on");
        assert_eq!(states(&service), ["ROLLBACK_FAILED", "SUCCESSFUL"]);
    }
}
