#![doc = include_str!("../README.md")]

mod failure;
mod guard;
mod hcl_text;
mod plan;
mod process;
mod render;
mod run;
mod seal;
mod tool;
mod work;

pub use failure::{Cause, CommandError};
pub use guard::{Violation, guard};
pub use plan::{Action, Address, Change, Summary};
pub use render::{OutOfStep, RenderError, Rendered, check, render};
pub use run::{Applied, ApplyError, Outputs, PlanError, PrepareError, SavedPlan, Terraform};
pub use seal::{Difference, Seal, Sealed};
pub use tool::{FindError, Tool, VARIABLE};
pub use work::WorkError;
