//! How long a call is tried again: a few times where AWS fails, for as long as the call may take where AWS only wants fewer calls.
//!
//! The SDK's own rule (five attempts, and a quota of retries that all calls share) makes a change give up after a minute of
//! throttling, when nothing is wrong but the pace.

use std::time::{Duration, SystemTime};

use aws_smithy_runtime::client::retries::classifiers::run_classifiers_on_ctx;
use aws_smithy_runtime::client::retries::{ClientRateLimiter, RetryPartition, TokenBucket};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::FinalizerInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::retries::classifiers::{RetryAction, RetryReason};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use aws_smithy_types::retry::{ErrorKind, RetryConfig};

/// Attempts of a call that fails: an endpoint that is gone or broken is known for one in some ten seconds.
const ATTEMPTS: u32 = 5;
/// Attempts of a call that is throttled. The deadline of the whole call ends them before.
const THROTTLED: u32 = 60;
/// The longest wait between two attempts.
const BACKOFF: Duration = Duration::from_secs(5);
/// The longest wait after an attempt that was throttled, on top of the pace that all calls are slowed down to.
const PACE: Duration = Duration::from_secs(2);

/// What every call starts with. Adaptive: a client that is throttled slows all its calls down together.
pub(crate) fn retries() -> RetryConfig {
    RetryConfig::adaptive().with_max_attempts(ATTEMPTS).with_max_backoff(BACKOFF)
}

/// Quota and pace of one service's calls: being throttled does not use the quota up. Each service has its own, since throttled
/// changes of tasks must not hold up the change of weights that takes users out of harm.
pub(crate) fn partition(service: &'static str) -> RetryPartition {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    RetryPartition::custom(service)
        .token_bucket(TokenBucket::builder().throttling_retry_cost(0).build())
        .client_rate_limiter(ClientRateLimiter::new(now.as_secs_f64()))
        .build()
}

/// What a call was given: one attempt alone, where a repetition could do it twice.
#[derive(Debug, Clone)]
struct Given(RetryConfig);

impl Storable for Given {
    type Storer = StoreReplace<Self>;
}

/// Gives a call more attempts after each one that was throttled: it was not done, whatever it was.
#[derive(Debug)]
pub(crate) struct Patience;

#[dyn_dispatch_hint]
impl Intercept for Patience {
    fn name(&self) -> &'static str {
        "Patience"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        runtime_components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let action =
            run_classifiers_on_ctx(runtime_components.retry_classifiers(), context.inner());
        let throttled = matches!(
            action,
            RetryAction::RetryIndicated(RetryReason::RetryableError {
                kind: ErrorKind::ThrottlingError,
                ..
            })
        );
        let given = cfg
            .load::<Given>()
            .cloned()
            .unwrap_or_else(|| Given(cfg.load::<RetryConfig>().cloned().unwrap_or_else(retries)));
        let mut config = given.0.clone();
        if throttled {
            config = config.with_max_attempts(THROTTLED).with_max_backoff(PACE);
        }
        cfg.interceptor_state().store_put(given).store_put(config);
        Ok(())
    }
}
