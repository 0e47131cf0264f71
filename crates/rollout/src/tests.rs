//! Rollouts against the model.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use liftlock_environment::config;
use proptest::prelude::*;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fake::{DRAIN, Fake, Fate, START, digest};
use crate::{
    Breaker, Check, Colour, Observation, Replacement, Replacing, RolloutError, Target,
    TaskDefinition, Tripped, Wait, Weights, lower, raise, replace, seen_serving, shift, watch,
};

const NEW: &str = "2:new";

fn quiet(_: String) {}

fn wait(cancel: &CancellationToken) -> Wait<'_> {
    Wait { poll: Duration::from_secs(5), timeout: Duration::from_secs(300), cancel, on: &quiet }
}

async fn raise_new(fake: &Fake, count: u32) -> Result<crate::Raised, RolloutError> {
    let (cancel, new) = (CancellationToken::new(), TaskDefinition::new(NEW));
    raise(fake, Colour::Green, &new, &digest(NEW), count, &wait(&cancel)).await
}

async fn split(fake: &Fake, green: u8) -> Result<crate::Shifted, RolloutError> {
    let cancel = CancellationToken::new();
    let weights = Weights::giving(Colour::Green, green).unwrap();
    shift(fake, weights, 2, &wait(&cancel)).await
}

/// Shows W-4: the idle colour is raised beside the live one, gets traffic only once it is healthy, and the old one is
/// lowered only once it has none.
#[tokio::test(start_paused = true)]
async fn a_healthy_version_takes_over_step_by_step() {
    let (fake, cancel) = (Fake::serving(), CancellationToken::new());
    let raised = raise_new(&fake, 2).await.unwrap();
    assert_eq!(raised.healthy, 2);
    assert!(raised.waited >= START);
    for share in [10, 50, 100] {
        let shifted = split(&fake, share).await.unwrap();
        assert_eq!(shifted.after.green(), share);
    }
    seen_serving(&fake, Colour::Green, &digest(NEW), 2).await.unwrap();
    let before = Instant::now();
    lower(&fake, Colour::Blue, 0, &wait(&cancel)).await.unwrap();
    assert!(before.elapsed() >= DRAIN, "the old tasks finish their requests first");
    assert_eq!(fake.live().await.unwrap().live_colour(), Some(Colour::Green));
}

#[tokio::test(start_paused = true)]
async fn each_step_can_be_done_again_and_changes_nothing() {
    let (fake, cancel) = (Fake::serving(), CancellationToken::new());
    for _ in 0..2 {
        raise_new(&fake, 2).await.unwrap();
        split(&fake, 100).await.unwrap();
    }
    for _ in 0..2 {
        lower(&fake, Colour::Blue, 0, &wait(&cancel)).await.unwrap();
    }
    assert_eq!(fake.changes(), ["green 2", "blue 0 % / green 100 %", "blue 0"]);
}

#[tokio::test(start_paused = true)]
async fn tasks_that_die_end_the_waiting_early_with_their_reasons() {
    let fake = Fake::serving().fate(NEW, Fate::Dies);
    let start = Instant::now();
    let error = raise_new(&fake, 2).await.unwrap_err();
    assert!(error.to_string().contains("container exited with 1"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(90), "{:?}", start.elapsed());
    let text = error.to_string();
    assert!(text.contains("\n  task t1: container exited with 1\n    | no such table"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn logs_that_cannot_be_read_hide_no_error() {
    let fake = Fake::serving().fate(NEW, Fate::Dies).mute();
    let error = raise_new(&fake, 2).await.unwrap_err();
    assert!(error.to_string().ends_with("do not stay alive: container exited with 1"), "{error}");
}

/// A rollback is never a success: ECS's own breaker goes back to the old revision, and that then is in steady state.
#[tokio::test(start_paused = true)]
async fn when_ecs_goes_back_by_itself_that_is_a_failure() {
    let fake = Fake::serving().fate(NEW, Fate::GoesBack);
    let error = raise_new(&fake, 2).await.unwrap_err();
    assert!(matches!(error, RolloutError::TasksDie { .. }), "{error}");
    assert!(error.to_string().contains("rolling back"), "{error}");
}

async fn replace_old(fake: &Fake, revision: &str) -> Result<crate::Raised, RolloutError> {
    let (cancel, new) = (CancellationToken::new(), TaskDefinition::new(revision));
    let rollout =
        config::Rollout { strategy: config::Strategy::Rolling, ..config::Rollout::default() };
    let (digest, how) = (digest(revision), Replacement::of(&rollout).unwrap());
    let (colour, task_definition) = (Colour::Blue, &new);
    let asked = Replacing { colour, task_definition, digest: &digest, count: 2, how: &how };
    let wait = wait(&cancel);
    replace(fake, asked, &wait).await?.is_whole(fake, &wait).await
}

/// Shows D-DEP-1, as data: a rolling rollout replaces the tasks where users are, moves no traffic, and does nothing twice.
#[tokio::test(start_paused = true)]
async fn tasks_are_replaced_where_they_are() {
    let fake = Fake::serving();
    for _ in 0..2 {
        assert_eq!(replace_old(&fake, NEW).await.unwrap().healthy, 2);
    }
    assert_eq!(fake.changes(), ["blue replaced by 2 of 2:new"]);
    seen_serving(&fake, Colour::Blue, &digest(NEW), 2).await.unwrap();
    replace_old(&fake, "1:old").await.unwrap();
    seen_serving(&fake, Colour::Blue, &digest("1:old"), 2).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_ecs_gives_up_is_a_failure() {
    for fate in [Fate::GoesBack, Fate::Dies] {
        let error = replace_old(&Fake::serving().fate(NEW, fate), NEW).await.unwrap_err();
        assert!(matches!(error, RolloutError::TasksDie { .. }), "{fate:?}: {error}");
    }
    let error = replace_old(&Fake::serving().fate(NEW, Fate::OtherDigest), NEW).await;
    assert!(matches!(error, Err(RolloutError::TimedOut { .. })), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn another_digest_or_an_unknown_one_is_never_a_success() {
    for fate in [Fate::OtherDigest, Fate::UnknownDigest, Fate::Unhealthy] {
        let fake = Fake::serving().fate(NEW, fate);
        let error = raise_new(&fake, 2).await.unwrap_err();
        let RolloutError::TimedOut { seen, .. } = &error else { panic!("{fate:?}: {error}") };
        let expected = match fate {
            Fate::OtherDigest => "2 on ffffffffffff",
            Fate::UnknownDigest => "2 on an unknown digest",
            _ => "2 targets not healthy",
        };
        assert!(seen.contains(expected), "{fate:?}: {seen}");
    }
}

#[tokio::test(start_paused = true)]
async fn targets_that_nobody_checks_are_told_apart() {
    let fake = Fake::serving().pointing_test_at(Colour::Blue);
    let error = raise_new(&fake, 2).await.unwrap_err();
    assert_eq!(error, RolloutError::Unused { colour: Colour::Green });
}

#[tokio::test(start_paused = true)]
async fn traffic_never_goes_to_a_colour_without_capacity() {
    let fake = Fake::serving();
    let error = split(&fake, 10).await.unwrap_err();
    let expected =
        RolloutError::NoCapacity { colour: Colour::Green, share: 10, healthy: 0, needed: 2 };
    assert_eq!(error, expected);
    assert_eq!(fake.changes(), [] as [&str; 0]);
    // Nor back: the old colour must still be there.
    raise_new(&fake, 2).await.unwrap();
    split(&fake, 100).await.unwrap();
    let cancel = CancellationToken::new();
    lower(&fake, Colour::Blue, 1, &wait(&cancel)).await.unwrap();
    assert!(matches!(split(&fake, 0).await, Err(RolloutError::NoCapacity { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_colour_with_traffic_is_not_lowered() {
    let (fake, cancel) = (Fake::serving(), CancellationToken::new());
    let error = lower(&fake, Colour::Blue, 0, &wait(&cancel)).await.unwrap_err();
    assert_eq!(error, RolloutError::CarriesTraffic { colour: Colour::Blue, share: 100 });
    assert_eq!(fake.changes(), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn weights_that_somebody_else_changes_are_noticed() {
    let fake = Fake::serving().meddler(Weights::all(Colour::Blue));
    raise_new(&fake, 2).await.unwrap();
    let error = split(&fake, 10).await.unwrap_err();
    assert!(matches!(error, RolloutError::NotReadBack { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn looks_that_fail_for_a_moment_are_repeated() {
    let (fake, cancel) = (Fake::serving().blind(3), CancellationToken::new());
    let (new, wanted, said) = (TaskDefinition::new(NEW), digest(NEW), Mutex::new(Vec::new()));
    let on = |text: String| said.lock().unwrap().push(text);
    let wait = Wait { on: &on, ..wait(&cancel) };
    raise(&fake, Colour::Green, &new, &wanted, 2, &wait).await.unwrap();
    let said = said.lock().unwrap().join("\n");
    assert!(said.contains("throttled"), "{said}");
    assert!(said.contains("0 of 2 tasks running, 2 pending"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn what_serves_is_looked_at_not_assumed() {
    let fake = Fake::serving();
    seen_serving(&fake, Colour::Blue, &digest("1:old"), 2).await.unwrap();
    for (colour, revision, count) in
        [(Colour::Green, "1:old", 2), (Colour::Blue, NEW, 2), (Colour::Blue, "1:old", 3)]
    {
        let error = seen_serving(&fake, colour, &digest(revision), count).await.unwrap_err();
        assert!(matches!(error, RolloutError::NotServing { .. }), "{error}");
    }
    raise_new(&fake, 2).await.unwrap();
    split(&fake, 50).await.unwrap();
    assert!(
        seen_serving(&fake, Colour::Blue, &digest("1:old"), 2).await.is_err(),
        "half is not all"
    );
}

#[tokio::test(start_paused = true)]
async fn cancellation_cuts_the_waiting_short_and_begins_nothing_new() {
    let (fake, cancel) = (Fake::serving(), CancellationToken::new());
    let new = TaskDefinition::new(NEW);
    let stop = async {
        tokio::time::sleep(Duration::from_secs(12)).await;
        cancel.cancel();
    };
    let (wanted, wait) = (digest(NEW), wait(&cancel));
    let raising = raise(&fake, Colour::Green, &new, &wanted, 2, &wait);
    let start = Instant::now();
    let (raised, ()) = tokio::join!(raising, stop);
    assert!(raised.unwrap_err().is_cancelled());
    assert_eq!(start.elapsed(), Duration::from_secs(12));
    let error = shift(&fake, Weights::all(Colour::Green), 0, &wait).await.unwrap_err();
    assert!(error.is_cancelled());
    assert_eq!(fake.changes(), ["green 2"]);
}

#[tokio::test(start_paused = true)]
async fn the_first_rollout_starts_where_nobody_is() {
    let fake = Fake::empty();
    let live = fake.live().await.unwrap();
    assert_eq!((live.live_colour(), live.idle()), (None, Colour::Green));
    raise_new(&fake, 2).await.unwrap();
    split(&fake, 100).await.unwrap();
    seen_serving(&fake, Colour::Green, &digest(NEW), 2).await.unwrap();
}

/// Answers one observation after another, then the last for ever.
struct Script(Mutex<Vec<Option<bool>>>);

impl Script {
    fn new(looks: &[Option<bool>]) -> Self {
        Self(Mutex::new(looks.iter().rev().copied().collect()))
    }
}

#[async_trait]
impl Check for Script {
    async fn look(&self) -> Observation {
        let mut looks = self.0.lock().unwrap();
        let health = if looks.len() > 1 { looks.pop().unwrap() } else { looks[0] };
        Observation { health, ..Observation::default() }
    }
}

const MINUTES_15: Duration = Duration::from_secs(900);

/// Shows C-OBS-1 in part: 15 minutes are watched to the end, each 30 seconds.
#[tokio::test(start_paused = true)]
async fn a_good_version_is_watched_to_the_end() {
    let (cancel, mut breaker) =
        (CancellationToken::new(), Breaker::new(&config::Breaker::default()));
    let start = Instant::now();
    let check = Script::new(&[Some(true)]);
    let watched = watch(&check, &mut breaker, MINUTES_15, &wait(&cancel)).await.unwrap();
    assert_eq!((watched.sample.size, watched.sample.bad), (31, 0));
    assert_eq!(start.elapsed(), MINUTES_15);
}

/// Shows A-RB-1: the third failed check in a row ends the watching at once.
#[tokio::test(start_paused = true)]
async fn a_bad_version_trips_the_breaker_while_watched() {
    let (cancel, mut breaker) =
        (CancellationToken::new(), Breaker::new(&config::Breaker::default()));
    let start = Instant::now();
    let check = Script::new(&[Some(true), Some(false), Some(false), Some(true), Some(false)]);
    let tripped = watch(&check, &mut breaker, MINUTES_15, &wait(&cancel)).await.unwrap_err();
    assert!(tripped.to_string().contains("3 health checks failed in a row"), "{tripped}");
    assert_eq!(start.elapsed(), Duration::from_secs(180));
}

#[tokio::test(start_paused = true)]
async fn no_answer_is_no_pass() {
    let (cancel, mut breaker) =
        (CancellationToken::new(), Breaker::new(&config::Breaker::default()));
    let check = Script::new(&[None]);
    let tripped = watch(&check, &mut breaker, MINUTES_15, &wait(&cancel)).await.unwrap_err();
    assert!(matches!(tripped, Tripped::Inconclusive { .. }), "{tripped}");

    struct Hangs;
    #[async_trait]
    impl Check for Hangs {
        async fn look(&self) -> Observation {
            std::future::pending().await
        }
    }
    let mut breaker = Breaker::new(&config::Breaker::default());
    let tripped = watch(&Hangs, &mut breaker, MINUTES_15, &wait(&cancel)).await.unwrap_err();
    assert!(tripped.to_string().contains("no answer within 30 s"), "{tripped}");
}

/// Shows A-RB-1: an answer that is on its way at the end is waited for, with an end.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_late_is_waited_for() {
    struct Late(Instant, Duration);
    #[async_trait]
    impl Check for Late {
        async fn look(&self) -> Observation {
            let pending = self.0.elapsed() < self.1;
            Observation { health: (!pending).then_some(true), pending, ..Observation::default() }
        }
    }
    let cancel = CancellationToken::new();
    let period = Duration::from_secs(5);
    for (late, passes) in [(Duration::from_secs(50), true), (Duration::from_secs(500), false)] {
        let mut breaker = Breaker::new(&config::Breaker::default());
        let start = Instant::now();
        let ended = watch(&Late(start, late), &mut breaker, period, &wait(&cancel)).await;
        assert_eq!(ended.is_ok(), passes, "{ended:?}");
        assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn watching_for_no_time_still_looks_once() {
    let (cancel, mut breaker) =
        (CancellationToken::new(), Breaker::new(&config::Breaker::default()));
    let check = Script::new(&[Some(true)]);
    let watched = watch(&check, &mut breaker, Duration::ZERO, &wait(&cancel)).await.unwrap();
    assert_eq!(watched.sample.size, 1);
}

#[tokio::test(start_paused = true)]
async fn watching_stops_when_asked() {
    let (cancel, mut breaker) =
        (CancellationToken::new(), Breaker::new(&config::Breaker::default()));
    let stop = async {
        tokio::time::sleep(Duration::from_secs(45)).await;
        cancel.cancel();
    };
    let (check, wait) = (Script::new(&[Some(true)]), wait(&cancel));
    let (ended, ()) = tokio::join!(watch(&check, &mut breaker, MINUTES_15, &wait), stop);
    assert_eq!(ended.unwrap_err(), Tripped::Cancelled { watched: Duration::from_secs(45) });
}

/// What may be asked of a service, in any order.
#[derive(Debug, Clone)]
enum Ask {
    Raise(Colour, u32),
    Shift(u8),
    Lower(Colour, u32),
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let colour = || prop_oneof![Just(Colour::Blue), Just(Colour::Green)];
    let ask = prop_oneof![
        (colour(), 0u32..4).prop_map(|(colour, count)| Ask::Raise(colour, count)),
        (0u8..=100).prop_map(Ask::Shift),
        (colour(), 0u32..4).prop_map(|(colour, count)| Ask::Lower(colour, count)),
    ];
    prop::collection::vec(ask, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is asked in whatever order, no colour that carries traffic is ever without a healthy target, and the
    /// shares sum to 100.
    #[test]
    fn no_colour_with_traffic_is_ever_without_capacity(asks in asks()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (fake, cancel) = (Fake::serving(), CancellationToken::new());
            for ask in asks {
                // Refusals are answers, too.
                _ = match ask {
                    Ask::Raise(colour, count) => {
                        // The colour that serves is not raised to something else: the composer raises the idle one.
                        if fake.live().await.unwrap().weights.share(colour) > 0 {
                            continue;
                        }
                        let new = TaskDefinition::new(NEW);
                        raise(&fake, colour, &new, &digest(NEW), count, &wait(&cancel)).await.map(|_| ())
                    }
                    Ask::Shift(share) => split(&fake, share).await.map(|_| ()),
                    Ask::Lower(colour, count) => lower(&fake, colour, count, &wait(&cancel)).await,
                };
                let live = fake.live().await.unwrap();
                for colour in Colour::BOTH {
                    if live.weights.share(colour) > 0 {
                        assert!(live.colour(colour).healthy_targets > 0, "{live:?}");
                    }
                }
                assert_eq!(live.weights.blue() + live.weights.green(), 100);
            }
        });
    }
}
