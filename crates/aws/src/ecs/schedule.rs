//! The dead-man's switch of a service: a schedule of EventBridge that gives users the old version back, whoever is alive, and a second one
//! where the first may come too late for what it does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_scheduler::operation::get_schedule::GetScheduleOutput;
use aws_sdk_scheduler::types::{
    ActionAfterCompletion, FlexibleTimeWindow, FlexibleTimeWindowMode, RetryPolicy, ScheduleState,
    Target as ScheduleTarget,
};
use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};
use liftlock_rollout::{Armed, Back, PutOff, Switch, TargetError};

use super::EcsTarget;
use super::aim::Aim;
use crate::{Action, AwsError, AwsErrorKind};

/// How long EventBridge goes on trying when AWS's API refuses, in seconds: what comes later could meet another rollout.
const TRIED_FOR: i32 = 600;
/// How often it tries in that time.
const TRIES: i32 = 60;
/// How often a schedule that was just made is looked for: AWS may show it a moment later.
const LOOKS: u32 = 6;
/// How long is waited before the second look; each time twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// How many schedules a switch may have.
const MOST: usize = 2;

/// The dead-man's switch of one service.
#[derive(Debug, Clone)]
pub struct EcsSwitch {
    target: EcsTarget,
    role: String,
    /// As it was armed: putting it off needs nothing but the scheduler.
    aimed: Arc<Mutex<Option<Aimed>>>,
}

/// What its schedules are to say for something to come back, in the order in which they fire.
#[derive(Debug, Clone)]
struct Aimed {
    back: Back,
    wanted: Vec<Wanted>,
}

/// What a schedule says beside its time, since an update replaces all of it.
#[derive(Debug, Clone)]
struct Wanted {
    target: ScheduleTarget,
    window: FlexibleTimeWindow,
    description: String,
}

/// The request with all that a schedule says. What puts one off must say what made it, and the SDK has a type for each.
macro_rules! whole {
    ($request:expr, $name:expr, $wanted:expr, $at:expr) => {
        $request
            .name($name)
            .schedule_expression(expression($at))
            .schedule_expression_timezone("UTC")
            .description(&$wanted.description)
            .flexible_time_window($wanted.window.clone())
            .target($wanted.target.clone())
            .state(ScheduleState::Enabled)
            .action_after_completion(ActionAfterCompletion::Delete)
    };
}

impl EcsSwitch {
    /// The switch of a service, whose schedule takes the role of this name in this account.
    pub fn new(target: &EcsTarget, account: &str, role: &str) -> Self {
        let role = super::role_arn(&target.clients, account, role);
        Self { target: target.clone(), role, aimed: Arc::default() }
    }

    /// The schedule's name.
    pub fn name(&self) -> String {
        self.names()[0].clone()
    }

    /// The names of its schedules, in the order in which they fire.
    fn names(&self) -> [String; MOST] {
        let first = format!("{}-{}-switch", self.target.prefix, self.target.service);
        let second = format!("{first}-2");
        [first, second]
    }

    /// What was armed or aimed with, if that was for the same; else what AWS says now.
    async fn known(&self, back: &Back) -> Result<Vec<Wanted>, AwsError> {
        let known = self.aimed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known.filter(|known| known.back == *back) {
            Some(known) => Ok(known.wanted),
            None => self.wanted(back).await,
        }
    }

    fn keep(&self, back: &Back, wanted: Vec<Wanted>) {
        let aimed = Aimed { back: back.clone(), wanted };
        *self.aimed.lock().unwrap_or_else(PoisonError::into_inner) = Some(aimed);
    }

    /// What its schedules are to say, in the order in which they fire.
    async fn wanted(&self, back: &Back) -> Result<Vec<Wanted>, AwsError> {
        let aims = self.target.aim(back).await?;
        aims.into_iter().map(|aim| self.calling(aim, back)).collect()
    }

    fn calling(&self, Aim { operation, input }: Aim, back: &Back) -> Result<Wanted, AwsError> {
        let name = self.name();
        let resource = format!("schedule {name}");
        let call = self.target.clients.call(Action::CreateSchedule, &resource);
        let other = |error: String| call.because(AwsErrorKind::Other, None, &error);
        let partition = self.role.split(':').nth(1).unwrap_or("aws");
        let retry = RetryPolicy::builder()
            .maximum_event_age_in_seconds(TRIED_FOR)
            .maximum_retry_attempts(TRIES);
        let target = ScheduleTarget::builder()
            .arn(format!("arn:{partition}:scheduler:::aws-sdk:{operation}"))
            .role_arn(&self.role)
            .input(input.to_string())
            .retry_policy(retry.build())
            .build()
            .map_err(|error| other(error.to_string()))?;
        let window = FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build();
        Ok(Wanted {
            target,
            window: window.map_err(|error| other(error.to_string()))?,
            description: format!(
                "Liftlock: gives users of {} back what they had ({back}) unless the promotion that is under way puts this off",
                self.target.family()
            ),
        })
    }

    /// True when it was made, false when one of this name is there.
    async fn create(&self, name: &str, wanted: &Wanted, at: Timestamp) -> Result<bool, AwsError> {
        let resource = format!("schedule {name}");
        let call = self.target.clients.call(Action::CreateSchedule, &resource);
        let request = self.target.clients.scheduler.create_schedule();
        let sent = whole!(request, name, wanted, at).send();
        match sent.await.map_err(|error| call.failed(error)) {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("ConflictException") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// False when there is none of this name.
    async fn update(&self, name: &str, wanted: &Wanted, at: Timestamp) -> Result<bool, AwsError> {
        let resource = format!("schedule {name}");
        let call = self.target.clients.call(Action::UpdateSchedule, &resource);
        let request = self.target.clients.scheduler.update_schedule();
        let sent = whole!(request, name, wanted, at).send();
        match sent.await.map_err(|error| call.failed(error)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == AwsErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// False when there was none of this name.
    async fn delete(&self, name: &str) -> Result<bool, AwsError> {
        let resource = format!("schedule {name}");
        let call = self.target.clients.call(Action::DeleteSchedule, &resource);
        let sent = self.target.clients.scheduler.delete_schedule().name(name).send();
        match sent.await.map_err(|error| call.failed(error)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == AwsErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn get(&self, name: &str) -> Result<Option<GetScheduleOutput>, AwsError> {
        let resource = format!("schedule {name}");
        let call = self.target.clients.call(Action::GetSchedule, &resource);
        let sent = self.target.clients.scheduler.get_schedule().name(name).send();
        match sent.await.map_err(|error| call.failed(error)) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == AwsErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn armed(&self, back: &Back, at: Timestamp) -> Result<Armed, AwsError> {
        let wanted = self.wanted(back).await?;
        self.keep(back, wanted.clone());
        let (names, times) = (self.names(), times(Timestamp::now(), at));
        if let Some(later) = wanted.get(1) {
            self.arm_one(&names[1], later, times[1]).await?;
        }
        self.arm_one(&names[0], &wanted[0], times[0]).await
    }

    async fn arm_one(&self, name: &str, wanted: &Wanted, at: Timestamp) -> Result<Armed, AwsError> {
        let asked = Timestamp::now();
        let mut is_new = self.create(name, wanted, at).await?;
        if !is_new && !self.update(name, wanted, at).await? {
            // The one that was in the way has fired meanwhile.
            is_new = self.create(name, wanted, at).await?;
        }
        let mut pause = PAUSE;
        for look in 1..=LOOKS {
            let found = self.get(name).await?;
            if let Some(found) = found.filter(|found| is_as_wanted(found, wanted, at)) {
                let made = found.creation_date().filter(|_| is_new);
                let made = made.and_then(|time| Timestamp::from_second(time.secs()).ok());
                let ahead = made.map(|made| asked.duration_until(made));
                return Ok(Armed { name: name.to_owned(), at, ahead });
            }
            if look < LOOKS {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        let resource = format!("schedule {name}");
        let call = self.target.clients.call(Action::GetSchedule, &resource);
        Err(call.because(AwsErrorKind::Transient, None, "it was made, and is not read back so"))
    }
}

fn is_as_wanted(found: &GetScheduleOutput, wanted: &Wanted, at: Timestamp) -> bool {
    found.schedule_expression() == Some(expression(at).as_str())
        && found.state() == Some(&ScheduleState::Enabled)
        && found.target().and_then(ScheduleTarget::input) == wanted.target.input()
}

#[async_trait]
impl Switch for EcsSwitch {
    async fn arm(&self, back: &Back, at: Timestamp) -> Result<Armed, TargetError> {
        Ok(self.armed(back, at).await?)
    }

    async fn aim(&self, back: &Back) -> Result<(), TargetError> {
        let wanted = self.wanted(back).await?;
        self.keep(back, wanted);
        Ok(())
    }

    async fn put_off(&self, back: &Back, at: Timestamp) -> Result<PutOff, TargetError> {
        let wanted = self.known(back).await?;
        let (names, times) = (self.names(), times(Timestamp::now(), at));
        // The last one first: none fires early since another could not be put off.
        for ((wanted, name), at) in wanted.iter().zip(&names).zip(times).rev() {
            if !self.update(name, wanted, at).await? {
                return Ok(PutOff::Gone);
            }
        }
        Ok(PutOff::Done)
    }

    async fn disarm(&self) -> Result<bool, TargetError> {
        let mut was_there = false;
        for name in self.names() {
            was_there |= self.delete(&name).await?;
        }
        Ok(was_there)
    }

    async fn look(&self) -> Result<Option<Armed>, TargetError> {
        let name = self.name();
        let Some(found) = self.get(&name).await? else { return Ok(None) };
        let at = found.schedule_expression().and_then(time_of);
        Ok(at.map(|at| Armed { name, at, ahead: None }))
    }
}

/// When the schedules fire of a switch that is to fire at `at`: the second as long after the first as that is away, so that what the first
/// does has begun by then.
fn times(now: Timestamp, at: Timestamp) -> [Timestamp; MOST] {
    let after = now.duration_until(at).max(SignedDuration::ZERO);
    [at, at.saturating_add(after).unwrap_or(at)]
}

/// One-time schedules go by whole seconds: the next one, so that none fires early.
fn expression(at: Timestamp) -> String {
    let whole = Timestamp::from_second(at.as_second() + i64::from(at.subsec_nanosecond() > 0));
    format!("at({})", whole.unwrap_or(at).strftime("%Y-%m-%dT%H:%M:%S"))
}

fn time_of(expression: &str) -> Option<Timestamp> {
    let text = expression.strip_prefix("at(")?.strip_suffix(')')?;
    let time: civil::DateTime = text.parse().ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_fires_as_long_after_the_first() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (now, first) = (at("2026-11-21T14:00:00Z"), at("2026-11-21T14:02:00Z"));
        assert_eq!(times(now, first), [first, at("2026-11-21T14:04:00Z")]);
        assert_eq!(times(first, now), [now, now], "one that is late fires at once");
    }

    #[test]
    fn a_schedule_never_fires_early() {
        let at = |text: &str| expression(text.parse().unwrap());
        assert_eq!(at("2026-11-21T14:00:00Z"), "at(2026-11-21T14:00:00)");
        assert_eq!(at("2026-11-21T14:00:00.001Z"), "at(2026-11-21T14:00:01)");
        let told = time_of("at(2026-11-21T14:00:01)").unwrap();
        assert_eq!(told, "2026-11-21T14:00:01Z".parse().unwrap());
        assert_eq!(time_of("rate(5 minutes)"), None);
    }
}
