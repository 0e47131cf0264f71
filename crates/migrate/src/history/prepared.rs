//! Recording many applied migrations with one prepared statement: to read and plan the two records anew each time takes the server
//! longer than many a migration.

use crate::refinery;
use crate::settings::Settings;
use crate::text::quoted;

use super::Entry;
use super::entry::or_null;

/// What the statement is called. A script may drop it (`deallocate all`): whoever runs scripts must know.
const NAME: &str = "liftlock_record";

/// SQLSTATE of a prepared statement that is not there.
pub(crate) const NOT_THERE: &str = "26000";

/// What prepares it, also where an earlier run of the same session did: nothing else is prepared in it.
pub(crate) fn prepare() -> String {
    let refinery = refinery::TABLE;
    format!(
        "deallocate all; prepare {NAME} (int4, text, text, text, text, text, text, text, text, int8, int4, int4, text, text) as
         with refinery as (insert into {refinery} (version, name, applied_on, checksum) values ($1, $2, $3, $4))
         insert into liftlock_schema_history
             (version, name, action, up_sha256, rollback_sha256, rollback_sql, actor, run, started_at, duration_ms,
              statements, attempts, reason, snapshot)
         values ($1, $2, 'apply', $5, $6, $7, $8, $9, clock_timestamp() - $10 * interval '1 millisecond', $10, $11, $12, $13, $14)
         returning transaction_id"
    )
}

/// What records that a migration was applied; both tables have its row then. Gives the number of the transaction.
pub(crate) fn execute(entry: &Entry<'_>, settings: &Settings, refinery: &refinery::Row) -> String {
    let (_, milliseconds) = entry.timing();
    let values = [
        entry.id.version.to_string(),
        quoted(&entry.id.name),
        quoted(&refinery.applied_on),
        quoted(&refinery.checksum.to_string()),
        quoted(&entry.checksum.up),
        quoted(&entry.checksum.rollback),
        quoted(entry.rollback_sql),
        quoted(settings.actor.as_str()),
        or_null(settings.run.as_ref().map(|run| quoted(run.as_str()))),
        milliseconds,
        or_null(entry.statements),
        or_null(entry.attempts),
        or_null(entry.reason.as_ref().or(settings.reason.as_ref()).map(|text| quoted(text))),
        or_null(settings.taken.as_deref().map(quoted)),
    ];
    format!("execute {NAME} ({})", values.join(", "))
}
