//! The ledger on both of its databases: every test of behaviour runs on SQLite and on a real PostgreSQL.

mod appending;
mod artifacts;
mod child;
mod golden;
mod leases;
mod opening;
mod place;
mod projections;
mod tampering;
