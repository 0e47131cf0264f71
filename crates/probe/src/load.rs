//! A load on a URL, made by `oha` (<https://github.com/hatoo/oha>), a kept load generator, as a child process.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;
use url::Url;

use crate::exchange::address;
use crate::text::clean;

/// The program's name, looked for in `PATH`.
const PROGRAM: &str = "oha";
/// How long it may take longer than the load: its start, and the last answers.
const GRACE: Duration = Duration::from_secs(30);
/// How long one answer may take.
const ANSWER: &str = "10s";

/// What is asked, how often, for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadPlan<'a> {
    /// Where users reach the application.
    pub base: &'a Url,
    /// Below it.
    pub path: &'a str,
    /// Requests a second.
    pub per_second: u32,
    /// For how long.
    pub duration: Duration,
}

/// How a load was answered. Times are in seconds, and corrected for requests that had to wait for their turn.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Loaded {
    /// All requests.
    pub requests: u64,
    /// Those without an answer, or with another status than 2xx and 3xx.
    pub failed: u64,
    /// The median.
    pub p50: Option<f64>,
    /// The 95th percentile.
    pub p95: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
}

/// Why there was no load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The program is not there.
    #[error("the load generator oha cannot be started: {reason}")]
    Missing {
        /// Why.
        reason: String,
    },
    /// It failed, or what it printed cannot be read.
    #[error("the load generator oha {0}")]
    Failed(String),
}

/// Whether the program is there, and its version.
pub async fn load_generator() -> Result<String, LoadError> {
    let output = Command::new(PROGRAM)
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| LoadError::Missing { reason: error.to_string() })?;
    let version = clean(&String::from_utf8_lossy(&output.stdout), 80);
    match output.status.success() && version.starts_with(PROGRAM) {
        true => Ok(version),
        false => Err(LoadError::Missing { reason: format!("it ended with {}", output.status) }),
    }
}

/// Makes the load and waits for its end. A load that is dropped is ended.
pub async fn load(plan: &LoadPlan<'_>) -> Result<Loaded, LoadError> {
    let url =
        address(plan.base, plan.path).map_err(|error| LoadError::Failed(error.to_string()))?;
    let limit = plan.duration + GRACE;
    let running = Command::new(PROGRAM)
        .args(["--no-tui", "--output-format", "json", "--latency-correction", "--redirect", "0"])
        // What is on its way when the time is up is not a failure.
        .args(["--wait-ongoing-requests-after-deadline", "-t", ANSWER])
        .args(["-c", &connections(plan.per_second).to_string()])
        .args(["-q", &plan.per_second.to_string()])
        .args(["-z", &format!("{}ms", plan.duration.as_millis().max(1))])
        .arg(url.as_str())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(limit, running)
        .await
        .map_err(|_| LoadError::Failed(format!("did not end within {} s", limit.as_secs())))?
        .map_err(|error| LoadError::Missing { reason: error.to_string() })?;
    if !output.status.success() {
        let said = clean(&String::from_utf8_lossy(&output.stderr), 300);
        return Err(LoadError::Failed(format!("failed ({}): {said}", output.status)));
    }
    read(&output.stdout)
}

/// As many as keep the rate while an answer takes a second, and not so many that they are a load of their own.
fn connections(per_second: u32) -> u32 {
    per_second.clamp(2, 1000)
}

/// What oha prints, as far as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Printed {
    latency_percentiles: Percentiles,
    status_code_distribution: BTreeMap<String, u64>,
    error_distribution: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Percentiles {
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

fn read(printed: &[u8]) -> Result<Loaded, LoadError> {
    let printed: Printed = serde_json::from_slice(printed)
        .map_err(|error| LoadError::Failed(format!("printed what cannot be read: {error}")))?;
    let answered: u64 = printed.status_code_distribution.values().sum();
    let good = |status: &str| status.starts_with('2') || status.starts_with('3');
    let statuses = printed.status_code_distribution.iter();
    let bad: u64 = statuses.filter(|(status, _)| !good(status)).map(|(_, count)| count).sum();
    let lost: u64 = printed.error_distribution.values().sum();
    let Percentiles { p50, p95, p99 } = printed.latency_percentiles;
    Ok(Loaded { requests: answered + lost, failed: bad + lost, p50, p95, p99 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As oha 1.16.0 printed it, with what is not read left out.
    #[test]
    fn what_oha_prints_is_read() {
        let printed = r#"{"summary":{"successRate":1.0},"latencyPercentiles":{"p10":0.001,"p50":0.002,"p95":0.03,"p99":0.1},
            "statusCodeDistribution":{"200":90,"304":1,"503":2},"errorDistribution":{"connection refused":7}}"#;
        let loaded = read(printed.as_bytes()).unwrap();
        assert_eq!((loaded.requests, loaded.failed), (100, 9));
        assert_eq!((loaded.p50, loaded.p95, loaded.p99), (Some(0.002), Some(0.03), Some(0.1)));
        let none = r#"{"latencyPercentiles":{"p50":null,"p95":null,"p99":null},"statusCodeDistribution":{},"errorDistribution":{"a":3}}"#;
        let none = read(none.as_bytes()).unwrap();
        assert_eq!((none.requests, none.failed, none.p50), (3, 3, None));
        assert!(read(b"Summary:").unwrap_err().to_string().contains("cannot be read"));
    }
}
