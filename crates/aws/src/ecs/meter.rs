//! What the load balancer counted of a colour.

use std::time::Duration;

use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat};
use aws_smithy_types::DateTime;
use jiff::Timestamp;
use liftlock_rollout::analysis::{BOUNDS, CLASSES, Traffic};
use liftlock_rollout::{Colour, Requests};

use super::EcsTarget;
use crate::{Action, AwsError};

/// The load balancer's namespace.
const BALANCER: &str = "AWS/ApplicationELB";
const REQUESTS: &str = "requests";
const FAILED: &str = "failed";
const UNREACHED: &str = "unreached";

impl EcsTarget {
    /// Requests, errors and latencies, summed over the time. A count that CloudWatch does not have is none.
    pub(super) async fn counted(
        &self,
        colour: Colour,
        (from, until): (Timestamp, Timestamp),
        resolution: Duration,
    ) -> Result<Traffic, AwsError> {
        let (balancer, group) = self.balancer().await?.dimensions(colour);
        let name = self.name(colour);
        let resource = format!("metrics of target group {name}");
        let call = self.clients.call(Action::GetMetricData, &resource);
        let seconds = i32::try_from(resolution.as_secs()).unwrap_or(60);
        let query = |(id, metric, stat): (String, &str, String)| {
            let dimension =
                |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
            let metric = Metric::builder()
                .namespace(BALANCER)
                .metric_name(metric)
                .dimensions(dimension("LoadBalancer", balancer))
                .dimensions(dimension("TargetGroup", group))
                .build();
            let stat = MetricStat::builder().metric(metric).period(seconds).stat(stat).build();
            MetricDataQuery::builder().id(id).metric_stat(stat).build()
        };
        let mut pages = self
            .clients
            .cloudwatch
            .get_metric_data()
            .set_metric_data_queries(Some(wanted().map(query).collect()))
            .start_time(DateTime::from_secs(from.as_second()))
            .end_time(DateTime::from_secs(until.as_second()))
            .into_paginator()
            .send();
        let mut traffic = Traffic::default();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            for result in page.metric_data_results() {
                add(&mut traffic, result.id().unwrap_or_default(), result.values());
            }
        }
        let Requests { total, errors } = &mut traffic.requests;
        // A target that refused the connection was chosen for the request all the same.
        *errors = (*errors).min(*total);
        Ok(traffic)
    }
}

/// The queries: id, metric and statistic. The trimmed count `TC(a:b)` is the number of values over a, up to b.
fn wanted() -> impl Iterator<Item = (String, &'static str, String)> {
    let sum = |id: &str, metric| (id.to_owned(), metric, "Sum".to_owned());
    let classes = (0..CLASSES).map(|class| {
        let from =
            class.checked_sub(1).map(|before| BOUNDS[before].to_string()).unwrap_or_default();
        let until = BOUNDS.get(class).map(ToString::to_string).unwrap_or_default();
        (format!("class{class}"), "TargetResponseTime", format!("TC({from}:{until})"))
    });
    [
        sum(REQUESTS, "RequestCount"),
        sum(FAILED, "HTTPCode_Target_5XX_Count"),
        sum(UNREACHED, "TargetConnectionErrorCount"),
    ]
    .into_iter()
    .chain(classes)
}

fn add(traffic: &mut Traffic, id: &str, values: &[f64]) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts: whole numbers, not below zero"
    )]
    let count = values.iter().sum::<f64>().round().max(0.0) as u64;
    match id {
        REQUESTS => traffic.requests.total += count,
        FAILED | UNREACHED => traffic.requests.errors += count,
        _ => {
            if let Some(class) = id.strip_prefix("class").and_then(|class| class.parse().ok()) {
                traffic.latencies.add(class, count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_of_latencies_is_asked_for() {
        let all: Vec<_> = wanted().collect();
        assert_eq!(all.len(), CLASSES + 3);
        assert_eq!(all[3].2, "TC(:0.001)");
        assert_eq!(all[4].2, "TC(0.001:0.002)");
        assert_eq!(all.last().unwrap().2, "TC(60:)");
        let mut traffic = Traffic::default();
        add(&mut traffic, REQUESTS, &[60.0, 40.0]);
        add(&mut traffic, FAILED, &[2.0]);
        add(&mut traffic, UNREACHED, &[1.0]);
        add(&mut traffic, "class5", &[97.0]);
        assert_eq!(traffic.requests, Requests { total: 100, errors: 3 });
        assert_eq!(traffic.latencies.quantile(50.0), Some(BOUNDS[5]));
    }
}
