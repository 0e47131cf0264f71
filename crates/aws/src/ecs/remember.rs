//! What a service was given before, by its task definitions.

use async_trait::async_trait;
use futures_util::future::try_join_all;
use liftlock_model::ImageRef;
use liftlock_rollout::{Revision, Revisions, TargetError, TaskDefinition};

use super::EcsTarget;
use crate::{Action, AwsError, AwsErrorKind};

/// How many of the newest revisions are told.
const NEWEST: usize = 10;

#[async_trait]
impl Revisions for EcsTarget {
    async fn revisions(&self, also: &[TaskDefinition]) -> Result<Vec<Revision>, TargetError> {
        let mut known = self.active_revisions().await?;
        known.truncate(NEWEST);
        for other in also {
            if !known.contains(other) {
                known.push(other.clone());
            }
        }
        let told = try_join_all(known.iter().map(|one| self.revision(one.as_str()))).await?;
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
