//! The engine against a small world of cells: every crash point, every failing step, every failing undo.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use liftlock_model::{Fingerprint, Left, Outcome, Record, Reversal, StepName, StepPlan};
use liftlock_saga::{
    Context, Control, Done, End, Journal, JournalError, Probe, Saga, SagaError, Step, StepError,
    StepErrorKind, Undone, run,
};
use proptest::prelude::*;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What steps act on: a value for each cell, and how often it was written.
#[derive(Default, Clone)]
struct World(Arc<Mutex<Cells>>);

#[derive(Default, Clone, PartialEq, Debug)]
struct Cells {
    values: Vec<u32>,
    writes: Vec<u32>,
}

impl World {
    fn new(cells: usize) -> Self {
        Self(Arc::new(Mutex::new(Cells { values: vec![7; cells], writes: vec![0; cells] })))
    }
    fn get(&self, cell: usize) -> u32 {
        self.0.lock().unwrap().values[cell]
    }
    fn set(&self, cell: usize, value: u32) {
        let mut cells = self.0.lock().unwrap();
        cells.values[cell] = value;
        cells.writes[cell] += 1;
    }
    fn values(&self) -> Vec<u32> {
        self.0.lock().unwrap().values.clone()
    }
}

/// Raises one cell by a number that must not be added twice.
#[derive(Clone)]
struct Raise {
    world: World,
    cell: usize,
    fails: bool,
    undo_fails: bool,
    reversal: fn() -> Reversal,
}

fn undoable() -> Reversal {
    Reversal::Undo("lower the cell".into())
}

#[async_trait]
impl Step for Raise {
    type Before = u32;
    type Output = u32;

    fn plan(&self) -> StepPlan {
        StepPlan {
            step: StepName::new(format!("raise/{}", self.cell)),
            does: "raise the cell".into(),
            details: vec![],
            reversal: (self.reversal)(),
        }
    }
    async fn observe(&self, _: &Context<'_>) -> Result<u32, StepError> {
        Ok(self.world.get(self.cell))
    }
    async fn apply(&self, _: &Context<'_>, before: &u32) -> Result<Done<u32>, StepError> {
        // A step that fails has acted all the same: the worst case.
        self.world.set(self.cell, self.world.get(self.cell) + 1);
        if self.fails {
            return Err(StepError::new(StepErrorKind::Failed, "the cell is stuck"));
        }
        Ok(Done::new(before + 1, "raised"))
    }
    async fn probe(&self, _: &Context<'_>, before: &u32) -> Result<Probe<u32>, StepError> {
        Ok(match self.world.get(self.cell) {
            now if now == before + 1 => Probe::Done(Done::new(now, "was raised")),
            now if now == *before => Probe::NotDone,
            now => Probe::InDoubt(format!("the cell is {now}")),
        })
    }
    async fn undo(
        &self,
        _: &Context<'_>,
        before: &u32,
        _: Option<&u32>,
    ) -> Result<Undone, StepError> {
        if self.undo_fails {
            return Err(StepError::new(StepErrorKind::Failed, "the cell cannot be lowered"));
        }
        self.world.set(self.cell, *before);
        Ok(Undone::whole("lowered"))
    }
}

/// Where a crash happens.
#[derive(Clone, Copy)]
enum Crash {
    Never,
    /// Instead of the n-th record of this process.
    Before(usize),
    /// Right after it.
    After(usize),
}

struct Memory {
    records: Mutex<Vec<Record>>,
    written: Mutex<usize>,
    crash: Crash,
    crashed: Notify,
    unwritable_from: Option<usize>,
    error: JournalError,
}

impl Memory {
    fn new(records: Vec<Record>, crash: Crash) -> Self {
        Self {
            records: Mutex::new(records),
            written: Mutex::new(0),
            crash,
            crashed: Notify::new(),
            unwritable_from: None,
            error: JournalError::Unwritable("no space left on device".into()),
        }
    }
    fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap().clone()
    }
}

#[async_trait]
impl Journal for Memory {
    async fn record(&self, record: Record) -> Result<(), JournalError> {
        let nth = {
            let mut written = self.written.lock().unwrap();
            *written += 1;
            *written - 1
        };
        if self.unwritable_from.is_some_and(|from| nth >= from) {
            return Err(self.error.clone());
        }
        if matches!(self.crash, Crash::Before(n) if n == nth) {
            self.crashed.notify_one();
            std::future::pending::<()>().await;
        }
        self.records.lock().unwrap().push(record);
        if matches!(self.crash, Crash::After(n) if n == nth) {
            self.crashed.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

fn saga(world: &World, change: impl Fn(usize, &mut Raise)) -> Saga<'static> {
    let mut saga = Saga::new();
    for cell in 0..world.values().len() {
        let mut step = Raise {
            world: world.clone(),
            cell,
            fails: false,
            undo_fails: false,
            reversal: undoable,
        };
        change(cell, &mut step);
        saga.push(step);
    }
    saga
}

fn fingerprint() -> Fingerprint {
    Fingerprint::of("plan")
}

/// Runs; `None` when it crashed.
async fn go(saga: &Saga<'_>, journal: &Memory) -> Option<Result<End, SagaError>> {
    let cancel = CancellationToken::new();
    let control = Control { cancel: &cancel, life: &|_, _| {} };
    let history = journal.records();
    let fingerprint = fingerprint();
    tokio::select! {
        biased;
        end = run(saga, &fingerprint, &history, journal, &control) => Some(end),
        () = journal.crashed.notified() => None,
    }
}

#[tokio::test]
async fn all_steps_done_in_order() {
    let world = World::new(3);
    let journal = Memory::new(vec![], Crash::Never);
    let end = go(&saga(&world, |_, _| {}), &journal).await.unwrap().unwrap();
    assert_eq!(end, End { outcome: Outcome::Succeeded, failure: None, left: vec![] });
    assert_eq!(world.values(), [8, 8, 8]);
    let kinds: Vec<_> = journal
        .records()
        .iter()
        .map(|r| format!("{r:?}").split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        kinds,
        ["Planned", "Intended", "Done", "Intended", "Done", "Intended", "Done", "Finished"]
    );
}

/// Each step in turn fails after it acted: the world is as before.
#[tokio::test(start_paused = true)]
async fn each_step_in_turn_fails_and_the_world_is_as_before() {
    for failing in 0..4 {
        let world = World::new(4);
        let saga = saga(&world, |cell, step| step.fails = cell == failing);
        let end = go(&saga, &Memory::new(vec![], Crash::Never)).await.unwrap().unwrap();
        assert_eq!(end.outcome, Outcome::RolledBack);
        assert_eq!(end.failure.unwrap().step.as_str(), format!("raise/{failing}"));
        assert_eq!(world.values(), [7, 7, 7, 7], "step {failing}");
    }
}

/// Killed at every record, before and after it is written, then resumed: whole or as before, and nothing acts twice.
#[tokio::test(start_paused = true)]
async fn killed_at_every_record_then_resumed() {
    for failing in [None, Some(0), Some(2)] {
        for nth in 0..20 {
            for crash in [Crash::Before(nth), Crash::After(nth)] {
                let world = World::new(3);
                let saga = saga(&world, |cell, step| step.fails = Some(cell) == failing);
                let first = Memory::new(vec![], crash);
                go(&saga, &first).await.map(|end| end.unwrap());
                let second = Memory::new(first.records(), Crash::Never);
                let end = go(&saga, &second).await.unwrap().unwrap();
                match end.outcome {
                    Outcome::Succeeded => {
                        assert_eq!(world.values(), [8, 8, 8]);
                        assert_eq!(
                            world.0.lock().unwrap().writes,
                            [1, 1, 1],
                            "an act was repeated"
                        );
                    }
                    Outcome::RolledBack => assert_eq!(world.values(), [7, 7, 7]),
                    Outcome::Stuck => panic!("nothing was in the way"),
                }
                // A step that acted and died before it could report its failure looks done: that is all that can be known.
                if failing.is_none() {
                    assert_eq!(end.outcome, Outcome::Succeeded);
                }
                let third = Memory::new(second.records(), Crash::Never);
                assert_eq!(
                    go(&saga, &third).await.unwrap().unwrap().outcome,
                    end.outcome,
                    "a finished run is not run again"
                );
                assert_eq!(third.records(), second.records());
            }
        }
    }
}

/// Sets a cell that several steps share, as steps of traffic share their weights.
struct Level {
    world: World,
    cell: usize,
    to: u32,
    /// Says nothing about the world when it is asked.
    repeatable: bool,
}

#[async_trait]
impl Step for Level {
    type Before = u32;
    type Output = ();

    fn plan(&self) -> StepPlan {
        StepPlan {
            step: StepName::new(format!("level/{}", self.to)),
            does: "set the cell".into(),
            details: vec![],
            reversal: undoable(),
        }
    }
    async fn observe(&self, _: &Context<'_>) -> Result<u32, StepError> {
        Ok(self.world.get(self.cell))
    }
    async fn apply(&self, _: &Context<'_>, _: &u32) -> Result<Done<()>, StepError> {
        self.world.set(self.cell, self.to);
        Ok(Done::new((), "set"))
    }
    async fn probe(&self, _: &Context<'_>, before: &u32) -> Result<Probe<()>, StepError> {
        if self.repeatable {
            return Ok(Probe::Repeatable);
        }
        Ok(match self.world.get(self.cell) {
            now if now == self.to => Probe::Done(Done::new((), "was set")),
            now if now == *before => Probe::NotDone,
            now => Probe::InDoubt(format!("the cell is {now}")),
        })
    }
    async fn undo(
        &self,
        _: &Context<'_>,
        before: &u32,
        _: Option<&()>,
    ) -> Result<Undone, StepError> {
        self.world.set(self.cell, *before);
        Ok(Undone::whole("set back"))
    }
}

fn levels(world: &World, repeatable: u32) -> Saga<'static> {
    let mut saga = Saga::new();
    for to in [10, 50, 100] {
        let repeatable = to == repeatable;
        let cell = usize::from(repeatable);
        saga.push(Level { world: world.clone(), cell, to, repeatable });
    }
    saga
}

/// A run that is not to be undone goes on wherever it died: also when the act that was under way changed what the step
/// before it did, and when the newest step cannot tell.
#[tokio::test(start_paused = true)]
async fn a_run_goes_on_although_later_steps_change_what_earlier_ones_did() {
    for repeatable in [0, 50, 100] {
        for nth in 1..8 {
            for crash in [Crash::Before(nth), Crash::After(nth)] {
                let world = World::new(2);
                let first = Memory::new(vec![], crash);
                go(&levels(&world, repeatable), &first).await.map(|end| end.unwrap());
                let second = Memory::new(first.records(), Crash::Never);
                let end = go(&levels(&world, repeatable), &second).await.unwrap().unwrap();
                let whole = match repeatable {
                    0 => [100, 7],
                    100 => [50, 100],
                    other => [100, other],
                };
                assert_eq!(end.outcome, Outcome::Succeeded, "{:?}", end.failure);
                assert_eq!(world.values(), whole);
            }
        }
    }
}

/// What was put back while nobody could record it is not built upon.
#[tokio::test(start_paused = true)]
async fn a_world_that_was_put_back_is_not_gone_on_from() {
    for nth in 3..7 {
        let world = World::new(1);
        let first = Memory::new(vec![], Crash::Before(nth));
        go(&levels(&world, 0), &first).await.map(|end| end.unwrap());
        world.set(0, 7);
        let second = Memory::new(first.records(), Crash::Never);
        let end = go(&levels(&world, 0), &second).await.unwrap().unwrap();
        assert_eq!((end.outcome, world.values()), (Outcome::RolledBack, vec![7]), "{nth}");
    }
}

/// A step that cannot be undone stops the unwinding: earlier steps may rest on it. Once mended, a resume goes on.
#[tokio::test(start_paused = true)]
async fn a_failed_undo_stops_there_and_can_be_taken_up_again() {
    let world = World::new(3);
    let broken = saga(&world, |cell, step| {
        step.fails = cell == 2;
        step.undo_fails = cell == 1;
    });
    let journal = Memory::new(vec![], Crash::Never);
    let end = go(&broken, &journal).await.unwrap().unwrap();
    assert_eq!(end.outcome, Outcome::Stuck);
    assert!(end.left[0].what.contains("raise/1"), "{:?}", end.left);
    assert!(end.left[0].command.contains("promote --resume"));
    assert_eq!(world.values(), [8, 8, 7]);

    let mended = saga(&world, |cell, step| step.fails = cell == 2);
    let resumed = Memory::new(journal.records(), Crash::Never);
    let end = go(&mended, &resumed).await.unwrap().unwrap();
    assert_eq!((end.outcome, world.values()), (Outcome::RolledBack, vec![7, 7, 7]));
}

/// Never a silent no-op: what cannot be undone is left, named, and makes the end "not fully rolled back".
#[tokio::test]
async fn irreversible_steps_are_left_and_named() {
    let world = World::new(2);
    let saga = saga(&world, |cell, step| {
        step.fails = cell == 1;
        if cell == 0 {
            step.reversal = || Reversal::Irreversible("the letter is in the post".into());
        }
    });
    let end = go(&saga, &Memory::new(vec![], Crash::Never)).await.unwrap().unwrap();
    assert_eq!(end.outcome, Outcome::Stuck);
    assert!(
        matches!(&end.left[..], [Left { what, .. }] if what.contains("the letter is in the post"))
    );
}

/// Recording can fail: what was done is undone, and the end says that this is not on record.
#[tokio::test(start_paused = true)]
async fn an_unwritable_journal_unwinds() {
    for from in 1..6 {
        let world = World::new(3);
        let journal = Memory { unwritable_from: Some(from), ..Memory::new(vec![], Crash::Never) };
        let error = go(&saga(&world, |_, _| {}), &journal).await.unwrap().unwrap_err();
        assert!(matches!(error, SagaError::Unwritable { unwound: true, .. }), "{error}");
        assert!(error.to_string().contains("no space left on device"));
        assert_eq!(world.values(), [7, 7, 7]);
        // A later resume does not believe the journal blindly: the world was put back since.
        let resumed = Memory::new(journal.records(), Crash::Never);
        let end = go(&saga(&world, |_, _| {}), &resumed).await.unwrap().unwrap();
        match end.outcome {
            Outcome::Succeeded => assert_eq!(world.values(), [8, 8, 8], "from {from}"),
            Outcome::RolledBack => assert_eq!(world.values(), [7, 7, 7], "from {from}"),
            Outcome::Stuck => panic!("nothing was in the way"),
        }
    }
}

/// Another run holds the environment now: nothing more is touched, not even to undo.
#[tokio::test]
async fn a_taken_over_run_touches_nothing_more() {
    let world = World::new(3);
    let journal = Memory {
        unwritable_from: Some(3),
        error: JournalError::TakenOver("run-x since 12:00".into()),
        ..Memory::new(vec![], Crash::Never)
    };
    let error = go(&saga(&world, |_, _| {}), &journal).await.unwrap().unwrap_err();
    assert!(matches!(error, SagaError::TakenOver { .. }), "{error}");
    assert_eq!(world.values(), [8, 7, 7]);
}

/// What was reviewed is what runs: a journal of another plan is refused and nothing is touched.
#[tokio::test]
async fn another_plan_is_refused() {
    let world = World::new(1);
    let other = Record::Planned { fingerprint: Fingerprint::of("another"), steps: vec![] };
    let journal = Memory::new(vec![other], Crash::Never);
    let error = go(&saga(&world, |_, _| {}), &journal).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("changed since it began"), "{error}");
    assert_eq!(world.values(), [7]);
}

/// A request to stop is heard before the next step, and unwinds.
#[tokio::test(start_paused = true)]
async fn a_request_to_stop_unwinds() {
    let world = World::new(2);
    let saga = saga(&world, |_, _| {});
    let cancel = CancellationToken::new();
    cancel.cancel();
    let journal = Memory::new(vec![], Crash::Never);
    let control = Control { cancel: &cancel, life: &|_, _| {} };
    let end = run(&saga, &fingerprint(), &[], &journal, &control).await.unwrap();
    assert_eq!(end.failure.unwrap().kind, StepErrorKind::Cancelled);
    assert_eq!((end.outcome, world.values()), (Outcome::RolledBack, vec![7, 7]));
}

/// Reads what an earlier step gave, by type.
struct Sum {
    of: Vec<liftlock_saga::Handle<u32>>,
}

#[async_trait]
impl Step for Sum {
    type Before = ();
    type Output = u32;
    fn plan(&self) -> StepPlan {
        StepPlan {
            step: StepName::new("sum"),
            does: "add up".into(),
            details: vec![],
            reversal: Reversal::ReadOnly,
        }
    }
    async fn observe(&self, _: &Context<'_>) -> Result<(), StepError> {
        Ok(())
    }
    async fn apply(&self, cx: &Context<'_>, (): &()) -> Result<Done<u32>, StepError> {
        let mut sum = 0;
        for handle in &self.of {
            sum += cx.output(handle)?;
        }
        Ok(Done::new(sum, format!("the sum is {sum}")))
    }
    async fn probe(&self, _: &Context<'_>, (): &()) -> Result<Probe<u32>, StepError> {
        Ok(Probe::NotDone)
    }
    async fn undo(&self, _: &Context<'_>, (): &(), _: Option<&u32>) -> Result<Undone, StepError> {
        unreachable!("nothing to undo")
    }
}

#[tokio::test]
async fn outputs_pass_by_type_and_survive_a_resume() {
    for nth in 0..8 {
        let world = World::new(2);
        let mut saga = Saga::new();
        let raise = |cell| Raise {
            world: world.clone(),
            cell,
            fails: false,
            undo_fails: false,
            reversal: undoable,
        };
        let of = vec![saga.push(raise(0)), saga.push(raise(1))];
        saga.push(Sum { of });
        let first = Memory::new(vec![], Crash::After(nth));
        go(&saga, &first).await.map(|end| end.unwrap());
        let second = Memory::new(first.records(), Crash::Never);
        go(&saga, &second).await.unwrap().unwrap();
        assert!(
            second
                .records()
                .iter()
                .any(|r| matches!(r, Record::Done { note, .. } if note == "the sum is 16"))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any number of crashes anywhere, with any step failing: in the end the world is whole or as before.
    #[test]
    fn any_crashes_end_whole_or_as_before(crashes in prop::collection::vec((0usize..12, any::<bool>()), 0..6), failing in prop::option::of(0usize..4)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = World::new(4);
            let saga = saga(&world, |cell, step| step.fails = Some(cell) == failing);
            let mut records = vec![];
            for (nth, after) in crashes {
                let crash = if after { Crash::After(nth) } else { Crash::Before(nth) };
                let journal = Memory::new(records, crash);
                go(&saga, &journal).await.map(|end| end.unwrap());
                records = journal.records();
            }
            let end = go(&saga, &Memory::new(records, Crash::Never)).await.unwrap().unwrap();
            match end.outcome {
                Outcome::Succeeded => assert_eq!(world.values(), [8, 8, 8, 8]),
                Outcome::RolledBack => assert_eq!(world.values(), [7, 7, 7, 7]),
                Outcome::Stuck => panic!("nothing was in the way"),
            }
        });
    }
}
