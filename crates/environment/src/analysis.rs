//! The canary against the version that still serves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Period;

/// How a bake compares the new version with the old one, by what the load balancer counted of both at the same time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Analysis {
    /// How many requests of each version are wanted before a comparison may say that the new one is good.
    #[schemars(range(min = 1))]
    pub min_requests: u64,
    /// The level of significance of a whole bake: how often at most a good version may be called bad by chance.
    #[schemars(range(min = 0.000_001, max = 0.2))]
    pub significance: f64,
    /// The new version fails only if its error rate is higher by at least so many percentage points (and significantly so).
    #[schemars(range(min = 0.0, max = 100.0))]
    pub error_increase: f64,
    /// The new version fails only if one of its requests is slower than one of the old version's this often, as a share
    /// (0.5 is alike, 0.56 a small effect, 0.64 a medium and 0.71 a large one), and significantly so.
    #[schemars(range(min = 0.5, max = 1.0))]
    pub latency_effect: f64,
    /// Limits on how long the new version's answers may take, whatever the old one's took.
    pub latency: Vec<LatencyLimit>,
    /// What becomes of a bake with fewer requests.
    pub low_traffic: LowTraffic,
    /// Requests of Liftlock's own while it compares, for when users' are too few. Left out: none.
    pub probes: Option<SyntheticProbes>,
    /// The resolution of the load balancer's metrics: 1 minute with AWS, 1 second on the stage.
    pub resolution: Period,
    /// How long after a bake its last numbers may be waited for, still watching: AWS publishes them late.
    pub patience: Period,
}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            min_requests: 100,
            significance: 0.01,
            error_increase: 1.0,
            latency_effect: 0.64,
            latency: Vec::new(),
            low_traffic: LowTraffic::Inconclusive,
            probes: None,
            resolution: Period::from_secs(60),
            patience: Period::from_secs(180),
        }
    }
}

/// GET requests that count as users' do: so many to each of the two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyntheticProbes {
    /// What is asked: a path of this service that may be read at any time.
    pub path: String,
    /// How many requests a second each version gets.
    #[schemars(range(min = 1, max = 100))]
    pub per_second: u32,
}

/// How long answers may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LatencyLimit {
    /// So many percent of the answers …
    #[schemars(range(min = 1.0, max = 100.0))]
    pub percentile: f64,
    /// … take at most this long.
    pub at_most: Period,
}

/// What becomes of a bake in which too few requests came to compare by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LowTraffic {
    /// It is inconclusive: the rollout turns back.
    Inconclusive,
    /// The circuit breaker's own looks decide, and the record says so.
    Breaker,
}
