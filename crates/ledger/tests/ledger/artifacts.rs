//! Content kept by its hash.

use liftlock_ledger::{ReadError, VerifyError};
use liftlock_model::ArtifactHash;

use crate::place::{Place, on_both};

on_both! { artifacts_come_back, a_changed_artifact_is_named }

async fn artifacts_come_back(place: Place) {
    let ledger = place.ledger().await;
    let large: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    for content in [&b""[..], b"\0\xff", &large] {
        let hash = ledger.put_artifact(content).await.unwrap();
        assert_eq!(ledger.put_artifact(content).await.unwrap(), hash, "twice is once");
        assert_eq!(ledger.artifact(&hash).await.unwrap().as_deref(), Some(content));
    }
    assert_eq!(ledger.artifact(&ArtifactHash::of(b"other")).await.unwrap(), None);
    ledger.verify().await.unwrap();
}

async fn a_changed_artifact_is_named(place: Place) {
    let ledger = place.ledger().await;
    let hash = ledger.put_artifact(b"as it was").await.unwrap();
    let literal = match place {
        Place::Sqlite { .. } => "x'00'",
        Place::Postgres { .. } => "'\\x00'",
    };
    place.attack(&format!("UPDATE liftlock_artifacts SET content = {literal}")).await;
    match ledger.artifact(&hash).await {
        Err(error @ ReadError::Tampered { .. }) => {
            assert!(error.to_string().contains(hash.as_str()), "{error}");
        }
        other => panic!("{other:?}"),
    }
    match ledger.verify().await {
        Err(VerifyError::Artifact { name, .. }) => assert_eq!(name, hash.as_str()),
        other => panic!("{other:?}"),
    }
}
