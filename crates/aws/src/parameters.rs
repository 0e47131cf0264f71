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
    /// All parameters right below a path, decrypted, with their whole names, in the order of these.
    pub async fn below(&self, path: &str) -> Result<Vec<(String, SecretString)>, AwsError> {
        let resource = format!("parameters below {path}");
        let call = self.clients.call(Action::GetParametersByPath, &resource);
        let pages = self.clients.ssm.get_parameters_by_path().path(path).with_decryption(true);
        let mut pages = pages.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            for parameter in page.parameters.unwrap_or_default() {
                if let (Some(name), Some(value)) = (parameter.name, parameter.value) {
                    found.push((name, SecretString::from(value)));
                }
            }
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(found)
    }
}
