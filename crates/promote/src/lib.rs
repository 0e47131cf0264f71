#![doc = include_str!("../README.md")]

mod announce;
pub mod archive;
mod check;
mod choose;
mod conclude;
mod contract;
mod error;
mod failure;
mod fault;
mod hold;
mod infrastructure;
mod migrations;
mod phases;
mod plan;
mod preflight;
mod preview;
mod release;
mod report;
mod rig;
mod run;
mod saved;
mod scribe;
mod site;
mod steps;
mod terraform;

pub use error::PromoteError;
pub use hold::{Hold, Place, is_at_work};
pub use infrastructure::{Infrastructure, InfrastructurePlan, Signs};
pub use migrations::migration_settings;
pub use preview::{Preview, Tried, preview};
pub use release::{ReleaseDraft, ReleaseError, check_images, create};
pub use report::{Notice, Report};
pub use run::{Ask, Conclusion, history, resume, start};
pub use saved::{InfrastructureRun, SavedInfrastructure};
pub use site::{AlarmBoard, KnownAlarms, Ringing, Site};
pub use terraform::TerraformInfrastructure;
