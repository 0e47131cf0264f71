//! CloudWatch: the load balancer's metrics, and an alarm on each service's errors.

use jiff::Timestamp;
use serde_json::Value as Json;

use super::At;
use super::input::{float, list as members, number, page, size, text, texts, time};
use crate::balancer::now;
use crate::metrics::{Bucket, Times};
use crate::refusal::Refusal;
use crate::topology::{Colour, ServiceTopology, Topology};
use crate::tree::{Tree, list, map};
use crate::world::{Inner, World};

/// The load balancer's namespace.
const BALANCER: &str = "AWS/ApplicationELB";
/// How many errors of a service's targets within a minute put its alarm into the state ALARM.
const ALARM_ERRORS: u64 = 5;
const ALARM_PERIOD: i64 = 60;

pub(super) fn perform(world: &At<'_>, operation: &str, input: &Json) -> Result<Tree, Refusal> {
    match operation {
        "DescribeAlarms" => describe_alarms(&world.view(), input),
        "GetMetricData" => metric_data(&world.view(), input),
        "GetMetricStatistics" => metric_statistics(&world.view(), input),
        "PutMetricData" => put(world, input),
        _ => Err(super::unknown(&format!("monitoring:{operation}"), super::Protocol::Query)),
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new("ValidationError", message)
}

fn describe_alarms(inner: &Inner, input: &Json) -> Result<Tree, Refusal> {
    let (names, prefix) = (texts(input, "AlarmNames"), text(input, "AlarmNamePrefix"));
    let state = text(input, "StateValue");
    let mut all = Vec::new();
    if let Some(topology) = inner.topology() {
        for service in &topology.services {
            let name = format!("{}-{}-5xx", topology.prefix(), service.name);
            let errors = alarm_errors(inner, topology, service);
            let value = if errors >= ALARM_ERRORS { "ALARM" } else { "OK" };
            let wanted = (names.is_empty() || names.contains(&name.as_str()))
                && prefix.is_none_or(|prefix| name.starts_with(prefix))
                && state.is_none_or(|state| state == value);
            if wanted {
                all.push(describe_alarm(topology, &name, value, errors));
            }
        }
    }
    let refuse = || Refusal::new("InvalidNextToken", "The next token is not valid");
    let size = size(input, "MaxRecords", 100);
    let (found, next) = page(all, text(input, "NextToken"), size, refuse)?;
    let answer = map([("MetricAlarms", list(found)), ("CompositeAlarms", list([]))]);
    Ok(match next {
        Some(next) => answer.with("NextToken", next),
        None => answer,
    })
}

/// Errors of the service's targets, both colours, within the last minute.
fn alarm_errors(inner: &Inner, topology: &Topology, service: &ServiceTopology) -> u64 {
    let groups = Colour::BOTH.map(|colour| topology.coloured(service, colour));
    let until = now() + 1;
    let sum =
        inner.metrics.sum(until - ALARM_PERIOD, until, |name| groups.iter().any(|g| g == name));
    sum.by_class[3]
}

fn describe_alarm(topology: &Topology, name: &str, value: &str, errors: u64) -> Tree {
    let balancer =
        map([("Name", "LoadBalancer".into()), ("Value", topology.balancer_path().into())]);
    map([
        ("AlarmName", name.into()),
        ("AlarmArn", topology.alarm_arn(name).into()),
        ("AlarmDescription", "Errors of the service's targets within a minute".into()),
        ("ActionsEnabled", true.into()),
        ("StateValue", value.into()),
        ("StateReason", format!("{errors} answers with 5xx within {ALARM_PERIOD} s").into()),
        ("StateUpdatedTimestamp", Timestamp::now().into()),
        ("MetricName", "HTTPCode_Target_5XX_Count".into()),
        ("Namespace", BALANCER.into()),
        ("Statistic", "Sum".into()),
        ("Dimensions", list([balancer])),
        ("Period", ALARM_PERIOD.into()),
        ("EvaluationPeriods", 1_u32.into()),
        ("Threshold", Tree::Float(5.0)),
        ("ComparisonOperator", "GreaterThanOrEqualToThreshold".into()),
        ("TreatMissingData", "notBreaching".into()),
    ])
}

/// A metric that was asked for.
struct Metric {
    namespace: String,
    name: String,
    /// In the order of their names.
    dimensions: Vec<(String, String)>,
}

impl Metric {
    fn read(of: &Json, namespace: Option<&str>) -> Result<Self, Refusal> {
        let namespace = text(of, "Namespace").or(namespace);
        let namespace = namespace.ok_or_else(|| invalid("Namespace is missing"))?.to_owned();
        let name =
            text(of, "MetricName").ok_or_else(|| invalid("MetricName is missing"))?.to_owned();
        let mut dimensions: Vec<(String, String)> = members(of, "Dimensions")
            .iter()
            .filter_map(|d| Some((text(d, "Name")?.to_owned(), text(d, "Value")?.to_owned())))
            .collect();
        dimensions.sort();
        Ok(Self { namespace, name, dimensions })
    }

    fn key(&self) -> String {
        crate::metrics::key(&self.namespace, &self.name, &self.dimensions)
    }

    /// One statistic over `[from, until)`; none without data.
    fn value(&self, inner: &Inner, statistic: &str, from: i64, until: i64) -> Option<f64> {
        if self.namespace != BALANCER {
            let times = inner.metrics.put_times(&self.key(), from, until);
            return of_times(&times, statistic);
        }
        let topology = inner.topology()?;
        let dimension =
            |name: &str| self.dimensions.iter().find(|(n, _)| n == name).map(|(_, v)| v);
        if dimension("LoadBalancer").is_some_and(|path| *path != topology.balancer_path()) {
            return None;
        }
        let group = dimension("TargetGroup");
        let sum = inner
            .metrics
            .sum(from, until, |name| group.is_none_or(|path| topology.group_path(name) == *path));
        of_bucket(&sum, &self.name, statistic)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn of_bucket(bucket: &Bucket, metric: &str, statistic: &str) -> Option<f64> {
    let count = match metric {
        "RequestCount" => bucket.requests,
        "HTTPCode_Target_2XX_Count" => bucket.by_class[0],
        "HTTPCode_Target_3XX_Count" => bucket.by_class[1],
        "HTTPCode_Target_4XX_Count" => bucket.by_class[2],
        "HTTPCode_Target_5XX_Count" => bucket.by_class[3],
        "HTTPCode_ELB_5XX_Count" => bucket.own_5xx,
        "TargetConnectionErrorCount" => bucket.own_5xx,
        "TargetResponseTime" => return of_times(&bucket.times, statistic),
        _ => return None,
    };
    // The load balancer reports a count only when it is not zero.
    (count > 0).then_some(match statistic {
        "Average" | "Minimum" | "Maximum" => 1.0,
        _ => count as f64,
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn of_times(times: &Times, statistic: &str) -> Option<f64> {
    if times.count == 0 {
        return None;
    }
    match statistic {
        "Sum" => Some(times.sum),
        "SampleCount" => Some(times.count as f64),
        "Average" => Some(times.sum / times.count as f64),
        "Minimum" => Some(times.least),
        "Maximum" => Some(times.most),
        other => match other.strip_prefix('p') {
            Some(percent) => times.percentile(percent.parse().ok()?),
            None => trimmed_count(times, other),
        },
    }
}

/// `TC(a:b)`: how many values are over a, up to b; either may be left out.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn trimmed_count(times: &Times, statistic: &str) -> Option<f64> {
    let (from, until) = statistic.strip_prefix("TC(")?.strip_suffix(')')?.split_once(':')?;
    let bound =
        |text: &str, open: f64| if text.is_empty() { Some(open) } else { text.parse().ok() };
    Some(times.between(bound(from, f64::NEG_INFINITY)?, bound(until, f64::INFINITY)?) as f64)
}

/// Start, end and period of a request, in seconds.
fn span(inner: &Inner, input: &Json) -> Result<(i64, i64), Refusal> {
    let skew = inner.faults.skew().as_secs();
    let seconds = |name: &str| time(input, name).map(|at| at.as_second() - skew);
    let (start, end) = (seconds("StartTime"), seconds("EndTime"));
    let (Some(start), Some(end)) = (start, end) else {
        return Err(invalid("StartTime and EndTime must be given"));
    };
    if start >= end {
        return Err(invalid("The parameter StartTime must be less than the parameter EndTime."));
    }
    Ok((start, end))
}

fn period(of: &Json) -> Result<i64, Refusal> {
    let period = number(of, "Period").unwrap_or(60);
    let fine = [1, 5, 10, 20, 30].contains(&period) || (period > 0 && period % 60 == 0);
    if fine {
        Ok(period)
    } else {
        Err(invalid("Period must be 1, 5, 10, 20, 30 or a multiple of 60"))
    }
}

/// The points of a metric, oldest first.
fn points(
    inner: &Inner,
    metric: &Metric,
    statistic: &str,
    period: i64,
    (start, end): (i64, i64),
) -> Result<Vec<(Timestamp, f64)>, Refusal> {
    let first = start - start.rem_euclid(period);
    if (end - first) / period > 100_800 {
        return Err(invalid("That would be more than 100,800 data points"));
    }
    let mut found = Vec::new();
    let mut at = first;
    while at < end {
        let value = metric.value(inner, statistic, at, at + period);
        if let (Some(value), Ok(time)) = (value, Timestamp::from_second(at)) {
            found.push((time, value));
        }
        at += period;
    }
    Ok(found)
}

fn metric_data(inner: &Inner, input: &Json) -> Result<Tree, Refusal> {
    let span = span(inner, input)?;
    let oldest_first = text(input, "ScanBy") == Some("TimestampAscending");
    let mut results = Vec::new();
    for query in members(input, "MetricDataQueries") {
        let id = text(query, "Id").ok_or_else(|| invalid("Id is missing"))?;
        let stat = &query["MetricStat"];
        if stat.is_null() {
            return Err(invalid(
                "The stage has no metric math: ask for metrics, and compute yourself",
            ));
        }
        let metric = Metric::read(&stat["Metric"], None)?;
        let statistic = text(stat, "Stat").ok_or_else(|| invalid("Stat is missing"))?;
        let mut points = points(inner, &metric, statistic, period(stat)?, span)?;
        if !oldest_first {
            points.reverse();
        }
        results.push(map([
            ("Id", id.into()),
            ("Label", text(query, "Label").unwrap_or(&metric.name).into()),
            ("Timestamps", list(points.iter().map(|(time, _)| (*time).into()))),
            ("Values", list(points.iter().map(|(_, value)| (*value).into()))),
            ("StatusCode", "Complete".into()),
        ]));
    }
    Ok(map([("MetricDataResults", list(results)), ("Messages", list([]))]))
}

fn metric_statistics(inner: &Inner, input: &Json) -> Result<Tree, Refusal> {
    let (metric, span, period) = (Metric::read(input, None)?, span(inner, input)?, period(input)?);
    let asked = texts(input, "Statistics");
    let mut points_at = std::collections::BTreeMap::<Timestamp, Vec<(&'static str, Tree)>>::new();
    for name in ["Sum", "SampleCount", "Average", "Minimum", "Maximum"] {
        if asked.contains(&name) {
            for (time, value) in points(inner, &metric, name, period, span)? {
                points_at.entry(time).or_default().push((name, value.into()));
            }
        }
    }
    let described = points_at.into_iter().map(|(time, mut values)| {
        values.push(("Timestamp", time.into()));
        Tree::Map(values)
    });
    Ok(map([("Label", metric.name.as_str().into()), ("Datapoints", list(described))]))
}

fn put(world: &World, input: &Json) -> Result<Tree, Refusal> {
    let namespace = text(input, "Namespace").ok_or_else(|| invalid("Namespace is missing"))?;
    if namespace.starts_with("AWS/") {
        return Err(Refusal::new(
            "InvalidParameterValue",
            "The value AWS/ for parameter Namespace is invalid.",
        ));
    }
    let mut inner = world.look();
    for datum in members(input, "MetricData") {
        let metric = Metric::read(datum, Some(namespace))?;
        let at = time(datum, "Timestamp").map_or_else(now, Timestamp::as_second);
        let value =
            float(datum, "Value").ok_or_else(|| invalid("The stage takes only single values"))?;
        inner.metrics.put(&metric.key(), at, value);
    }
    Ok(map([]))
}
