#![doc = include_str!("../README.md")]

mod actions;
mod alarms;
mod clients;
mod ecs;
mod error;
mod instances;
mod parameters;
mod retries;
mod snapshots;

pub use actions::{ACTIONS, Action};
pub use alarms::{Alarm, AlarmState, Alarms};
pub use clients::{Clients, ConnectError, Credentials};
pub use ecs::{EcsSwitch, EcsTarget};
pub use error::{AwsError, AwsErrorKind};
pub use instances::RdsInstances;
pub use parameters::SsmParameters;
pub use snapshots::RdsSnapshots;
