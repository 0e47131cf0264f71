//! Where this process gets secrets from: SSM through AWS clients that are made when the first is asked for, and the stage.

use std::path::PathBuf;

use async_trait::async_trait;
use liftlock_aws::{AwsError, AwsErrorKind, Clients, Credentials, SsmParameters};
use liftlock_environment::config::Aws;
use liftlock_environment::{SecretError, SecretStore};
use secrecy::SecretString;
use tokio::sync::OnceCell;

/// The secret stores of one environment.
pub(crate) struct Secrets {
    aws: Aws,
    clients: OnceCell<Clients>,
    stage: PathBuf,
}

impl Secrets {
    /// Stores that make their own clients when they are first asked.
    pub(crate) fn new(aws: Aws, stage: PathBuf) -> Self {
        Self { aws, clients: OnceCell::new(), stage }
    }

    /// Stores behind clients that are there already.
    pub(crate) fn with_clients(aws: Aws, stage: PathBuf, clients: Clients) -> Self {
        Self { aws, clients: OnceCell::new_with(Some(clients)), stage }
    }
}

impl Secrets {
    async fn clients(&self, place: &str) -> Result<&Clients, SecretError> {
        let clients = self
            .clients
            .get_or_try_init(|| Clients::connect(&self.aws, None, Credentials::Chain))
            .await;
        clients.map_err(|error| SecretError::Authentication {
            place: place.to_owned(),
            hint: "set AWS credentials for this environment".into(),
            source: error.into(),
        })
    }
}

/// Why what is at `place` cannot be had.
fn unread(place: String, error: AwsError) -> SecretError {
    match error.kind() {
        AwsErrorKind::Authentication => SecretError::Authentication {
            place,
            hint: "check the AWS credentials of this environment".into(),
            source: error.into(),
        },
        AwsErrorKind::NotFound => SecretError::NotFound {
            place,
            problem: "does not exist".into(),
            hint: "put it there, or apply the infrastructure that does (`liftlock infra apply`)"
                .into(),
        },
        _ => SecretError::Unreadable {
            place,
            hint: "see whether AWS answers from this machine".into(),
            source: error.into(),
        },
    }
}

#[async_trait]
impl SecretStore for Secrets {
    async fn parameter(&self, name: &str) -> Result<SecretString, SecretError> {
        let place = format!("the SSM parameter `{name}`");
        let parameters = SsmParameters::new(self.clients(&place).await?);
        parameters.get(name).await.map_err(|error| unread(place, error))
    }

    async fn parameters(&self, path: &str) -> Result<Vec<(String, SecretString)>, SecretError> {
        let place = format!("the SSM path `{path}`");
        let parameters = SsmParameters::new(self.clients(&place).await?);
        parameters.below(path).await.map_err(|error| unread(place, error))
    }

    async fn stage_database(&self) -> Result<SecretString, SecretError> {
        liftlock_stage::database_url(&self.stage).map_err(|error| SecretError::Unreadable {
            place: format!("the stage's database in {}", self.stage.display()),
            hint: "start it with `liftlock promote --env local`".into(),
            source: error.into(),
        })
    }
}
