//! How much of what they have a colour's tasks use.

use std::time::Duration;

use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat};
use aws_smithy_types::DateTime;
use jiff::Timestamp;
use liftlock_rollout::{Colour, Usage};

use super::EcsTarget;
use crate::{Action, AwsError};

/// ECS publishes by the minute.
const MINUTE: Duration = Duration::from_secs(60);
const CPU: (&str, &str) = ("cpu", "CPUUtilization");
const MEMORY: (&str, &str) = ("memory", "MemoryUtilization");

impl EcsTarget {
    /// The highest average of a minute. What CloudWatch does not have is not known.
    pub(super) async fn used(
        &self,
        colour: Colour,
        (from, until): (Timestamp, Timestamp),
    ) -> Result<Usage, AwsError> {
        let name = self.name(colour);
        let resource = format!("metrics of service {name}");
        let call = self.clients.call(Action::GetMetricData, &resource);
        let query = |(id, metric): (&str, &str)| {
            let dimension =
                |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
            let metric = Metric::builder()
                .namespace("AWS/ECS")
                .metric_name(metric)
                .dimensions(dimension("ClusterName", &self.prefix))
                .dimensions(dimension("ServiceName", &name))
                .build();
            let stat = MetricStat::builder().metric(metric).period(60).stat("Average").build();
            MetricDataQuery::builder().id(id).metric_stat(stat).build()
        };
        let answer = self
            .clients
            .cloudwatch
            .get_metric_data()
            .metric_data_queries(query(CPU))
            .metric_data_queries(query(MEMORY))
            .start_time(DateTime::from_secs(from.as_second().div_euclid(60) * 60))
            .end_time(DateTime::from_secs(until.as_second() + MINUTE.as_secs().cast_signed()))
            .send()
            .await
            .map_err(|error| call.failed(error))?;
        let highest = |id: &str| {
            let results = answer.metric_data_results().iter();
            let mine = results.filter(|result| result.id() == Some(id));
            mine.flat_map(|result| result.values()).copied().reduce(f64::max)
        };
        Ok(Usage { cpu: highest(CPU.0), memory: highest(MEMORY.0) })
    }
}
