#![doc = include_str!("../README.md")]

mod api;
mod apply;
mod arn;
mod balancer;
mod control;
mod database;
mod deployments;
mod error;
mod fault;
mod guarded;
mod health;
mod home;
mod image;
mod launch;
mod metrics;
mod native;
mod pattern;
mod recorder;
mod refusal;
mod relay;
mod scheduler;
mod schedules;
mod serve;
mod stage;
mod state;
mod status;
mod task;
mod topology;
mod tree;
mod usage;
mod world;

pub use error::StageError;
pub use fault::{Fault, FaultState, FaultStatus, Kind, Scenario, ScenarioError, Span};
pub use image::{ImageError, build_image};
pub use serve::{ServeOptions, serve};
pub use stage::{
    Running, Stage, add_faults, apply_topology, clear_faults, database_url, ensure, faults, reset,
    start_only, status, stop, topology,
};
pub use status::{ColourStatus, DatabaseStatus, ScheduleStatus, ServiceStatus, Status};
pub use topology::{Colour, DatabaseTopology, ServiceTopology, Topology};
pub use world::Timing;
