//! What a service was given before, by its task definitions.

use async_trait::async_trait;
use aws_sdk_ecs::types::{SortOrder, TaskDefinitionStatus};
use futures_util::future::try_join_all;
use liftlock_model::ImageRef;
use liftlock_rollout::{Revision, Revisions, TargetError, TaskDefinition};

use super::EcsTarget;
use crate::{Action, AwsError, AwsErrorKind};

/// How many of the newest revisions are told.
const NEWEST: i32 = 10;

#[async_trait]
impl Revisions for EcsTarget {
    async fn revisions(&self, also: &[TaskDefinition]) -> Result<Vec<Revision>, TargetError> {
        let family = self.family();
        let resource = format!("task definitions {family}");
        let call = self.clients.call(Action::ListTaskDefinitions, &resource);
        let request = self.clients.ecs.list_task_definitions().family_prefix(&family);
        let request = request.status(TaskDefinitionStatus::Active).sort(SortOrder::Desc);
        let answer = request.max_results(NEWEST).send().await;
        let answer = answer.map_err(|error| call.failed(error))?;
        let mut arns = answer.task_definition_arns.unwrap_or_default();
        for other in also.iter().map(TaskDefinition::as_str) {
            if !arns.iter().any(|arn| arn == other) {
                arns.push(other.to_owned());
            }
        }
        let told = try_join_all(arns.iter().map(|arn| self.revision(arn))).await?;
        Ok(told.into_iter().flatten().collect())
    }
}

impl EcsTarget {
    /// What a revision says of itself; none if it is of no release: Terraform's base is of none.
    async fn revision(&self, arn: &str) -> Result<Option<Revision>, AwsError> {
        let call = self.clients.call(Action::DescribeTaskDefinition, arn);
        let request = self.clients.ecs.describe_task_definition().task_definition(arn);
        let answer = match request.send().await.map_err(|error| call.failed(error)) {
            Err(error) if error.kind() == AwsErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let found = answer.task_definition();
        let container = found.into_iter().flat_map(|found| found.container_definitions());
        let mut container = container.filter(|one| one.name() == Some(self.service.as_str()));
        let Some(container) = container.next() else { return Ok(None) };
        let variable = |name: &str| {
            let mut found = container.environment().iter().filter(|one| one.name() == Some(name));
            found.next().and_then(|one| one.value()).map(str::to_owned)
        };
        let image = container.image().and_then(|image| image.parse::<ImageRef>().ok());
        let release = variable("RELEASE_ID").and_then(|id| id.parse().ok());
        Ok(image.zip(release).map(|(image, release)| Revision {
            task_definition: TaskDefinition::new(arn),
            digest: image.digest().clone(),
            release,
            version: variable("RELEASE_VERSION").unwrap_or_default(),
        }))
    }
}
