//! The contract phase: migrations that run once the new release serves alone and has proven itself. The run is over by then and
//! is not unwound for them: the release serves well without. What was not applied is told, and the next promotion, also of the
//! same release, catches up.

use liftlock_model::{Left, Phase, Release, StepName};
use liftlock_saga::{StepError, StepErrorKind};
use tokio_util::sync::CancellationToken;

use crate::scribe::Scribe;
use crate::site::Site;
use crate::steps::Frame;
use crate::steps::database;

/// Applies what the release that has just proven itself has left to apply. Gives what is left if that fails.
pub(crate) async fn apply(frame: &Frame<'_>, cancel: &CancellationToken) -> Option<Left> {
    let migrations = &frame.release.content.migrations;
    let has_any = migrations.iter().any(|stamp| stamp.phase == Phase::Contract);
    if frame.site.environment.config.database.is_none() || !has_any {
        return None;
    }
    let step = StepName::new("database/contract");
    let life = |text: &str| frame.scribe.life(&step, text);
    let applied = match cancel.is_cancelled() {
        true => Err(StepError::new(StepErrorKind::Cancelled, "stopped by request before it")),
        false => database::apply_contract(frame, &life, cancel).await,
    };
    let error = applied.err()?;
    let environment = &frame.site.environment.name;
    Some(Left {
        what: format!(
            "{} serves; its migrations of the contract phase are not all applied: {error}",
            frame.release.id
        ),
        command: format!("liftlock promote --env {environment} --release {}", frame.release.id),
    })
}

/// The same for a release that serves already.
pub(crate) async fn catch_up(
    site: &Site,
    scribe: &Scribe,
    release: &Release,
    cancel: &CancellationToken,
) -> Option<Left> {
    let frame =
        Frame { site, scribe, release, previous: None, previous_bundle: None, reason: None };
    apply(&frame, cancel).await
}
