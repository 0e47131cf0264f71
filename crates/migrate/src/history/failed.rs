//! Putting a failure on record, in a transaction of its own, after what failed was taken back.

use std::time::Duration;

use sqlx::PgConnection;

use super::Entry;
use crate::failure::Failure;
use crate::progress::{On, Progress};
use crate::settings::Settings;
use crate::transaction::Workbench;

/// How long writing it may take: the failure itself is what people wait for.
const LIMIT: Duration = Duration::from_secs(10);

/// Writes `entry` down with `failure`. If the connection is gone, over another one. That even this failed is told, and
/// changes nothing about the failure.
pub(crate) async fn record(
    bench: &mut Workbench<'_>,
    entry: Entry<'_>,
    failure: &Failure,
    on: On<'_>,
) {
    if matches!(failure, Failure::InDoubt { .. } | Failure::Interrupted { .. } | Failure::Lock(_)) {
        return;
    }
    let id = entry.id;
    let entry = entry.failed(failure);
    let settings = bench.settings;
    let mut written = within(write(bench.connection, &entry, settings)).await;
    if written.is_err() {
        bench.abort().await;
        written = match bench.watcher.another().await {
            Ok(mut other) => within(write(&mut other, &entry, settings)).await,
            Err(error) => Err(error.to_string()),
        };
    }
    if let Err(reason) = written {
        on(&Progress::NotRecorded { id: id.clone(), reason });
    }
}

async fn within(writing: impl Future<Output = Result<(), sqlx::Error>>) -> Result<(), String> {
    match tokio::time::timeout(LIMIT, writing).await {
        Ok(written) => written.map_err(|error| crate::failure::reason(&error)),
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
    }
}

async fn write(
    connection: &mut PgConnection,
    entry: &Entry<'_>,
    settings: &Settings,
) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "begin read write; set local lock_timeout = '2s'; set local statement_timeout = '5s'",
    )
    .execute(&mut *connection)
    .await?;
    super::make(connection).await?;
    entry.write(connection, settings).await?;
    sqlx::raw_sql("commit").execute(connection).await.map(drop)
}
