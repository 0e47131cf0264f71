//! Connecting: what is said when it fails.

use liftlock_migrate::{ConnectErrorKind, Database};
use liftlock_testkit::{ClosedPort, TestDatabase};
use secrecy::ExposeSecret as _;

use crate::support::settings;

async fn fails(url: &str) -> (ConnectErrorKind, String) {
    let error = Database::connect(&url.to_owned().into(), settings()).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    (error.kind(), error.to_string())
}

#[tokio::test]
async fn each_failure_is_of_its_kind_and_names_the_place_and_never_the_password() {
    let Some(database) = TestDatabase::new().await else { return };
    let good = database.url().expose_secret();
    let place = &good[good.find('@').unwrap() + 1..];
    let (host, name) = place.split_once('/').unwrap();

    let (kind, text) = fails(&format!("postgres://postgres:s3cret@{place}")).await;
    assert_eq!(kind, ConnectErrorKind::Authentication);
    assert!(text.contains(&format!("{host}/{name} does not let user postgres in")), "{text}");

    let (kind, text) = fails(&good.replace(name, "nowhere_s3").replace("_s3", "")).await;
    assert_eq!(kind, ConnectErrorKind::Configuration);
    assert!(text.contains("database \"nowhere\" does not exist"), "{text}");

    let closed = ClosedPort::new();
    let free = closed.number();
    let (kind, text) = fails(&format!("postgres://postgres:s3cret@127.0.0.1:{free}/shop")).await;
    assert_eq!(kind, ConnectErrorKind::Unreachable);
    assert!(text.contains(&format!("127.0.0.1:{free}/shop does not answer")), "{text}");

    for bad in
        ["", "s3cret", "mysql://u:s3cret@h/d", "postgres://u:s3cret@h:port/d", "postgres://[s3cret"]
    {
        let (kind, text) = fails(bad).await;
        assert_eq!(kind, ConnectErrorKind::Configuration, "{bad}");
        assert!(text.contains("postgres://user:password@host:port/database"), "{text}");
    }
}
