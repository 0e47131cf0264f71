//! terraform at work: init, plan, apply exactly that plan, outputs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use liftlock_environment::Environment;
use liftlock_model::{EnvName, Exit};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use crate::failure::CommandError;
use crate::plan::Summary;
use crate::process::{Finished, Output, Runner};
use crate::seal::{Difference, Seal};
use crate::tool::{FindError, Tool};
use crate::work::{Work, WorkError};

/// How long a command waits for a lock that somebody else holds.
const LOCK_TIMEOUT: &str = "-lock-timeout=60s";

/// Why terraform cannot be used for an environment.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The program.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The working directory.
    #[error(transparent)]
    Work(#[from] WorkError),
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// terraform itself.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The working directory.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// What it printed is not what it promises to print.
    #[error(
        "{tool} printed {what} that cannot be read ({reason}): is it a version that Liftlock does not know yet?"
    )]
    Unreadable {
        /// Who.
        tool: String,
        /// What.
        what: &'static str,
        /// Why. Holds no values.
        reason: String,
    },
}

impl PlanError {
    /// How a command that this ends should exit, if nothing was changed before.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Command(error) => error.exit(),
            Self::Work(_) => Exit::Usage,
            Self::Unreadable { .. } => Exit::Failed,
        }
    }
}

/// Why a plan was not applied, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Something is not as it was when the plan was made. Nothing was touched.
    #[error("the saved plan does not hold any longer: {}; nothing was changed. Make and review a new one: `liftlock infra plan --env {environment}`", listed(.differences))]
    Refused {
        /// The environment that it was to be applied to.
        environment: EnvName,
        /// What is not as it was.
        differences: Vec<Difference>,
    },
    /// What had to be looked at before could not be. Nothing was touched.
    #[error(transparent)]
    Before(PlanError),
    /// terraform itself: some of the plan's changes may have been made.
    #[error(transparent)]
    Command(CommandError),
    /// Everything was applied, but the outputs could not be read.
    #[error("the plan was applied, but its outputs could not be read: {0}")]
    Outputs(PlanError),
}

fn listed(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A plan that was saved, with all that is needed to apply exactly it. Holds no secrets; its file does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPlan {
    /// The plan file: readable for its owner only, since a plan holds secrets.
    pub path: PathBuf,
    /// What it would change.
    pub summary: Summary,
    /// What it was made from.
    pub seal: Seal,
}

/// The root module's outputs that are not sensitive, by name.
pub type Outputs = BTreeMap<String, Value>;

/// What was applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The root module's outputs that are not sensitive.
    pub outputs: Outputs,
}

/// terraform or tofu, in a private working directory of one environment.
#[derive(Clone)]
pub struct Terraform {
    environment: EnvName,
    workspace: String,
    tool: Tool,
    work: Work,
    runner: Runner,
    interrupt: Arc<watch::Sender<bool>>,
    commit: Option<String>,
}

impl std::fmt::Debug for Terraform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Terraform");
        shown.field("environment", &self.environment).field("tool", &self.tool.label());
        shown.field("directory", &self.work.root).finish_non_exhaustive()
    }
}

impl Terraform {
    /// Finds the program and fills the private directory `work` with a copy of the root module in `source` (of the working
    /// tree, or unpacked from a release). `variables` are for terraform's environment: credentials, `TF_CLI_CONFIG_FILE`,
    /// and `TF_VAR_…` for ephemeral variables; of the caller's own environment it gets everything but `TF_VAR_…`, `TF_CLI_ARGS…` and the like.
    pub async fn prepare(
        environment: &Environment,
        source: &Path,
        work: &Path,
        variables: Vec<(String, SecretString)>,
    ) -> Result<Self, PrepareError> {
        Self::prepare_with(environment, source, work, variables, None).await
    }

    /// As [`Terraform::prepare`], with the content of the `.tfvars` file given: that of an earlier run, to go back to it.
    pub async fn prepare_with(
        environment: &Environment,
        source: &Path,
        work: &Path,
        mut variables: Vec<(String, SecretString)>,
        values: Option<&str>,
    ) -> Result<Self, PrepareError> {
        let infrastructure = &environment.config.infrastructure;
        let tool = Tool::find(infrastructure.engine).await?;
        let work = Work::prepare(environment, source, work, values)?;
        if let Some(endpoint) = &environment.config.aws.endpoint {
            let endpoint = endpoint.as_str().trim_end_matches('/').to_owned();
            variables.push(("AWS_ENDPOINT_URL".to_owned(), endpoint.into()));
        }
        let (ask, interrupt) = watch::channel(false);
        let runner = Runner {
            program: tool.path.clone(),
            variables,
            timeout: infrastructure.timeout.duration(),
            listener: Arc::new(|_| {}),
            interrupt,
        };
        Ok(Self {
            environment: environment.name.clone(),
            workspace: environment.workspace().to_owned(),
            tool,
            work,
            runner,
            interrupt: Arc::new(ask),
            commit: None,
        })
    }

    /// Has `listener` hear each line that terraform prints, without control characters.
    #[must_use]
    pub fn heard_by(mut self, listener: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.runner.listener = Arc::new(listener);
        self
    }

    /// Seals plans with the commit that the code is of.
    #[must_use]
    pub fn at_commit(mut self, commit: impl Into<String>) -> Self {
        self.commit = Some(commit.into());
        self
    }

    /// The program's name and version.
    pub fn tool(&self) -> String {
        self.tool.label()
    }

    /// Ends what runs: it is asked to stop, so that it writes its state and releases its lock, and killed after 8 s. The
    /// command that runs then returns [`crate::Cause::Interrupted`], and so does each later one. Dropping the future of a
    /// command does the same, but does not wait.
    pub fn interrupt(&self) {
        self.interrupt.send_replace(true);
    }

    /// Installs providers, connects to the backend and selects the environment's workspace.
    pub async fn init(&self) -> Result<(), CommandError> {
        let mut arguments = arguments(["init", "-input=false", "-no-color", "-reconfigure"]);
        if let Some(file) = &self.work.backend_file {
            arguments.push(joined("-backend-config=", file));
        }
        if self.work.has_lock() {
            arguments.push("-lockfile=readonly".into());
        }
        self.succeed("init", &arguments, Output::Heard).await?;
        let select = ["workspace", "select", "-or-create", &self.workspace].map(OsString::from);
        self.succeed("workspace select", &select, Output::Heard).await?;
        Ok(())
    }

    /// Plans and saves the plan; changes nothing.
    pub async fn plan(&self) -> Result<SavedPlan, PlanError> {
        self.work.make_plan_file()?;
        let mut arguments =
            arguments(["plan", "-input=false", "-no-color", LOCK_TIMEOUT, "-detailed-exitcode"]);
        arguments.push(joined("-out=", &self.work.plan));
        arguments.push(joined("-var-file=", &self.work.values));
        let finished = self.run("plan", &arguments, Output::Heard).await?;
        // 0: nothing would change; 2: something would.
        if !matches!(finished.status.code(), Some(0 | 2)) {
            return Err(self.failed("plan", &finished).into());
        }
        let summary = self.summary().await?;
        let seal = self.seal(&self.work.plan).await?;
        Ok(SavedPlan { path: self.work.plan.clone(), summary, seal })
    }

    /// Applies exactly that plan; refuses if anything that it was made from is not as it was.
    pub async fn apply(&self, plan: &SavedPlan) -> Result<Applied, ApplyError> {
        let now = self.seal(&plan.path).await.map_err(ApplyError::Before)?;
        let differences = plan.seal.differences(&now);
        if !differences.is_empty() {
            return Err(ApplyError::Refused { environment: self.environment.clone(), differences });
        }
        if !plan.summary.is_empty() {
            let mut arguments = arguments(["apply", "-input=false", "-no-color", LOCK_TIMEOUT]);
            arguments.push(plan.path.clone().into());
            self.succeed("apply", &arguments, Output::Heard).await.map_err(ApplyError::Command)?;
        }
        let outputs = self.outputs().await.map_err(ApplyError::Outputs)?;
        Ok(Applied { outputs })
    }

    /// The root module's outputs as the state has them, save the sensitive ones.
    pub async fn outputs(&self) -> Result<Outputs, PlanError> {
        #[derive(Deserialize)]
        struct Said {
            sensitive: bool,
            value: Value,
        }
        let arguments = arguments(["output", "-json", "-no-color"]);
        let finished = self.succeed("output", &arguments, Output::Kept).await?;
        let said: BTreeMap<String, Said> = serde_json::from_slice(&finished.output)
            .map_err(|error| self.unreadable("outputs", &error))?;
        let open = said.into_iter().filter(|(_, output)| !output.sensitive);
        Ok(open.map(|(name, output)| (name, output.value)).collect())
    }

    async fn summary(&self) -> Result<Summary, PlanError> {
        let mut arguments = arguments(["show", "-json", "-no-color"]);
        arguments.push(self.work.plan.clone().into());
        let finished = self.succeed("show", &arguments, Output::Kept).await?;
        Summary::read(finished.output.as_slice()).map_err(|error| self.unreadable("a plan", &error))
    }

    async fn seal(&self, plan: &Path) -> Result<Seal, PlanError> {
        let state = self.state().await?;
        Ok(Seal {
            environment: self.environment.clone(),
            workspace: self.workspace.clone(),
            backend: self.work.backend_key.clone(),
            lineage: state.lineage,
            serial: state.serial,
            values: self.work.values_hash()?,
            code: self.work.code_hash()?,
            lock: self.work.lock_hash()?,
            plan: self.work.plan_hash(plan)?,
            commit: self.commit.clone(),
            tool: self.tool.label(),
        })
    }

    async fn state(&self) -> Result<State, PlanError> {
        let finished =
            self.succeed("state pull", &arguments(["state", "pull"]), Output::Kept).await?;
        if finished.output.iter().all(u8::is_ascii_whitespace) {
            return Ok(State::default());
        }
        serde_json::from_slice(&finished.output).map_err(|error| self.unreadable("a state", &error))
    }

    async fn succeed(
        &self,
        name: &'static str,
        arguments: &[OsString],
        output: Output,
    ) -> Result<Finished, CommandError> {
        let finished = self.run(name, arguments, output).await?;
        if finished.status.success() { Ok(finished) } else { Err(self.failed(name, &finished)) }
    }

    async fn run(
        &self,
        name: &'static str,
        arguments: &[OsString],
        output: Output,
    ) -> Result<Finished, CommandError> {
        let finished = self.runner.run(&self.work.root, arguments, output).await;
        finished.map_err(|why| {
            CommandError::unfinished(name, &self.tool.label(), self.environment.as_str(), &why)
        })
    }

    fn failed(&self, name: &'static str, finished: &Finished) -> CommandError {
        CommandError::ended(name, &self.tool.label(), self.environment.as_str(), finished)
    }

    /// serde_json's messages may quote values; only the place is told.
    fn unreadable(&self, what: &'static str, error: &serde_json::Error) -> PlanError {
        let reason = format!("line {} column {}", error.line(), error.column());
        PlanError::Unreadable { tool: self.tool.label(), what, reason }
    }
}

/// The state's identity. The rest of it, which holds secrets, is skipped while it is read.
#[derive(Debug, Default, Deserialize)]
struct State {
    #[serde(default)]
    lineage: Option<String>,
    #[serde(default)]
    serial: u64,
}

fn arguments<const N: usize>(words: [&str; N]) -> Vec<OsString> {
    words.map(OsString::from).to_vec()
}

fn joined(option: &str, path: &Path) -> OsString {
    let mut text = OsString::from(option);
    text.push(path);
    text
}
