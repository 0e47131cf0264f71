//! A short load after the rollout.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Period;

/// A short load on the new version once it has all traffic and the old one is still there: how long answers take, against limits and
/// against the last good release. Made by `oha`, which must be in `PATH`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Performance {
    /// What is asked by GET, where users ask: a path of this service that may be read at any time.
    pub path: String,
    /// How many requests a second.
    #[schemars(range(min = 1, max = 10_000))]
    pub requests_per_second: u32,
    /// For how long.
    #[serde(default = "duration")]
    pub duration: Period,
    /// Half of the answers take at most this long.
    pub p50: Option<Period>,
    /// 95 % of the answers take at most this long.
    pub p95: Option<Period>,
    /// 99 % of the answers take at most this long.
    pub p99: Option<Period>,
    /// By how many percent the median or the 95th percentile may be longer than in the last good release, under the same load.
    #[serde(default = "regression")]
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub regression: f64,
    /// A difference of less than this is no regression, however many percent it is.
    #[serde(default = "noise")]
    pub noise: Period,
    /// What the tasks' processors may be used at most, in percent of what a task has, on average over any minute of the load.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub cpu: Option<f64>,
    /// What the tasks' memory may be used at most, in the same way.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub memory: Option<f64>,
    /// How long CloudWatch's numbers of processors and memory may be waited for, where one of them has a limit.
    #[serde(default = "patience")]
    pub patience: Period,
}

fn duration() -> Period {
    Period::from_secs(30)
}

fn regression() -> f64 {
    20.0
}

fn noise() -> Period {
    Period::from_millis(5)
}

fn patience() -> Period {
    Period::from_secs(180)
}
