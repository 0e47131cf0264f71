//! RDS snapshots.

use async_trait::async_trait;
use aws_sdk_rds::types::{DbSnapshot, Tag};
use liftlock_migrate::snapshot::{SnapshotError, SnapshotRequest, SnapshotState, Snapshots};

use crate::{Action, AwsError, AwsErrorKind, Clients};

/// RDS, as the maker of snapshots.
#[derive(Debug, Clone)]
pub struct RdsSnapshots {
    clients: Clients,
}

impl RdsSnapshots {
    /// The snapshots that these clients reach.
    pub fn new(clients: &Clients) -> Self {
        Self { clients: clients.clone() }
    }

    async fn find(&self, id: &str) -> Result<Option<DbSnapshot>, AwsError> {
        let resource = format!("snapshot {id}");
        let call = self.clients.call(Action::DescribeSnapshots, &resource);
        let answer = self.clients.rds.describe_db_snapshots().db_snapshot_identifier(id).send();
        match answer.await.map_err(|error| call.failed(error)) {
            Ok(answer) => Ok(answer.db_snapshots.unwrap_or_default().into_iter().next()),
            Err(error) if error.kind() == AwsErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create(&self, request: &SnapshotRequest) -> Result<(), AwsError> {
        let resource = format!("snapshot {} of database instance {}", request.id, request.instance);
        let call = self.clients.call(Action::CreateSnapshot, &resource);
        let tags = request.tags.iter().map(|(k, v)| Tag::builder().key(k).value(v).build());
        let answer = self
            .clients
            .rds
            .create_db_snapshot()
            .db_snapshot_identifier(&request.id)
            .db_instance_identifier(&request.instance)
            .set_tags(Some(tags.collect()))
            .send();
        let Err(error) = answer.await.map_err(|error| call.failed(error)) else {
            return Ok(());
        };
        match error.code() {
            // Asked for before: by an interrupted run, or by a try whose answer was lost.
            Some("DBSnapshotAlreadyExists") => self.is_ours(request).await,
            // An automatic backup or a change is under way.
            Some("InvalidDBInstanceState") => {
                Err(AwsError::new(AwsErrorKind::Transient, error.to_string()))
            }
            _ => Err(error),
        }
    }

    async fn is_ours(&self, request: &SnapshotRequest) -> Result<(), AwsError> {
        let found = self.find(&request.id).await?;
        match found.and_then(|snapshot| snapshot.db_instance_identifier) {
            Some(instance) if instance != request.instance => Err(AwsError::new(
                AwsErrorKind::Other,
                format!(
                    "snapshot {} in {} is one of database instance {instance}, not of {}; remove it with \
                     `aws rds delete-db-snapshot --db-snapshot-identifier {}` if nobody needs it",
                    request.id,
                    self.clients.place(),
                    request.instance,
                    request.id
                ),
            )),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Snapshots for RdsSnapshots {
    async fn begin(&self, request: &SnapshotRequest) -> Result<(), SnapshotError> {
        self.create(request).await.map_err(SnapshotError::from)
    }

    async fn state(&self, id: &str) -> Result<Option<SnapshotState>, SnapshotError> {
        Ok(self.find(id).await?.map(state))
    }
}

/// RDS names the states in words; those that are not known here are states on the way.
fn state(snapshot: DbSnapshot) -> SnapshotState {
    let status = snapshot.status.unwrap_or_default();
    match status.as_str() {
        "available" => {
            SnapshotState::Available { arn: snapshot.db_snapshot_arn.unwrap_or_default() }
        }
        "failed" | "error" | "deleting" | "deleted" | "incompatible-restore" => {
            SnapshotState::Failed { reason: format!("RDS says that it is {status}") }
        }
        _ => SnapshotState::Creating {
            percent: snapshot.percent_progress.and_then(|percent| u8::try_from(percent).ok()),
        },
    }
}
