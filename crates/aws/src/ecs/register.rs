//! Making a revision, at most once.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ecs::types::{
    SortOrder, Tag, TaskDefinition as Revision, TaskDefinitionField, TaskDefinitionStatus,
};
use liftlock_model::ImageRef;
use liftlock_rollout::TaskDefinition;

use super::{EcsTarget, revision};
use crate::retries::retries;
use crate::{Action, AwsError, AwsErrorKind};

/// How many of the newest revisions are looked through for the one that is asked for.
const LOOKED_AT: i32 = 20;

/// How often registering is tried when the answer is lost.
const TRIES: u32 = 4;

impl EcsTarget {
    pub(super) async fn find_or_register(
        &self,
        image: &ImageRef,
        environment: &BTreeMap<String, String>,
    ) -> Result<TaskDefinition, AwsError> {
        let (base, tags) = self.base().await?;
        let container = self.service.as_str();
        let wanted = revision::wanted(&base, container, image, environment).ok_or_else(|| {
            let resource = format!("task definition {}-base", self.family());
            let reason = format!("it has no container called {container}");
            let call = self.clients.call(Action::DescribeTaskDefinition, &resource);
            call.because(AwsErrorKind::NotFound, None, &reason)
        })?;
        // The SDK's own retries would register a second revision when the answer to the first was lost: look before each.
        let mut tries = 0;
        loop {
            if let Some(found) = self.find(&wanted).await? {
                return Ok(found);
            }
            match self.register_once(&wanted, &tags).await {
                Err(error) if error.kind() == AwsErrorKind::Transient && tries + 1 < TRIES => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(250 << tries)).await;
                }
                done => return done,
            }
        }
    }

    /// The newest revision of the base that Terraform owns, and its tags.
    async fn base(&self) -> Result<(Revision, Vec<Tag>), AwsError> {
        let family = format!("{}-base", self.family());
        let resource = format!("task definition {family}");
        let call = self.clients.call(Action::DescribeTaskDefinition, &resource);
        let request = self.clients.ecs.describe_task_definition().task_definition(&family);
        let answer = request.include(TaskDefinitionField::Tags).send().await;
        let answer = answer.map_err(|error| call.failed(error))?;
        let base = answer.task_definition.ok_or_else(|| {
            call.because(AwsErrorKind::NotFound, None, "there is no such task definition")
        })?;
        Ok((base, answer.tags.unwrap_or_default()))
    }

    /// All active revisions, newest first.
    pub(super) async fn active_revisions(&self) -> Result<Vec<TaskDefinition>, AwsError> {
        let family = self.family();
        let resource = format!("task definitions {family}");
        let call = self.clients.call(Action::ListTaskDefinitions, &resource);
        let request = self.clients.ecs.list_task_definitions().family_prefix(&family);
        let request = request.status(TaskDefinitionStatus::Active).sort(SortOrder::Desc);
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let arns = page.map_err(|error| call.failed(error))?.task_definition_arns;
            found.extend(arns.unwrap_or_default());
        }
        // What only begins with the same name is another family's.
        let ours = format!("task-definition/{family}:");
        found.retain(|arn| arn.contains(&ours));
        Ok(found.into_iter().map(TaskDefinition::new).collect())
    }

    /// The newest active revision that runs the same.
    async fn find(&self, wanted: &Revision) -> Result<Option<TaskDefinition>, AwsError> {
        let family = self.family();
        let resource = format!("task definitions {family}");
        let call = self.clients.call(Action::ListTaskDefinitions, &resource);
        let request = self.clients.ecs.list_task_definitions().family_prefix(&family);
        let request = request.status(TaskDefinitionStatus::Active).sort(SortOrder::Desc);
        let answer = request.max_results(LOOKED_AT).send().await;
        let arns = answer.map_err(|error| call.failed(error))?.task_definition_arns;
        for arn in arns.unwrap_or_default() {
            let call = self.clients.call(Action::DescribeTaskDefinition, &arn);
            let request = self.clients.ecs.describe_task_definition().task_definition(&arn);
            let answer = request.send().await.map_err(|error| call.failed(error))?;
            let same = answer.task_definition().is_some_and(|found| {
                found.family() == Some(family.as_str()) && revision::same(found, wanted)
            });
            if same {
                return Ok(Some(TaskDefinition::new(arn)));
            }
        }
        Ok(None)
    }

    async fn register_once(
        &self,
        wanted: &Revision,
        tags: &[Tag],
    ) -> Result<TaskDefinition, AwsError> {
        let family = self.family();
        let resource = format!("task definition {family}");
        let call = self.clients.call(Action::RegisterTaskDefinition, &resource);
        let list = |tags: &[Tag]| (!tags.is_empty()).then(|| tags.to_vec());
        let wanted = wanted.clone();
        let request = self
            .clients
            .ecs
            .register_task_definition()
            .family(&family)
            .set_container_definitions(wanted.container_definitions)
            .set_requires_compatibilities(wanted.requires_compatibilities)
            .set_volumes(wanted.volumes)
            .set_placement_constraints(wanted.placement_constraints)
            .set_task_role_arn(wanted.task_role_arn)
            .set_execution_role_arn(wanted.execution_role_arn)
            .set_network_mode(wanted.network_mode)
            .set_runtime_platform(wanted.runtime_platform)
            .set_cpu(wanted.cpu)
            .set_memory(wanted.memory)
            .set_pid_mode(wanted.pid_mode)
            .set_ipc_mode(wanted.ipc_mode)
            .set_proxy_configuration(wanted.proxy_configuration)
            .set_ephemeral_storage(wanted.ephemeral_storage)
            .set_enable_fault_injection(wanted.enable_fault_injection)
            .set_tags(list(tags));
        let once = aws_sdk_ecs::config::Builder::new().retry_config(retries().with_max_attempts(1));
        let answer = request.customize().config_override(once).send().await;
        let answer = answer.map_err(|error| call.failed(error))?;
        let arn = answer.task_definition.and_then(|revision| revision.task_definition_arn);
        arn.map(TaskDefinition::new).ok_or_else(|| {
            call.because(AwsErrorKind::Transient, None, "the answer does not name the revision")
        })
    }
}
