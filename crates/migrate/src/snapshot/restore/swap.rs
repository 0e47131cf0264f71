//! Giving a restored database the live one's name.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

use super::Tell;
use super::place::{Admin, Mark, Stage, beside_name};
use crate::connect::Address;
use crate::database::Database;
use crate::session::{COLUMNS, Session, read};
use crate::snapshot::archives::Snapshot;
use crate::snapshot::error::ArchiveError;
use crate::snapshot::verify::{identifier, literal};

/// How often sessions are ended while the names are changed: some come back at once.
const AGAIN: Duration = Duration::from_millis(50);

impl Admin {
    /// Renames the live database and gives its name to `restored`, both in one transaction: who connects meanwhile waits for its
    /// end. `held` is our own session of the live database. Gives the name that the live one has now, if it was there.
    pub(super) async fn swap(
        &mut self,
        restored: &str,
        held: Option<Database>,
        snapshot: &Snapshot,
        terminate: bool,
        on: Tell<'_>,
    ) -> Result<Option<String>, ArchiveError> {
        let live = self.live.clone();
        let Some(mut held) = held else {
            let rename = self.rename(restored, &live);
            self.execute(format!("{rename}; comment on database {} is null", identifier(&live)))
                .await?;
            return Ok(None);
        };
        let own = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut held.connection);
        let own = own.await.map_err(|error| self.failed(&error))?;
        let others = self.sessions(own).await?;
        if !others.is_empty() && !terminate {
            return Err(ArchiveError::InUse {
                live,
                restored: restored.to_owned(),
                sessions: others,
            });
        }
        let now = Timestamp::now();
        let before = beside_name(&live, "before_restore", now);
        let mark = Mark {
            snapshot: snapshot.manifest.id.clone(),
            of: live.clone(),
            stage: Stage::Before,
            at: now,
        };
        let comment = self.comment_of_live().await?;
        let statements = [
            "begin".to_owned(),
            "set local lock_timeout = '30s'".to_owned(),
            self.rename(&live, &before),
            self.rename(restored, &live),
            mark.statement(&before)?,
            format!("comment on database {} is {comment}", identifier(&live)),
            "commit".to_owned(),
        ];
        on(format!(
            "putting {restored} in the place of {live}, which is called {before} from now on"
        ));
        // Our own session would stand in the way too. With it the run lock goes; whoever takes it meets the rename.
        held.connection.close().await.map_err(|error| self.failed(&error))?;
        let renaming = self.rename_all(&statements, terminate);
        match renaming.await {
            Ok(()) => Ok(Some(before)),
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55006") => {
                self.execute("rollback".into()).await?;
                let sessions = self.sessions(0).await?;
                Err(ArchiveError::InUse { live, restored: restored.to_owned(), sessions })
            }
            Err(error) => {
                let failed = self.failed(&error);
                // If even this fails, the connection is gone and the server takes it back.
                self.execute("rollback".into()).await.unwrap_or_default();
                Err(failed)
            }
        }
    }

    fn rename(&self, from: &str, to: &str) -> String {
        format!("alter database {} rename to {}", identifier(from), identifier(to))
    }

    /// Runs the statements, and meanwhile, if told to, ends the sessions that the first renaming waits for.
    async fn rename_all(
        &mut self,
        statements: &[String],
        terminate: bool,
    ) -> Result<(), sqlx::Error> {
        let ender = if terminate { Some(self.second().await?) } else { None };
        let live = self.live.clone();
        let work = async {
            for statement in statements {
                let one = sqlx::raw_sql(AssertSqlSafe(statement.clone()));
                one.execute(&mut self.connection).await?;
            }
            Ok(())
        };
        tokio::select! {
            done = work => done,
            error = end_sessions(ender, &live) => Err(error),
        }
    }

    async fn second(&self) -> Result<PgConnection, sqlx::Error> {
        let invalid = |_| sqlx::Error::Configuration("the database's URL".into());
        let other = if self.live == "postgres" { "template1" } else { "postgres" };
        let address = Address::parse(&self.url_of(other), &self.settings).map_err(invalid)?;
        address.options.connect().await
    }

    /// Who is connected to the live database, without the session `own`.
    async fn sessions(&mut self, own: i32) -> Result<Vec<Session>, ArchiveError> {
        let query = format!(
            "select {COLUMNS} from pg_stat_activity a
             where a.datname = $1 and a.pid <> $2 and a.backend_type = 'client backend' order by a.pid"
        );
        let rows = sqlx::query(AssertSqlSafe(query)).bind(self.live.clone()).bind(own);
        let rows = rows.fetch_all(&mut self.connection).await;
        let rows = rows.map_err(|error| self.failed(&error))?;
        let sessions: Result<Vec<Session>, _> = rows.iter().map(read).collect();
        sessions.map_err(|error| self.failed(&error))
    }

    /// The comment on the live database, as it stands in SQL.
    async fn comment_of_live(&mut self) -> Result<String, ArchiveError> {
        let comment =
            "select shobj_description(oid, 'pg_database') from pg_database where datname = $1";
        let comment = sqlx::query_scalar::<_, Option<String>>(comment).bind(self.live.clone());
        let comment = comment.fetch_one(&mut self.connection).await;
        let comment = comment.map_err(|error| self.failed(&error))?;
        Ok(comment.map_or_else(|| "null".into(), |comment| literal(&comment)))
    }
}

/// Ends the sessions of a database again and again. Only an error ends this.
async fn end_sessions(connection: Option<PgConnection>, live: &str) -> sqlx::Error {
    let Some(mut connection) = connection else { return std::future::pending().await };
    loop {
        let ended = sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1",
        )
        .bind(live)
        .execute(&mut connection)
        .await;
        if let Err(error) = ended {
            return error;
        }
        tokio::time::sleep(AGAIN).await;
    }
}
