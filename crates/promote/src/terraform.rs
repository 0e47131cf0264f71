//! Terraform or OpenTofu as the maker of an environment's infrastructure.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use liftlock_environment::Environment;
use liftlock_model::{Exit, Release};
use liftlock_saga::{StepError, StepErrorKind};
use liftlock_terraform::{
    Address, ApplyError, PlanError, PrepareError, SavedPlan, Terraform, Tool, guard, render,
};
use tokio_util::sync::CancellationToken;

use crate::archive::{self, Files};
use crate::infrastructure::{Infrastructure, InfrastructurePlan, Signs};

/// Where in a bundle the environment's values are.
const VALUES: &str = "liftlock.tfvars";
/// Where in a bundle the root module is.
const ROOT: &str = "root";

/// Runs terraform or tofu.
pub struct TerraformInfrastructure {
    environment: Environment,
    work: PathBuf,
    allowed: Vec<Address>,
}

impl TerraformInfrastructure {
    /// The maker of an environment's infrastructure, working in a private directory.
    pub fn new(environment: &Environment, work: &Path) -> Self {
        Self { environment: environment.clone(), work: work.to_owned(), allowed: Vec::new() }
    }

    /// Lets these addresses be destroyed although they hold data.
    #[must_use]
    pub fn allowing(mut self, addresses: &[String]) -> Self {
        self.allowed = addresses.iter().map(Address::new).collect();
        self
    }

    /// What of a plan is refused with the addresses that are allowed here.
    pub fn refused(&self, plan: &InfrastructurePlan) -> Vec<String> {
        match serde_json::from_value::<SavedPlan>(plan.saved.clone()) {
            Ok(saved) => match guard(&saved.summary, &self.allowed) {
                Ok(()) => vec![],
                Err(violations) => violations.iter().map(ToString::to_string).collect(),
            },
            Err(error) => vec![format!("the saved plan cannot be read: {error}")],
        }
    }

    /// The root module's code as it is in the working tree.
    pub fn working_tree(&self) -> Result<Files, StepError> {
        let root = self.environment.path(&self.environment.config.infrastructure.root);
        archive::read(&root, &crate::release::is_infrastructure_code)
            .map_err(|error| StepError::of_kind(StepErrorKind::Configuration, &error))
    }

    /// The files that make the infrastructure from this code with the environment's values of now.
    pub fn files(&self, code: Files) -> Result<Files, StepError> {
        let mut bundle: Files =
            code.into_iter().map(|(path, content)| (Path::new(ROOT).join(path), content)).collect();
        let rendered = render(&self.environment)
            .map_err(|error| StepError::of_kind(StepErrorKind::Configuration, &error))?;
        let values = rendered
            .into_iter()
            .find(|file| file.path.extension().is_some_and(|extension| extension == "tfvars"))
            .ok_or_else(|| {
                StepError::new(StepErrorKind::Configuration, "no values were rendered")
            })?;
        bundle.insert(VALUES.into(), values.content.into_bytes());
        Ok(bundle)
    }

    async fn terraform(&self, bundle: &Files) -> Result<Terraform, StepError> {
        let source = self.work.join("source");
        let failed = |error: std::io::Error| {
            StepError::new(StepErrorKind::Configuration, format!("{}: {error}", source.display()))
        };
        match std::fs::remove_dir_all(&source) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => std::fs::create_dir_all(&source).map_err(failed)?,
        }
        let code: Files = bundle
            .iter()
            .filter_map(|(path, content)| {
                Some((path.strip_prefix(ROOT).ok()?.to_owned(), content.clone()))
            })
            .collect();
        if code.is_empty() {
            let what = "the release holds no infrastructure code";
            return Err(StepError::new(StepErrorKind::Configuration, what)
                .hint("make a release from a working tree that has it: liftlock release create"));
        }
        archive::write(&code, &source).map_err(|error| StepError::from_error(&error))?;
        let values = bundle
            .get(Path::new(VALUES))
            .map(|values| String::from_utf8_lossy(values).into_owned());
        Terraform::prepare_with(
            &self.environment,
            &source,
            &self.work.join("root"),
            vec![],
            values.as_deref(),
        )
        .await
        .map_err(prepare)
    }
}

#[async_trait]
impl Infrastructure for TerraformInfrastructure {
    fn maker(&self) -> String {
        format!("{:?}", self.environment.config.infrastructure.engine).to_lowercase()
    }

    async fn ready(&self) -> Result<(), StepError> {
        let engine = self.environment.config.infrastructure.engine;
        match Tool::find(engine).await {
            Ok(_) => Ok(()),
            Err(error) => Err(StepError::of_kind(StepErrorKind::Configuration, &error)),
        }
    }

    fn bundle(&self, _: &Release, code: Files) -> Result<Files, StepError> {
        self.files(code)
    }

    async fn plan(
        &self,
        bundle: &Files,
        life: &Signs<'_>,
    ) -> Result<InfrastructurePlan, StepError> {
        let terraform = self.terraform(bundle).await?;
        life(&format!("{}: init", terraform.tool()));
        terraform.init().await.map_err(|error| plan_failed(error.into()))?;
        life(&format!("{}: plan", terraform.tool()));
        let saved = terraform.plan().await.map_err(plan_failed)?;
        let details: Vec<_> = saved.summary.changes().map(describe).collect();
        let violations = match guard(&saved.summary, &self.allowed) {
            Ok(()) => vec![],
            Err(violations) => violations.iter().map(ToString::to_string).collect(),
        };
        Ok(InfrastructurePlan {
            changes: if saved.summary.is_empty() { 0 } else { details.len().max(1) },
            headline: saved.summary.headline(),
            details,
            violations,
            saved: serde_json::to_value(&saved).map_err(|error| StepError::from_error(&error))?,
        })
    }

    async fn apply(
        &self,
        bundle: &Files,
        plan: &InfrastructurePlan,
        life: &Signs<'_>,
        cancel: &CancellationToken,
    ) -> Result<String, StepError> {
        let saved: SavedPlan = serde_json::from_value(plan.saved.clone())
            .map_err(|error| StepError::from_error(&error))?;
        let terraform = self.terraform(bundle).await?;
        terraform.init().await.map_err(|error| untouched(error.into()))?;
        life(&format!("{}: apply: {}", terraform.tool(), plan.headline));
        let applying = terraform.apply(&saved);
        tokio::pin!(applying);
        let applied = tokio::select! {
            applied = &mut applying => applied,
            () = cancel.cancelled() => {
                life(&format!("{}: asked to stop; it writes its state and frees its lock first", terraform.tool()));
                terraform.interrupt();
                applying.await
            }
        };
        applied.map_err(apply_failed)?;
        Ok(format!("applied: {}", plan.headline))
    }
}

fn describe(change: &liftlock_terraform::Change) -> String {
    let action = format!("{:?}", change.action).to_lowercase();
    match change.reasons.is_empty() {
        true => format!("{action} {}", change.address.as_str()),
        false => format!("{action} {} ({})", change.address.as_str(), change.reasons.join(", ")),
    }
}

fn kind(exit: Exit) -> StepErrorKind {
    match exit {
        Exit::Authentication => StepErrorKind::Authentication,
        Exit::Usage => StepErrorKind::Configuration,
        _ => StepErrorKind::Failed,
    }
}

fn prepare(error: PrepareError) -> StepError {
    StepError::of_kind(StepErrorKind::Configuration, &error)
}

fn plan_failed(error: PlanError) -> StepError {
    let wrong = StepError::of_kind(kind(error.exit()), &error);
    match &error {
        PlanError::Command(command) => wrong.hint(command.hint()),
        PlanError::Work(_) | PlanError::Unreadable { .. } => wrong,
    }
}

/// A failure before anything was applied, told apart from one in the middle by its kind.
fn untouched(error: PlanError) -> StepError {
    let kind = match kind(error.exit()) {
        StepErrorKind::Failed | StepErrorKind::Cancelled => StepErrorKind::Configuration,
        kind => kind,
    };
    let wrong = StepError::of_kind(kind, &error);
    match &error {
        PlanError::Command(command) => wrong.hint(command.hint()),
        PlanError::Work(_) | PlanError::Unreadable { .. } => wrong,
    }
}

fn apply_failed(error: ApplyError) -> StepError {
    match error {
        ApplyError::Before(error) => untouched(error),
        // Nothing was touched either: the plan is no longer what is there.
        error @ ApplyError::Refused { .. } => {
            StepError::of_kind(StepErrorKind::Configuration, &error)
        }
        ApplyError::Command(command) => {
            let hint = command.hint();
            StepError::of_kind(StepErrorKind::Failed, &command).hint(hint)
        }
        error => StepError::from_error(&error),
    }
}
