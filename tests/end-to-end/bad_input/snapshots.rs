//! The snapshot that an environment demands before its schema is changed.

use liftlock_testkit::TestDatabase;
use secrecy::ExposeSecret as _;
use sqlx::{Connection as _, PgConnection};

use super::scene::Scene;

const URL: &str = "SHOP_DATABASE_URL";
const BY_PG_DUMP: &str = "[database.snapshot]\nmethod = \"pg_dump\"\ndirectory = \"snapshots\"\n";

async fn ask(database: &TestDatabase, sql: &'static str) -> Option<String> {
    let mut connection = PgConnection::connect(database.url().expose_secret()).await.unwrap();
    sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
}

fn archives(scene: &Scene) -> Vec<String> {
    let entries = std::fs::read_dir(scene.path("snapshots")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".dump")).collect()
}

/// Shows C-MIG-8: `migrate` makes the snapshot that the environment demands before it applies anything, only if there is something to
/// apply; the ledger has its place in the database's log; and it comes back.
#[tokio::test]
async fn migrate_takes_the_snapshot_first_and_brings_it_back() {
    let Some(database) = TestDatabase::new().await else { return };
    let scene = Scene::new();
    scene.write("environments/dev.toml", BY_PG_DUMP);
    let url = [(URL, database.url().expose_secret())];
    for _ in 0..2 {
        scene.run_with(&["migrate", "--env", "dev"], &url).await.exits(0);
        assert_eq!(archives(&scene).len(), 1);
    }
    let id = archives(&scene).remove(0).replace(".dump", "");
    let noted = ask(&database, "select max(snapshot) from liftlock_schema_history").await;
    assert_eq!(noted.as_ref(), Some(&id));
    let export = scene.run_with(&["audit", "export"], &[]).await.exits(0);
    export.prints(&["\"kind\":\"snapshot_taken\"", &id, "\"lsn\":\"", "\"keep_until\":\""]);

    let taken = scene.run_with(&["migrate", "snapshot", "--env", "dev"], &url).await.exits(0);
    taken.prints(&["is available as", "LSN "]);
    assert_eq!(archives(&scene).len(), 2);
    let name = database.name();
    let replace = ["migrate", "restore", &id, "--env", "dev", "--replace", "--yes-replace", name];
    let ran = scene.run_with(&replace, &url).await.exits(0);
    ran.prints(&[&format!("database {name} on 127.0.0.1"), "_before_restore_"]);
    assert_eq!(ask(&database, "select to_regclass('items')::text").await, None);
}

/// Shows C-MIG-8: without the snapshot that the environment demands, nothing is applied; where it is not required, that is said.
#[tokio::test]
async fn no_snapshot_no_apply() {
    let Some(database) = TestDatabase::new().await else { return };
    let scene = Scene::new();
    scene.write("environments/dev.toml", BY_PG_DUMP);
    scene.write("snapshots", "a file where the directory should be");
    let url = [(URL, database.url().expose_secret())];
    let ran = scene.run_with(&["migrate", "--env", "dev"], &url).await.exits(1);
    ran.says(&["no snapshot, so nothing was applied: ", "snapshots"]);
    assert_eq!(ask(&database, "select to_regclass('items')::text").await, None);

    scene.write("environments/dev.toml", &format!("{BY_PG_DUMP}required = false\n"));
    scene.run_with(&["migrate", "--env", "dev"], &url).await.exits(0).prints(&["NO SNAPSHOT"]);
    assert_eq!(ask(&database, "select to_regclass('items')::text").await.as_deref(), Some("items"));
    let noted = ask(&database, "select max(snapshot) from liftlock_schema_history").await;
    assert_eq!(noted, None);
}
