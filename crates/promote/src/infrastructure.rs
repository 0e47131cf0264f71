//! What the infrastructure steps need of whoever makes the infrastructure.

use async_trait::async_trait;
use liftlock_model::Release;
use liftlock_saga::StepError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::archive::Files;

/// What applying would change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InfrastructurePlan {
    /// How many resources would change.
    pub changes: usize,
    /// In one line.
    pub headline: String,
    /// One line for each change.
    pub details: Vec<String>,
    /// What must not happen without a person's word: the destruction of something stateful.
    pub violations: Vec<String>,
    /// What the maker needs to apply exactly this plan. Holds no secrets.
    pub saved: Value,
}

/// Hears signs of life.
pub type Signs<'a> = dyn Fn(&str) + Send + Sync + 'a;

/// Makes infrastructure: Terraform, OpenTofu, or the stage on this machine.
#[async_trait]
pub trait Infrastructure: Send + Sync {
    /// Who makes it, for people: `terraform 1.11.4`.
    fn maker(&self) -> String;

    /// Whether this machine has what it takes; asked before a run begins.
    async fn ready(&self) -> Result<(), StepError> {
        Ok(())
    }

    /// Everything that makes the infrastructure of `release` in this environment, as files: code and values.
    fn bundle(&self, release: &Release, code: Files) -> Result<Files, StepError>;

    /// Plans; changes nothing.
    async fn plan(&self, bundle: &Files, life: &Signs<'_>)
    -> Result<InfrastructurePlan, StepError>;

    /// Applies exactly that plan, or refuses. Says in one line what came of it. Cancelled, it ends as soon as it safely can, with
    /// an error.
    async fn apply(
        &self,
        bundle: &Files,
        plan: &InfrastructurePlan,
        life: &Signs<'_>,
        cancel: &CancellationToken,
    ) -> Result<String, StepError>;
}
