//! Entries: what is hashed is byte for byte what is stored.

use jiff::Timestamp;
use liftlock_model::{Actor, ArtifactHash, Entry, EntryHash, EnvName, Event, RunId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Fence;

/// The largest whole number that every reader of JSON reads exactly (RFC 8785, section 3.2.2.3; RFC 7493).
const LARGEST: u64 = (1 << 53) - 1;

/// An entry that is not yet written.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Which environment it is about, where it is about one.
    pub environment: Option<EnvName>,
    /// Which run writes it, where one does.
    pub run: Option<RunId>,
    /// Who.
    pub actor: Actor,
    /// What happened.
    pub event: Event,
    /// The lease that the writer must still hold, where it needs one.
    pub fence: Option<Fence>,
}

/// Everything of an entry that its hash covers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) sequence: i64,
    pub(crate) at: Timestamp,
    pub(crate) environment: Option<EnvName>,
    pub(crate) run: Option<RunId>,
    pub(crate) actor: Actor,
    pub(crate) event: Event,
    pub(crate) previous: EntryHash,
}

impl Content {
    pub(crate) fn into_entry(self, hash: EntryHash) -> Entry {
        let Self { sequence, at, environment, run, actor, event, previous } = self;
        Entry { sequence, at, environment, run, actor, event, previous, hash }
    }
}

/// The hash of a stored text.
pub(crate) fn hash(body: &str) -> EntryHash {
    EntryHash::new(ArtifactHash::of(body.as_bytes()).as_str().to_owned())
}

/// RFC 8785's form of a value.
pub(crate) fn canonical<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    serde_json_canonicalizer::to_string(value)
}

/// Where in an event a number stands that is not whole or too large, as a JSON pointer. Such a number would be read
/// differently by different readers, and the hash would then not say what it seems to say.
pub(crate) fn unsafe_number(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => {
            let fine = number.as_u64().is_some_and(|n| n <= LARGEST)
                || number.as_i64().is_some_and(|n| n.unsigned_abs() <= LARGEST);
            (!fine).then(String::new)
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| Some(format!("/{index}{}", unsafe_number(item)?))),
        Value::Object(fields) => {
            fields.iter().find_map(|(key, item)| Some(format!("/{key}{}", unsafe_number(item)?)))
        }
        _ => None,
    }
}
