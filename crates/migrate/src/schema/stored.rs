//! A schema as text that can be kept, and its fingerprint.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Object, Schema};

/// Counts up when the same catalogs are told in another way: what was kept by another version cannot be compared.
const FORMAT: u32 = 1;

/// The SHA-256 of a schema, as 64 hexadecimal digits, with the number of the format before it: `1:…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a schema that can be compared.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// Another version of Liftlock wrote it.
    #[error(
        "the schema was kept in format {0}, and this version of Liftlock reads format {FORMAT}"
    )]
    Format(u32),
    /// It is not a kept schema.
    #[error("the kept schema cannot be read: {0}")]
    Text(#[from] serde_json::Error),
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
}

impl Schema {
    /// The schema as text for [`Schema::from_text`]: JSON lines, the first of which tells the format.
    pub fn to_text(&self) -> String {
        let mut text = line(&Header { format: FORMAT });
        self.objects.values().for_each(|object| text.push_str(&line(object)));
        text
    }

    /// Reads what [`Schema::to_text`] wrote.
    ///
    /// # Errors
    /// [`StoredError`] when it was written in another format, or is none.
    pub fn from_text(text: &str) -> Result<Self, StoredError> {
        let mut lines = text.lines();
        let Header { format } = serde_json::from_str(lines.next().unwrap_or_default())?;
        if format != FORMAT {
            return Err(StoredError::Format(format));
        }
        let objects: Result<Vec<Object>, _> = lines.map(serde_json::from_str).collect();
        Ok(Self::new(objects?))
    }

    /// The fingerprint: equal for equal schemas, whatever is noted of them.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        for object in self.objects.values() {
            let object = Object { note: None, ..object.clone() };
            hash.update(line(&object));
        }
        Fingerprint(format!("{FORMAT}:{}", hex::encode(hash.finalize())))
    }
}

fn line(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("texts and lists are JSON");
    format!("{json}\n")
}
