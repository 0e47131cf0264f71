//! Waiting for a fact: looking again and again, with a deadline, a sign of life, and an ear for cancellation.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{RolloutError, TargetError, TargetErrorKind};

/// One look at a target, as its methods give it.
pub(crate) type Looking<'t, S> = Pin<Box<dyn Future<Output = Result<S, TargetError>> + Send + 't>>;

/// How to wait.
#[derive(Clone, Copy)]
pub struct Wait<'a> {
    /// How long to sleep between two looks, about: longer while nothing changes, up to three times as long.
    pub poll: Duration,
    /// How long to wait in all.
    pub timeout: Duration,
    /// Who may stop it. Only looks and sleeps are cut short; a change that was begun is always finished.
    pub cancel: &'a CancellationToken,
    /// Told what is seen, whenever that changes and at least every 30 seconds.
    pub on: &'a (dyn Fn(String) + Send + Sync),
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("poll", &self.poll)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The longest silence while waiting.
const SILENCE: Duration = Duration::from_secs(30);

impl Wait<'_> {
    /// Fails when somebody asked to stop. Called before each change.
    pub(crate) fn go_on(&self, doing: &str) -> Result<(), RolloutError> {
        if self.cancel.is_cancelled() { Err(cancelled(doing)) } else { Ok(()) }
    }

    /// Looks, again and again while looking fails for a moment.
    pub(crate) async fn see<'t, S: Clone>(
        &self,
        look: impl Fn() -> Looking<'t, S> + Send + Sync,
        doing: &str,
    ) -> Result<S, RolloutError> {
        Ok(self.until(look, doing, |seen| Step::Done(seen.clone())).await?.0)
    }

    /// Looks once, cut short by cancellation and by the deadline.
    async fn look<S>(&self, looking: Looking<'_, S>, doing: &str) -> Result<S, RolloutError> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(cancelled(doing)),
            seen = looking => Ok(seen?),
            () = tokio::time::sleep(self.timeout) => Err(RolloutError::TimedOut {
                doing: doing.to_owned(),
                waited: self.timeout,
                seen: "no answer".to_owned(),
                deaths: Vec::new(),
            }),
        }
    }

    /// Looks until `decide` has an answer. A transient failure to look is not the end: it is looked again until the
    /// deadline, and the failure is told.
    pub(crate) async fn until<'t, S, T>(
        &self,
        look: impl Fn() -> Looking<'t, S> + Send + Sync,
        doing: &str,
        decide: impl FnMut(&S) -> Step<T> + Send,
    ) -> Result<(T, Duration), RolloutError> {
        self.until_answered(Duration::ZERO, look, doing, decide).await
    }

    /// [`Self::until`], where a look may take so long at least, also beyond the deadline: an answer that AWS holds up by its throttles
    /// is no reason to stop where facts have to be known.
    pub(crate) async fn until_answered<'t, S, T>(
        &self,
        answer: Duration,
        look: impl Fn() -> Looking<'t, S> + Send + Sync,
        doing: &str,
        mut decide: impl FnMut(&S) -> Step<T> + Send,
    ) -> Result<(T, Duration), RolloutError> {
        let start = Instant::now();
        let deadline = start + self.timeout;
        let mut voice = Voice::new(self.on);
        let mut last = "no answer".to_owned();
        let mut unchanged: u32 = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Self { timeout: left.max(answer), ..*self };
            let seen = match left.look(look(), doing).await {
                Ok(seen) => match decide(&seen) {
                    Step::Done(done) => return Ok((done, start.elapsed())),
                    Step::Failed(error) => return Err(error),
                    Step::NotYet(seen) => seen,
                },
                Err(RolloutError::TimedOut { .. }) => last.clone(),
                Err(RolloutError::Target(error)) if error.kind() == TargetErrorKind::Transient => {
                    error.to_string()
                }
                Err(error) => return Err(error),
            };
            voice.say(format!("{doing}: {seen}"));
            if Instant::now() + self.poll >= deadline {
                return Err(RolloutError::TimedOut {
                    doing: doing.to_owned(),
                    waited: self.timeout,
                    seen,
                    deaths: Vec::new(),
                });
            }
            unchanged = if seen == last { unchanged.saturating_add(1) } else { 0 };
            let pause = pause(self.poll, unchanged, rand::random());
            let left = deadline.saturating_duration_since(Instant::now());
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(cancelled(doing)),
                // No look is left out because the deadline is near.
                () = tokio::time::sleep(if pause < left { pause } else { self.poll }) => {}
            }
            last = seen;
        }
    }
}

/// How long to sleep when the last looks, so many of them, showed nothing new. Each look is a dozen calls of APIs whose limits a whole
/// account shares; `jitter`, from 0 to 1, keeps services apart that wait at one time.
fn pause(poll: Duration, unchanged: u32, jitter: f64) -> Duration {
    let slower = (1.0 + f64::from(unchanged) / 2.0).min(3.0);
    poll.mul_f64(slower * (0.8 + jitter * 0.2))
}

/// What one look said.
pub(crate) enum Step<T> {
    Done(T),
    Failed(RolloutError),
    NotYet(String),
}

fn cancelled(doing: &str) -> RolloutError {
    RolloutError::Cancelled { doing: doing.to_owned() }
}

/// Says what changed, and something at least every [`SILENCE`].
struct Voice<'a> {
    on: &'a (dyn Fn(String) + Send + Sync),
    last: Option<(String, Instant)>,
}

impl<'a> Voice<'a> {
    fn new(on: &'a (dyn Fn(String) + Send + Sync)) -> Self {
        Self { on, last: None }
    }

    fn say(&mut self, text: String) {
        let news =
            self.last.as_ref().is_none_or(|(said, at)| *said != text || at.elapsed() >= SILENCE);
        if news {
            (self.on)(text.clone());
            self.last = Some((text, Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_less_often_while_nothing_changes() {
        let pause =
            |unchanged, jitter| pause(Duration::from_secs(10), unchanged, jitter).as_secs_f64();
        let pauses: Vec<f64> = (0..7).map(|unchanged| pause(unchanged, 1.0)).collect();
        assert_eq!(pauses, [10.0, 15.0, 20.0, 25.0, 30.0, 30.0, 30.0]);
        assert_eq!(pause(0, 0.0), 8.0, "services that wait at one time drift apart");
        assert_eq!(pause(u32::MAX, 0.0), 24.0);
    }
}
