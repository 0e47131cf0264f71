//! How ECS replaces tasks by itself.

use aws_sdk_ecs::types::{
    CanaryConfiguration, DeploymentCircuitBreaker, DeploymentConfiguration, DeploymentStrategy,
    LinearConfiguration, Service,
};
use liftlock_rollout::{Replacement, Shifting};

/// What `UpdateService` is told. ECS's circuit breaker takes a deployment back by itself whose tasks keep failing, also when nobody is
/// left who watches it.
pub(super) fn configuration(how: &Replacement) -> DeploymentConfiguration {
    let breaker = DeploymentCircuitBreaker::builder().enable(true).rollback(true).build();
    let told = DeploymentConfiguration::builder().deployment_circuit_breaker(breaker);
    let minutes = |bake: u32| i32::try_from(bake).unwrap_or(i32::MAX);
    match how {
        Replacement::Rolling { minimum_healthy, maximum } => told
            .strategy(DeploymentStrategy::Rolling)
            .minimum_healthy_percent(i32::from(*minimum_healthy))
            .maximum_percent(i32::from(*maximum))
            .build(),
        Replacement::Shifted { by, bake } => {
            let told = told
                .minimum_healthy_percent(100)
                .maximum_percent(200)
                .bake_time_in_minutes(minutes(*bake));
            match by {
                Shifting::AtOnce => told.strategy(DeploymentStrategy::BlueGreen),
                Shifting::Linear { step, bake } => {
                    let linear = LinearConfiguration::builder()
                        .step_percent(f64::from(*step))
                        .step_bake_time_in_minutes(minutes(*bake));
                    told.strategy(DeploymentStrategy::Linear).linear_configuration(linear.build())
                }
                Shifting::Canary { share, bake } => {
                    let canary = CanaryConfiguration::builder()
                        .canary_percent(f64::from(*share))
                        .canary_bake_time_in_minutes(minutes(*bake));
                    told.strategy(DeploymentStrategy::Canary).canary_configuration(canary.build())
                }
            }
            .build()
        }
    }
}

/// As Terraform makes a service: ECS moves no traffic.
pub(super) fn rolling() -> DeploymentConfiguration {
    configuration(&Replacement::Rolling { minimum_healthy: 100, maximum: 200 })
}

/// Whether ECS moves the traffic of a service as it is set now.
pub(super) fn shifts(service: &Service) -> bool {
    let strategy = service.deployment_configuration().and_then(|one| one.strategy());
    strategy.is_some_and(|strategy| *strategy != DeploymentStrategy::Rolling)
}
