//! What a plan may not destroy without a person's word.
//!
//! RDS's deletion protection refuses when everything around the instance is gone already, and `prevent_destroy` vanishes
//! with the block that it stands in (terraform #17599). So the plan is read before anything happens.

use std::fmt;

use crate::plan::{Action, Address, Change, Summary};

/// A resource that holds something, and the plan destroys it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which resource.
    pub address: Address,
    /// Its type.
    pub kind: String,
    /// [`Action::Delete`] or [`Action::Replace`].
    pub action: Action,
    /// What would be lost.
    pub reason: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word =
            if self.action == Action::Delete { "destroyed" } else { "destroyed and made anew" };
        write!(
            f,
            "{} would be {word}, which loses {}; if that is meant, allow exactly this: --allow '{}'",
            self.address, self.reason, self.address
        )
    }
}

/// What is lost with a resource of each type. What is not listed can be made anew without loss: task definitions,
/// alarms, dashboards, policies, security group rules.
const STATEFUL: [(&str, &str); 34] = [
    ("aws_cloudwatch_log_group", "its logs"),
    ("aws_db_instance", "the database's data"),
    ("aws_db_snapshot", "a snapshot of the database"),
    ("aws_db_subnet_group", "the network of the database"),
    ("aws_docdb_cluster", "the database's data"),
    ("aws_dynamodb_table", "the table's data"),
    ("aws_ebs_volume", "the volume's data"),
    ("aws_ecr_repository", "the images that a rollback needs"),
    ("aws_ecs_cluster", "every task that runs in it"),
    ("aws_ecs_service", "the tasks that carry traffic"),
    ("aws_efs_file_system", "the files"),
    ("aws_eip", "an address that others may have allowed"),
    ("aws_elasticache_cluster", "the cache's data"),
    ("aws_elasticache_replication_group", "the cache's data"),
    ("aws_iam_openid_connect_provider", "the sign-in of every environment in the account"),
    ("aws_kinesis_stream", "the stream's data"),
    ("aws_kms_key", "everything that it encrypts"),
    ("aws_lb", "the name that users reach, and traffic until the DNS has the new one"),
    ("aws_lb_listener", "traffic, and the weights of the rollout"),
    (
        "aws_lb_listener_rule",
        "the weights of the rollout: traffic would go to the first colour, whether it runs or not",
    ),
    ("aws_lb_target_group", "the targets that carry traffic"),
    ("aws_msk_cluster", "the topics' data"),
    ("aws_neptune_cluster", "the database's data"),
    ("aws_opensearch_domain", "the index"),
    ("aws_rds_cluster", "the database's data"),
    ("aws_rds_cluster_instance", "an instance of the database"),
    ("aws_redshift_cluster", "the warehouse's data"),
    ("aws_route53_zone", "the zone and its name servers"),
    ("aws_s3_bucket", "every object in it"),
    ("aws_s3_bucket_object_lock_configuration", "the protection of the audit records"),
    ("aws_secretsmanager_secret", "a secret"),
    ("aws_sqs_queue", "the messages in it"),
    ("aws_subnet", "the network of what runs in it"),
    ("aws_vpc", "the environment's network"),
];

/// Refuses a plan that destroys or replaces something stateful, save what `allowed` names by its exact address.
pub fn guard(summary: &Summary, allowed: &[Address]) -> Result<(), Vec<Violation>> {
    let violations: Vec<_> = summary
        .delete
        .iter()
        .chain(&summary.replace)
        .filter(|change| !allowed.contains(&change.address))
        .filter_map(|change| {
            loss(change).map(|reason| Violation {
                address: change.address.clone(),
                kind: change.kind.clone(),
                action: change.action,
                reason,
            })
        })
        .collect();
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

fn loss(change: &Change) -> Option<&'static str> {
    if change.kind == "aws_ssm_parameter" {
        return change.secret.then_some("a secret that only its parameter holds");
    }
    STATEFUL.iter().find(|(kind, _)| *kind == change.kind).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: &str, action: Action) -> Change {
        let address = Address::new(format!("module.x.{kind}.this"));
        Change { address, kind: kind.to_owned(), action, reasons: Vec::new(), secret: false }
    }

    fn destroying(kind: &str) -> Summary {
        Summary { delete: vec![change(kind, Action::Delete)], ..Summary::default() }
    }

    #[test]
    fn what_holds_something_is_refused_in_both_ways_of_losing_it() {
        for (kind, reason) in STATEFUL {
            let replacing =
                Summary { replace: vec![change(kind, Action::Replace)], ..Summary::default() };
            for summary in [destroying(kind), replacing] {
                let violations = guard(&summary, &[]).expect_err(kind);
                assert_eq!(violations[0].reason, reason);
                assert!(
                    violations[0].to_string().contains(&format!("--allow 'module.x.{kind}.this'"))
                );
            }
        }
    }

    #[test]
    fn what_can_be_made_anew_is_not() {
        for kind in
            ["aws_ecs_task_definition", "aws_cloudwatch_metric_alarm", "aws_iam_role_policy"]
        {
            let summary =
                Summary { replace: vec![change(kind, Action::Replace)], ..Summary::default() };
            assert_eq!(guard(&summary, &[]), Ok(()));
        }
    }

    #[test]
    fn only_parameters_with_secrets_are_kept() {
        let mut summary = destroying("aws_ssm_parameter");
        assert_eq!(guard(&summary, &[]), Ok(()));
        summary.delete[0].secret = true;
        assert!(guard(&summary, &[]).is_err());
    }

    #[test]
    fn an_exact_address_is_allowed_and_no_other() {
        let summary = destroying("aws_s3_bucket");
        assert_eq!(guard(&summary, &[Address::new("module.x.aws_s3_bucket.this")]), Ok(()));
        for other in ["module.x.aws_s3_bucket", "module.x", "aws_s3_bucket.this"] {
            assert!(guard(&summary, &[Address::new(other)]).is_err());
        }
    }

    #[test]
    fn updates_pass() {
        let summary = Summary {
            update: vec![change("aws_db_instance", Action::Update)],
            ..Summary::default()
        };
        assert_eq!(guard(&summary, &[]), Ok(()));
    }
}
