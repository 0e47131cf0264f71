//! Somebody who reads every table that a statement outside of a transaction may be about, and who is replaced by another as soon as the
//! statement waits. So each step of its work has to wait for once, which it does with all its locks, and these can be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::session::Watcher;

/// How often the statement is looked at.
const LOOK: Duration = Duration::from_millis(1);
/// How long a bystander waits for the statement.
const PATIENCE: &str = "200ms";

/// What a statement has locked, or waits for: modes by the number of the relation.
pub(super) type Locked = BTreeMap<i64, BTreeSet<String>>;

/// Who stands by, and who looks.
pub(super) struct Bystanders {
    look: PgConnection,
    both: [PgConnection; 2],
    present: usize,
}

/// A look.
#[derive(Default)]
struct Seen {
    waits: bool,
    /// What it waits to have for itself alone: another reader would wait behind it.
    alone: Vec<i64>,
}

impl std::fmt::Debug for Bystanders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bystanders").finish_non_exhaustive()
    }
}

impl Bystanders {
    /// None if the server does not let them in.
    pub(super) async fn open(watcher: &Watcher) -> Option<Self> {
        let look = watcher.another().await.ok()?;
        let both = [watcher.another().await.ok()?, watcher.another().await.ok()?];
        Some(Self { look, both, present: 0 })
    }

    /// Does `work`, which the session `pid` does on some of these tables (by number, with their names), and gives what it locked.
    pub(super) async fn observe<T>(
        &mut self,
        work: impl Future<Output = T>,
        pid: i32,
        tables: &BTreeMap<i64, String>,
    ) -> (T, Locked) {
        let mut locked = Locked::new();
        // The first lock of any strength has to wait, and from then on what waits for readers.
        self.stand(0, tables.values(), "exclusive").await;
        self.present = 0;
        let mut work = std::pin::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                () = tokio::time::sleep(LOOK) => {}
            }
            let seen = self.see(pid, &mut locked).await.unwrap_or_default();
            if seen.waits {
                let others = tables.iter().filter(|(oid, _)| !seen.alone.contains(oid));
                let next = 1 - self.present;
                self.stand(next, others.map(|(_, name)| name), "access share").await;
                self.leave(self.present).await;
                self.present = next;
            }
        };
        self.leave(0).await;
        self.leave(1).await;
        (done, locked)
    }

    async fn see(&mut self, pid: i32, locked: &mut Locked) -> Result<Seen, sqlx::Error> {
        let query = "select coalesce(relation::int8, 0), mode, granted from pg_catalog.pg_locks
                     where pid = $1 and (locktype = 'relation' or not granted)";
        let mut seen = Seen::default();
        for row in sqlx::query(query).bind(pid).fetch_all(&mut self.look).await? {
            let (relation, mode, granted): (i64, String, bool) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            seen.waits |= !granted;
            if !granted && mode == "AccessExclusiveLock" {
                seen.alone.push(relation);
            }
            locked.entry(relation).or_default().insert(mode);
        }
        Ok(seen)
    }

    /// Locks the tables, and keeps a view of the rows as they are now. Where that is not to be had, nobody stands there.
    async fn stand(
        &mut self,
        who: usize,
        tables: impl Iterator<Item = &String>,
        mode: &'static str,
    ) {
        let names: Vec<String> = tables.map(|table| format!("only {table}")).collect();
        let lock = match names.is_empty() {
            true => String::new(),
            false => format!("lock table {} in {mode} mode;", names.join(", ")),
        };
        let sql = format!(
            "begin isolation level repeatable read; set local lock_timeout = '{PATIENCE}'; {lock} select 1"
        );
        let stands = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.both[who]).await;
        if let Err(error) = stands {
            tracing::debug!(%error, "nobody stands by");
            self.leave(who).await;
        }
    }

    async fn leave(&mut self, who: usize) {
        if let Err(error) = sqlx::raw_sql("rollback").execute(&mut self.both[who]).await {
            tracing::debug!(%error, "a bystander is gone");
        }
    }
}
