//! What this crate asks AWS for, by IAM action: the deployer's policy in `iac/` allows exactly this.

use std::fmt;

macro_rules! actions {
    ($($variant:ident = $name:literal,)*) => {
        /// One thing that this crate asks AWS for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the names are AWS's own")]
        pub enum Action {
            $($variant,)*
        }

        impl Action {
            /// Its name in an IAM policy.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }

        /// The IAM actions of all calls that this crate makes.
        pub const ACTIONS: &[&str] = &[$($name,)*];
    };
}

actions! {
    DescribeAlarms = "cloudwatch:DescribeAlarms",
    GetMetricData = "cloudwatch:GetMetricData",
    DeregisterTaskDefinition = "ecs:DeregisterTaskDefinition",
    DescribeClusters = "ecs:DescribeClusters",
    DescribeServices = "ecs:DescribeServices",
    DescribeTaskDefinition = "ecs:DescribeTaskDefinition",
    DescribeTasks = "ecs:DescribeTasks",
    ListServiceDeployments = "ecs:ListServiceDeployments",
    ListTaskDefinitions = "ecs:ListTaskDefinitions",
    ListTasks = "ecs:ListTasks",
    RegisterTaskDefinition = "ecs:RegisterTaskDefinition",
    StopServiceDeployment = "ecs:StopServiceDeployment",
    TagTaskDefinition = "ecs:TagResource",
    UpdateService = "ecs:UpdateService",
    DescribeListeners = "elasticloadbalancing:DescribeListeners",
    DescribeLoadBalancers = "elasticloadbalancing:DescribeLoadBalancers",
    DescribeRules = "elasticloadbalancing:DescribeRules",
    DescribeTags = "elasticloadbalancing:DescribeTags",
    DescribeTargetGroups = "elasticloadbalancing:DescribeTargetGroups",
    DescribeTargetHealth = "elasticloadbalancing:DescribeTargetHealth",
    ModifyRule = "elasticloadbalancing:ModifyRule",
    PassRole = "iam:PassRole",
    GetLogEvents = "logs:GetLogEvents",
    AddTagsToSnapshot = "rds:AddTagsToResource",
    CreateSnapshot = "rds:CreateDBSnapshot",
    DescribeInstances = "rds:DescribeDBInstances",
    DescribeSnapshots = "rds:DescribeDBSnapshots",
    RestoreFromSnapshot = "rds:RestoreDBInstanceFromDBSnapshot",
    RestoreToTime = "rds:RestoreDBInstanceToPointInTime",
    CreateSchedule = "scheduler:CreateSchedule",
    DeleteSchedule = "scheduler:DeleteSchedule",
    GetSchedule = "scheduler:GetSchedule",
    UpdateSchedule = "scheduler:UpdateSchedule",
    GetParameter = "ssm:GetParameter",
    GetParametersByPath = "ssm:GetParametersByPath",
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
