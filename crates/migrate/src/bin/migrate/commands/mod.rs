//! The commands, one file for each.

pub(crate) mod adopt;
pub(crate) mod apply;
pub(crate) mod baseline;
pub(crate) mod check;
pub(crate) mod drift;
pub(crate) mod dry_run;
pub(crate) mod fleet;
pub(crate) mod new;
pub(crate) mod prove;
pub(crate) mod resolve;
pub(crate) mod restore;
pub(crate) mod rollback;
pub(crate) mod snapshot;
pub(crate) mod status;
