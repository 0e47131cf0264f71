//! Databases that refinery has migrated, with refinery's own runner, and the way back to refinery.

use liftlock_testkit::TestDatabase;
use refinery_core::traits::r#async::{AsyncQuery, AsyncTransaction};
use refinery_core::{AsyncMigrate, Migration, Runner};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{Files, apply, connect, quiet, session, tables};

/// A connection for refinery's runner, as a user of refinery would write it: each migration and its record in one transaction.
struct Connection(PgConnection);

impl AsyncTransaction for Connection {
    type Error = sqlx::Error;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(
        &'a mut self,
        queries: T,
    ) -> Result<usize, sqlx::Error> {
        sqlx::raw_sql("begin").execute(&mut self.0).await?;
        for query in queries {
            sqlx::raw_sql(AssertSqlSafe(query)).execute(&mut self.0).await?;
        }
        sqlx::raw_sql("commit").execute(&mut self.0).await?;
        Ok(0)
    }
}

impl AsyncQuery<Vec<Migration>> for Connection {
    async fn query<'a>(&'a mut self, query: &'a str) -> Result<Vec<Migration>, sqlx::Error> {
        let rows = sqlx::raw_sql(AssertSqlSafe(query)).fetch_all(&mut self.0).await?;
        let read = |row: &sqlx::postgres::PgRow| {
            let at = OffsetDateTime::parse(row.get(2), &Rfc3339).unwrap();
            Migration::applied(row.get(0), row.get(1), at, row.get::<String, _>(3).parse().unwrap())
        };
        Ok(rows.iter().map(read).collect())
    }
}

impl AsyncMigrate for Connection {}

/// What refinery applies of a directory.
async fn refinery(database: &TestDatabase, files: &Files) -> usize {
    let migrations = refinery_core::load_sql_migrations(files.path()).unwrap();
    let mut connection = Connection(session(database.url()).await);
    let report = Runner::new(&migrations).run_async(&mut connection).await.unwrap();
    report.applied_migrations().len()
}

const A: (&str, &str, &str) = ("V1__a", "create table a (id int);\n", "drop table a");
const B: (&str, &str, &str) = ("V2__b", "create table b (id int);\n", "drop table b");
const C: (&str, &str, &str) = ("V3__c", "create table c (id int);\n", "drop table c");
const D: (&str, &str, &str) = ("V4__d", "create table d (id int);\n", "drop table d");

/// Shows W-8: refinery, then Liftlock, then refinery again, on one database.
#[tokio::test]
async fn a_database_that_refinery_migrated_goes_on_and_refinery_can_take_it_back() {
    let Some(database) = TestDatabase::new().await else { return };
    assert_eq!(refinery(&database, &Files::new(&[A, B])).await, 2);

    let files = Files::new(&[A, B, C]);
    let mut liftlock = connect(&database).await;
    let status = liftlock.status(&files.read()).await.unwrap();
    assert_eq!((status.applied.len(), status.pending.len(), status.problems.len()), (2, 1, 0));
    assert_eq!((status.applied[0].by.clone(), status.applied[0].milliseconds), (None, None));

    let error = liftlock.rollback(0, false, &mut quiet).await.unwrap_err();
    assert!(error.to_string().contains("no rollback script of V0002__b"), "{error}");
    assert_eq!(tables(&database).await, "a b", "nothing was touched");

    let mut told = Vec::new();
    liftlock.apply(&files.read(), None, &mut |p| told.push(p.to_string())).await.unwrap();
    assert!(told[0].starts_with("V0001__a was applied by refinery"), "{told:?}");
    assert_eq!(
        refinery(&database, &Files::new(&[A, B, C, D])).await,
        1,
        "refinery accepts our records"
    );
    assert_eq!(apply(&database, &Files::new(&[A, B, C, D])).await, [] as [i32; 0]);

    let back = liftlock.rollback(1, false, &mut quiet).await.unwrap();
    assert_eq!(back.ran.iter().map(|ran| ran.id.version).collect::<Vec<_>>(), [4, 3, 2]);
    assert_eq!(
        refinery(&database, &Files::new(&[A, B])).await,
        1,
        "refinery sees what was rolled back"
    );
}

#[tokio::test]
async fn a_file_that_changed_since_refinery_applied_it_is_refused() {
    let Some(database) = TestDatabase::new().await else { return };
    refinery(&database, &Files::new(&[A])).await;
    let changed = Files::new(&[("V1__a", "create table a (id bigint);\n", A.2)]);
    let error =
        connect(&database).await.apply(&changed.read(), None, &mut quiet).await.unwrap_err();
    assert!(error.to_string().contains("V1__a.sql has changed since"), "{error}");
}
