//! What AWS said, sorted: the kind decides the exit code, the message names operation, resource, place and next step.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use liftlock_migrate::snapshot::{SnapshotError, SnapshotErrorKind};
use liftlock_rollout::{TargetError, TargetErrorKind};

use crate::Action;

/// What sort of failure it was; it decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AwsErrorKind {
    /// Something that the configuration names does not exist.
    NotFound,
    /// No credentials, wrong ones, or ones that may not do this.
    Authentication,
    /// It may well work a little later: throttled, timed out, not reached, or broken on AWS's side.
    Transient,
    /// It stands as another strategy than the environment's left it.
    Conflict,
    /// Anything else.
    Other,
}

/// AWS could not be asked, or refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AwsError {
    kind: AwsErrorKind,
    code: Option<String>,
    message: String,
}

impl AwsError {
    /// What sort of failure it was.
    pub fn kind(&self) -> AwsErrorKind {
        self.kind
    }

    /// AWS's own name for it, such as `ThrottlingException`, where it gave one.
    pub(crate) fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    pub(crate) fn new(kind: AwsErrorKind, message: impl AsRef<str>) -> Self {
        Self { kind, code: None, message: printable(message.as_ref()) }
    }
}

impl From<AwsError> for TargetError {
    fn from(error: AwsError) -> Self {
        let kind = match error.kind {
            AwsErrorKind::NotFound => TargetErrorKind::NotFound,
            AwsErrorKind::Authentication => TargetErrorKind::Authentication,
            AwsErrorKind::Transient => TargetErrorKind::Transient,
            AwsErrorKind::Conflict => TargetErrorKind::Conflict,
            AwsErrorKind::Other => TargetErrorKind::Other,
        };
        Self::new(kind, error.message)
    }
}

impl From<AwsError> for SnapshotError {
    fn from(error: AwsError) -> Self {
        let kind = match error.kind {
            AwsErrorKind::NotFound => SnapshotErrorKind::NotFound,
            AwsErrorKind::Authentication => SnapshotErrorKind::Authentication,
            AwsErrorKind::Transient => SnapshotErrorKind::Transient,
            AwsErrorKind::Conflict | AwsErrorKind::Other => SnapshotErrorKind::Other,
        };
        Self::new(kind, error.message)
    }
}

/// One call: what is asked, of what, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) action: Action,
    pub(crate) resource: &'a str,
    pub(crate) place: &'a str,
}

impl Call<'_> {
    /// What went wrong with it.
    pub(crate) fn failed<E>(&self, error: SdkError<E, Response>) -> AwsError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let (kind, code, reason) = match &error {
            SdkError::ServiceError(service) => {
                let (code, message) = (service.err().code(), service.err().message());
                let kind = by_code(code.unwrap_or_default(), message.unwrap_or_default(), status);
                let reason = match (code, message) {
                    (Some(code), Some(message)) => format!("{code}: {message}"),
                    (Some(code), None) => code.to_owned(),
                    (None, Some(message)) => message.to_owned(),
                    (None, None) => format!("status {}", status.unwrap_or_default()),
                };
                (kind, code.map(str::to_owned), reason)
            }
            SdkError::TimeoutError(_) => {
                (AwsErrorKind::Transient, None, "no answer in time".to_owned())
            }
            SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) => {
                let kind = if lacks_credentials(&error) {
                    AwsErrorKind::Authentication
                } else if matches!(error, SdkError::ConstructionFailure(_)) {
                    AwsErrorKind::Other
                } else {
                    AwsErrorKind::Transient
                };
                (kind, None, chain(&error))
            }
            _ => (
                AwsErrorKind::Transient,
                None,
                format!("an answer that could not be read ({})", chain(&error)),
            ),
        };
        self.because(kind, code, &reason)
    }

    /// An error that this crate found out itself.
    pub(crate) fn because(
        &self,
        kind: AwsErrorKind,
        code: Option<String>,
        reason: &str,
    ) -> AwsError {
        let Self { action, resource, place } = self;
        let reason = reason.trim_end_matches('.');
        let next = next_step(kind, code.as_deref().unwrap_or_default(), *action);
        AwsError {
            kind,
            code,
            message: printable(&format!("{action} of {resource} in {place}: {reason}. {next}")),
        }
    }
}

/// What to do about it.
fn next_step(kind: AwsErrorKind, code: &str, action: Action) -> String {
    match kind {
        AwsErrorKind::NotFound => {
            "`liftlock infra apply` for this environment makes what is missing; region and account are under [aws] in \
             its file"
                .to_owned()
        }
        AwsErrorKind::Authentication if denied(code) => {
            format!("These credentials may not do this: allow {action} in their policy")
        }
        AwsErrorKind::Authentication => {
            "`aws sts get-caller-identity` shows whom AWS takes you for; log in again or set AWS_PROFILE, or AWS_ACCESS_KEY_ID \
             and AWS_SECRET_ACCESS_KEY"
                .to_owned()
        }
        AwsErrorKind::Transient => {
            "It was tried several times: see whether that answers from this machine (`aws.region` and `aws.endpoint` of the \
             environment's file say where it is), then repeat the command"
                .to_owned()
        }
        AwsErrorKind::Conflict => {
            "Give the environment's file the strategy that it had then, and repeat the command; once a promotion has put the tasks back, \
             choose another"
                .to_owned()
        }
        AwsErrorKind::Other => "Mend what it names, then repeat the command".to_owned(),
    }
}

fn denied(code: &str) -> bool {
    code.starts_with("AccessDenied") || matches!(code, "UnauthorizedOperation" | "NotAuthorized")
}

/// Sorts by AWS's error codes: "Common Errors" in the services' API references, and each operation's own.
fn by_code(code: &str, message: &str, status: Option<u16>) -> AwsErrorKind {
    const AUTHENTICATION: [&str; 14] = [
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "OptInRequired",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    ];
    const TRANSIENT: [&str; 8] = [
        "InternalError",
        "InternalFailure",
        "RequestLimitExceeded",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServerException",
        "ServiceUnavailable",
        "SlowDown",
    ];
    let missing = ["NotFound", "NotFoundException", "NotFoundFault", "NotActiveException"];
    if denied(code) || AUTHENTICATION.contains(&code) {
        AwsErrorKind::Authentication
    } else if missing.iter().any(|end| code.ends_with(end))
        || message.starts_with("Unable to describe task definition")
    {
        AwsErrorKind::NotFound
    } else if TRANSIENT.contains(&code)
        || code.starts_with("Throttl")
        || code.starts_with("TooManyRequests")
        || status.is_some_and(|status| status == 429 || status >= 500)
    {
        AwsErrorKind::Transient
    } else {
        AwsErrorKind::Other
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// True when no request was sent, since there is nothing to sign it with.
fn lacks_credentials(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|error| error.downcast_ref::<CredentialsError>().is_some())
}

/// The whole chain of causes, without repetitions.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = cause.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

/// Text from outside, shortened, with control characters replaced: it goes to terminals and logs.
fn printable(text: &str) -> String {
    const LONGEST: usize = 1000;
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = clean.clone().take(LONGEST).collect();
    if clean.count() > LONGEST {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted() {
        for (code, kind) in [
            ("ExpiredTokenException", AwsErrorKind::Authentication),
            ("UnrecognizedClientException", AwsErrorKind::Authentication),
            ("InvalidClientTokenId", AwsErrorKind::Authentication),
            ("AccessDenied", AwsErrorKind::Authentication),
            ("AccessDeniedException", AwsErrorKind::Authentication),
            ("ClusterNotFoundException", AwsErrorKind::NotFound),
            ("LoadBalancerNotFound", AwsErrorKind::NotFound),
            ("DBInstanceNotFound", AwsErrorKind::NotFound),
            ("DBInstanceNotFoundFault", AwsErrorKind::NotFound),
            ("ParameterNotFound", AwsErrorKind::NotFound),
            ("ThrottlingException", AwsErrorKind::Transient),
            ("Throttling", AwsErrorKind::Transient),
            ("InvalidParameterException", AwsErrorKind::Other),
        ] {
            assert_eq!(by_code(code, "", Some(400)), kind, "{code}");
        }
        assert_eq!(by_code("", "", Some(503)), AwsErrorKind::Transient);
        assert_eq!(
            by_code("ClientException", "Unable to describe task definition.", Some(400)),
            AwsErrorKind::NotFound
        );
    }

    #[test]
    fn messages_name_operation_resource_place_and_next_step() {
        let call = Call {
            action: Action::DescribeServices,
            resource: "cluster shop-dev",
            place: "eu-central-1",
        };
        let error =
            call.because(AwsErrorKind::NotFound, None, "there is no such\u{1b}[2J cluster.");
        assert_eq!(
            error.to_string(),
            "ecs:DescribeServices of cluster shop-dev in eu-central-1: there is no such [2J cluster. \
             `liftlock infra apply` for this environment makes what is missing; region and account are under [aws] in \
             its file"
        );
        let error = call.because(AwsErrorKind::Authentication, Some("AccessDenied".into()), "no");
        assert!(error.to_string().contains("allow ecs:DescribeServices"), "{error}");
    }
}
