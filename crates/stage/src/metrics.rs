//! What the load balancer counts: the raw material of CloudWatch's metrics.

use std::collections::{BTreeMap, HashMap};

/// How many seconds are kept: three hours, as CloudWatch keeps high-resolution metrics.
const KEPT: i64 = 3 * 3600;
/// Times are counted in classes that are 4 % apart, from 0.1 ms.
const CLASS: f64 = 1.04;
const SMALLEST: f64 = 0.0001;

/// What `PutMetricData` and the stage itself put, by namespace, name and dimensions in the order of their names.
pub(crate) fn key(namespace: &str, name: &str, dimensions: &[(String, String)]) -> String {
    format!("{namespace}\n{name}\n{dimensions:?}")
}

/// Counts by target group and second.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    groups: HashMap<String, BTreeMap<i64, Bucket>>,
    /// What `PutMetricData` put: by namespace, name and dimensions.
    custom: HashMap<String, BTreeMap<i64, Vec<f64>>>,
}

/// One second, or the sum of several.
#[derive(Debug, Default, Clone)]
pub(crate) struct Bucket {
    pub(crate) requests: u64,
    /// Answers of targets with 2xx, 3xx, 4xx and 5xx.
    pub(crate) by_class: [u64; 4],
    /// Answers 502, 503 and 504 that the load balancer made itself.
    pub(crate) own_5xx: u64,
    pub(crate) times: Times,
}

/// Times in seconds.
#[derive(Debug, Default, Clone)]
pub(crate) struct Times {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    classes: BTreeMap<i32, u64>,
}

impl Times {
    fn add(&mut self, seconds: f64) {
        self.least = if self.count == 0 { seconds } else { self.least.min(seconds) };
        self.most = self.most.max(seconds);
        self.count += 1;
        self.sum += seconds;
        #[expect(clippy::cast_possible_truncation, reason = "a logarithm of a time is small")]
        let class = ((seconds.max(SMALLEST) / SMALLEST).ln() / CLASS.ln()).round() as i32;
        *self.classes.entry(class).or_default() += 1;
    }

    fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.least = if self.count == 0 { other.least } else { self.least.min(other.least) };
        self.most = self.most.max(other.most);
        self.count += other.count;
        self.sum += other.sum;
        for (class, count) in &other.classes {
            *self.classes.entry(*class).or_default() += count;
        }
    }

    /// How many times are over `from`, up to `until`; within 2 %.
    pub(crate) fn between(&self, from: f64, until: f64) -> u64 {
        let inside = |class: i32| {
            let time = (SMALLEST * CLASS.powi(class)).clamp(self.least, self.most);
            time > from && time <= until
        };
        self.classes.iter().filter(|(class, _)| inside(**class)).map(|(_, count)| count).sum()
    }

    /// The time that `percent` of the times do not exceed; within 2 %.
    pub(crate) fn percentile(&self, percent: f64) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
        let wanted = self.count as f64 * percent / 100.0;
        let mut seen = 0.0;
        for (class, count) in &self.classes {
            #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
            let more = *count as f64;
            seen += more;
            if seen >= wanted {
                return Some((SMALLEST * CLASS.powi(*class)).clamp(self.least, self.most));
            }
        }
        None
    }
}

impl Bucket {
    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.own_5xx += other.own_5xx;
        for (mine, theirs) in self.by_class.iter_mut().zip(other.by_class) {
            *mine += theirs;
        }
        self.times.merge(&other.times);
    }
}

impl Metrics {
    /// Counts a target's answer.
    pub(crate) fn answered(&mut self, group: &str, now: i64, status: u16, seconds: f64) {
        let bucket = self.bucket(group, now);
        bucket.requests += 1;
        if let Some(count) =
            usize::from(status / 100).checked_sub(2).and_then(|at| bucket.by_class.get_mut(at))
        {
            *count += 1;
        }
        bucket.times.add(seconds);
    }

    /// Counts an answer that the load balancer made because no target did.
    pub(crate) fn unanswered(&mut self, group: &str, now: i64) {
        self.bucket(group, now).own_5xx += 1;
    }

    fn bucket(&mut self, group: &str, now: i64) -> &mut Bucket {
        if !self.groups.contains_key(group) {
            self.groups.insert(group.to_owned(), BTreeMap::new());
        }
        let buckets = self.groups.get_mut(group).expect("it was made above");
        if let Some(oldest) = buckets.first_entry()
            && *oldest.key() < now - KEPT
        {
            oldest.remove();
        }
        buckets.entry(now).or_default()
    }

    /// The sum over `[from, until)` of those groups that `wanted` names.
    pub(crate) fn sum(&self, from: i64, until: i64, wanted: impl Fn(&str) -> bool) -> Bucket {
        let mut sum = Bucket::default();
        for (_, buckets) in self.groups.iter().filter(|(name, _)| wanted(name)) {
            buckets.range(from..until).for_each(|(_, bucket)| sum.merge(bucket));
        }
        sum
    }

    pub(crate) fn put(&mut self, metric: &str, at: i64, value: f64) {
        let values = self.custom.entry(metric.to_owned()).or_default();
        values.entry(at).or_default().push(value);
        while values.first_key_value().is_some_and(|(oldest, _)| *oldest < at - KEPT) {
            values.pop_first();
        }
    }

    /// What was put, over `[from, until)`.
    pub(crate) fn put_times(&self, metric: &str, from: i64, until: i64) -> Times {
        let mut times = Times::default();
        if let Some(values) = self.custom.get(metric) {
            values.range(from..until).flat_map(|(_, v)| v).for_each(|value| times.add(*value));
        }
        times
    }
}
