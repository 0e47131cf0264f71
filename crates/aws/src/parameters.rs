//! Secrets in SSM Parameter Store.

use secrecy::SecretString;

use crate::{Action, AwsError, AwsErrorKind, Clients};

/// SSM Parameter Store.
#[derive(Debug, Clone)]
pub struct SsmParameters {
    clients: Clients,
}

impl SsmParameters {
    /// The parameters that these clients reach.
    pub fn new(clients: &Clients) -> Self {
        Self { clients: clients.clone() }
    }

    /// A parameter's value, decrypted.
    pub async fn get(&self, name: &str) -> Result<SecretString, AwsError> {
        let resource = format!("parameter {name}");
        let call = self.clients.call(Action::GetParameter, &resource);
        let answer = self
            .clients
            .ssm
            .get_parameter()
            .name(name)
            .with_decryption(true)
            .send()
            .await
            .map_err(|error| call.failed(error))?;
        let value = answer.parameter.and_then(|parameter| parameter.value);
        value
            .map(SecretString::from)
            .ok_or_else(|| call.because(AwsErrorKind::NotFound, None, "the parameter has no value"))
    }
}
