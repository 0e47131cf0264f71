//! The stage with real processes and real requests.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api;
mod behaviour;
mod client;
mod database;
mod faults;
mod lifetime;
mod models;
