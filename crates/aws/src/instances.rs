//! RDS instances that are brought back.

use async_trait::async_trait;
use aws_sdk_rds::types::{DbInstance, Tag};
use aws_smithy_types::DateTime;
use liftlock_migrate::snapshot::{InstanceState, Instances, Origin, ReviveRequest, SnapshotError};

use crate::{Action, AwsError, AwsErrorKind, Clients};

/// The tag that says what an instance was brought back from.
const ORIGIN: &str = "liftlock:restored-from";

/// RDS, as the one who brings instances back.
#[derive(Debug, Clone)]
pub struct RdsInstances {
    clients: Clients,
}

impl RdsInstances {
    /// The instances that these clients reach.
    pub fn new(clients: &Clients) -> Self {
        Self { clients: clients.clone() }
    }

    async fn find(&self, name: &str) -> Result<Option<DbInstance>, AwsError> {
        let resource = format!("database instance {name}");
        let call = self.clients.call(Action::DescribeInstances, &resource);
        let answer = self.clients.rds.describe_db_instances().db_instance_identifier(name).send();
        match answer.await.map_err(|error| call.failed(error)) {
            Ok(answer) => Ok(answer.db_instances.unwrap_or_default().into_iter().next()),
            Err(error) if error.kind() == AwsErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create(&self, request: &ReviveRequest) -> Result<(), AwsError> {
        // Its network is not in a snapshot: without it, RDS would put the new one into the account's default network.
        let like = self.find(&request.like).await?.unwrap_or_else(|| DbInstance::builder().build());
        let asked = match &request.origin {
            Origin::Snapshot { id } => self.restore_snapshot(request, id, &like).await,
            Origin::Time { at } => self.restore_time(request, at.as_second(), &like).await,
        };
        match asked {
            // Asked for before: by an interrupted command, or by a try whose answer was lost.
            Err(error) if error.code() == Some("DBInstanceAlreadyExists") => {
                self.is_ours(request).await
            }
            other => other,
        }
    }

    async fn restore_snapshot(
        &self,
        request: &ReviveRequest,
        snapshot: &str,
        like: &DbInstance,
    ) -> Result<(), AwsError> {
        let resource = format!("database instance {} from snapshot {snapshot}", request.instance);
        let call = self.clients.call(Action::RestoreFromSnapshot, &resource);
        let ask = self
            .clients
            .rds
            .restore_db_instance_from_db_snapshot()
            .db_instance_identifier(&request.instance)
            .db_snapshot_identifier(snapshot)
            .set_db_instance_class(like.db_instance_class.clone())
            .set_db_subnet_group_name(subnet_group(like))
            .set_vpc_security_group_ids(security_groups(like))
            .set_db_parameter_group_name(parameter_group(like))
            .set_multi_az(like.multi_az)
            .set_enable_iam_database_authentication(like.iam_database_authentication_enabled)
            .publicly_accessible(like.publicly_accessible.unwrap_or(false))
            .copy_tags_to_snapshot(true)
            .set_tags(Some(tags(request)));
        ask.send().await.map(drop).map_err(|error| call.failed(error))
    }

    async fn restore_time(
        &self,
        request: &ReviveRequest,
        seconds: i64,
        like: &DbInstance,
    ) -> Result<(), AwsError> {
        let resource = format!("database instance {} from {}", request.instance, request.like);
        let call = self.clients.call(Action::RestoreToTime, &resource);
        let ask = self
            .clients
            .rds
            .restore_db_instance_to_point_in_time()
            .source_db_instance_identifier(&request.like)
            .target_db_instance_identifier(&request.instance)
            .restore_time(DateTime::from_secs(seconds))
            .set_db_instance_class(like.db_instance_class.clone())
            .set_db_subnet_group_name(subnet_group(like))
            .set_vpc_security_group_ids(security_groups(like))
            .set_db_parameter_group_name(parameter_group(like))
            .set_multi_az(like.multi_az)
            .set_enable_iam_database_authentication(like.iam_database_authentication_enabled)
            .publicly_accessible(like.publicly_accessible.unwrap_or(false))
            .copy_tags_to_snapshot(true)
            .set_tags(Some(tags(request)));
        ask.send().await.map(drop).map_err(|error| call.failed(error))
    }

    async fn is_ours(&self, request: &ReviveRequest) -> Result<(), AwsError> {
        let found = self.find(&request.instance).await?;
        let found = found.and_then(|instance| instance.tag_list).unwrap_or_default();
        let origin = found.into_iter().find(|tag| tag.key() == Some(ORIGIN));
        match origin.and_then(|tag| tag.value) {
            Some(origin) if origin == origin_of(request) => Ok(()),
            _ => Err(AwsError::new(
                AwsErrorKind::Other,
                format!(
                    "there is a database instance {} in {} already, and it was not brought back from {}: choose another name",
                    request.instance,
                    self.clients.place(),
                    origin_of(request)
                ),
            )),
        }
    }
}

fn origin_of(request: &ReviveRequest) -> String {
    match &request.origin {
        Origin::Snapshot { id } => id.clone(),
        Origin::Time { at } => format!("{} at {}", request.like, at.as_second()),
    }
}

fn tags(request: &ReviveRequest) -> Vec<Tag> {
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let asked = request.tags.iter().map(|(key, value)| tag(key, value));
    asked.chain([tag(ORIGIN, &origin_of(request))]).collect()
}

fn subnet_group(like: &DbInstance) -> Option<String> {
    like.db_subnet_group.as_ref()?.db_subnet_group_name.clone()
}

fn security_groups(like: &DbInstance) -> Option<Vec<String>> {
    let groups = like.vpc_security_groups.as_ref()?;
    Some(groups.iter().filter_map(|group| group.vpc_security_group_id.clone()).collect())
}

fn parameter_group(like: &DbInstance) -> Option<String> {
    like.db_parameter_groups.as_ref()?.first()?.db_parameter_group_name.clone()
}

#[async_trait]
impl Instances for RdsInstances {
    async fn revive(&self, request: &ReviveRequest) -> Result<(), SnapshotError> {
        self.create(request).await.map_err(SnapshotError::from)
    }

    async fn instance(&self, name: &str) -> Result<Option<InstanceState>, SnapshotError> {
        Ok(self.find(name).await?.map(state))
    }
}

/// RDS names the states in words; those that are not known here are states on the way.
fn state(instance: DbInstance) -> InstanceState {
    let status = instance.db_instance_status.unwrap_or_default();
    match (status.as_str(), instance.endpoint) {
        ("available", Some(endpoint)) => InstanceState::Available {
            endpoint: format!(
                "{}:{}",
                endpoint.address.unwrap_or_default(),
                endpoint.port.unwrap_or(5432)
            ),
        },
        (
            "failed"
            | "incompatible-restore"
            | "incompatible-network"
            | "incompatible-parameters"
            | "storage-full"
            | "deleting",
            _,
        ) => InstanceState::Failed { reason: format!("RDS says that it is {status}") },
        _ => InstanceState::Working { status },
    }
}
