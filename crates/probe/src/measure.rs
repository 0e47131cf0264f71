//! One value: from Prometheus, or from the JSON that a URL answers with.

use std::time::Duration;

use jiff::Timestamp;
use liftlock_environment::config::Scalar;
use reqwest::RequestBuilder;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::exchange::{Answer, address, exchange};
use crate::text::clean;

/// A value, and when it was so.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The value.
    pub value: Scalar,
    /// By the clock of who told it, where that says.
    pub at: Timestamp,
}

/// Why there is no value. None of it is a good sign, and none a bad one. No variant holds any part of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoReading {
    /// It was asked, and there is none.
    #[error("no data: {0}")]
    None(String),
    /// It could not be asked, or the answer cannot be used.
    #[error("{0}")]
    Unanswered(String),
}

/// Headers of a request whose values are secrets.
pub type Headers = [(String, SecretString)];

/// `/api/v1/query`: see [Prometheus' HTTP API](https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries).
#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Told {
    Success {
        data: Data,
    },
    Error {
        #[serde(rename = "errorType")]
        kind: String,
        error: String,
    },
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Sample>),
    Scalar((f64, String)),
    Matrix(serde::de::IgnoredAny),
    String(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Sample {
    value: Option<(f64, String)>,
}

/// The request for an instant query, in POST's form: queries may be long.
pub(crate) fn query(base: &Url) -> Result<Url, NoReading> {
    address(base, "/api/v1/query").map_err(|error| NoReading::Unanswered(error.to_string()))
}

/// Sends a request with headers whose values are secrets.
pub(crate) async fn ask(
    mut request: RequestBuilder,
    headers: &Headers,
    within: Duration,
) -> Result<Answer, NoReading> {
    for (name, value) in headers {
        let unusable = |what| NoReading::Unanswered(format!("the header {name}: {what}"));
        let key = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| unusable("this cannot be a header's name"))?;
        let mut value = HeaderValue::from_str(value.expose_secret())
            .map_err(|_| unusable("its secret holds what no header can, such as a line's end"))?;
        value.set_sensitive(true);
        request = request.header(key, value);
    }
    exchange(request, within).await.map_err(|error| NoReading::Unanswered(error.to_string()))
}

/// Pure: what Prometheus' answer says.
pub(crate) fn read_prometheus(answer: &Answer) -> Result<Reading, NoReading> {
    let Ok(told) = serde_json::from_slice::<Told>(&answer.body) else {
        return Err(unanswered(answer, "which is not how Prometheus answers"));
    };
    let data = match told {
        Told::Success { data } => data,
        Told::Error { kind, error } => {
            let (kind, error) = (clean(&kind, 40), clean(&error, 300));
            return Err(NoReading::Unanswered(format!("Prometheus says {kind}: {error}")));
        }
    };
    match data {
        Data::Scalar(value) => number(&value),
        Data::Vector(samples) => match samples.as_slice() {
            [] => Err(NoReading::None("the query found no series".into())),
            [Sample { value: Some(value) }] => number(value),
            [Sample { value: None }] => {
                Err(NoReading::Unanswered("the query gives a histogram, not a number".into()))
            }
            many => Err(NoReading::Unanswered(format!(
                "the query gives {} samples, and one is wanted: aggregate them, such as with sum(…)",
                many.len()
            ))),
        },
        Data::Matrix(_) => Err(NoReading::Unanswered(
            "the query gives a range of samples, and one is wanted: leave out the […] outside of functions such as rate".into(),
        )),
        Data::String(_) => Err(NoReading::Unanswered("the query gives a text".into())),
    }
}

fn number((at, text): &(f64, String)) -> Result<Reading, NoReading> {
    let value: f64 = text
        .parse()
        .map_err(|_| NoReading::Unanswered(format!("{:?} is not a number", clean(text, 40))))?;
    if value.is_nan() {
        return Err(NoReading::None("NaN, such as a rate of nothing".into()));
    }
    #[expect(clippy::cast_possible_truncation, reason = "times in milliseconds are far below 2^52")]
    let at = Timestamp::from_millisecond((at * 1000.0).round() as i64);
    Ok(Reading { value: Scalar::Number(value), at: at.unwrap_or_else(|_| Timestamp::now()) })
}

/// Pure: the value that the answer has at the pointer, which was so at this time.
pub(crate) fn read_json(
    answer: &Answer,
    pointer: &str,
    at: Timestamp,
) -> Result<Reading, NoReading> {
    if !answer.status.is_success() {
        return Err(unanswered(answer, "and a status of 200 is wanted"));
    }
    let Ok(whole) = serde_json::from_slice::<Value>(&answer.body) else {
        return Err(unanswered(answer, "which is not JSON"));
    };
    let value = match whole.pointer(pointer) {
        None | Some(Value::Null) => {
            return Err(NoReading::None(format!("the answer has nothing at {pointer:?}")));
        }
        Some(Value::Number(number)) => number.as_f64().map(Scalar::Number),
        Some(Value::String(text)) => Some(Scalar::Text(clean(text, 200))),
        Some(Value::Bool(truth)) => Some(Scalar::Truth(*truth)),
        Some(Value::Array(_) | Value::Object(_)) => None,
    };
    let value = value.ok_or_else(|| {
        NoReading::Unanswered(format!("at {pointer:?} is no number, text or truth"))
    })?;
    Ok(Reading { value, at })
}

/// What was answered is shown only as its status: a body may repeat what the request held.
fn unanswered(answer: &Answer, why: &str) -> NoReading {
    NoReading::Unanswered(format!("answered {}, {why}", answer.status_line()))
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status: StatusCode::from_u16(status).unwrap(), body: body.as_bytes().to_vec() }
    }

    fn prometheus(result: &str) -> Result<Reading, NoReading> {
        let body =
            format!(r#"{{"status":"success","warnings":["w"],"data":{{"resultType":{result}}}}}"#);
        read_prometheus(&answer(200, &body))
    }

    fn sample(value: &str) -> String {
        format!(r#"{{"metric":{{"a":"b"}},"value":[1435781451.781,"{value}"]}}"#)
    }

    fn said(read: Result<Reading, NoReading>) -> String {
        read.unwrap_err().to_string()
    }

    #[test]
    fn one_sample_or_a_scalar_is_a_value_with_its_time() {
        let vector = prometheus(&format!(r#""vector","result":[{}]"#, sample("0.25"))).unwrap();
        assert_eq!(vector.value, Scalar::Number(0.25));
        assert_eq!(vector.at.to_string(), "2015-07-01T20:10:51.781Z");
        let scalar = prometheus(r#""scalar","result":[1435781451,"+Inf"]"#).unwrap();
        assert_eq!(scalar.value, Scalar::Number(f64::INFINITY));
    }

    /// Shows A-RB-1's condition that no data is never a pass, where Argo Rollouts lets a null through.
    #[test]
    fn nothing_and_nan_are_no_data_and_more_than_one_is_an_error() {
        let none = prometheus(r#""vector","result":[]"#);
        assert!(matches!(&none, Err(NoReading::None(_))), "{none:?}");
        let nan = prometheus(&format!(r#""vector","result":[{}]"#, sample("NaN")));
        assert!(matches!(&nan, Err(NoReading::None(_))), "{nan:?}");
        let two = format!(r#""vector","result":[{},{}]"#, sample("1"), sample("2"));
        assert!(said(prometheus(&two)).contains("2 samples, and one is wanted"));
        assert!(said(prometheus(r#""matrix","result":[]"#)).contains("a range of samples"));
        let refused = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        let refused = read_prometheus(&answer(400, refused));
        assert_eq!(said(refused), "Prometheus says bad_data: parse error");
        let page = said(read_prometheus(&answer(302, "<html>secret</html>")));
        assert!(page.contains("302") && page.contains("not followed"), "{page}");
        assert!(!page.contains("secret"), "{page}");
    }

    #[test]
    fn a_value_is_found_by_its_pointer() {
        let now = Timestamp::UNIX_EPOCH;
        let read = |pointer: &str| {
            let body = r#"{"queue":{"depth":7,"a/b":"ok","gone":null},"up":true}"#;
            read_json(&answer(200, body), pointer, now)
        };
        assert_eq!(read("/queue/depth").unwrap().value, Scalar::Number(7.0));
        assert_eq!(read("/queue/a~1b").unwrap().value, Scalar::Text("ok".into()));
        assert_eq!(read("/up").unwrap().value, Scalar::Truth(true));
        assert!(matches!(read("/queue/gone"), Err(NoReading::None(_))));
        assert!(matches!(read("/nowhere"), Err(NoReading::None(_))));
        assert!(said(read("/queue")).contains("no number"));
        let bad = said(read_json(&answer(503, "{}"), "", now));
        assert!(bad.contains("503"), "{bad}");
    }
}
