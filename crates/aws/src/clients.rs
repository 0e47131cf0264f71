//! One connection to AWS, or to a stand-in for it.

use std::fmt;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::ProvideCredentials;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_types::timeout::TimeoutConfig;
use liftlock_environment::config;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::error::{Call, chain};
use crate::retries::{Patience, partition, retries};
use crate::{Action, AwsError, AwsErrorKind};

/// Where credentials come from.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// The usual places, in the usual order: environment variables, profiles, web identity (OIDC), container, instance.
    Chain,
    /// These two, as for the stage.
    Static {
        /// The access key's id.
        access_key: String,
        /// The secret access key.
        secret: SecretString,
    },
}

/// There is nothing to sign requests with.
#[derive(Debug, thiserror::Error)]
#[error(
    "no AWS credentials for {place}: {}\n  next: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for an SSO \
     profile, `eval \"$(aws configure export-credentials --format env)\"`",
    reason.trim_end_matches('.')
)]
pub struct ConnectError {
    place: String,
    reason: String,
}

/// A service's client with our patience: the services' configurations are types of their own, without a trait.
macro_rules! client {
    ($service:ident, $config:expr) => {
        $service::Client::from_conf(
            $service::config::Builder::from($config)
                .retry_partition(partition(stringify!($service)))
                .interceptor(Patience)
                .build(),
        )
    };
}

/// How long the places that may hold credentials get to answer, all together.
const CREDENTIALS: Duration = Duration::from_secs(20);

/// Clients for the services that Liftlock asks, sharing one HTTP client, with deadlines and capped retries everywhere. Cheap to
/// clone.
#[derive(Clone)]
pub struct Clients {
    pub(crate) cloudwatch: aws_sdk_cloudwatch::Client,
    pub(crate) ecs: aws_sdk_ecs::Client,
    pub(crate) balancing: aws_sdk_elasticloadbalancingv2::Client,
    pub(crate) logs: aws_sdk_cloudwatchlogs::Client,
    pub(crate) rds: aws_sdk_rds::Client,
    pub(crate) scheduler: aws_sdk_scheduler::Client,
    pub(crate) ssm: aws_sdk_ssm::Client,
    region: String,
    place: String,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Clients {
    /// Finds credentials and makes the clients. `endpoint` goes before `aws.endpoint`. Nothing is asked of AWS yet: see
    /// [`Clients::check`].
    pub async fn connect(
        aws: &config::Aws,
        endpoint: Option<&Url>,
        credentials: Credentials,
    ) -> Result<Self, ConnectError> {
        let endpoint = endpoint.or(aws.endpoint.as_ref());
        let place = place(&aws.region, endpoint);
        let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(Region::new(aws.region.clone()))
            .http_client(http)
            .retry_config(retries())
            .timeout_config(timeouts());
        if let Some(endpoint) = endpoint {
            loader = loader.endpoint_url(endpoint.as_str());
        }
        if let Credentials::Static { access_key, secret } = &credentials {
            loader = loader.credentials_provider(aws_credential_types::Credentials::new(
                access_key,
                secret.expose_secret(),
                None,
                None,
                "liftlock",
            ));
        }
        let config = loader.load().await;
        if matches!(credentials, Credentials::Chain) {
            found(&config).await.map_err(|reason| ConnectError { place: place.clone(), reason })?;
        }
        Ok(Self {
            cloudwatch: client!(aws_sdk_cloudwatch, &config),
            ecs: client!(aws_sdk_ecs, &config),
            balancing: client!(aws_sdk_elasticloadbalancingv2, &config),
            logs: client!(aws_sdk_cloudwatchlogs, &config),
            rds: client!(aws_sdk_rds, &config),
            scheduler: client!(aws_sdk_scheduler, &config),
            ssm: client!(aws_sdk_ssm, &config),
            region: aws.region.clone(),
            place,
        })
    }

    /// Asks for the environment's cluster, the cheapest thing that tells wrong credentials ([`AwsErrorKind::Authentication`])
    /// from an environment that does not exist ([`AwsErrorKind::NotFound`]).
    pub async fn check(&self, prefix: &str) -> Result<(), AwsError> {
        let resource = format!("cluster {prefix}");
        let call = self.call(Action::DescribeClusters, &resource);
        let answer = self
            .ecs
            .describe_clusters()
            .clusters(prefix)
            .send()
            .await
            .map_err(|error| call.failed(error))?;
        if answer.clusters().iter().any(|cluster| cluster.status() != Some("INACTIVE")) {
            return Ok(());
        }
        Err(call.because(AwsErrorKind::NotFound, None, "there is no such cluster"))
    }

    /// Where requests go, for people: the region, and the endpoint where it is not AWS's own.
    pub fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    pub(crate) fn call<'a>(&'a self, action: Action, resource: &'a str) -> Call<'a> {
        Call { action, resource, place: &self.place }
    }
}

fn place(region: &str, endpoint: Option<&Url>) -> String {
    match endpoint {
        None => region.to_owned(),
        // The host alone: an endpoint may carry a user name and a password.
        Some(url) => match (url.host_str(), url.port_or_known_default()) {
            (Some(host), Some(port)) => format!("{region} at {}://{host}:{port}", url.scheme()),
            (host, _) => format!("{region} at {}", host.unwrap_or("an endpoint without host")),
        },
    }
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .read_timeout(Duration::from_secs(15))
        .operation_attempt_timeout(Duration::from_secs(20))
        .operation_timeout(Duration::from_secs(60))
        .build()
}

async fn found(config: &aws_config::SdkConfig) -> Result<(), String> {
    let provider = config.credentials_provider().ok_or("none are configured")?;
    match tokio::time::timeout(CREDENTIALS, provider.provide_credentials()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err(format!("no answer from their provider in {} s", CREDENTIALS.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoints_password_is_not_shown() {
        let url = "http://user:hush@127.0.0.1:4566/path".parse().unwrap();
        assert_eq!(place("eu-central-1", Some(&url)), "eu-central-1 at http://127.0.0.1:4566");
    }
}
