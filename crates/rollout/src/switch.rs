//! The dead-man's switch: what gives users the old version back when nobody is left who could.
//!
//! It is armed outside of this process before the first user meets the new version, and its time is put off again and again while the
//! process lives. A process that is slow finds that its switch fired, and goes no further.

mod back;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use liftlock_model::ServiceName;
use tokio::sync::Mutex;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::{RolloutError, TargetError, TargetErrorKind, Wait};
pub use back::{Back, Backs};

/// A switch that is armed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Armed {
    /// What it is called where it is.
    pub name: String,
    /// When it fires.
    pub at: Timestamp,
    /// How far the clock there is ahead of this machine's, where that was seen.
    pub ahead: Option<SignedDuration>,
}

/// Whether a switch could be put off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOff {
    /// It could.
    Done,
    /// There is none any more: it fired, or somebody took it away.
    Gone,
}

/// What brings something of one service back at a time, whoever is alive by then.
#[async_trait]
pub trait Switch: Send + Sync {
    /// Arms it: at `at`, this comes back. One that is armed already is armed anew. Returns once it was read back.
    async fn arm(&self, back: &Back, at: Timestamp) -> Result<Armed, TargetError>;

    /// Looks what it takes by now for this to come back: the next time that it is put off, it is told to do that. A platform that is
    /// replacing tasks is told to stop, one that is not is asked for the old ones.
    async fn aim(&self, back: &Back) -> Result<(), TargetError>;

    /// Puts off one that is armed.
    async fn put_off(&self, back: &Back, at: Timestamp) -> Result<PutOff, TargetError>;

    /// Takes it away. True when there was one.
    async fn disarm(&self) -> Result<bool, TargetError>;

    /// Looks whether it is armed.
    async fn look(&self) -> Result<Option<Armed>, TargetError>;
}

/// The switches of an environment's services, during a run.
pub struct Switches {
    each: BTreeMap<ServiceName, Box<dyn Switch>>,
    after: Duration,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// None is armed.
    Off,
    /// They are armed. None fires before `until`.
    Armed { back: Backs, until: Timestamp },
    /// They fired, or may have: the run must not go on.
    Lost(String),
}

impl fmt::Debug for Switches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switches").field("after", &self.after).finish_non_exhaustive()
    }
}

/// What came of putting the switches off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// None is armed.
    Off,
    /// None fires before then.
    Until(Timestamp),
    /// It did not work this time.
    NotYet {
        /// Why.
        why: String,
        /// How long until they fire.
        left: Duration,
    },
    /// They fired, or may have, or will before they can be put off.
    Lost(String),
}

impl Switches {
    /// The switches of these services, which fire when nothing was heard for `after`.
    pub fn new(each: BTreeMap<ServiceName, Box<dyn Switch>>, after: Duration) -> Self {
        Self::with_clock(each, after, Box::new(Timestamp::now))
    }

    pub(crate) fn with_clock(
        each: BTreeMap<ServiceName, Box<dyn Switch>>,
        after: Duration,
        now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Self {
        Self { each, after, now, state: Mutex::new(State::Off) }
    }

    /// How long nothing may be heard from the run.
    pub fn after(&self) -> Duration {
        self.after
    }

    /// How often they are put off: three times may fail.
    fn pause(&self) -> Duration {
        self.after / 4
    }

    /// Arms one for each of these services. If one cannot be armed, none is.
    ///
    /// # Errors
    /// One could not be armed, or the clocks differ by too much for its time to mean anything.
    pub async fn arm(&self, back: Backs) -> Result<Timestamp, TargetError> {
        let mut state = self.state.lock().await;
        let until = self.later();
        let arming = back.iter().map(async |(service, back)| {
            let armed = self.one(service)?.arm(back, until).await?;
            self.same_time(&armed)
        });
        let failed = join_all(arming).await.into_iter().find_map(Result::err);
        if let Some(error) = failed {
            // What cannot be taken away either fires at its time, when all still is as it would set it.
            drop(self.disarm_each().await);
            return Err(error);
        }
        *state = if back.is_empty() { State::Off } else { State::Armed { back, until } };
        Ok(until)
    }

    /// Has the switch of a service, if one is armed, do what it takes by now, from the next time on that it is put off.
    ///
    /// # Errors
    /// It could not be learned in time what that is. The switch stays as it was.
    pub async fn aim(&self, service: &ServiceName, wait: &Wait<'_>) -> Result<(), RolloutError> {
        let back = self.armed().await.and_then(|mut back| back.remove(service));
        let Some(back) = back else { return Ok(()) };
        let switch = self.one(service)?;
        wait.see(|| switch.aim(&back), "aiming the dead-man's switch").await
    }

    fn one(&self, service: &ServiceName) -> Result<&dyn Switch, TargetError> {
        self.each.get(service).map(AsRef::as_ref).ok_or_else(|| {
            TargetError::new(TargetErrorKind::Other, format!("{service} has no switch"))
        })
    }

    fn later(&self) -> Timestamp {
        let after = SignedDuration::try_from(self.after).unwrap_or(SignedDuration::MAX);
        (self.now)().saturating_add(after).unwrap_or(Timestamp::MAX)
    }

    fn same_time(&self, armed: &Armed) -> Result<(), TargetError> {
        let off = armed.ahead.unwrap_or_default();
        if off.unsigned_abs() <= self.pause() {
            return Ok(());
        }
        let (seconds, way) =
            (off.unsigned_abs().as_secs(), if off.is_negative() { "ahead of" } else { "behind" });
        Err(TargetError::new(
            TargetErrorKind::Other,
            format!(
                "this machine's clock is {seconds} s {way} the one that the dead-man's switch {} goes by, so that it would not fire \
                 at its time\n  next: set this machine's clock",
                armed.name
            ),
        ))
    }

    /// Puts them off now, if any is armed.
    pub async fn put_off(&self) -> Kept {
        let mut state = self.state.lock().await;
        let (back, until) = match &*state {
            State::Off => return Kept::Off,
            State::Lost(why) => return Kept::Lost(why.clone()),
            State::Armed { back, until } => (back.clone(), *until),
        };
        let next = self.later();
        let limit = (self.pause() / 2).max(Duration::from_secs(1));
        let putting_off = back.iter().map(async |(service, back)| {
            let switch = match self.one(service) {
                Ok(switch) => switch,
                Err(error) => return (service, Err(error.to_string())),
            };
            // One whose answer comes too late may be put off all the same, which does no harm: it fires later.
            match tokio::time::timeout(limit, switch.put_off(back, next)).await {
                Ok(answer) => (service, answer.map_err(|error| error.to_string())),
                Err(_) => (service, Err(format!("no answer within {} s", limit.as_secs()))),
            }
        });
        let answers = join_all(putting_off).await;
        let kept = judge(until, next, (self.now)(), self.pause(), &answers);
        match &kept {
            Kept::Until(until) => *state = State::Armed { back, until: *until },
            Kept::Lost(why) => *state = State::Lost(why.clone()),
            Kept::Off | Kept::NotYet { .. } => {}
        }
        kept
    }

    /// Puts them off again and again beside a run, and returns what the run returns. When they are lost, `stop` is cancelled.
    pub async fn beside<T>(
        &self,
        run: impl Future<Output = T>,
        stop: &CancellationToken,
        tell: &(dyn Fn(String) + Send + Sync),
    ) -> T {
        let keep = async {
            let mut beat = tokio::time::interval(self.pause());
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                beat.tick().await;
                match self.put_off().await {
                    Kept::Off | Kept::Until(_) => {}
                    Kept::NotYet { why, left } => tell(format!(
                        "the dead-man's switch could not be put off, and fires in {} s: {why}",
                        left.as_secs()
                    )),
                    Kept::Lost(why) => {
                        if !stop.is_cancelled() {
                            tell(why);
                        }
                        stop.cancel();
                    }
                }
            }
        };
        tokio::select! {
            biased;
            done = run => done,
            () = keep => unreachable!("it never ends"),
        }
    }

    /// Says that they are lost for a reason found elsewhere.
    pub async fn lose(&self, why: String) {
        *self.state.lock().await = State::Lost(why);
    }

    /// Why they are lost, if they are.
    pub async fn lost(&self) -> Option<String> {
        match &*self.state.lock().await {
            State::Lost(why) => Some(why.clone()),
            State::Off | State::Armed { .. } => None,
        }
    }

    /// Takes all of them away, also what an earlier run left. Returns how many there were.
    ///
    /// # Errors
    /// One could not be taken away; the others were.
    pub async fn disarm(&self) -> Result<usize, TargetError> {
        let mut state = self.state.lock().await;
        let count = self.disarm_each().await?;
        if matches!(*state, State::Armed { .. }) {
            *state = State::Off;
        }
        Ok(count)
    }

    /// What the switches give back that are armed now, as far as this run knows.
    pub async fn armed(&self) -> Option<Backs> {
        match &*self.state.lock().await {
            State::Armed { back, .. } => Some(back.clone()),
            State::Off | State::Lost(_) => None,
        }
    }

    async fn disarm_each(&self) -> Result<usize, TargetError> {
        let answers = join_all(self.each.values().map(|switch| switch.disarm())).await;
        let mut count = 0;
        for answer in answers {
            count += usize::from(answer?);
        }
        Ok(count)
    }

    /// Which are armed.
    ///
    /// # Errors
    /// One could not be looked at.
    pub async fn look(&self) -> Result<BTreeMap<&ServiceName, Option<Armed>>, TargetError> {
        let looks = self.each.iter().map(async |(service, switch)| (service, switch.look().await));
        join_all(looks)
            .await
            .into_iter()
            .map(|(service, armed)| armed.map(|armed| (service, armed)))
            .collect()
    }
}

/// Pure: what the answers mean, to a run that knew that none fires before `until`, asked for `next`, and has the answers `now`.
fn judge(
    until: Timestamp,
    next: Timestamp,
    now: Timestamp,
    margin: Duration,
    answers: &[(&ServiceName, Result<PutOff, String>)],
) -> Kept {
    let gone = answers.iter().find(|(_, answer)| *answer == Ok(PutOff::Gone));
    if let Some((service, _)) = gone {
        return Kept::Lost(format!(
            "the dead-man's switch of {service} is gone: it fired and gave users the old version back, or somebody took it away"
        ));
    }
    if now >= until {
        return Kept::Lost(
            "this run was not heard of for longer than its dead-man's switch waits, so that users may be back on the old version"
                .to_owned(),
        );
    }
    let failed = answers.iter().find_map(|(_, answer)| answer.as_ref().err());
    let Some(why) = failed else { return Kept::Until(next) };
    let left = now.duration_until(until).unsigned_abs();
    if left <= margin {
        return Kept::Lost(format!(
            "the dead-man's switch could not be put off and fires in {} s: {why}",
            left.as_secs()
        ));
    }
    Kept::NotYet { why: why.clone(), left }
}

#[cfg(test)]
mod tests;
