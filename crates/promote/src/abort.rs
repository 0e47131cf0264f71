//! An operator's word from another machine: it reaches the run through the ledger.

use std::time::Duration;

use liftlock_ledger::{Ledger, Query, projection};
use liftlock_model::{Entry, Event, RunId};
use liftlock_saga::{End, StepErrorKind};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often the ledger is asked.
const POLL: Duration = Duration::from_secs(1);

/// Asks the run to stop, and to go back, once somebody said so; also if that was said while nobody was at work on it. The returned task
/// is ended by whoever started it.
pub(crate) fn stop_when_aborted(
    ledger: &Ledger,
    run: &RunId,
    cancel: &CancellationToken,
) -> JoinHandle<()> {
    let (ledger, run, cancel) = (ledger.clone(), run.clone(), cancel.clone());
    tokio::spawn(async move {
        let mut seen = 0;
        loop {
            // A ledger that cannot be read just now is asked again: the run itself notices if it stays away.
            let entries = ledger.entries(&Query::all().run(&run).after(seen)).await;
            let entries = entries.unwrap_or_default();
            if entries.iter().any(is_abort) {
                return cancel.cancel();
            }
            seen = entries.last().map_or(seen, |entry| entry.sequence);
            tokio::time::sleep(POLL).await;
        }
    })
}

fn is_abort(entry: &Entry) -> bool {
    matches!(entry.event, Event::RunAborted { .. })
}

/// Names whoever stopped a run and their reason in the failure that this made.
pub(crate) async fn name_who_stopped(ledger: &Ledger, run: &RunId, end: &mut End) {
    let Some(failure) = &mut end.failure else { return };
    if failure.kind != StepErrorKind::Cancelled {
        return;
    }
    let entries = ledger.entries(&Query::all().run(run)).await.unwrap_or_default();
    if let Some(abort) = projection::aborted(&entries, run) {
        failure.error = format!("aborted by {}: {} ({})", abort.actor, abort.reason, failure.error);
    }
}
