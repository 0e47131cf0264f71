//! Which steps a promotion or a rollback takes, in which order.

use std::collections::BTreeMap;
use std::time::Duration;

use liftlock_model::{Fingerprint, RunKind, ServiceName};
use liftlock_rollout::TaskDefinition;
use liftlock_saga::{Handle, Saga};
use tokio::sync::Mutex;

use crate::phases;
use crate::rig::Rig;
use crate::steps::Frame;
use crate::steps::bake::Bake;
use crate::steps::database::{Migrate, RollBackSchema, TakeSnapshot};
use crate::steps::infrastructure::{ApplyInfrastructure, PlanInfrastructure};
use crate::steps::look::{Listener, Looking, SeenServing, SmokeTest};
use crate::steps::rollout::{LowerOld, RaiseIdle, Register};
use crate::steps::traffic::{Chosen, PointTest, Shift};

/// The option of a rollback that keeps the newer schema.
pub(crate) const KEEP_SCHEMA: &str = "keep-schema";
/// The option of a rollback that may lose data.
pub(crate) const ACCEPT_DATA_LOSS: &str = "accept-data-loss";

/// The steps of a run of this kind.
pub(crate) fn saga<'a>(kind: RunKind, options: &[String], frame: Frame<'a>) -> Saga<'a> {
    match kind {
        RunKind::Rollback => rollback(frame, options),
        _ => promotion(frame),
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

fn promotion(frame: Frame<'_>) -> Saga<'_> {
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
    for wave in waves(frame) {
        shift(&mut saga, &rig, frame, &raised, &wave);
    }
    settle(&mut saga, &rig, frame, raised);
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
    let share = |service: &ServiceName| Share { service: service.clone(), share: 100, after: None };
    let shares = raised.chosen.keys().map(share).collect();
    let wave = Wave { number: 1, shares, bake: Duration::ZERO, last: true };
    shift(&mut saga, &rig, frame, &raised, &wave);
    if takes_back {
        let (name, to) = ("database/roll-back", phases::newest(frame.release));
        saga.push(rig.step(RollBackSchema { frame, name, to, accept_data_loss }));
        let name = "rollout/smoke-after-schema".to_owned();
        saga.push(rig.step(Looking(SmokeTest { frame, name, listener: Listener::Production })));
    }
    settle(&mut saga, &rig, frame, raised);
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
    last: bool,
}

/// What a service gets in a wave.
struct Share {
    service: ServiceName,
    share: u8,
    /// What it has by then.
    after: Option<u8>,
}

/// The services' steps side by side; a service with fewer steps is done earlier.
fn waves(frame: Frame<'_>) -> Vec<Wave> {
    let services = frame.site.environment.services_in_order();
    let count = services.iter().map(|(_, service)| service.rollout.steps.len()).max().unwrap_or(0);
    (0..count)
        .map(|index| {
            let last = index + 1 == count;
            let shares = services
                .iter()
                .filter_map(|(name, service)| {
                    let steps = &service.rollout.steps;
                    let after = index.checked_sub(1).and_then(|before| steps.get(before)).copied();
                    Some(Share { service: (*name).clone(), share: *steps.get(index)?, after })
                })
                .collect();
            let bakes = services.iter().map(|(_, service)| {
                if last {
                    service.rollout.bake.duration()
                } else {
                    service.rollout.step_bake.duration()
                }
            });
            Wave { number: index + 1, shares, bake: bakes.max().unwrap_or_default(), last }
        })
        .collect()
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
}

fn settle<'a>(saga: &mut Saga<'a>, rig: &Rig, frame: Frame<'a>, raised: Raised) {
    let chosen = raised.chosen;
    saga.push(rig.step(Looking(SeenServing { frame, chosen: chosen.clone() })));
    for (service, chosen) in chosen {
        saga.push(rig.step(LowerOld { frame, service, chosen }));
    }
}
