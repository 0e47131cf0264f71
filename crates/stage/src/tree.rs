//! Answers as trees, written as XML, JSON or CBOR, whichever the caller speaks.

use std::convert::Infallible;
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use minicbor::encode::Error as CborError;
use serde_json::Value as Json;

/// A value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Time(Timestamp),
    /// With the name that XML gives its members.
    List(&'static str, Vec<Tree>),
    Map(Vec<(&'static str, Tree)>),
}

impl From<&str> for Tree {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
impl From<String> for Tree {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
impl From<bool> for Tree {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}
impl From<u32> for Tree {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}
impl From<i64> for Tree {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<f64> for Tree {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}
impl From<Timestamp> for Tree {
    fn from(value: Timestamp) -> Self {
        Self::Time(value)
    }
}

/// A map from its members.
pub(crate) fn map<const N: usize>(members: [(&'static str, Tree); N]) -> Tree {
    Tree::Map(members.into())
}

/// A list whose members XML calls `member`.
pub(crate) fn list(members: impl IntoIterator<Item = Tree>) -> Tree {
    Tree::List("member", members.into_iter().collect())
}

impl Tree {
    /// Adds a member to a map.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Tree>) -> Self {
        if let Self::Map(members) = &mut self {
            members.push((name, value.into()));
        }
        self
    }

    /// With each time later by this.
    pub(crate) fn shifted(self, by: SignedDuration) -> Self {
        if by.is_zero() {
            return self;
        }
        match self {
            Self::Time(time) => Self::Time(time.checked_add(by).unwrap_or(time)),
            Self::List(name, all) => {
                Self::List(name, all.into_iter().map(|value| value.shifted(by)).collect())
            }
            Self::Map(all) => {
                Self::Map(all.into_iter().map(|(name, value)| (name, value.shifted(by))).collect())
            }
            other => other,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
    pub(crate) fn to_json(&self) -> Json {
        match self {
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Float(value) => (*value).into(),
            Self::Text(value) => value.as_str().into(),
            Self::Time(value) => (value.as_millisecond() as f64 / 1000.0).into(),
            Self::List(_, values) => values.iter().map(Self::to_json).collect(),
            Self::Map(members) => {
                members.iter().map(|(name, value)| ((*name).to_owned(), value.to_json())).collect()
            }
        }
    }

    pub(crate) fn to_xml(&self, out: &mut String) {
        match self {
            Self::Bool(value) => write(out, value),
            Self::Int(value) => write(out, value),
            Self::Float(value) => write(out, value),
            Self::Text(value) => escape(out, value),
            Self::Time(value) => write(out, format_args!("{value:.3}")),
            Self::List(name, values) => values.iter().for_each(|value| element(out, name, value)),
            Self::Map(members) => {
                members.iter().for_each(|(name, value)| element(out, name, value))
            }
        }
    }

    pub(crate) fn to_cbor(&self) -> Vec<u8> {
        let mut encoder = minicbor::Encoder::new(Vec::new());
        self.encode(&mut encoder).expect("writing to memory cannot fail");
        encoder.into_writer()
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
    fn encode(&self, out: &mut minicbor::Encoder<Vec<u8>>) -> Result<(), CborError<Infallible>> {
        match self {
            Self::Bool(value) => out.bool(*value)?,
            Self::Int(value) => out.i64(*value)?,
            Self::Float(value) => out.f64(*value)?,
            Self::Text(value) => out.str(value)?,
            Self::Time(value) => {
                // Tag 1: seconds since 1970 (RFC 8949, section 3.4.2).
                let seconds = value.as_millisecond() as f64 / 1000.0;
                out.tag(minicbor::data::IanaTag::Timestamp)?.f64(seconds)?
            }
            Self::List(_, values) => {
                out.array(values.len() as u64)?;
                return values.iter().try_for_each(|value| value.encode(out));
            }
            Self::Map(members) => {
                out.map(members.len() as u64)?;
                return members.iter().try_for_each(|(name, value)| value.encode(out.str(name)?));
            }
        };
        Ok(())
    }
}

fn write(out: &mut String, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("writing to a string cannot fail");
}

fn element(out: &mut String, name: &str, value: &Tree) {
    write(out, format_args!("<{name}>"));
    value.to_xml(out);
    write(out, format_args!("</{name}>"));
}

pub(crate) fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no way to write the other control characters.
            c if c.is_control() && !matches!(c, '\n' | '\t' | '\r') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

/// Reads a CBOR request.
pub(crate) fn from_cbor(bytes: &[u8]) -> Option<Json> {
    if bytes.is_empty() {
        return Some(Json::Object(serde_json::Map::new()));
    }
    decode(&mut minicbor::Decoder::new(bytes), 0)
}

fn decode(from: &mut minicbor::Decoder<'_>, depth: u32) -> Option<Json> {
    use minicbor::data::Type;
    if depth > 32 {
        return None;
    }
    Some(match from.datatype().ok()? {
        Type::Bool => from.bool().ok()?.into(),
        Type::Null | Type::Undefined => {
            from.skip().ok()?;
            Json::Null
        }
        Type::F32 => f64::from(from.f32().ok()?).into(),
        Type::F64 => from.f64().ok()?.into(),
        Type::String => from.str().ok()?.into(),
        Type::StringIndef => from.str_iter().ok()?.collect::<Result<String, _>>().ok()?.into(),
        Type::Tag => {
            from.tag().ok()?;
            decode(from, depth + 1)?
        }
        Type::Array | Type::ArrayIndef => {
            let mut values = Vec::new();
            let mut left = from.array().ok()?;
            while !ended(from, &mut left)? {
                values.push(decode(from, depth + 1)?);
            }
            values.into()
        }
        Type::Map | Type::MapIndef => {
            let mut members = serde_json::Map::new();
            let mut left = from.map().ok()?;
            while !ended(from, &mut left)? {
                let name = from.str().ok()?.to_owned();
                members.insert(name, decode(from, depth + 1)?);
            }
            members.into()
        }
        _ => from.i64().ok()?.into(),
    })
}

/// Whether a list or map ends here; counts down if its length was told.
fn ended(from: &mut minicbor::Decoder<'_>, left: &mut Option<u64>) -> Option<bool> {
    match left {
        Some(0) => Some(true),
        Some(n) => {
            *n -= 1;
            Some(false)
        }
        None if from.datatype().ok()? == minicbor::data::Type::Break => {
            from.skip().ok()?;
            Some(true)
        }
        None => Some(false),
    }
}

/// Reads a query request: `Rules.member.1.Priority=…` becomes a list of maps.
pub(crate) fn from_query(body: &[u8]) -> Json {
    let mut root = Json::Object(serde_json::Map::new());
    for (key, value) in url::form_urlencoded::parse(body) {
        let mut at = &mut root;
        for part in key.split('.') {
            if !at.is_object() {
                *at = Json::Object(serde_json::Map::new());
            }
            at = &mut at[part];
        }
        *at = value.into_owned().into();
    }
    fold(root)
}

/// `{"member": {"1": a, "2": b}}` (whatever the name is) and `{"1": a, "2": b}` become `[a, b]`.
fn fold(value: Json) -> Json {
    let Json::Object(members) = value else { return value };
    if is_numbered(&members) {
        let mut values: Vec<(u32, Json)> = members
            .into_iter()
            .map(|(key, value)| (key.parse().unwrap_or(0), fold(value)))
            .collect();
        values.sort_by_key(|(at, _)| *at);
        return values.into_iter().map(|(_, value)| value).collect();
    }
    let mut members = members;
    let wraps_a_list = members.len() == 1
        && members.values().all(|only| only.as_object().is_some_and(is_numbered));
    if wraps_a_list && let Some(list) = members.values_mut().next() {
        return fold(list.take());
    }
    members.into_iter().map(|(key, value)| (key, fold(value))).collect()
}

fn is_numbered(members: &serde_json::Map<String, Json>) -> bool {
    !members.is_empty() && members.keys().all(|key| key.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_nest() {
        let read = from_query(
            b"Action=ModifyRule&Actions.member.1.Type=forward&Actions.member.1.ForwardConfig.TargetGroups.member.1.\
              TargetGroupArn=arn%3Aa&Actions.member.1.ForwardConfig.TargetGroups.member.1.Weight=10&Tags.Tag.1.Key=k",
        );
        assert_eq!(read["Actions"][0]["ForwardConfig"]["TargetGroups"][0]["Weight"], "10");
        assert_eq!(read["Tags"][0]["Key"], "k");
        assert_eq!(read["Action"], "ModifyRule");
    }

    #[test]
    fn cbor_round_trips() {
        let tree = map([
            ("Text", "ä".into()),
            ("At", Timestamp::UNIX_EPOCH.into()),
            ("All", list([Tree::Int(-3), Tree::Bool(true), Tree::Float(0.5)])),
        ]);
        let read = from_cbor(&tree.to_cbor()).unwrap();
        assert_eq!(read, tree.to_json());
        assert!(from_cbor(&[0xa1]).is_none());
    }
}
