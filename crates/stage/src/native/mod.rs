//! Deployments that shift traffic between two target groups, as ECS does by itself: `BLUE_GREEN`, `LINEAR` and `CANARY`.

mod strategy;
mod tasks;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use strategy::{Lifecycle, Pace, Seen, Share, Shift, Step, Strategy};
pub(crate) use tasks::{Orders, Tasks, orders};

use crate::deployments::Ending;
use crate::state::{Deployment, RolloutState, Service};
use crate::task::tracing_line;
use crate::world::{Inner, NotKept, TaskStatus, World};

/// What ECS says of a deployment whose rules are not what it needs.
const INVALID: &str = "Service deployment rolled back because of invalid networking configuration";

/// An entry of a service's `loadBalancers`, as far as it differs from the stage's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Balancing {
    /// The target group.
    pub(crate) group: String,
    pub(crate) advanced: Option<Advanced>,
}

/// `advancedConfiguration`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Advanced {
    /// The other target group.
    pub(crate) alternate: String,
    /// The listener rules' ARNs.
    pub(crate) production_rule: String,
    pub(crate) test_rule: Option<String>,
    pub(crate) role: String,
}

impl Deployment {
    /// The target group of its tasks.
    pub(crate) fn group<'a>(&'a self, service: &'a str) -> &'a str {
        self.group.as_deref().unwrap_or(service)
    }
}

impl Service {
    /// The shift of the newest deployment, if it is not at its end: under way, or failed and not taken back.
    pub(crate) fn shift(&self) -> Option<&Shift> {
        let primary = self.primary();
        let over = primary.rollout == RolloutState::Completed || primary.undoes.is_some();
        primary.shift.as_ref().filter(|_| !over)
    }

    /// Whether the newest deployment comes back after a shift that was taken back.
    fn returns(&self) -> bool {
        let undone = self.primary().undoes.as_deref();
        let mut all = self.deployments.iter().chain(&self.past);
        undone.is_some_and(|id| all.any(|d| d.id == id && d.shift.is_some()))
    }

    /// How many tasks are wanted of each deployment while traffic shifts, or shifted back; none where tasks are replaced one by one.
    pub(crate) fn wanted(&self) -> Option<BTreeMap<&str, u32>> {
        let primary = self.primary().id.as_str();
        if self.returns() {
            return Some(BTreeMap::from([(primary, self.desired)]));
        }
        let shift = self.shift()?;
        let new = if shift.stage >= Some(Lifecycle::ScaleUp) { self.desired } else { 0 };
        let old = if shift.can_return() { shift.source_tasks } else { 0 };
        Some(BTreeMap::from([(primary, new), (shift.source.as_str(), old)]))
    }

    /// How many tasks are wanted of a deployment.
    pub(crate) fn wanted_of(&self, id: &str) -> u32 {
        match self.wanted() {
            Some(wanted) => wanted.get(id).copied().unwrap_or(0),
            None if self.primary().id == id => self.desired,
            None => 0,
        }
    }

    /// The deployment that a new one takes over from.
    fn source(&self) -> &Deployment {
        let of = |id: &str| self.deployments.iter().find(|d| d.id == id);
        let completed = || self.deployments.iter().find(|d| d.rollout == RolloutState::Completed);
        let found = match self.shift() {
            Some(shift) if shift.can_return() => of(&shift.source),
            Some(_) => None,
            None if self.primary().undoes.is_some() => None,
            None => completed(),
        };
        found.unwrap_or(self.primary())
    }
}

impl Service {
    /// The newest deployment is about to be overtaken.
    fn leave_primary(&mut self) {
        let returns = self.returns();
        let can_return = self.shift().is_some_and(Shift::can_return);
        let primary = self.primary_mut();
        if let Some(shift) = primary.shift.as_mut().filter(|_| can_return) {
            (shift.production, shift.test) = (Share::NONE, Share::NONE);
        }
        if returns {
            // Its traffic was back at once: what it takes back is over.
            self.complete();
        }
    }
}

/// Begins a deployment by the service's strategy. `before` is how many tasks were wanted until now. One that is under way is overtaken:
/// its traffic goes back first.
pub(crate) fn deploy(inner: &mut Inner, name: &str, definition: String, before: u32) {
    let Some(service) = inner.state.services.get(name) else { return };
    let overtaken = service.shift().filter(|shift| shift.can_return()).cloned();
    let source = service.source().clone();
    let source_tasks = match overtaken.as_ref().filter(|_| source.id != service.primary().id) {
        Some(shift) => shift.source_tasks,
        None => before,
    };
    if let Some(shift) = overtaken {
        put_back(inner, &shift);
    }
    let shift = begin(inner, name, &source, source_tasks);
    let Some(service) = inner.state.services.get_mut(name) else { return };
    service.leave_primary();
    service.deploy(definition);
    let group = match (&shift, &service.balancing) {
        (Some(shift), _) => Some(shift.to.clone()),
        // After shifts, the group that has the traffic is not always the one that was named.
        (None, Some(Balancing { advanced: Some(_), .. })) => Some(source.group(name).to_owned()),
        (None, balancing) => balancing.as_ref().map(|balancing| balancing.group.clone()),
    };
    let primary = service.primary_mut();
    (primary.group, primary.shift) = (group, shift);
}

/// The shift of a deployment that begins; none if the service's strategy shifts nothing.
fn begin(inner: &Inner, name: &str, source: &Deployment, source_tasks: u32) -> Option<Shift> {
    let service = inner.state.services.get(name)?;
    let balancing =
        service.balancing.as_ref().filter(|_| service.configuration.strategy.shifts())?;
    let advanced = balancing.advanced.as_ref()?;
    let serving = serving(inner, balancing, advanced);
    let (from, invalid) = match serving {
        Ok(group) => (group, None),
        Err(why) => (balancing.group.clone(), Some(why)),
    };
    let to = if from == balancing.group { &advanced.alternate } else { &balancing.group };
    Some(Shift {
        configuration: service.configuration,
        source: source.id.clone(),
        source_tasks,
        to: to.clone(),
        from,
        production_rule: advanced.production_rule.clone(),
        test_rule: advanced.test_rule.clone(),
        stage: None,
        since: Timestamp::now(),
        production: Share::NONE,
        test: Share::NONE,
        invalid,
    })
}

/// The target group that has the production traffic, or why ECS does not begin with what the rules say.
fn serving(inner: &Inner, balancing: &Balancing, advanced: &Advanced) -> Result<String, String> {
    let rule = |arn: &str| inner.state.rules.iter().find(|rule| rule.arn == arn);
    let arn = &advanced.production_rule;
    let production = rule(arn)
        .ok_or_else(|| format!("{INVALID}: productionListenerRule {arn} does not exist."))?;
    let both = [&balancing.group, &advanced.alternate];
    let with_traffic: Vec<&String> = production
        .targets
        .iter()
        .filter(|(_, weight)| *weight > 0)
        .map(|(group, _)| group)
        .collect();
    let group_arn = |group: &str| inner.topology().map(|t| t.group_arn(group)).unwrap_or_default();
    let [group] = with_traffic.as_slice() else {
        let count = with_traffic.len();
        return Err(format!(
            "{INVALID}. productionListenerRule {arn} should have exactly one target group serving traffic but found \
             {count} target groups which are serving traffic"
        ));
    };
    if !both.contains(group) {
        return Err(format!(
            "{INVALID}. Production listener rule is forwarding traffic to unexpected target group {}. Expected traffic to \
             be forwarded to either targetGroupArn: {} or alternateTargetGroupArn: {}",
            group_arn(group),
            group_arn(&balancing.group),
            group_arn(&advanced.alternate)
        ));
    }
    let test = advanced.test_rule.as_deref().and_then(rule);
    let named = |group: &str| {
        let mut targets =
            production.targets.iter().chain(test.iter().flat_map(|rule| &rule.targets));
        targets.any(|(other, _)| other == group)
    };
    match both.into_iter().find(|group| !named(group)) {
        None => Ok((*group).clone()),
        Some(lost) => Err(format!(
            "{INVALID}: Target group {} is not associated with either productionListenerRule or testListenerRule.",
            group_arn(lost)
        )),
    }
}

/// What is to be done for a deployment that shifts traffic.
enum Due {
    Step(Step),
    GiveUp(String),
}

/// Brings a service's deployment one step on, if it is time.
pub(crate) fn advance(world: &World, name: &str) {
    let pace = Pace { minute: world.timing.minute, stage: world.timing.lifecycle_stage };
    if due(&world.look(), name, pace).is_none() {
        return;
    }
    let done = world.change(|inner| {
        match due(inner, name, pace) {
            Some(Due::Step(step)) => take(inner, name, step),
            Some(Due::GiveUp(reason)) => {
                let id = inner.state.services.get(name).map(|s| s.primary().id.clone());
                give_up(inner, name, &id.unwrap_or_default(), &reason, Ending::RolledBack);
            }
            None => {}
        }
        Ok::<_, NotKept>(())
    });
    if let Err(error) = done {
        tracing_line(&error.to_string());
    }
}

fn due(inner: &Inner, name: &str, pace: Pace) -> Option<Due> {
    let service = inner.state.services.get(name)?;
    let shift = service.shift()?;
    let primary = service.primary();
    if inner.ending || primary.rollout != RolloutState::InProgress {
        return None;
    }
    let (mut others, mut healthy) = (false, 0);
    for (id, task) in inner.tasks_of(name).filter(|(_, task)| task.status != TaskStatus::Stopped) {
        let (new, old) = (task.deployment == primary.id, task.deployment == shift.source);
        others |= !new && !old;
        let stays = task.stop.borrow().is_none();
        healthy += u32::from(new && stays && inner.is_healthy(&task.group, id));
    }
    let since = Timestamp::now().duration_since(shift.since);
    let elapsed = Duration::try_from(since).unwrap_or_default();
    if let Some(reason) = shift.invalid.clone().filter(|_| elapsed >= pace.stage) {
        return Some(Due::GiveUp(reason));
    }
    let seen = Seen { others, ready: healthy == service.desired, elapsed };
    shift.next(seen, pace).map(Due::Step)
}

fn take(inner: &mut Inner, name: &str, step: Step) {
    let Some(service) = inner.state.services.get_mut(name) else { return };
    let (now, primary) = (Timestamp::now(), service.primary_mut());
    let Some(shift) = &mut primary.shift else { return };
    let before = (shift.production, shift.test);
    shift.take(step, now);
    let shift = shift.clone();
    primary.updated_at = now;
    // What the rules say just now is not looked at, as ECS does not look at it.
    if shift.production != before.0 {
        set_weights(inner, &shift.production_rule, &shift, shift.production);
    }
    if let Some(rule) = shift.test_rule.as_ref().filter(|_| shift.test != before.1) {
        set_weights(inner, rule, &shift, shift.test);
    }
}

/// Gives a rule's traffic to the two groups: this share to the new one.
fn set_weights(inner: &mut Inner, arn: &str, shift: &Shift, share: Share) {
    let Some(rule) = inner.state.rules.iter_mut().find(|rule| rule.arn == arn) else { return };
    let (rest, own) = share.weights();
    let both = [(shift.from.clone(), rest), (shift.to.clone(), own)];
    rule.targets.retain(|(group, _)| *group == shift.from || *group == shift.to);
    for (group, weight) in both {
        match rule.targets.iter_mut().find(|(other, _)| *other == group) {
            Some(target) => target.1 = weight,
            None => rule.targets.push((group, weight)),
        }
    }
    inner.rounds.retain(|(of, _), _| of != arn);
}

/// Gives the old revision all traffic again, on the rules that were touched.
fn put_back(inner: &mut Inner, shift: &Shift) {
    if shift.production > Share::NONE {
        set_weights(inner, &shift.production_rule, shift, Share::NONE);
    }
    if let Some(rule) = shift.test_rule.as_ref().filter(|_| shift.test > Share::NONE) {
        set_weights(inner, rule, shift, Share::NONE);
    }
}

/// Gives a deployment up. Of one that shifts traffic, all of it goes back at once, unless it is only to fail.
pub(crate) fn give_up(inner: &mut Inner, name: &str, id: &str, reason: &str, ending: Ending) {
    let Some(service) = inner.state.services.get_mut(name) else { return };
    let shift = service.shift().filter(|_| service.primary().id == id).cloned();
    let shift = shift.filter(|shift| ending != Ending::Failed && shift.can_return());
    let Some(shift) = shift else {
        service.give_up(id, reason, ending == Ending::RolledBack);
        return;
    };
    if shift.source_tasks == 0 {
        // There was nothing that could come back.
        service.desired = 0;
    }
    if let Some(shift) = &mut service.primary_mut().shift {
        (shift.production, shift.test) = (Share::NONE, Share::NONE);
    }
    service.turn_back(&shift.source, reason, ending);
    put_back(inner, &shift);
}
