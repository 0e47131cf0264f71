//! `liftlock migrate` on real databases, with no application around them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "migrate/alert.rs"]
mod alert;
#[path = "migrate/commands.rs"]
mod commands;
#[path = "migrate/fleet.rs"]
mod fleet;
#[path = "migrate/project.rs"]
mod project;
#[path = "migrate/reason.rs"]
mod reason;
