//! Bad input, as a person meets it at the command line: the exit code says what kind it is, the message names the thing, the
//! place and what to do next, nothing is touched, and no secret is shown.

mod cli;
mod cloud;
mod database;
mod files;
mod ledger;
mod machine;
mod releases;
mod scene;
mod snapshots;
