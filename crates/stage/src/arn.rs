//! Amazon resource names. The parts that AWS makes up are derived from the names, so that they are the same at each start.

use sha2::{Digest as _, Sha256};

use crate::topology::Topology;

/// Which of the load balancer's two listeners.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ListenerName {
    Production,
    Test,
}

impl ListenerName {
    pub(crate) const BOTH: [Self; 2] = [Self::Production, Self::Test];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Test => "test",
        }
    }
}

/// Sixteen hexadecimal digits, as AWS puts into names.
fn tag(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes())[..8])
}

impl Topology {
    fn arn(&self, service: &str, rest: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{rest}", self.region, self.account)
    }

    pub(crate) fn cluster_arn(&self) -> String {
        self.arn("ecs", &format!("cluster/{}", self.prefix()))
    }

    pub(crate) fn service_arn(&self, name: &str) -> String {
        self.arn("ecs", &format!("service/{}/{name}", self.prefix()))
    }

    pub(crate) fn task_arn(&self, id: &str) -> String {
        self.arn("ecs", &format!("task/{}/{id}", self.prefix()))
    }

    pub(crate) fn definition_arn(&self, family: &str, revision: u32) -> String {
        self.arn("ecs", &format!("task-definition/{family}:{revision}"))
    }

    pub(crate) fn balancer_path(&self) -> String {
        format!("app/{}/{}", self.prefix(), tag(&self.prefix()))
    }

    pub(crate) fn balancer_arn(&self) -> String {
        self.arn("elasticloadbalancing", &format!("loadbalancer/{}", self.balancer_path()))
    }

    /// `targetgroup/<name>/<digits>`, also the value of CloudWatch's dimension `TargetGroup`.
    pub(crate) fn group_path(&self, name: &str) -> String {
        format!("targetgroup/{name}/{}", tag(name))
    }

    pub(crate) fn group_arn(&self, name: &str) -> String {
        self.arn("elasticloadbalancing", &self.group_path(name))
    }

    pub(crate) fn listener_arn(&self, listener: ListenerName) -> String {
        let path = format!("listener/{}/{}", self.balancer_path(), tag(listener.as_str()));
        self.arn("elasticloadbalancing", &path)
    }

    pub(crate) fn rule_arn(&self, listener: ListenerName, service: &str) -> String {
        let (name, digits) = (listener.as_str(), tag(&format!("{}/{service}", listener.as_str())));
        let path = format!("listener-rule/{}/{}/{digits}", self.balancer_path(), tag(name));
        self.arn("elasticloadbalancing", &path)
    }

    pub(crate) fn alarm_arn(&self, name: &str) -> String {
        self.arn("cloudwatch", &format!("alarm:{name}"))
    }

    pub(crate) fn instance_arn(&self, name: &str) -> String {
        self.arn("rds", &format!("db:{name}"))
    }

    pub(crate) fn snapshot_arn(&self, name: &str) -> String {
        self.arn("rds", &format!("snapshot:{name}"))
    }

    pub(crate) fn parameter_arn(&self, name: &str) -> String {
        self.arn("ssm", &format!("parameter/{}", name.trim_start_matches('/')))
    }
}
