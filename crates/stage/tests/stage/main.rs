//! The stage with real processes and real requests.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api;
mod aws_client;
mod behaviour;
mod client;
mod database;
mod deployments;
mod faults;
mod lifetime;
mod logs;
mod models;
mod native;
mod schedules;
