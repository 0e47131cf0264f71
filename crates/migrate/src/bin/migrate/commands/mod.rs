//! The commands that only this program has, one file for each; the others are the library's.

pub(crate) mod apply;
pub(crate) mod restore;
pub(crate) mod snapshot;
