//! Migrations on real databases. One program, so that all of them share one PostgreSQL cluster.

#[path = "database/support.rs"]
mod support;

#[path = "database/apply.rs"]
mod apply;
#[path = "database/rollback.rs"]
mod rollback;
