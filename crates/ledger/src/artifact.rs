//! Content kept by its hash: the archives that a release names.

use liftlock_model::ArtifactHash;

use crate::{AppendError, Ledger, ReadError};

impl Ledger {
    /// Keeps some content (at most 1 GB), once however often it is put.
    ///
    /// # Errors
    /// The database failed.
    pub async fn put_artifact(&self, content: &[u8]) -> Result<ArtifactHash, AppendError> {
        let hash = ArtifactHash::of(content);
        let mut tx = self.store.write().await?;
        tx.execute(
            "INSERT INTO liftlock_artifacts (hash, content) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING",
            &[hash.as_str().into(), content.into()],
        )
        .await?;
        tx.commit().await?;
        Ok(hash)
    }

    /// Some content by its hash, which is computed again from what was read.
    ///
    /// # Errors
    /// The content was changed, or the database failed.
    pub async fn artifact(&self, hash: &ArtifactHash) -> Result<Option<Vec<u8>>, ReadError> {
        let mut tx = self.store.read().await?;
        let sql = "SELECT content FROM liftlock_artifacts WHERE hash = $1";
        let row: Option<(Vec<u8>,)> = tx.row(sql, &[hash.as_str().into()]).await?;
        tx.commit().await?;
        let Some((content,)) = row else { return Ok(None) };
        let found = ArtifactHash::of(&content);
        if found == *hash {
            Ok(Some(content))
        } else {
            let place = self.place().to_owned();
            Err(ReadError::Tampered { place, expected: hash.clone(), found })
        }
    }
}
