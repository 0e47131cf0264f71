#![doc = include_str!("../README.md")]

mod account;
mod archive;
mod cluster;
mod error;
mod files;
mod home;
mod install;
mod lockfile;
mod programs;
mod run;
mod server;
mod target;

pub use archive::{Owners, count_rows, dump_snapshot, restore_archive};
pub use cluster::{Cluster, ClusterOptions, Presence};
pub use error::ClusterError;
pub use files::{FilesError, copy_schema, dump, restore, schema, sql_text, whole_schema};
pub use install::install_command;
pub use programs::{NotFound, OLDEST, Programs};
