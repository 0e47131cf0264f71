//! Pauses: a person says whether the rollout goes on, and meanwhile it is watched.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use liftlock_ledger::Query;
use liftlock_model::{Actor, Entry, Event, Reversal, ServiceName, StepName, StepPlan};
use liftlock_rollout::{Breaker, Wait, watch_until};
use liftlock_saga::{Context, Handle, StepError, StepErrorKind};

use super::bake::{limits, nothing_serves, observed, period};
use super::checks::{self, NamedChecks};
use super::look::Look;
use super::traffic::Chosen;
use super::{Frame, step_plan};
use crate::check::LiveCheck;
use crate::{announce, failure};

/// Waits for a person. What trips the breaker meanwhile turns back, as in a bake; so does the end of the time.
pub(crate) struct WaitForPerson<'a> {
    pub frame: Frame<'a>,
    pub name: String,
    pub share: u8,
    /// For how long at most.
    pub limit: Option<Duration>,
    pub chosen: BTreeMap<ServiceName, Handle<Chosen>>,
}

/// What came of the waiting.
enum Answer {
    Resumed { by: Actor, reason: Option<String> },
    Expired,
}

#[async_trait]
impl Look for WaitForPerson<'_> {
    fn plan(&self) -> StepPlan {
        let most = match self.limit {
            Some(limit) => format!(", for {} at most", period(limit)),
            None => String::new(),
        };
        let does = format!(
            "wait with {} % of the traffic until a person says how it goes on{most}, watching meanwhile",
            self.share
        );
        step_plan(&self.name, does, Reversal::ReadOnly)
    }

    async fn look(&self, cx: &Context<'_>) -> Result<String, StepError> {
        if self.share < 100 && nothing_serves(&self.chosen, cx)? {
            return Ok("skipped: no user is on it yet".into());
        }
        let limits = limits(&self.frame)?;
        let check = LiveCheck::new(self.frame.site, self.frame.urls().await?, self.share).await?;
        let on = |text: String| cx.life(&text);
        let services = self.frame.site.environment.services_in_order();
        let polls = services.iter().map(|(_, service)| service.rollout.poll.duration());
        let wait = Wait {
            poll: polls.min().unwrap_or_default().max(Duration::from_millis(100)),
            timeout: Duration::MAX,
            cancel: cx.cancelled(),
            on: &on,
        };
        let paused = self.begin().await?;
        let mut breaker = Breaker::new(&limits);
        let doing = format!("paused with {} % of the traffic", self.share);
        let checks = NamedChecks::begin(&self.frame, cx, &self.chosen, self.share, &on).await?;
        let answer = self.answer(&paused, &wait);
        let answer = tokio::select! {
            biased;
            () = checks.until_bad(), if !checks.is_empty() => {
                return self.checked(&checks).await.map(|notes| notes.join("; "));
            }
            answer = watch_until(&check, &mut breaker, answer, &doing, &wait) => answer,
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(tripped) => return self.conclude(Err(tripped)).await,
        };
        let Answer::Resumed { by, reason } = answer else {
            let text = format!(
                "nobody said within {} how it goes on",
                period(self.limit.unwrap_or_default())
            );
            return Err(StepError::new(StepErrorKind::Failed, text));
        };
        // Whoever resumes it does not say that it is well.
        let seen = checks.last_look(&check, &mut breaker, &wait).await;
        // Both are put on record, whichever turns back.
        let seen = self.conclude(seen).await;
        let checked = self.checked(&checks).await?;
        let seen = seen?;
        let seen = [vec![seen], checked].concat().join("; ");
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        Ok(format!("resumed by {by}{reason}; {seen}"))
    }
}

impl WaitForPerson<'_> {
    fn step(&self) -> StepName {
        StepName::new(self.name.clone())
    }

    /// Puts on record that the run waits, and tells people; a run that was interrupted while it waited goes on waiting.
    async fn begin(&self) -> Result<Entry, StepError> {
        let mine = |entry: &Entry| matches!(&entry.event, Event::RolloutPaused { step, .. } if *step == self.step());
        let ledger = &self.frame.site.ledger;
        let before = ledger.entries(&Query::all().run(self.frame.scribe.run())).await;
        let before = before.map_err(|error| StepError::from_error(&error))?;
        if let Some(paused) = before.into_iter().find(mine) {
            return Ok(paused);
        }
        let event = Event::RolloutPaused {
            step: self.step(),
            share: self.share,
            at_most: self.limit.map(|limit| limit.as_secs().max(1)),
        };
        let written = self.frame.scribe.write(event).await;
        let paused = written.map_err(|error| StepError::from_error(&error))?;
        let Frame { site, scribe, release, .. } = self.frame;
        announce::paused(site, scribe, release, self.share, self.limit.map(period)).await;
        Ok(paused)
    }

    /// Waits for what somebody says, on whatever machine, or for the end of the time.
    async fn answer(&self, paused: &Entry, wait: &Wait<'_>) -> Answer {
        let query = Query::all().run(self.frame.scribe.run()).after(paused.sequence);
        let gone = Duration::try_from(Timestamp::now().duration_since(paused.at));
        let left = self.limit.map(|limit| limit.saturating_sub(gone.unwrap_or_default()));
        let waiting = async {
            loop {
                match self.frame.site.ledger.entries(&query).await {
                    Ok(entries) => {
                        if let Some(answer) = entries.iter().find_map(|entry| self.resumed(entry)) {
                            return answer;
                        }
                    }
                    Err(error) => {
                        (wait.on)(format!("the ledger cannot be read just now: {error}"));
                    }
                }
                tokio::time::sleep(wait.poll).await;
            }
        };
        match left {
            Some(left) => tokio::time::timeout(left, waiting).await.unwrap_or(Answer::Expired),
            None => waiting.await,
        }
    }

    fn resumed(&self, entry: &Entry) -> Option<Answer> {
        match &entry.event {
            Event::RolloutResumed { step, reason } if *step == self.step() => {
                Some(Answer::Resumed { by: entry.actor.clone(), reason: reason.clone() })
            }
            _ => None,
        }
    }

    /// Puts on record what the named checks came to, and says whether the rollout goes on.
    async fn checked(&self, checks: &NamedChecks<'_>) -> Result<Vec<String>, StepError> {
        let found = checks.found().await;
        for event in found.iter().map(|found| found.event(&self.name)) {
            self.frame.scribe.write(event).await.map_err(|error| StepError::from_error(&error))?;
        }
        checks::conclude(&found)
    }

    async fn conclude(
        &self,
        watched: Result<liftlock_rollout::Watched, liftlock_rollout::Tripped>,
    ) -> Result<String, StepError> {
        let event = observed(&self.name, &watched);
        self.frame.scribe.write(event).await.map_err(|error| StepError::from_error(&error))?;
        let sample = watched.map_err(failure::tripped)?.sample;
        Ok(format!("{} looks, {} bad", sample.size, sample.bad))
    }
}
