//! Steps, and the typed data that passes between them.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use async_trait::async_trait;
use liftlock_model::{Left, StepName, StepPlan};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{StepError, StepErrorKind};

/// A sign of life from a step that is at work: for people, not for the journal.
pub type Life<'a> = dyn Fn(&StepName, &str) + Send + Sync + 'a;

/// One step of a run.
#[async_trait]
pub trait Step: Send + Sync {
    /// How the world looked before, as far as probing and undoing need it. Journalled with the intent.
    type Before: Serialize + DeserializeOwned + Send + Sync;
    /// What later steps need of this one. Journalled with the result.
    type Output: Serialize + DeserializeOwned + Send + Sync;

    /// Says what the step would do and what undoing it means, without looking at the world.
    fn plan(&self) -> StepPlan;

    /// Looks at the world before the act. Changes nothing.
    async fn observe(&self, cx: &Context<'_>) -> Result<Self::Before, StepError>;

    /// Acts. Done means that the world was read back and says so.
    async fn apply(
        &self,
        cx: &Context<'_>,
        before: &Self::Before,
    ) -> Result<Done<Self::Output>, StepError>;

    /// After an interruption: did the act happen? Changes nothing.
    async fn probe(
        &self,
        cx: &Context<'_>,
        before: &Self::Before,
    ) -> Result<Probe<Self::Output>, StepError>;

    /// Brings the world back to `before`. Runs also when the act may have happened only in part (`output` is `None` then),
    /// and more than once after an interruption. Steps whose plan says that there is nothing to undo are never asked.
    async fn undo(
        &self,
        cx: &Context<'_>,
        before: &Self::Before,
        output: Option<&Self::Output>,
    ) -> Result<Undone, StepError>;
}

/// A step was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done<T> {
    /// What later steps need.
    pub output: T,
    /// For people, in one line.
    pub note: String,
}

impl<T> Done<T> {
    /// Done, with an output and a line for people.
    pub fn new(output: T, note: impl Into<String>) -> Self {
        Self { output, note: note.into() }
    }

    pub(crate) fn map<U>(self, with: impl FnOnce(T) -> U) -> Done<U> {
        Done { output: with(self.output), note: self.note }
    }
}

/// Whether an interrupted act happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe<T> {
    /// It did, whole.
    Done(Done<T>),
    /// It did not.
    NotDone,
    /// Nobody need know: repeating it changes nothing. Says nothing about the world.
    Repeatable,
    /// Nobody can say; the text says what was seen.
    InDoubt(String),
}

/// A step was undone, save for what is left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undone {
    /// What could not be put back, and the command that mends it.
    pub left: Vec<Left>,
    /// For people, in one line.
    pub note: String,
}

impl Undone {
    /// Everything is as before.
    pub fn whole(note: impl Into<String>) -> Self {
        Self { left: Vec::new(), note: note.into() }
    }
}

/// The output of a step, once it is done.
pub struct Handle<T> {
    step: StepName,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self { step: self.step.clone(), of: PhantomData }
    }
}

impl<T> std::fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle({})", self.step)
    }
}

/// The journalled outputs of the steps that are done.
#[derive(Debug, Default)]
pub struct Outputs(BTreeMap<StepName, Value>);

impl Outputs {
    pub(crate) fn insert(&mut self, step: StepName, output: Value) {
        self.0.insert(step, output);
    }

    fn get<T: DeserializeOwned>(&self, handle: &Handle<T>) -> Result<T, StepError> {
        let value = self.0.get(&handle.step).ok_or_else(|| {
            StepError::new(StepErrorKind::Failed, format!("step {} has no output yet", handle.step))
        })?;
        read(&handle.step, "output", value)
    }
}

/// What a step can reach while it works.
pub struct Context<'a> {
    pub(crate) step: &'a StepName,
    pub(crate) outputs: &'a Outputs,
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) life: &'a Life<'a>,
}

impl Context<'_> {
    /// The output of an earlier step.
    pub fn output<T: DeserializeOwned>(&self, handle: &Handle<T>) -> Result<T, StepError> {
        self.outputs.get(handle)
    }

    /// Cancelled when the run is asked to stop. Race it only against waiting, never against a change.
    pub fn cancelled(&self) -> &CancellationToken {
        self.cancel
    }

    /// Gives a sign of life.
    pub fn life(&self, text: &str) {
        (self.life)(self.step, text);
    }
}

/// A list of steps in order.
#[derive(Default)]
pub struct Saga<'a> {
    pub(crate) steps: Vec<Box<dyn AnyStep + 'a>>,
}

impl<'a> Saga<'a> {
    /// No steps yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step at the end.
    ///
    /// # Panics
    ///
    /// When another step has the same name: the journal could not tell them apart.
    pub fn push<S: Step + 'a>(&mut self, step: S) -> Handle<S::Output> {
        let name = step.plan().step;
        assert!(
            self.steps.iter().all(|other| other.plan().step != name),
            "two steps are called {name}"
        );
        self.steps.push(Box::new(Erased(step)));
        Handle { step: name, of: PhantomData }
    }

    /// What each step would do.
    pub fn plan(&self) -> Vec<StepPlan> {
        self.steps.iter().map(|step| step.plan()).collect()
    }
}

/// A step with its types hidden behind the JSON of the journal.
#[async_trait]
pub(crate) trait AnyStep: Send + Sync {
    fn plan(&self) -> StepPlan;
    async fn observe(&self, cx: &Context<'_>) -> Result<Value, StepError>;
    async fn apply(&self, cx: &Context<'_>, before: &Value) -> Result<Done<Value>, StepError>;
    async fn probe(&self, cx: &Context<'_>, before: &Value) -> Result<Probe<Value>, StepError>;
    async fn undo(
        &self,
        cx: &Context<'_>,
        before: &Value,
        output: Option<&Value>,
    ) -> Result<Undone, StepError>;
}

struct Erased<S>(S);

#[async_trait]
impl<S: Step> AnyStep for Erased<S> {
    fn plan(&self) -> StepPlan {
        self.0.plan()
    }

    async fn observe(&self, cx: &Context<'_>) -> Result<Value, StepError> {
        write(cx.step, "state before", &self.0.observe(cx).await?)
    }

    async fn apply(&self, cx: &Context<'_>, before: &Value) -> Result<Done<Value>, StepError> {
        let before = read(cx.step, "state before", before)?;
        let done = self.0.apply(cx, &before).await?;
        let output = write(cx.step, "output", &done.output)?;
        Ok(done.map(|_| output))
    }

    async fn probe(&self, cx: &Context<'_>, before: &Value) -> Result<Probe<Value>, StepError> {
        let before = read(cx.step, "state before", before)?;
        Ok(match self.0.probe(cx, &before).await? {
            Probe::Done(done) => {
                let output = write(cx.step, "output", &done.output)?;
                Probe::Done(done.map(|_| output))
            }
            Probe::NotDone => Probe::NotDone,
            Probe::Repeatable => Probe::Repeatable,
            Probe::InDoubt(why) => Probe::InDoubt(why),
        })
    }

    async fn undo(
        &self,
        cx: &Context<'_>,
        before: &Value,
        output: Option<&Value>,
    ) -> Result<Undone, StepError> {
        let before = read(cx.step, "state before", before)?;
        let output = output.map(|output| read(cx.step, "output", output)).transpose()?;
        self.0.undo(cx, &before, output.as_ref()).await
    }
}

fn read<T: DeserializeOwned>(step: &StepName, what: &str, value: &Value) -> Result<T, StepError> {
    T::deserialize(value).map_err(|error| {
        StepError::new(
            StepErrorKind::Failed,
            format!("the journalled {what} of step {step} cannot be read: {error}"),
        )
        .hint("resume with the version of Liftlock that began the run")
    })
}

fn write<T: Serialize>(step: &StepName, what: &str, value: &T) -> Result<Value, StepError> {
    serde_json::to_value(value).map_err(|error| {
        StepError::new(
            StepErrorKind::Failed,
            format!("the {what} of step {step} cannot be journalled: {error}"),
        )
    })
}
