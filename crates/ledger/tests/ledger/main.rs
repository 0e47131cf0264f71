//! The ledger on both of its databases: every test of behaviour runs on SQLite and on a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test that panics says so")]

mod appending;
mod artifacts;
mod child;
mod golden;
mod leases;
mod opening;
mod place;
mod projections;
mod tampering;
