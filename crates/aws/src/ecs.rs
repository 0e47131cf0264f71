//! One service in ECS behind an application load balancer, as a rollout's target.

mod aim;
mod balancer;
mod deaths;
mod look;
mod meter;
mod register;
mod remember;
mod replacement;
mod revision;
mod schedule;
mod shifted;
mod tasks;
mod usage;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ecs::types::Service;
use jiff::Timestamp;
use liftlock_environment::KnownSecrets;
use liftlock_model::{ImageRef, ServiceName};
use liftlock_rollout::analysis::Traffic;
use liftlock_rollout::{
    Colour, Death, Live, Replacement, Target, TargetError, TaskDefinition, Urls, Usage, Weights,
};
use tokio::sync::OnceCell;

use crate::{Action, AwsError, AwsErrorKind, Clients};
use balancer::Balancer;
pub use schedule::EcsSwitch;
use tasks::Ended;

/// One service of one environment in ECS. What it consists of is found by name once, when it is first needed:
/// cluster and load balancer `{prefix}`, services and target groups `{prefix}-{service}-blue` and `-green`, listeners by
/// their tag `liftlock:listener`, rules by the target groups they forward to.
#[derive(Clone)]
pub struct EcsTarget {
    clients: Clients,
    prefix: String,
    service: ServiceName,
    balancer: Arc<OnceCell<Balancer>>,
    known: Option<Arc<dyn KnownSecrets>>,
    /// The role that ECS takes to move traffic, where ECS does that.
    shifted_by: Option<String>,
    ended: Arc<Ended>,
}

impl fmt::Debug for EcsTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("EcsTarget");
        shown.field("prefix", &self.prefix).field("service", &self.service).finish_non_exhaustive()
    }
}

impl EcsTarget {
    /// The service of the environment with this prefix (`Environment::prefix()`).
    pub fn new(clients: &Clients, prefix: &str, service: &ServiceName) -> Self {
        Self {
            clients: clients.clone(),
            prefix: prefix.to_owned(),
            service: service.clone(),
            balancer: Arc::default(),
            known: None,
            shifted_by: None,
            ended: Arc::default(),
        }
    }

    /// The same service where ECS moves the traffic by itself, with the role of this name in this account.
    pub fn shifted_by_ecs(self, account: &str, role: &str) -> Self {
        Self { shifted_by: Some(role_arn(&self.clients, account, role)), ..self }
    }

    /// The same, which keeps these secrets, too, out of what tasks wrote into their logs.
    pub fn hiding(self, known: Arc<dyn KnownSecrets>) -> Self {
        Self { known: Some(known), ..self }
    }

    /// `{prefix}-{service}-{colour}`: the name of the ECS service and of the target group.
    fn name(&self, colour: Colour) -> String {
        format!("{}-{}-{colour}", self.prefix, self.service)
    }

    /// The family of the revisions that Liftlock registers.
    fn family(&self) -> String {
        format!("{}-{}", self.prefix, self.service)
    }

    async fn balancer(&self) -> Result<&Balancer, AwsError> {
        let names = (self.name(Colour::Blue), self.name(Colour::Green));
        self.balancer.get_or_try_init(|| Balancer::find(&self.clients, &self.prefix, names)).await
    }

    /// The blue and the green ECS service.
    async fn services(&self) -> Result<(Service, Service), AwsError> {
        let (blue, green) = (self.name(Colour::Blue), self.name(Colour::Green));
        let resource = format!("services {blue} and {green} in cluster {}", self.prefix);
        let call = self.clients.call(Action::DescribeServices, &resource);
        let answer = self
            .clients
            .ecs
            .describe_services()
            .cluster(&self.prefix)
            .services(&blue)
            .services(&green)
            .send()
            .await
            .map_err(|error| call.failed(error))?;
        let mut services = answer.services.unwrap_or_default();
        // A service that was deleted is still described for a while, as INACTIVE.
        services.retain(|service| service.status() != Some("INACTIVE"));
        let mut take = |name: &str| {
            let at = services.iter().position(|service| service.service_name() == Some(name));
            at.map(|at| services.swap_remove(at)).ok_or_else(|| {
                let reason = format!("there is no service {name}");
                call.because(AwsErrorKind::NotFound, None, &reason)
            })
        };
        Ok((take(&blue)?, take(&green)?))
    }

    /// Refuses a revision that a colour is made from, or still runs while another replaces it.
    async fn unused(&self, task_definition: &TaskDefinition) -> Result<(), AwsError> {
        let (blue, green) = self.services().await?;
        for (colour, service) in [(Colour::Blue, blue), (Colour::Green, green)] {
            let deployed = service.deployments().iter().map(|d| d.task_definition());
            let used = deployed.chain([service.task_definition()]).flatten();
            if used.into_iter().any(|used| same_revision(used, task_definition.as_str())) {
                return Err(AwsError::new(
                    AwsErrorKind::Other,
                    format!(
                        "{task_definition} is still in use by service {}, and is not deregistered",
                        self.name(colour)
                    ),
                ));
            }
        }
        Ok(())
    }

    async fn drop_revision(&self, task_definition: &TaskDefinition) -> Result<(), AwsError> {
        self.unused(task_definition).await?;
        let resource = format!("task definition {task_definition}");
        let call = self.clients.call(Action::DeregisterTaskDefinition, &resource);
        let request = self.clients.ecs.deregister_task_definition();
        match request.task_definition(task_definition.as_str()).send().await {
            Ok(_) => Ok(()),
            Err(error) => match call.failed(error) {
                // It is gone already.
                error if error.kind() == AwsErrorKind::NotFound => Ok(()),
                error => Err(error),
            },
        }
    }

    async fn update(
        &self,
        colour: Colour,
        task_definition: Option<&TaskDefinition>,
        (desired, how): (u32, Option<&Replacement>),
    ) -> Result<(), AwsError> {
        let mut force = false;
        let (mut configuration, mut balancers) = (how.map(replacement::configuration), None);
        if let Some(wanted) = task_definition {
            let service = self.service(colour).await?;
            force = gave_up_on(&service, wanted);
            let shifts = matches!(how, Some(Replacement::Shifted { .. }));
            if shifts || replacement::shifts(&service) {
                balancers = Some(self.balancing(colour, &service, shifts).await?);
                configuration = configuration.or_else(|| Some(replacement::rolling()));
            }
        }
        let name = self.name(colour);
        let resource = format!("service {name} in cluster {}", self.prefix);
        let call = self.clients.call(Action::UpdateService, &resource);
        let desired = i32::try_from(desired).map_err(|_| {
            call.because(AwsErrorKind::Other, None, &format!("{desired} tasks are too many"))
        })?;
        self.clients
            .ecs
            .update_service()
            .cluster(&self.prefix)
            .service(&name)
            .desired_count(desired)
            .set_task_definition(task_definition.map(|revision| revision.as_str().to_owned()))
            .set_force_new_deployment(force.then_some(true))
            .set_deployment_configuration(configuration)
            .set_load_balancers(balancers)
            .send()
            .await
            .map(|_| ())
            .map_err(|error| call.failed(error))
    }

    async fn service(&self, colour: Colour) -> Result<Service, AwsError> {
        let (blue, green) = self.services().await?;
        Ok(match colour {
            Colour::Blue => blue,
            Colour::Green => green,
        })
    }
}

/// True when the newest deployment is of this very revision and ECS gave it up: asking for the same again would change nothing, unless a
/// new deployment is forced.
fn gave_up_on(service: &Service, wanted: &TaskDefinition) -> bool {
    let same = service.task_definition().is_some_and(|now| same_revision(now, wanted.as_str()));
    same && look::failed(service)
}

/// The ARN of a role in an account, by its name with its path.
fn role_arn(clients: &Clients, account: &str, role: &str) -> String {
    // The load balancer's own ARN would tell the partition, too, but only once it was found.
    let partition = match clients.region() {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    };
    format!("arn:{partition}:iam::{account}:role/{}", role.trim_start_matches('/'))
}

/// `arn:…/family:7` and `family:7` are the same revision.
fn same_revision(a: &str, b: &str) -> bool {
    let short = |name: &str| name.rsplit('/').next().map(str::to_owned);
    short(a) == short(b)
}

#[async_trait]
impl Target for EcsTarget {
    async fn live(&self) -> Result<Live, TargetError> {
        Ok(Box::pin(self.look()).await?)
    }

    async fn outline(&self) -> Result<Live, TargetError> {
        Ok(Box::pin(self.sketch()).await?)
    }

    async fn splits(&self) -> Result<(Weights, Colour), TargetError> {
        if self.shifted_by.is_some() {
            let live = self.sketch().await?;
            return Ok((live.weights, live.test));
        }
        Ok(self.balancer().await?.splits(&self.clients).await?)
    }

    async fn register(
        &self,
        image: &ImageRef,
        environment: &BTreeMap<String, String>,
    ) -> Result<TaskDefinition, TargetError> {
        Ok(self.find_or_register(image, environment).await?)
    }

    async fn revisions(&self) -> Result<Vec<TaskDefinition>, TargetError> {
        Ok(self.active_revisions().await?)
    }

    async fn deregister(&self, task_definition: &TaskDefinition) -> Result<(), TargetError> {
        Ok(self.drop_revision(task_definition).await?)
    }

    async fn set_capacity(
        &self,
        colour: Colour,
        task_definition: Option<&TaskDefinition>,
        desired: u32,
    ) -> Result<(), TargetError> {
        Ok(self.update(colour, task_definition, (desired, None)).await?)
    }

    async fn replace(
        &self,
        colour: Colour,
        task_definition: &TaskDefinition,
        desired: u32,
        how: &Replacement,
    ) -> Result<(), TargetError> {
        Ok(self.update(colour, Some(task_definition), (desired, Some(how))).await?)
    }

    async fn take_back(&self, colour: Colour) -> Result<bool, TargetError> {
        match self.shifted_by {
            Some(_) => Ok(self.stop_deployment(colour).await?),
            None => Ok(false),
        }
    }

    async fn set_weights(&self, weights: Weights) -> Result<(), TargetError> {
        if self.shifted_by.is_some() {
            return self.is_split_so(weights).await;
        }
        Ok(self.balancer().await?.split_production(&self.clients, weights).await?)
    }

    async fn point_test(&self, colour: Colour) -> Result<(), TargetError> {
        if self.shifted_by.is_some() {
            // ECS moves the test listener, too.
            return Ok(());
        }
        Ok(self.balancer().await?.split_test(&self.clients, Weights::all(colour)).await?)
    }

    async fn traffic(
        &self,
        colour: Colour,
        span: (Timestamp, Timestamp),
        resolution: Duration,
    ) -> Result<Traffic, TargetError> {
        Ok(self.counted(colour, span, resolution).await?)
    }

    async fn deaths(
        &self,
        colour: Colour,
        task_definition: &TaskDefinition,
    ) -> Result<Vec<Death>, TargetError> {
        Ok(self.newest_deaths(colour, task_definition).await?)
    }

    async fn died(
        &self,
        colour: Colour,
        task_definition: &TaskDefinition,
    ) -> Result<Vec<Death>, TargetError> {
        Ok(self.dead(colour, task_definition).await?)
    }

    async fn usage(
        &self,
        colour: Colour,
        span: (Timestamp, Timestamp),
    ) -> Result<Usage, TargetError> {
        Ok(self.used(colour, span).await?)
    }

    async fn urls(&self) -> Result<Urls, TargetError> {
        Ok(self.balancer().await?.urls().clone())
    }
}
