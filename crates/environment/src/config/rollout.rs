//! How traffic moves.

use std::collections::BTreeMap;
use std::fmt;

use liftlock_model::ServiceName;
use schemars::{JsonSchema, Schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::checks::NamedCheck;
use crate::analysis::Analysis;
use crate::period::Period;

/// How traffic moves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rollout {
    /// In which way traffic moves to the new version.
    pub strategy: Strategy,
    /// The steps of a canary: shares of traffic that the new version gets, in percent, rising, ending with 100. Left out:
    /// `[10, 50, 100]`. Of `ecs-canary`: the first share, and 100. A step is a number, or a table such as `{ share = 10, bake = "5m", pause = true }`.
    pub steps: Option<Vec<Step>>,
    /// With `linear` and `ecs-linear`: how many percent of the traffic each step adds.
    #[schemars(range(min = 1, max = 100))]
    pub increment: Option<u8>,
    /// With `strategy = "rolling"`: how many percent of the tasks stay healthy at any time, at least. Left out: 100.
    #[schemars(range(min = 0, max = 100))]
    pub minimum_healthy: Option<u8>,
    /// With `strategy = "rolling"`: how many percent of the tasks run at any time, old and new together, at most. Left out: 200.
    #[schemars(range(min = 100, max = 200))]
    pub maximum: Option<u8>,
    /// Services of the same release that get all their traffic first, and are watched with it for their `bake`, before this one gets its
    /// first share. Left out: all services move together, step by step. On the way back the traffic of all goes back at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<ServiceName>,
    /// How long each step before the last is watched before the next.
    pub step_bake: Period,
    /// How long the last step is watched, with the old version still there, before the old version is taken away.
    pub bake: Period,
    /// How long new tasks may take until they are healthy.
    pub start_timeout: Period,
    /// How often the world is looked at while waiting: about, and down to a third as often while nothing changes.
    pub poll: Period,
    /// When to turn back by itself.
    pub breaker: Breaker,
    /// How the new version is compared with the old one while both serve. Left out: it is not.
    pub analysis: Option<Analysis>,
    /// What else it is judged by while it is watched: CloudWatch alarms, queries to Prometheus, values of JSON endpoints, each by a name.
    pub checks: BTreeMap<String, NamedCheck>,
    /// How many task definitions are kept after a promotion: the newest, and whatever a colour is set to; those before are taken out of use
    /// (ECS keeps them as inactive). Left out: all.
    #[schemars(range(min = 2, max = 1000))]
    pub keep_task_definitions: Option<u32>,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            strategy: Strategy::Canary,
            steps: None,
            increment: None,
            minimum_healthy: None,
            maximum: None,
            depends_on: Vec::new(),
            step_bake: Period::from_secs(120),
            bake: Period::from_secs(900),
            start_timeout: Period::from_secs(600),
            poll: Period::from_secs(5),
            breaker: Breaker::default(),
            analysis: None,
            checks: BTreeMap::new(),
            keep_task_definitions: None,
        }
    }
}

impl Rollout {
    /// The steps of the strategy, whichever it is. The last is always 100 %.
    pub fn steps(&self) -> Vec<Step> {
        match self.strategy {
            Strategy::Canary => match &self.steps {
                Some(steps) => steps.clone(),
                None => [10, 50, 100].map(Step::of).to_vec(),
            },
            Strategy::Linear => {
                let increment = self.increment.unwrap_or(100).max(1);
                let below = (1..).map(|step| increment.saturating_mul(step));
                below.take_while(|share| *share < 100).chain([100]).map(Step::of).collect()
            }
            Strategy::AllAtOnce
            | Strategy::Rolling
            | Strategy::EcsBlueGreen
            | Strategy::EcsLinear
            | Strategy::EcsCanary => vec![Step::of(100)],
        }
    }
}

/// In which way traffic moves to the new version. But for `rolling` and `ecs-…`, the new version is raised beside the old one, is tested there, and
/// users meet it only after that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// By the shares of `steps`.
    #[default]
    Canary,
    /// By the same share more at each step: `increment` percent every `step_bake`.
    Linear,
    /// All of it in one step (blue/green).
    AllAtOnce,
    /// ECS replaces the tasks where they are, some at a time: users meet each new one once it is healthy. The way back takes as long, and
    /// nothing is tested before users see it; it needs the fewest tasks.
    Rolling,
    /// ECS itself raises the new version beside the old one, moves all traffic at once, and keeps the old version for `bake`.
    EcsBlueGreen,
    /// As `ecs-blue-green`, with `increment` percent of the traffic more every `step_bake`.
    EcsLinear,
    /// As `ecs-blue-green`, with the first of two `steps` for `step_bake`, and then the rest.
    EcsCanary,
}

impl Strategy {
    /// True when the platform replaces the tasks by itself, so that Liftlock moves no traffic.
    pub fn is_in_place(self) -> bool {
        match self {
            Self::Canary | Self::Linear | Self::AllAtOnce => false,
            Self::Rolling | Self::EcsBlueGreen | Self::EcsLinear | Self::EcsCanary => true,
        }
    }

    /// True when ECS shifts traffic between two target groups by itself.
    pub fn is_shifted_by_ecs(self) -> bool {
        self.is_in_place() && self != Self::Rolling
    }

    /// As it is written in an environment's file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Linear => "linear",
            Self::AllAtOnce => "all-at-once",
            Self::Rolling => "rolling",
            Self::EcsBlueGreen => "ecs-blue-green",
            Self::EcsLinear => "ecs-linear",
            Self::EcsCanary => "ecs-canary",
        }
    }
}

/// One step of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = number_too)]
pub struct Step {
    /// The share of traffic that the new version gets, in percent.
    #[schemars(range(min = 1, max = 100))]
    pub share: u8,
    /// How long it is watched; `step_bake` if left out, and `bake` of the last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<Period>,
    /// Whether the run then waits for a person (`liftlock rollout resume` or `abort`), watching meanwhile: `true` waits for
    /// as long as it takes, and a time such as `"30m"` turns back after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
}

impl Step {
    /// A step of this share, with nothing else said of it.
    pub fn of(share: u8) -> Self {
        Self { share, bake: None, pause: None }
    }
}

/// A number alone is a step, too.
fn number_too(schema: &mut Schema) {
    schema.insert("type".into(), serde_json::json!(["integer", "object"]));
    schema.insert("minimum".into(), 1.into());
    schema.insert("maximum".into(), 100.into());
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole {
            share: u8,
            bake: Option<Period>,
            pause: Option<Pause>,
        }
        struct NumberOrTable;
        impl<'de> Visitor<'de> for NumberOrTable {
            type Value = Step;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a share in percent, or a table with `share`")
            }
            fn visit_i64<E: de::Error>(self, share: i64) -> Result<Step, E> {
                u8::try_from(share).map(Step::of).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, share: u64) -> Result<Step, E> {
                u8::try_from(share).map(Step::of).map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Step, A::Error> {
                let Whole { share, bake, pause } =
                    Whole::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Step { share, bake, pause })
            }
        }
        deserializer.deserialize_any(NumberOrTable)
    }
}

/// Whether a step waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "Period", transform = boolean_too)]
pub enum Pause {
    /// It does not: `false`.
    No,
    /// For as long as it takes: `true`.
    UntilResumed,
    /// For at most so long; then the run turns back.
    AtMost(Period),
}

/// `true` and `false` alone are pauses, too.
fn boolean_too(schema: &mut Schema) {
    schema.insert("type".into(), serde_json::json!(["string", "boolean"]));
}

impl Serialize for Pause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::No => serializer.serialize_bool(false),
            Self::UntilResumed => serializer.serialize_bool(true),
            Self::AtMost(period) => period.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Pause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct YesOrPeriod;
        impl Visitor<'_> for YesOrPeriod {
            type Value = Pause;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`true`, or a length of time")
            }
            fn visit_bool<E: de::Error>(self, waits: bool) -> Result<Pause, E> {
                Ok(if waits { Pause::UntilResumed } else { Pause::No })
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Pause, E> {
                text.parse().map(Pause::AtMost).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(YesOrPeriod)
    }
}

/// When a rollout turns back by itself. The defaults are requirement A-RB-1's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// How often health is asked.
    pub interval: Period,
    /// How many health checks may fail in a row; the one that reaches this number trips the breaker.
    #[schemars(range(min = 1))]
    pub health_failures: u32,
    /// The error rate, in percent, …
    #[schemars(range(min = 0.0, max = 100.0))]
    pub error_rate: f64,
    /// … that trips the breaker when it is exceeded for this long.
    pub error_rate_for: Period,
    /// How long the database may be unreachable.
    pub database_unreachable_for: Period,
    /// How many tasks of the new version may die during a bake or a pause (end by themselves, run out of memory, fail the load balancer's
    /// health checks), though others take their place; the one that reaches this number trips the breaker.
    #[schemars(range(min = 1))]
    pub task_failures: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            interval: Period::from_secs(30),
            health_failures: 3,
            error_rate: 5.0,
            error_rate_for: Period::from_secs(120),
            database_unreachable_for: Period::from_secs(60),
            task_failures: 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(rollout: &Rollout) -> Vec<u8> {
        rollout.steps().iter().map(|step| step.share).collect()
    }

    #[test]
    fn each_strategy_has_its_steps() {
        assert_eq!(shares(&Rollout::default()), [10, 50, 100]);
        let linear = |increment| Rollout {
            strategy: Strategy::Linear,
            increment: Some(increment),
            ..Rollout::default()
        };
        assert_eq!(shares(&linear(25)), [25, 50, 75, 100]);
        assert_eq!(shares(&linear(30)), [30, 60, 90, 100]);
        assert_eq!(shares(&linear(100)), [100]);
        assert_eq!(shares(&linear(1)).len(), 100);
        for strategy in [Strategy::AllAtOnce, Strategy::Rolling] {
            assert_eq!(shares(&Rollout { strategy, ..Rollout::default() }), [100]);
        }
    }

    #[test]
    fn a_step_is_a_number_or_a_table_and_reads_back_as_it_was() {
        let text = r#"
            steps = [5, { share = 20, pause = true }, { share = 50, bake = "5m", pause = "30m" }, { share = 100, pause = false }]
        "#;
        let rollout: Rollout = toml::from_str(text).unwrap();
        let steps = rollout.steps();
        assert_eq!(steps[0], Step::of(5));
        assert_eq!(steps[1].pause, Some(Pause::UntilResumed));
        assert_eq!(steps[2].pause, Some(Pause::AtMost(Period::from_secs(1800))));
        assert_eq!(steps[2].bake, Some(Period::from_secs(300)));
        assert_eq!(steps[3].pause, Some(Pause::No));
        let json = serde_json::to_string(&rollout).unwrap();
        assert_eq!(serde_json::from_str::<Rollout>(&json).unwrap(), rollout);
    }
}
