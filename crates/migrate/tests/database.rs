//! Migrations on real databases. One program, so that all of them share one PostgreSQL cluster.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "database/support.rs"]
mod support;

#[path = "database/adopt.rs"]
mod adopt;
#[path = "database/again.rs"]
mod again;
#[path = "database/apply.rs"]
mod apply;
#[path = "database/at_once.rs"]
mod at_once;
#[path = "database/baseline.rs"]
mod baseline;
#[path = "database/by_hand.rs"]
mod by_hand;
#[path = "database/chaos.rs"]
mod chaos;
#[path = "database/connect.rs"]
mod connect;
#[path = "database/drift.rs"]
mod drift;
#[path = "database/dry_run.rs"]
mod dry_run;
#[path = "database/dry_run_lint.rs"]
mod dry_run_lint;
#[path = "database/dry_run_part.rs"]
mod dry_run_part;
#[path = "database/dry_run_reports.rs"]
mod dry_run_reports;
#[path = "database/dry_run_statements.rs"]
mod dry_run_statements;
#[path = "database/dry_run_target.rs"]
mod dry_run_target;
#[path = "database/dry_run_verdicts.rs"]
mod dry_run_verdicts;
#[path = "database/fleet.rs"]
mod fleet;
#[path = "database/locks.rs"]
mod locks;
#[path = "database/memo.rs"]
mod memo;
#[path = "database/oracle.rs"]
mod oracle;
#[path = "database/outside.rs"]
mod outside;
#[path = "database/pooler.rs"]
mod pooler;
#[path = "database/program.rs"]
mod program;
#[path = "database/prove.rs"]
mod prove;
#[path = "database/refinery.rs"]
mod refinery;
#[path = "database/restore.rs"]
mod restore;
#[path = "database/retry.rs"]
mod retry;
#[path = "database/rollback.rs"]
mod rollback;
#[path = "database/schema.rs"]
mod schema;
#[path = "database/snapshot.rs"]
mod snapshot;
#[path = "database/squash.rs"]
mod squash;
#[path = "database/watch.rs"]
mod watch;
