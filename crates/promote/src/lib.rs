#![doc = include_str!("../README.md")]

mod abort;
mod announce;
pub mod archive;
mod backup;
mod check;
mod choose;
mod conclude;
mod contract;
pub mod emergency;
mod error;
mod failure;
mod fault;
mod fleet;
mod gate;
mod hold;
mod infrastructure;
mod long;
mod migrations;
mod phases;
mod picture;
mod plan;
mod preflight;
mod preview;
mod release;
mod report;
mod rig;
mod run;
mod saved;
mod scribe;
mod serves;
mod site;
mod steps;
mod switch;
mod terraform;
mod tidy;

pub use announce::Audience;
pub use backup::{BackUp, BackedUp};
pub use error::PromoteError;
pub use fleet::{Members, members};
pub use gate::reason_gate;
pub use hold::{Hold, Place, is_at_work};
pub use infrastructure::{Infrastructure, InfrastructurePlan, Signs};
pub use long::{Alarm, watched};
pub use migrations::{migration_settings, proven};
pub use picture::{
    PausePicture, Picture, RunPicture, ServicePicture, VerdictPicture, look, picture_run,
};
pub use preview::{Preview, Tried, preview};
pub use release::{ReleaseDraft, ReleaseError, check_images, create};
pub use report::{Notice, Report};
pub use run::{Ask, Conclusion, history, resume, start};
pub use saved::{InfrastructureRun, SavedInfrastructure};
pub use scribe::Scribe;
pub use site::{AlarmBoard, AlarmState, KnownAlarms, Ringing, Site};
pub use switch::switch_of;
pub use terraform::TerraformInfrastructure;
