//! Which steps a promotion or a rollback takes, in which order.

use std::collections::BTreeMap;
use std::time::Duration;

use liftlock_environment::config::{self, Pause};
use liftlock_model::{Fingerprint, RunKind, ServiceName};
use liftlock_rollout::{self as rollout, Replacement, TaskDefinition, schedule};
use liftlock_saga::{Handle, Saga};
use tokio::sync::Mutex;

use crate::phases;
use crate::rig::Rig;
use crate::steps::Frame;
use crate::steps::bake::Bake;
use crate::steps::database::{Migrate, RollBackSchema, TakeSnapshot};
use crate::steps::infrastructure::{ApplyInfrastructure, PlanInfrastructure};
use crate::steps::look::{ErrorRate, Listener, Looking, SeenServing, SmokeTest};
use crate::steps::pause::WaitForPerson;
use crate::steps::performance::LoadTest;
use crate::steps::replace::Replace;
use crate::steps::rollout::{LowerOld, RaiseIdle, Register};
use crate::steps::switch::{ArmSwitch, DisarmSwitch};
use crate::steps::traffic::{Chosen, PointTest, Shift};

/// The option of a rollback that keeps the newer schema.
pub(crate) const KEEP_SCHEMA: &str = "keep-schema";
/// The option of a rollback that may lose data.
pub(crate) const ACCEPT_DATA_LOSS: &str = "accept-data-loss";

/// The option of a promotion that moves all traffic at once.
pub(crate) const SKIP_CANARY: &str = "skip-canary";

/// The steps of a run of this kind.
pub(crate) fn saga<'a>(kind: RunKind, options: &[String], frame: Frame<'a>) -> Saga<'a> {
    match kind {
        RunKind::Rollback => rollback(frame, options),
        _ => promotion(frame, options),
    }
}

/// What a run's journal must agree with: what moves, where, how, and by which steps.
pub(crate) fn fingerprint(
    kind: RunKind,
    options: &[String],
    frame: &Frame<'_>,
    saga: &Saga<'_>,
) -> Fingerprint {
    let previous = frame.previous.map(|release| &release.id);
    let environment = frame.site.environment.fingerprint();
    Fingerprint::of(&(
        kind,
        options,
        &frame.release.id,
        previous,
        frame.previous_bundle,
        environment,
        saga.plan(),
    ))
}

fn promotion<'a>(frame: Frame<'a>, options: &[String]) -> Saga<'a> {
    let mut saga = Saga::new();
    let rig = Rig::from_environment();
    let planned = saga.push(rig.step(PlanInfrastructure(frame)));
    saga.push(rig.step(ApplyInfrastructure { frame, planned, again: Mutex::new(None) }));
    if let Some(database) = &frame.site.environment.config.database {
        if let Some(snapshot) = &database.snapshot {
            saga.push(rig.step(TakeSnapshot { frame, snapshot }));
        }
        saga.push(rig.step(Migrate(frame)));
    }
    let raised = raise(&mut saga, &rig, frame);
    let chosen = raised.chosen.clone();
    if !chosen.is_empty() {
        saga.push(rig.step(ArmSwitch { frame, chosen: chosen.clone() }));
    }
    let skips = options.iter().any(|option| option == SKIP_CANARY);
    for wave in waves(&frame.site.environment.services_in_order(), skips) {
        shift(&mut saga, &rig, frame, &raised, &wave);
    }
    load(&mut saga, &rig, frame, &raised);
    seen_serving(&mut saga, &rig, frame, &raised);
    if !chosen.is_empty() {
        saga.push(rig.step(DisarmSwitch { frame, leniently: false, chosen }));
    }
    lower(&mut saga, &rig, frame, raised);
    saga
}

/// The application first, straight to all traffic, since what serves now is what has to go; then the schema, which the
/// newer release may still need while it serves. Only what contract migrations took away comes back before that.
fn rollback<'a>(frame: Frame<'a>, options: &[String]) -> Saga<'a> {
    let mut saga = Saga::new();
    let rig = Rig::from_environment();
    let keeps = options.iter().any(|option| option == KEEP_SCHEMA);
    let takes_back = frame.site.environment.config.database.is_some() && !keeps;
    let accept_data_loss = options.iter().any(|option| option == ACCEPT_DATA_LOSS);
    // What the older release cannot live without comes back before it serves. That it can come back was looked at before.
    if let Ok(Some(to)) = phases::before_rollback(frame.release, frame.previous)
        && takes_back
    {
        let name = "database/roll-back-contract";
        saga.push(rig.step(RollBackSchema { frame, name, to, accept_data_loss }));
    }
    let raised = raise(&mut saga, &rig, frame);
    saga.push(rig.step(DisarmSwitch { frame, leniently: true, chosen: raised.chosen.clone() }));
    let share = |service: &ServiceName| Share { service: service.clone(), share: 100, after: None };
    let shares = raised.chosen.keys().map(share).collect();
    let wave = Wave { number: 1, shares, bake: Duration::ZERO, pause: None, last: true };
    shift(&mut saga, &rig, frame, &raised, &wave);
    if takes_back {
        let (name, to) = ("database/roll-back", phases::newest(frame.release));
        saga.push(rig.step(RollBackSchema { frame, name, to, accept_data_loss }));
        let name = "rollout/smoke-after-schema".to_owned();
        saga.push(rig.step(Looking(SmokeTest { frame, name, listener: Listener::Production })));
    }
    saga.push(rig.step(Looking(ErrorRate { frame })));
    seen_serving(&mut saga, &rig, frame, &raised);
    lower(&mut saga, &rig, frame, raised);
    saga
}

/// What stands ready for traffic, by service.
#[derive(Default)]
struct Raised {
    chosen: BTreeMap<ServiceName, Handle<Chosen>>,
    registered: BTreeMap<ServiceName, Handle<TaskDefinition>>,
}

impl Raised {
    /// The services whose traffic moves from one colour to the other.
    fn shifted(&self, frame: &Frame<'_>) -> BTreeMap<ServiceName, Handle<Chosen>> {
        let moves = |service: &ServiceName| replacement(frame, service).is_none();
        self.chosen.iter().filter(|(service, _)| moves(service)).map(cloned).collect()
    }
}

/// How a service's tasks are replaced where they are; none where traffic moves instead.
fn replacement(frame: &Frame<'_>, service: &ServiceName) -> Option<Replacement> {
    Replacement::of(&frame.service(service).ok()?.rollout)
}

/// All services are raised and tested before the first user meets any of them.
fn raise<'a>(saga: &mut Saga<'a>, rig: &Rig, frame: Frame<'a>) -> Raised {
    let services: Vec<_> = frame
        .site
        .environment
        .services_in_order()
        .into_iter()
        .map(|(name, _)| name.clone())
        .collect();
    let mut raised = Raised::default();
    for service in &services {
        let registered = saga.push(rig.step(Register { frame, service: service.clone() }));
        let in_place = replacement(&frame, service).is_some();
        let colour = saga.push(rig.step(PointTest { frame, service: service.clone(), in_place }));
        raised.chosen.insert(service.clone(), colour.clone());
        raised.registered.insert(service.clone(), registered.clone());
        if in_place {
            continue;
        }
        saga.push(rig.step(RaiseIdle {
            frame,
            service: service.clone(),
            registered,
            chosen: colour,
        }));
    }
    // Of services whose tasks are replaced where they are, nothing new is there yet.
    if !raised.shifted(&frame).is_empty() {
        let name = "rollout/smoke-before-traffic".to_owned();
        saga.push(rig.step(Looking(SmokeTest { frame, name, listener: Listener::Test })));
    }
    raised
}

/// One step of traffic, of all services.
struct Wave {
    number: usize,
    shares: Vec<Share>,
    bake: Duration,
    pause: Option<Pause>,
    last: bool,
}

/// What a service gets in a wave.
struct Share {
    service: ServiceName,
    share: u8,
    /// What it has by then.
    after: Option<u8>,
}

/// The services' steps side by side; a service with fewer steps is done earlier, and one that depends on others begins when those are done.
/// Whoever skips the canary has the last steps alone.
fn waves(in_order: &[(&ServiceName, &config::Service)], skips_canary: bool) -> Vec<Wave> {
    let services = courses(in_order, skips_canary);
    let count = services.iter().map(Course::end).max().unwrap_or(0);
    (0..count).map(|index| wave(&services, index, index + 1 == count)).collect()
}

fn courses<'a>(
    in_order: &[(&'a ServiceName, &'a config::Service)],
    skips_canary: bool,
) -> Vec<Course<'a>> {
    let awaited = |name: &ServiceName| {
        in_order.iter().any(|(_, service)| service.rollout.depends_on.contains(name))
    };
    let course = |(name, service): &(&'a ServiceName, &'a config::Service)| Course {
        name,
        rollout: &service.rollout,
        steps: schedule(&service.rollout, skips_canary),
        begins: 0,
        is_awaited: awaited(name),
        skips_canary,
    };
    let mut courses: Vec<_> = in_order.iter().map(course).collect();
    // As often as the longest chain may be long: each round settles one more of its links.
    for _ in 0..courses.len() {
        for at in 0..courses.len() {
            let first = |other: &&Course<'_>| {
                courses[at].rollout.depends_on.contains(other.name)
                    || courses[at].comes_after(other)
            };
            courses[at].begins = courses.iter().filter(first).map(Course::end).max().unwrap_or(0);
        }
    }
    courses
}

/// The steps of one service.
struct Course<'a> {
    name: &'a ServiceName,
    rollout: &'a config::Rollout,
    steps: Vec<rollout::Shift>,
    /// The wave of its first step.
    begins: usize,
    /// Others begin when it is done.
    is_awaited: bool,
    skips_canary: bool,
}

impl Course<'_> {
    /// What is replaced in place is not tested before users meet it, and takes longest to come back: it comes after what moves by shares,
    /// unless others wait for it.
    fn comes_after(&self, other: &Course<'_>) -> bool {
        let is_in_place = |course: &Course<'_>| course.rollout.strategy.is_in_place();
        is_in_place(self) && !self.is_awaited && !is_in_place(other)
    }

    /// The first wave without it.
    fn end(&self) -> usize {
        self.begins + self.steps.len()
    }

    fn step(&self, wave: usize) -> Option<&rollout::Shift> {
        self.steps.get(wave.checked_sub(self.begins)?)
    }

    fn share(&self, wave: usize) -> Option<Share> {
        let step = self.step(wave)?;
        let after = wave.checked_sub(1).and_then(|before| self.step(before));
        let service = self.name.clone();
        Some(Share { service, share: step.share, after: after.map(|step| step.share) })
    }

    /// The last bake of a service that is done earlier comes with the release's last wave, and before those that depend on it move.
    fn bake(&self, wave: usize, last: bool) -> Duration {
        match (self.step(wave), self.steps.last()) {
            (_, Some(end)) if last => end.bake,
            _ if self.skips_canary || wave < self.begins => Duration::ZERO,
            (Some(step), _) if !step.last || self.is_awaited => step.bake,
            _ => self.rollout.step_bake.duration(),
        }
    }
}

fn wave(services: &[Course<'_>], index: usize, last: bool) -> Wave {
    let pauses = services.iter().filter_map(|course| course.step(index)?.pause);
    Wave {
        number: index + 1,
        shares: services.iter().filter_map(|course| course.share(index)).collect(),
        bake: services.iter().map(|course| course.bake(index, last)).max().unwrap_or_default(),
        pause: pauses.reduce(shorter),
        last,
    }
}

/// Of several services' pauses, the one that ends first.
fn shorter(one: Pause, other: Pause) -> Pause {
    match (one, other) {
        (Pause::AtMost(one), Pause::AtMost(other)) => Pause::AtMost(one.min(other)),
        (limited @ Pause::AtMost(_), _) | (_, limited @ Pause::AtMost(_)) => limited,
        _ => Pause::UntilResumed,
    }
}

fn shift<'a>(saga: &mut Saga<'a>, rig: &Rig, frame: Frame<'a>, raised: &Raised, wave: &Wave) {
    for Share { service, share, after } in &wave.shares {
        let (Some(chosen), Some(registered)) =
            (raised.chosen.get(service), raised.registered.get(service))
        else {
            continue;
        };
        if let Some(how) = replacement(&frame, service) {
            saga.push(rig.step(Replace {
                frame,
                service: service.clone(),
                chosen: chosen.clone(),
                registered: registered.clone(),
                how,
            }));
            continue;
        }
        saga.push(rig.step(Shift {
            frame,
            service: service.clone(),
            chosen: chosen.clone(),
            registered: registered.clone(),
            share: *share,
            after: *after,
        }));
    }
    let share = wave.shares.iter().map(|share| share.share).max().unwrap_or(100);
    // Only those that move now share their traffic with an old version that they can be compared with.
    let moving = |service: &ServiceName| wave.shares.iter().any(|share| share.service == *service);
    let chosen: BTreeMap<_, _> =
        raised.chosen.iter().filter(|(service, _)| moving(service)).map(cloned).collect();
    let listener = if wave.last { Listener::Production } else { Listener::Test };
    let name = format!("rollout/wave-{}/smoke", wave.number);
    saga.push(rig.step(Looking(SmokeTest { frame, name, listener })));
    let replaced = |share: &Share| replacement(&frame, &share.service).is_some();
    // That ECS is through with its tasks does not say that they are well.
    if wave.bake > Duration::ZERO || wave.shares.iter().any(replaced) {
        let name = format!("rollout/wave-{}/bake", wave.number);
        let chosen = chosen.clone();
        saga.push(rig.step(Looking(Bake { frame, name, period: wave.bake, share, chosen })));
    }
    if let Some(pause) = wave.pause {
        let name = format!("rollout/wave-{}/pause", wave.number);
        let limit = match pause {
            Pause::AtMost(period) => Some(period.duration()),
            Pause::UntilResumed | Pause::No => None,
        };
        saga.push(rig.step(Looking(WaitForPerson { frame, name, share, limit, chosen })));
    }
}

fn cloned<K: Clone, V: Clone>((key, value): (&K, &V)) -> (K, V) {
    (key.clone(), value.clone())
}

/// One service after the other: together they would measure each other.
fn load<'a>(saga: &mut Saga<'a>, rig: &Rig, frame: Frame<'a>, raised: &Raised) {
    for (name, service) in frame.site.environment.services_in_order() {
        if let (Some(policy), Some(chosen)) = (&service.performance, raised.chosen.get(name)) {
            let (service, chosen) = (name.clone(), chosen.clone());
            saga.push(rig.step(LoadTest { frame, service, policy, chosen }));
        }
    }
}

fn seen_serving<'a>(saga: &mut Saga<'a>, rig: &Rig, frame: Frame<'a>, raised: &Raised) {
    saga.push(rig.step(Looking(SeenServing { frame, chosen: raised.chosen.clone() })));
}

fn lower<'a>(saga: &mut Saga<'a>, rig: &Rig, frame: Frame<'a>, raised: Raised) {
    for (service, chosen) in raised.shifted(&frame) {
        saga.push(rig.step(LowerOld { frame, service, chosen }));
    }
}

#[cfg(test)]
mod tests {
    use liftlock_environment::Period;
    use liftlock_environment::config::{Rollout, Step};

    use super::*;

    /// A service with these shares, after those.
    fn service(steps: &[u8], depends_on: &[&str]) -> config::Service {
        let rollout = Rollout {
            steps: Some(steps.iter().map(|share| Step::of(*share)).collect()),
            depends_on: depends_on.iter().map(|name| name.parse().unwrap()).collect(),
            step_bake: Period::from_secs(2),
            bake: Period::from_secs(15),
            ..Rollout::default()
        };
        let bare = serde_json::json!({ "repository": "shop/it", "port": 80 });
        config::Service { rollout, ..serde_json::from_value(bare).unwrap() }
    }

    /// The waves of these services, such as `proxy 10, web 50; bake 2`.
    fn told(services: &[(&str, config::Service)], skips_canary: bool) -> Vec<String> {
        let names: Vec<ServiceName> =
            services.iter().map(|(name, _)| name.parse().unwrap()).collect();
        let in_order: Vec<_> =
            names.iter().zip(services).map(|(name, (_, service))| (name, service)).collect();
        let waves = waves(&in_order, skips_canary);
        let share = |share: &Share| match share.after {
            Some(after) => format!("{} {after}-{}", share.service, share.share),
            None => format!("{} {}", share.service, share.share),
        };
        let shares = |wave: &Wave| wave.shares.iter().map(share).collect::<Vec<_>>().join(", ");
        waves.iter().map(|wave| format!("{}; bake {}", shares(wave), wave.bake.as_secs())).collect()
    }

    /// Shows the order of strategies in one release: what can be tested before users meet it comes first.
    #[test]
    fn what_is_replaced_in_place_comes_last_unless_others_wait_for_it() {
        let rolling = || {
            let mut rolling = service(&[100], &[]);
            rolling.rollout.strategy = config::Strategy::Rolling;
            rolling
        };
        let canary = service(&[10, 100], &[]);
        let all = [("api", rolling()), ("web", canary), ("worker", rolling())];
        let expected = ["web 10; bake 2", "web 10-100; bake 2", "api 100, worker 100; bake 15"];
        assert_eq!(told(&all, false), expected);
        let all = [("api", rolling()), ("web", service(&[10, 100], &["api"]))];
        let expected = ["api 100; bake 15", "web 10; bake 2", "web 10-100; bake 15"];
        assert_eq!(told(&all, false), expected);
    }

    #[test]
    fn services_move_together() {
        let both = [("proxy", service(&[50, 100], &[])), ("web", service(&[10, 50, 100], &[]))];
        let expected =
            ["proxy 50, web 10; bake 2", "proxy 50-100, web 10-50; bake 2", "web 50-100; bake 15"];
        assert_eq!(told(&both, false), expected);
        assert_eq!(told(&both, true), ["proxy 100, web 100; bake 15"]);
    }

    /// Shows the order of several services: one that depends on others moves first when those have all traffic and were watched for their
    /// last bake; who depends on nothing waits for nobody.
    #[test]
    fn a_service_moves_when_those_that_it_depends_on_are_done() {
        let all = [
            ("api", service(&[50, 100], &["proxy"])),
            ("other", service(&[10, 20, 30, 100], &[])),
            ("proxy", service(&[50, 100], &[])),
            ("web", service(&[100], &["api", "proxy"])),
        ];
        let expected = [
            "other 10, proxy 50; bake 2",
            "other 10-20, proxy 50-100; bake 15",
            "api 50, other 20-30; bake 2",
            "api 50-100, other 30-100; bake 15",
            "web 100; bake 15",
        ];
        assert_eq!(told(&all, false), expected);
        let skipped = ["other 100, proxy 100; bake 0", "api 100; bake 0", "web 100; bake 15"];
        assert_eq!(told(&all, true), skipped);
    }
}
