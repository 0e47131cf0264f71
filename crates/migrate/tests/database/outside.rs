//! Migrations outside of a transaction.

use liftlock_model::Exit;
use liftlock_testkit::TestDatabase;

use crate::support::{Files, ask, connect, quiet};

/// Shows C-MIG-2: what PostgreSQL would not take in a transaction is told with its place before anything is touched.
#[tokio::test]
async fn what_takes_no_transaction_is_refused_without_the_directive() {
    let Some(database) = TestDatabase::new().await else { return };
    let files = Files::new(&[
        ("V0001__a", "create table a (id int);\n\nvacuum a", "drop table a"),
        ("V0002__b", "create index i on a (id)", "-- first\ndrop index concurrently i"),
    ]);
    files.write("V0002__b.verify.sql", "-- migrate: no-transaction\nselect true");
    let error = connect(&database).await.apply(&files.read(), None, &mut quiet).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
    let text = error.to_string();
    for expected in [
        "V0001__a.sql:3: `VACUUM` cannot run in a transaction: add `-- migrate: no-transaction`",
        "V0002__b.rollback.sql:2: `DROP INDEX CONCURRENTLY` cannot run in a transaction",
        "V0002__b.verify.sql:1: a verify script only looks",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(
        ask(&database, "select count(*) from pg_class where relname ~ 'history|^a$'").await,
        "0"
    );
}
