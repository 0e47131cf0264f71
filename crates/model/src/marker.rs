//! The place in a database server's log at which a snapshot was taken.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The place in the server's log (WAL) and the time at which a snapshot was taken, for a recovery to that point. What the server
/// does not tell is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The server's clock (`recovery_target_time`).
    pub time: Timestamp,
    /// The place in its log (`recovery_target_lsn`), such as `0/16B3748`.
    pub lsn: Option<String>,
    /// The log's timeline (`recovery_target_timeline`).
    pub timeline: Option<i32>,
    /// The restore point that was made there (`recovery_target_name`), where the user may make one.
    pub restore_point: Option<String>,
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.time)?;
        if let Some(lsn) = &self.lsn {
            write!(f, ", LSN {lsn}")?;
        }
        if let Some(timeline) = self.timeline {
            write!(f, " on timeline {timeline}")?;
        }
        if let Some(name) = &self.restore_point {
            write!(f, ", restore point {name}")?;
        }
        Ok(())
    }
}
