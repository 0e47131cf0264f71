//! End-to-end tests: see README.md beside this directory.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod bad_input;
mod broken;
mod chain;
mod chaos;
mod checks;
mod contract;
mod emergency;
mod failing;
mod gone;
mod house;
mod kill;
mod load;
mod local;
mod migrations;
mod native;
mod pauses;
mod performance;
mod project;
mod rehearsal;
mod rolling;
mod scenarios;
mod stranger;
mod strategies;
mod switch;
mod twice;
mod way_back;
