//! The stage with real processes and real requests.

mod api;
mod behaviour;
mod client;
mod database;
mod lifetime;
