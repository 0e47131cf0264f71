use std::sync::{Arc, Mutex as Plain};

use tokio::time::Instant;

use super::*;
use crate::{Colour, TaskDefinition, Weights};

/// What one switch does, as a cloud would that fires it.
#[derive(Debug, Default)]
struct Cloud {
    at: Option<Timestamp>,
    fired: Vec<Timestamp>,
    is_down: bool,
    hangs: bool,
    ahead: Option<SignedDuration>,
    /// What the platform is at, which a switch would have to stop, and what the schedule says by now.
    under_way: &'static str,
    aimed: &'static str,
    armed: &'static str,
}

#[derive(Clone)]
struct Fake {
    cloud: Arc<Plain<Cloud>>,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Fake {
    /// Fires if its time has come.
    fn cloud(&self) -> std::sync::MutexGuard<'_, Cloud> {
        let mut cloud = self.cloud.lock().unwrap();
        if let Some(at) = cloud.at.filter(|at| *at <= (self.now)()) {
            cloud.at = None;
            cloud.fired.push(at);
        }
        cloud
    }

    fn answer(&self) -> Result<std::sync::MutexGuard<'_, Cloud>, TargetError> {
        let cloud = self.cloud();
        match cloud.is_down {
            true => Err(TargetError::new(TargetErrorKind::Transient, "throttled")),
            false => Ok(cloud),
        }
    }
}

#[async_trait]
impl Switch for Fake {
    async fn arm(&self, back: &Back, at: Timestamp) -> Result<Armed, TargetError> {
        self.aim(back).await?;
        let mut cloud = self.answer()?;
        (cloud.at, cloud.armed) = (Some(at), cloud.aimed);
        Ok(Armed { name: "s".into(), at, ahead: cloud.ahead })
    }

    async fn aim(&self, back: &Back) -> Result<(), TargetError> {
        let mut cloud = self.answer()?;
        cloud.aimed = match back {
            Back::Weights(_) => "weights",
            Back::Tasks { .. } => cloud.under_way,
        };
        Ok(())
    }

    async fn put_off(&self, _: &Back, at: Timestamp) -> Result<PutOff, TargetError> {
        if self.cloud().hangs {
            std::future::pending::<()>().await;
        }
        let mut cloud = self.answer()?;
        Ok(match cloud.at {
            None => PutOff::Gone,
            Some(_) => {
                (cloud.at, cloud.armed) = (Some(at), cloud.aimed);
                PutOff::Done
            }
        })
    }

    async fn disarm(&self) -> Result<bool, TargetError> {
        Ok(self.answer()?.at.take().is_some())
    }

    async fn look(&self) -> Result<Option<Armed>, TargetError> {
        let at = self.answer()?.at;
        Ok(at.map(|at| Armed { name: "s".into(), at, ahead: None }))
    }
}

const AFTER: Duration = Duration::from_secs(120);

/// The switches of two services on paused time, and their clouds.
fn two() -> (Switches, [Fake; 2]) {
    let (start, began) = (Timestamp::UNIX_EPOCH, Instant::now());
    let now = move || start + SignedDuration::try_from(began.elapsed()).unwrap();
    let fake = || Fake { cloud: Arc::default(), now: Arc::new(now) };
    let fakes = [fake(), fake()];
    let names = ["backend", "frontend"].map(|name| name.parse::<ServiceName>().unwrap());
    let boxed = fakes.clone().map(|fake| Box::new(fake) as Box<dyn Switch>);
    (Switches::with_clock(names.into_iter().zip(boxed).collect(), AFTER, Box::new(now)), fakes)
}

fn back() -> Backs {
    let weights = || Back::Weights(Weights::all(Colour::Blue));
    ["backend", "frontend"].map(|name| (name.parse().unwrap(), weights())).into()
}

/// Tasks of one service, and the weights of the other.
fn tasks_and_weights() -> Backs {
    let task_definition = TaskDefinition::new("shop-backend:7");
    let mut back = back();
    let tasks = Back::Tasks { colour: Colour::Blue, task_definition };
    back.insert("backend".parse().unwrap(), tasks);
    back
}

fn quiet(_: String) {}

/// As long as the run lives nothing fires; once it is gone, all of them do.
#[tokio::test(start_paused = true)]
async fn it_fires_only_when_the_run_is_gone() {
    let (switches, fakes) = two();
    switches.arm(back()).await.unwrap();
    let stop = CancellationToken::new();
    let hour = tokio::time::sleep(Duration::from_secs(3600));
    switches.beside(hour, &stop, &quiet).await;
    assert!(!stop.is_cancelled() && switches.lost().await.is_none());
    assert!(fakes.iter().all(|fake| fake.cloud().fired.is_empty()));
    // The run is gone, and with it what put them off.
    tokio::time::sleep(AFTER).await;
    assert!(fakes.iter().all(|fake| fake.cloud().fired.len() == 1));
}

/// A run that was suspended for too long stops at its next look, whether the switches fired or could still be put off.
#[tokio::test(start_paused = true)]
async fn a_run_that_was_suspended_goes_no_further() {
    for is_there in [false, true] {
        let (switches, fakes) = two();
        switches.arm(back()).await.unwrap();
        tokio::time::sleep(AFTER + Duration::from_secs(1)).await;
        for fake in fakes.iter().filter(|_| is_there) {
            fake.cloud().at = Some(Timestamp::MAX);
        }
        let Kept::Lost(why) = switches.put_off().await else { panic!("it goes on") };
        assert!(why.contains(if is_there { "not heard of" } else { "backend is gone" }), "{why}");
        assert_eq!(switches.lost().await, Some(why.clone()));
        assert_eq!(switches.put_off().await, Kept::Lost(why));
        assert!(switches.disarm().await.is_ok());
    }
}

/// Looks that fail are told and count: the run turns back before the switch fires, and one good answer is enough to go on.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_put_off_counts() {
    let (switches, [one, _]) = two();
    switches.arm(back()).await.unwrap();
    let told = Plain::new(Vec::new());
    let tell = |text: String| told.lock().unwrap().push(text);
    let stop = CancellationToken::new();
    one.cloud().is_down = true;
    switches.beside(tokio::time::sleep(Duration::from_secs(70)), &stop, &tell).await;
    let told = told.into_inner().unwrap();
    assert!(told.last().unwrap().contains("fires in 60 s: throttled"), "{told:?}");
    one.cloud().is_down = false;
    assert!(matches!(switches.put_off().await, Kept::Until(_)));
    one.cloud().hangs = true;
    let began = Instant::now();
    switches.beside(stop.cancelled(), &stop, &quiet).await;
    assert!(began.elapsed() < AFTER, "{:?}", began.elapsed());
    assert!(switches.lost().await.unwrap().contains("no answer within 15 s"));
    assert!(one.cloud().fired.is_empty());
}

/// If one cannot be armed, none is; and a clock that is wrong is told before anything depends on it.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_armed_begins_nothing() {
    let (switches, [one, other]) = two();
    other.cloud().is_down = true;
    assert!(switches.arm(back()).await.is_err());
    assert_eq!(switches.put_off().await, Kept::Off);
    assert_eq!(one.cloud().at, None);
    other.cloud().is_down = false;
    other.cloud().ahead = Some(SignedDuration::from_secs(300));
    let error = switches.arm(back()).await.unwrap_err().to_string();
    assert!(error.contains("300 s behind"), "{error}");
    assert_eq!((one.cloud().at, other.cloud().at), (None, None));
}

/// Shows that tasks come back as weights do: a run that was suspended while the platform replaced them, until the switch fired, goes no
/// further, and one that is gone is made up for, whatever the platform was at.
#[tokio::test(start_paused = true)]
async fn a_replacement_is_stopped_by_the_switch_as_well() {
    let (switches, [one, other]) = two();
    one.cloud().under_way = "tasks are asked for";
    switches.arm(tasks_and_weights()).await.unwrap();
    assert_eq!((one.cloud().armed, other.cloud().armed), ("tasks are asked for", "weights"));
    let (backend, cancel) = ("backend".parse().unwrap(), CancellationToken::new());
    let poll = Duration::from_secs(1);
    let wait = Wait { poll, timeout: AFTER / 2, cancel: &cancel, on: &quiet };
    one.cloud().under_way = "the deployment is stopped";
    // What cannot be learned for a moment is learned later; meanwhile it stays as it was armed.
    one.cloud().is_down = true;
    let mend = async {
        tokio::time::sleep(poll * 2).await;
        assert_eq!(one.cloud().armed, "tasks are asked for");
        one.cloud().is_down = false;
    };
    tokio::join!(mend, async { switches.aim(&backend, &wait).await.unwrap() });
    assert!(matches!(switches.put_off().await, Kept::Until(_)));
    assert_eq!(one.cloud().armed, "the deployment is stopped");

    tokio::time::sleep(AFTER + poll).await;
    assert_eq!(one.cloud().fired.len(), 1);
    let Kept::Lost(why) = switches.put_off().await else { panic!("it goes on") };
    assert!(why.contains("backend is gone: it fired"), "{why}");
    assert!(switches.aim(&backend, &wait).await.is_ok(), "nothing is armed any more");
    assert_eq!(one.cloud().at, None, "one that fired is not armed again");
}

/// A switch that cannot be aimed in time is an error, and one that was armed before stays.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_aimed_is_told() {
    let (switches, [one, _]) = two();
    switches.arm(tasks_and_weights()).await.unwrap();
    one.cloud().is_down = true;
    let cancel = CancellationToken::new();
    let (poll, timeout) = (Duration::from_secs(1), Duration::from_secs(5));
    let wait = Wait { poll, timeout, cancel: &cancel, on: &quiet };
    let error = switches.aim(&"backend".parse().unwrap(), &wait).await.unwrap_err().to_string();
    assert!(error.contains("aiming the dead-man's switch"), "{error}");
    assert!(one.cloud().at.is_some());
}
