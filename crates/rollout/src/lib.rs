#![doc = include_str!("../README.md")]

pub mod analysis;
pub mod breaker;
mod capacity;
mod colour;
mod death;
mod emergency;
mod error;
mod judge;
mod live;
pub mod performance;
mod reconcile;
mod replace;
mod schedule;
mod switch;
mod target;
mod tidy;
mod traffic;
mod wait;
mod watch;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub use breaker::{Breaker, Observation, Requests, Trip};
pub use capacity::{Raised, lower, raise};
pub use colour::{Colour, Weights, WeightsError};
pub use death::{DEATHS_TOLD, Death, LAST_LINES, obituaries};
pub use emergency::{Revision, Revisions, Way, way};
pub use error::{RolloutError, TargetError, TargetErrorKind};
pub use judge::{Judge, Measured, Standing};
pub use live::{ColourState, Live, TaskDefinition};
pub use reconcile::{Difference, Expected, ExpectedColour, differences, reconcile};
pub use replace::{Replaced, Replacement, Replacing, Shifting, replace};
pub use schedule::{Shift, schedule};
pub use switch::{Armed, Back, Backs, Kept, PutOff, Switch, Switches};
pub use target::{Target, Urls, Usage};
pub use tidy::{Tidied, tidy};
pub use traffic::{Shifted, seen_serving, shift, shift_from};
pub use wait::Wait;
pub use watch::{Check, Tripped, Watched, watch, watch_until};
