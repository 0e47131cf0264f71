//! Answers that may come late: a look takes what is known, and never waits long for AWS while the application itself answers.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a look waits for an answer. What takes longer is not given up: a later look finds it.
const WAIT: Duration = Duration::from_secs(5);
/// For how long an answer stands for the present. CloudWatch's own alarms look once a minute at most times.
const FRESH: Duration = Duration::from_secs(60);

/// A question that is asked again and again, one at a time.
pub(crate) struct Slow<'a, T> {
    ask: Box<dyn Fn() -> BoxFuture<'a, T> + Send + Sync + 'a>,
    state: Mutex<State<'a, T>>,
}

struct State<'a, T> {
    /// What was asked and when.
    asked: Option<(Instant, BoxFuture<'a, T>)>,
    /// The newest answer, and when it was asked for.
    known: Option<(Instant, T)>,
}

impl<'a, T: Clone> Slow<'a, T> {
    pub(crate) fn new(ask: impl Fn() -> BoxFuture<'a, T> + Send + Sync + 'a) -> Self {
        Self { ask: Box::new(ask), state: Mutex::new(State { asked: None, known: None }) }
    }

    /// The newest answer. None if there is none, or if what was asked for it is too long ago to say how things are.
    pub(crate) async fn look(&self) -> Option<T> {
        let mut state = self.state.lock().await;
        let (at, mut answer) = state.asked.take().unwrap_or_else(|| (Instant::now(), (self.ask)()));
        match tokio::time::timeout(WAIT, &mut answer).await {
            Ok(answer) => state.known = Some((at, answer)),
            Err(_) => state.asked = Some((at, answer)),
        }
        let (at, known) = state.known.as_ref()?;
        (at.elapsed() <= FRESH).then(|| known.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_util::FutureExt;

    use super::*;

    /// Answers with how many were asked before, each after so many seconds more.
    fn slow(seconds: u64) -> Slow<'static, u64> {
        let asked = Arc::new(AtomicU64::new(0));
        Slow::new(move || {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::time::sleep(Duration::from_secs(seconds * (number + 1))).await;
                number
            }
            .boxed()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_late_is_found_by_a_later_look() {
        let (question, start) = (slow(12), Instant::now());
        assert_eq!(question.look().await, None);
        assert_eq!(question.look().await, None);
        assert_eq!(question.look().await, Some(0));
        assert_eq!(start.elapsed(), Duration::from_secs(12), "asked once");
        // The next answer takes 24 s; meanwhile the last stands.
        assert_eq!(question.look().await, Some(0));
        assert_eq!(start.elapsed(), Duration::from_secs(17));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_long_ago_is_none() {
        let question = slow(100);
        for _ in 0..19 {
            assert_eq!(question.look().await, None);
        }
        // It came in the end, but it says how things were when it was asked for.
        assert_eq!(question.look().await, None);
    }
}
