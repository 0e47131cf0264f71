//! Which steps a promotion or a rollback takes, in which order.

use std::collections::BTreeMap;
use std::time::Duration;

use liftlock_environment::config::{self, Pause};
use liftlock_model::{Fingerprint, RunKind, ServiceName};
use liftlock_rollout::{self as rollout, TaskDefinition, schedule};
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
    saga.push(rig.step(ArmSwitch { frame, chosen: raised.chosen.clone() }));
    let skips = options.iter().any(|option| option == SKIP_CANARY);
    for wave in waves(frame, skips) {
        shift(&mut saga, &rig, frame, &raised, &wave);
    }
    seen_serving(&mut saga, &rig, frame, &raised);
    saga.push(rig.step(DisarmSwitch { frame, leniently: false, chosen: raised.chosen.clone() }));
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
        let colour = saga.push(rig.step(PointTest { frame, service: service.clone() }));
        raised.chosen.insert(service.clone(), colour.clone());
        raised.registered.insert(service.clone(), registered.clone());
        saga.push(rig.step(RaiseIdle {
            frame,
            service: service.clone(),
            registered,
            chosen: colour,
        }));
    }
    let name = "rollout/smoke-before-traffic".to_owned();
    saga.push(rig.step(Looking(SmokeTest { frame, name, listener: Listener::Test })));
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

/// The services' steps side by side; a service with fewer steps is done earlier. Whoever skips the canary has the last step alone.
fn waves(frame: Frame<'_>, skips_canary: bool) -> Vec<Wave> {
    let services: Vec<Course<'_>> = frame
        .site
        .environment
        .services_in_order()
        .into_iter()
        .map(|(name, service)| Course {
            name,
            rollout: &service.rollout,
            steps: schedule(&service.rollout, skips_canary),
        })
        .collect();
    let count = services.iter().map(|course| course.steps.len()).max().unwrap_or(0);
    (0..count).map(|index| wave(&services, index, index + 1 == count)).collect()
}

/// The steps of one service.
struct Course<'a> {
    name: &'a ServiceName,
    rollout: &'a config::Rollout,
    steps: Vec<rollout::Shift>,
}

impl Course<'_> {
    fn share(&self, index: usize) -> Option<Share> {
        let step = self.steps.get(index)?;
        let after = index.checked_sub(1).and_then(|before| self.steps.get(before));
        let service = self.name.clone();
        Some(Share { service, share: step.share, after: after.map(|step| step.share) })
    }

    /// The last bake of a service that is done earlier comes with the release's last wave.
    fn bake(&self, index: usize, last: bool) -> Duration {
        match (self.steps.get(index), self.steps.last()) {
            (_, Some(end)) if last => end.bake,
            (Some(step), _) if !step.last => step.bake,
            _ => self.rollout.step_bake.duration(),
        }
    }
}

fn wave(services: &[Course<'_>], index: usize, last: bool) -> Wave {
    let pauses = services.iter().filter_map(|course| course.steps.get(index)?.pause);
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
    let listener = if wave.last { Listener::Production } else { Listener::Test };
    let name = format!("rollout/wave-{}/smoke", wave.number);
    saga.push(rig.step(Looking(SmokeTest { frame, name, listener })));
    if wave.bake > Duration::ZERO {
        let name = format!("rollout/wave-{}/bake", wave.number);
        let chosen = raised.chosen.clone();
        saga.push(rig.step(Looking(Bake { frame, name, period: wave.bake, share, chosen })));
    }
    if let Some(pause) = wave.pause {
        let name = format!("rollout/wave-{}/pause", wave.number);
        let limit = match pause {
            Pause::AtMost(period) => Some(period.duration()),
            Pause::UntilResumed | Pause::No => None,
        };
        let chosen = raised.chosen.clone();
        saga.push(rig.step(Looking(WaitForPerson { frame, name, share, limit, chosen })));
    }
}

fn seen_serving<'a>(saga: &mut Saga<'a>, rig: &Rig, frame: Frame<'a>, raised: &Raised) {
    saga.push(rig.step(Looking(SeenServing { frame, chosen: raised.chosen.clone() })));
}

fn lower<'a>(saga: &mut Saga<'a>, rig: &Rig, frame: Frame<'a>, raised: Raised) {
    for (service, chosen) in raised.chosen {
        saga.push(rig.step(LowerOld { frame, service, chosen }));
    }
}
