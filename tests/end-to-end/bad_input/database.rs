//! The environment's database: where its URL comes from, whether it answers, and what was applied to it.

use liftlock_testkit::{ClosedPort, TestDatabase};
use secrecy::ExposeSecret as _;
use sqlx::{Connection as _, PgConnection};

use super::scene::{SECRET, Scene};

const URL: &str = "SHOP_DATABASE_URL";

/// Asserts that nothing goes on without the secret, and that it is said where it was looked for.
async fn source(
    scene: &Scene,
    source: &str,
    variables: &[(&str, &str)],
    code: i32,
    words: &[&str],
) {
    scene.write("environments/dev.toml", &format!("[database]\nurl = {source}\n"));
    for arguments in [&["migrate", "--env", "dev"][..], &["migrate", "status", "--env", "dev"]] {
        scene.refused(arguments, variables).await.exits(code).says(words);
    }
}

#[tokio::test]
async fn an_unreadable_secret_source_is_named() {
    let scene = Scene::new();
    let variable = "{ from = \"env\", variable = \"SHOP_DATABASE_URL\" }";
    source(
        &scene,
        variable,
        &[],
        2,
        &["`SHOP_DATABASE_URL` is not set", "export SHOP_DATABASE_URL="],
    )
    .await;
    source(&scene, variable, &[(URL, "")], 2, &["`SHOP_DATABASE_URL`", "empty"]).await;
    let file = "{ from = \"file\", path = \"secrets/url\" }";
    source(&scene, file, &[], 2, &["secrets/url", "does not exist"]).await;
    std::fs::create_dir_all(scene.path("secrets/url")).unwrap();
    source(&scene, file, &[], 2, &["secrets/url", "cannot be read"]).await;
    let missing = "{ from = \"command\", program = [\"no-such-program\", \"get\"] }";
    source(&scene, missing, &[], 2, &["`no-such-program`"]).await;
    // What it prints may be half of a secret; what it complains of is for the person.
    let failing = format!(
        "{{ from = \"command\", program = [\"sh\", \"-c\", \"echo {SECRET}; echo not logged in >&2; exit 3\"] }}"
    );
    source(&scene, &failing, &[], 2, &["`sh`", "3", "not logged in"]).await;
    let ssm = "{ from = \"ssm\", parameter = \"/shop/dev/url\" }";
    source(&scene, ssm, &[], 3, &["`/shop/dev/url`", "AWS credentials"]).await;
}

#[tokio::test]
async fn a_url_that_is_none_is_not_repeated() {
    let scene = Scene::new();
    for url in [
        SECRET.to_owned(),
        format!("mysql://root:{SECRET}@127.0.0.1/shop"),
        format!("postgres://u:{SECRET}@h:port/d"),
    ] {
        let ran = scene.refused(&["migrate", "--env", "dev"], &[(URL, &url)]).await.exits(2);
        ran.says(&[
            "postgres://user:password@host:port/database",
            "next: look at the environment variable `SHOP_DATABASE_URL`",
        ]);
    }
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_named() {
    let scene = Scene::new();
    let closed = ClosedPort::new();
    let port = closed.number();
    let url = format!("postgres://shop:{SECRET}@127.0.0.1:{port}/shop");
    for arguments in
        [&["migrate", "--env", "dev"][..], &["migrate", "rollback", "--env", "dev", "--steps", "1"]]
    {
        let ran = scene.refused(arguments, &[(URL, &url)]).await.exits(1);
        ran.says(&[
            &format!("127.0.0.1:{port}/shop does not answer"),
            "next: look at the environment variable `SHOP_DATABASE_URL`",
        ]);
    }
}

/// The URL of a test's database with another user, password or name.
pub(super) fn with(database: &TestDatabase, user: &str, name: &str) -> String {
    let (_, host) = database.url().expose_secret().rsplit_once('@').unwrap();
    let (host, _) = host.split_once('/').unwrap();
    format!("postgres://{user}:{SECRET}@{host}/{name}")
}

#[tokio::test]
async fn wrong_credentials_exit_3() {
    let Some(database) = TestDatabase::new().await else { return };
    let scene = Scene::new();
    let url = with(&database, "intruder", database.name());
    for arguments in [&["migrate", "--env", "dev"][..], &["migrate", "status", "--env", "dev"]] {
        let ran = scene.refused(arguments, &[(URL, &url)]).await.exits(3);
        ran.says(&["does not let user intruder in", database.name(), "`SHOP_DATABASE_URL`"]);
    }
    assert_eq!(tables(&database).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_named() {
    let Some(database) = TestDatabase::new().await else { return };
    let url =
        database.url().expose_secret().replace(&format!("/{}", database.name()), "/no_such_shop");
    let ran = Scene::new().refused(&["migrate", "--env", "dev"], &[(URL, &url)]).await.exits(2);
    ran.says(&["no_such_shop", "`SHOP_DATABASE_URL`"]);
}

async fn tables(database: &TestDatabase) -> Vec<String> {
    let mut connection = PgConnection::connect(database.url().expose_secret()).await.unwrap();
    let sql = "select table_schema || '.' || table_name || ' ' || (xpath('//row/n/text()', query_to_xml(format(
        'select count(*) as n from %I.%I', table_schema, table_name), true, false, '')))[1]::text
        from information_schema.tables where table_schema not in ('pg_catalog', 'information_schema') order by 1";
    sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
}

/// Shows C-MIG-2: what was applied is what the files say, or nothing goes on.
#[tokio::test]
async fn an_applied_file_that_changed_stops_before_anything() {
    let Some(database) = TestDatabase::new().await else { return };
    let scene = Scene::new();
    let url = [(URL, database.url().expose_secret())];
    scene.run_with(&["migrate", "--env", "dev"], &url).await.exits(0);
    let before = tables(&database).await;
    assert!(before.contains(&"public.items 0".to_owned()), "{before:?}");

    scene.write("migrations/V0001__items.sql", "create table items (id bigint);");
    scene.migration(3, "carts", "create table carts (id int);", "drop table carts;");
    for arguments in [&["migrate", "--env", "dev"][..], &["migrate", "--env", "dev", "--dry-run"]] {
        let ran = scene.refused(arguments, &url).await.exits(2);
        ran.says(&["V0001__items", "changed"]);
    }
    let status = scene.refused(&["migrate", "status", "--env", "dev"], &url).await.exits(1);
    status.prints(&["PROBLEM", "V0001__items"]);
    assert_eq!(tables(&database).await, before);
}

#[tokio::test]
async fn a_migration_that_is_not_there_cannot_be_rolled_back_to() {
    let Some(database) = TestDatabase::new().await else { return };
    let scene = Scene::new();
    let url = [(URL, database.url().expose_secret())];
    scene.run_with(&["migrate", "--env", "dev"], &url).await.exits(0);
    let before = tables(&database).await;
    let ran = scene.refused(&["migrate", "rollback", "--env", "dev", "--to", "latest"], &url).await;
    ran.exits(2).says(&["latest"]);
    assert_eq!(tables(&database).await, before);
}
