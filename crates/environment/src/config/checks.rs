//! Checks as data: what else a new version is judged by, while it is watched.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

use super::SecretSource;
use crate::period::Period;

/// A number, text or truth that is asked for again and again while a new version is watched: in bakes, in pauses, wherever a rollout waits.
/// Exactly one of `prometheus`, `json` and `alarm` says where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NamedCheck {
    /// A query to Prometheus, or to what speaks its API.
    pub prometheus: Option<Prometheus>,
    /// A value in the JSON that a URL answers with.
    pub json: Option<JsonEndpoint>,
    /// The whole name of a CloudWatch alarm: OK is good and ALARM bad; INSUFFICIENT_DATA is no data, as is an alarm that was in ALARM before
    /// the run. May hold placeholders, as a query may.
    pub alarm: Option<String>,
    /// Good is what is lower than this. With `above`: what is between the two.
    pub below: Option<f64>,
    /// Good is what is higher than this.
    pub above: Option<f64>,
    /// Good is this alone: a number, a text or a truth.
    pub equals: Option<Scalar>,
    /// How often it is asked for.
    pub interval: Period,
    /// How many bad answers in a row turn the rollout back.
    #[schemars(range(min = 1, max = 1000))]
    pub failures: u32,
    /// What becomes of a rollout without data: never a pass.
    pub no_data: NoData,
    /// How long there may be no data (nothing measured, no answer, an error) before `no_data` says what becomes of it. A bake that
    /// would end meanwhile goes on for as long.
    pub patience: Period,
    /// How long one answer may take.
    pub timeout: Period,
}

impl Default for NamedCheck {
    fn default() -> Self {
        Self {
            prometheus: None,
            json: None,
            alarm: None,
            below: None,
            above: None,
            equals: None,
            interval: Period::from_secs(30),
            failures: 3,
            no_data: NoData::Fail,
            patience: Period::from_secs(120),
            timeout: Period::from_secs(10),
        }
    }
}

impl NamedCheck {
    /// Where the secrets come from that it sends.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretSource> {
        let prometheus = self.prometheus.iter().map(|one| (&one.token, &one.headers));
        let json = self.json.iter().map(|one| (&one.token, &one.headers));
        prometheus.chain(json).flat_map(|(token, more)| token.iter().chain(more.values()))
    }
}

/// An instant query that gives one sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prometheus {
    /// Where it is, without `/api/v1/query`.
    pub url: Url,
    /// In PromQL: a scalar, or a vector of one sample. `{{service}}`, `{{colour}}` (the new version's), `{{baseline_colour}}` (the old
    /// one's), `{{release}}`, `{{version}}` and `{{environment}}` stand for what they are in the rollout.
    pub query: String,
    /// Where a bearer token comes from, which is sent as `Authorization: Bearer …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretSource>,
    /// Where the values of more headers come from, by name.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretSource>,
}

/// A URL that answers GET with JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonEndpoint {
    /// What is asked.
    pub url: Url,
    /// Where in the answer the value is (RFC 6901), such as `/queue/depth`; empty: the whole answer.
    pub pointer: String,
    /// Where a bearer token comes from, which is sent as `Authorization: Bearer …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretSource>,
    /// Where the values of more headers come from, by name.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretSource>,
}

/// What becomes of a rollout whose check has no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NoData {
    /// It turns back.
    Fail,
    /// The circuit breaker and the other checks decide, and the record says that this one was inconclusive.
    Breaker,
}

/// A number, a text or a truth.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scalar {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// A truth.
    Truth(bool),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Truth(truth) => write!(f, "{truth}"),
        }
    }
}

impl JsonSchema for Scalar {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["number", "string", "boolean"] })
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl Visitor<'_> for One {
            type Value = Scalar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a text or a truth")
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number))
            }
            #[expect(clippy::cast_precision_loss, reason = "JSON's numbers are floats, too")]
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number as f64))
            }
            #[expect(clippy::cast_precision_loss, reason = "JSON's numbers are floats, too")]
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number as f64))
            }
            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Scalar, E> {
                Ok(Scalar::Truth(truth))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(One)
    }
}

/// What a placeholder stands for is known by its name.
pub const PLACEHOLDERS: [&str; 6] =
    ["service", "colour", "baseline_colour", "release", "version", "environment"];

/// `text` with each `{{name}}` replaced by what `value` says of it; the first name that it knows nothing of is the error. Braces that do
/// not hold a plain word are PromQL's or the text's own, and stay.
pub fn fill(text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find("{{") {
        let (before, after) = rest.split_at(begin);
        filled.push_str(before);
        let inner = &after[2..];
        let name = inner.split_once("}}").map(|(name, _)| name);
        let word = name.filter(|name| {
            let name = name.trim();
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        });
        match word {
            Some(word) => {
                let name = word.trim();
                filled.push_str(&value(name).ok_or_else(|| name.to_owned())?);
                rest = &inner[word.len() + 2..];
            }
            None => {
                filled.push_str("{{");
                rest = inner;
            }
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_other_braces_stay() {
        let value = |name: &str| (name == "service").then(|| "backend".to_owned());
        let filled = |text| fill(text, value);
        assert_eq!(
            filled("rate(x{service=\"{{service}}\"}[1m])").unwrap(),
            "rate(x{service=\"backend\"}[1m])"
        );
        assert_eq!(filled("{{ service }}-{{service}}").unwrap(), "backend-backend");
        assert_eq!(filled("{{color}}").unwrap_err(), "color");
        assert_eq!(filled("x{a=\"{{\"} {{service").unwrap(), "x{a=\"{{\"} {{service");
    }

    #[test]
    fn what_a_check_equals_is_a_number_a_text_or_a_truth() {
        let equals = |text: &str| toml::from_str::<NamedCheck>(text).unwrap().equals.unwrap();
        assert_eq!(equals("equals = 1"), Scalar::Number(1.0));
        assert_eq!(equals("equals = \"ok\""), Scalar::Text("ok".into()));
        assert_eq!(equals("equals = true"), Scalar::Truth(true));
    }
}
