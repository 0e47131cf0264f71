//! Verifying the chain: names the first record that is not what was written.

use liftlock_model::{ArtifactHash, EntryHash};
use serde_json::Value;

use crate::entry::{canonical, hash};
use crate::store::Tx;
use crate::{Ledger, StoreError};

/// How many entries are read at a time.
const PAGE: i64 = 500;

/// A ledger that is what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many entries it has.
    pub entries: i64,
    /// The hash of the last one. Kept elsewhere, it shows whether a later ledger still holds these entries: somebody who may
    /// write everything could rewrite the whole chain.
    pub head: EntryHash,
}

/// Why a ledger is not what was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The first entry that is not what was written.
    #[error(
        "the ledger {place} was tampered with: entry {sequence} is the first broken one ({reason}). Entries before it can be trusted; \
         restore the rest from a backup or from the archive"
    )]
    Broken {
        /// Where.
        place: String,
        /// Which entry.
        sequence: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// The chain is whole, but an artifact's content is not what it was.
    #[error(
        "the ledger {place} was tampered with: the artifact {name} was changed, its content now has the hash {found}. Restore it from \
         a backup"
    )]
    Artifact {
        /// Where.
        place: String,
        /// The artifact.
        name: String,
        /// The hash that its content has now.
        found: ArtifactHash,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A row as it is stored.
pub(crate) struct Stored {
    pub(crate) sequence: i64,
    pub(crate) hash: String,
    pub(crate) environment: Option<String>,
    pub(crate) run: Option<String>,
    pub(crate) kind: String,
    pub(crate) body: String,
}

/// Where the chain stands: everything up to here is what was written.
pub(crate) struct Chain {
    pub(crate) length: i64,
    pub(crate) head: EntryHash,
}

impl Default for Chain {
    fn default() -> Self {
        Self { length: 0, head: EntryHash::genesis() }
    }
}

impl Chain {
    /// Adds the next row, or says at which place the chain is broken and how.
    pub(crate) fn push(&mut self, row: &Stored) -> Result<(), (i64, String)> {
        let expected = self.length + 1;
        if row.sequence != expected {
            let reason = if row.sequence > expected {
                format!("it was removed or renumbered: the next one found is {}", row.sequence)
            } else {
                format!("entry {} is there twice", row.sequence)
            };
            return Err((expected.min(row.sequence), reason));
        }
        self.check(row).map_err(|reason| (expected, reason))?;
        self.length = expected;
        self.head = EntryHash::new(row.hash.clone());
        Ok(())
    }

    fn check(&self, row: &Stored) -> Result<(), String> {
        if hash(&row.body).as_str() != row.hash {
            return Err("its content does not have its hash".into());
        }
        let content: Value =
            serde_json::from_str(&row.body).map_err(|_| "its content is no JSON".to_owned())?;
        if !canonical(&content).is_ok_and(|text| text == row.body) {
            return Err("its content is not in the canonical form".into());
        }
        let number = content["sequence"].as_i64();
        if number != Some(row.sequence) {
            let number = number.map_or("none".into(), |number| number.to_string());
            return Err(format!("its content bears the number {number}"));
        }
        if content["previous"].as_str() != Some(self.head.as_str()) {
            return Err(format!("it does not follow entry {} as that is now", self.length));
        }
        let same = |field: &Value, column: Option<&str>| field.as_str() == column;
        if !same(&content["environment"], row.environment.as_deref())
            || !same(&content["run"], row.run.as_deref())
            || !same(&content["event"]["kind"], Some(&row.kind))
        {
            return Err(
                "its index (environment, run or kind) does not agree with its content".into()
            );
        }
        Ok(())
    }

    /// Compares with the head that the ledger remembers: entries missing at the end, or added past it, show here.
    pub(crate) fn finish(&self, length: i64, head: &str) -> Result<(), (i64, String)> {
        if length > self.length {
            return Err((
                self.length + 1,
                format!("it was removed: the ledger had {length} entries"),
            ));
        }
        if length < self.length {
            return Err((length + 1, format!("it was added: the ledger had {length} entries")));
        }
        if head != self.head.as_str() {
            return Err((length, "it is not the one that the ledger's head names".into()));
        }
        Ok(())
    }
}

/// Verifies a whole export, line by line: what an auditor does with an archive.
///
/// # Errors
/// The first line that is not what was written. Lines missing at the end cannot be seen here: compare the head with one
/// that was kept.
pub fn verify_export<'a>(
    lines: impl IntoIterator<Item = &'a str>,
) -> Result<Verified, VerifyError> {
    let mut chain = Chain::default();
    for line in lines {
        let place = || "export".to_owned();
        let sequence = chain.length + 1;
        let row = stored(line).map_err(|reason| VerifyError::Broken {
            place: place(),
            sequence,
            reason,
        })?;
        chain.push(&row).map_err(|(sequence, reason)| VerifyError::Broken {
            place: place(),
            sequence,
            reason,
        })?;
    }
    Ok(Verified { entries: chain.length, head: chain.head })
}

/// The row that a line of an export was.
fn stored(line: &str) -> Result<Stored, String> {
    let mut value: Value = serde_json::from_str(line).map_err(|_| "it is no JSON".to_owned())?;
    if !canonical(&value).is_ok_and(|text| text == line) {
        return Err("it is not in the canonical form".into());
    }
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let environment = text(&value["environment"]);
    let run = text(&value["run"]);
    let kind = text(&value["event"]["kind"]).unwrap_or_default();
    let fields = value.as_object_mut().ok_or("it is no object")?;
    let hash = fields.remove("hash").as_ref().and_then(text).ok_or("it has no hash")?;
    let sequence = value["sequence"].as_i64().ok_or("it has no number")?;
    let body = canonical(&value).map_err(|error| error.to_string())?;
    Ok(Stored { sequence, hash, environment, run, kind, body })
}

impl Ledger {
    /// Verifies every entry and every artifact, by one state of the ledger.
    ///
    /// # Errors
    /// The first entry or artifact that is not what was written, or the database failed.
    pub async fn verify(&self) -> Result<Verified, VerifyError> {
        let mut tx = self.store.read().await?;
        let chain = self.chain(&mut tx).await?;
        self.artifacts(&mut tx).await?;
        tx.commit().await?;
        Ok(Verified { entries: chain.length, head: chain.head })
    }

    async fn chain(&self, tx: &mut Tx) -> Result<Chain, VerifyError> {
        let broken = |(sequence, reason)| VerifyError::Broken {
            place: self.place().to_owned(),
            sequence,
            reason,
        };
        let mut chain = Chain::default();
        let mut read = 0;
        loop {
            let page = page(tx, read).await?;
            read += PAGE;
            for row in &page {
                chain.push(row).map_err(broken)?;
            }
            if page.is_empty() {
                break;
            }
        }
        let head: Option<(i64, String)> =
            tx.row("SELECT sequence, hash FROM liftlock_ledger", &[]).await?;
        let (length, head) = head.unwrap_or((0, String::new()));
        chain.finish(length, &head).map_err(broken)?;
        Ok(chain)
    }

    async fn artifacts(&self, tx: &mut Tx) -> Result<(), VerifyError> {
        let names: Vec<(String,)> =
            tx.rows("SELECT hash FROM liftlock_artifacts ORDER BY hash", &[]).await?;
        for (name,) in names {
            let sql = "SELECT content FROM liftlock_artifacts WHERE hash = $1";
            let row: Option<(Vec<u8>,)> = tx.row(sql, &[name.as_str().into()]).await?;
            let found = ArtifactHash::of(&row.unwrap_or_default().0);
            if found.as_str() != name {
                return Err(VerifyError::Artifact { place: self.place().to_owned(), name, found });
            }
        }
        Ok(())
    }
}

type Columns = (i64, String, Option<String>, Option<String>, String, String);

/// The rows from `offset` on. By offset and not by number, since whoever tampers may have numbered them anew.
async fn page(tx: &mut Tx, offset: i64) -> Result<Vec<Stored>, StoreError> {
    let sql = "SELECT sequence, hash, environment, run, kind, body FROM liftlock_entries \
               ORDER BY sequence LIMIT $1 OFFSET $2";
    let rows: Vec<Columns> = tx.rows(sql, &[PAGE.into(), offset.into()]).await?;
    let stored = |(sequence, hash, environment, run, kind, body)| Stored {
        sequence,
        hash,
        environment,
        run,
        kind,
        body,
    };
    Ok(rows.into_iter().map(stored).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(sequence: i64, previous: &EntryHash) -> Stored {
        let body = format!(
            r#"{{"environment":null,"event":{{"kind":"k"}},"previous":"{previous}","run":null,"sequence":{sequence}}}"#
        );
        let hash = hash(&body).as_str().to_owned();
        Stored { sequence, hash, environment: None, run: None, kind: "k".into(), body }
    }

    /// Somebody who also removed the table's keys.
    #[test]
    fn doubles_and_other_spellings_are_named() {
        let mut chain = Chain::default();
        let first = row(1, &EntryHash::genesis());
        chain.push(&first).unwrap();
        assert_eq!(chain.push(&first).unwrap_err().0, 1);
        let mut spaced = row(2, &chain.head);
        spaced.body = spaced.body.replace(':', ": ");
        spaced.hash = hash(&spaced.body).as_str().to_owned();
        let (sequence, reason) = chain.push(&spaced).unwrap_err();
        assert_eq!((sequence, reason.contains("canonical")), (2, true));
        chain.push(&row(2, &chain.head.clone())).unwrap();
        assert!(chain.finish(2, chain.head.as_str()).is_ok());
        assert_eq!(chain.finish(2, "other").unwrap_err().0, 2);
        assert_eq!(chain.finish(3, chain.head.as_str()).unwrap_err().0, 3);
        assert_eq!(chain.finish(1, chain.head.as_str()).unwrap_err().0, 2);
    }
}
