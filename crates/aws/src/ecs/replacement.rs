//! How ECS replaces tasks where they are.

use aws_sdk_ecs::types::{DeploymentCircuitBreaker, DeploymentConfiguration};
use liftlock_rollout::Replacement;

/// What `UpdateService` is told. ECS's circuit breaker takes a deployment back by itself whose tasks keep failing, also when nobody is
/// left who watches it.
pub(super) fn configuration(how: &Replacement) -> DeploymentConfiguration {
    let breaker = DeploymentCircuitBreaker::builder().enable(true).rollback(true).build();
    let Replacement::Rolling { minimum_healthy, maximum } = how;
    DeploymentConfiguration::builder()
        .deployment_circuit_breaker(breaker)
        .minimum_healthy_percent(i32::from(*minimum_healthy))
        .maximum_percent(i32::from(*maximum))
        .build()
}
