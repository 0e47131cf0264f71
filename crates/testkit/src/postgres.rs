//! A fresh database for each test, on one private cluster for each test program.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU32, Ordering};

use liftlock_postgres::{Cluster, ClusterOptions};
use secrecy::SecretString;
use tokio::sync::OnceCell;

use crate::requirement;

/// Started by the first test that asks. Nothing drops it: its server watches this process and ends with it, also when
/// tests panic or are killed, and its directory is removed then.
static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(1);

/// A fresh, empty database that no other test uses.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    name: String,
    url: SecretString,
}

impl TestDatabase {
    /// Makes a database (0.1 s; the first in a program starts the cluster: 1 s). None if there is no PostgreSQL and the
    /// test is to be skipped: `let Some(database) = TestDatabase::new().await else { return };`
    ///
    /// # Panics
    /// If the cluster does not start, or PostgreSQL is missing and `LIFTLOCK_REQUIRE` names it.
    pub async fn new() -> Option<Self> {
        let cluster = cluster().await?;
        let name = fresh_name();
        cluster.create_database(&name).await.expect("a fresh database on the tests' cluster");
        Some(Self { url: cluster.url(&name), name })
    }

    /// Makes a database that is a copy of this one, to which nobody may be connected.
    ///
    /// # Panics
    /// If somebody is connected to this one.
    pub async fn copy(&self) -> Self {
        let cluster = CLUSTER.get().expect("a database is on the cluster");
        let name = fresh_name();
        cluster.clone_database(&self.name, &name).await.expect("a copy of a database");
        Self { url: cluster.url(&name), name }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its URL, for the superuser.
    pub fn url(&self) -> &SecretString {
        &self.url
    }
}

/// The test program's cluster, for tests that look at the server itself; none if the test is to be skipped.
///
/// # Panics
/// As [`TestDatabase::new`].
pub async fn cluster() -> Option<&'static Cluster> {
    requirement::postgres()?;
    Some(CLUSTER.get_or_init(start).await)
}

async fn start() -> Cluster {
    let directory = tempfile::Builder::new()
        .prefix("liftlock-test-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir()
        .expect("a temporary directory")
        .keep();
    let options = ClusterOptions {
        durable: false,
        max_connections: 200,
        remove_at_end: true,
        ..ClusterOptions::new(directory)
    };
    Cluster::start(options).await.expect("the tests' PostgreSQL cluster starts")
}

fn fresh_name() -> String {
    format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_test_has_a_database_of_its_own() {
        let Some(one) = TestDatabase::new().await else { return };
        let two = TestDatabase::new().await.unwrap();
        let three = one.copy().await;
        assert!(one.name() != two.name() && two.name() != three.name());
    }
}
