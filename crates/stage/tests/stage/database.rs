//! The database that the stage runs as an RDS instance.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use liftlock_postgres::Programs;
use liftlock_stage::{
    Colour, DatabaseTopology, Fault, Kind, Scenario, Stage, Topology, add_faults, clear_faults,
    database_url, ensure, faults, status, stop,
};
use rustix::process::{Pid, Signal, kill_process};
use secrecy::ExposeSecret as _;

use crate::client::{Http, echo, eventually, topology};

/// PostgreSQL's programs; none, with a note, where they are neither installed nor required.
fn programs() -> Option<Programs> {
    match Programs::find() {
        Ok(programs) => Some(programs),
        Err(error) => {
            let required = std::env::var("LIFTLOCK_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|part| part == "postgres"), "{error}");
            anstream::eprintln!("skipped: {error}");
            None
        }
    }
}

async fn start(directory: &Path) -> Stage {
    let topology = Topology { database: Some(DatabaseTopology { instance: None }), ..topology() };
    let arguments: Vec<OsString> = vec!["--directory".into(), directory.into()];
    let program = env!("CARGO_BIN_EXE_liftlock-stage");
    ensure(directory, Path::new(program), &arguments, &topology).await.unwrap()
}

fn sql(programs: &Programs, directory: &Path, statement: &str) -> String {
    let url = database_url(directory).unwrap();
    let mut command = Command::new(programs.path("psql"));
    command.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement]);
    let said = command.arg(url.expose_secret()).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}

/// A snapshot is a dump that restores; what was committed outlives a stage that is killed.
#[tokio::test(flavor = "multi_thread")]
async fn the_database_and_its_snapshots_are_real() {
    let Some(programs) = programs() else { return };
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path();
    let first = start(directory).await;
    sql(&programs, directory, "create table items (name text)");
    sql(&programs, directory, "insert into items values ('hat')");

    let http = Http::new(&first);
    let create = [
        ("Action", "CreateDBSnapshot"),
        ("DBInstanceIdentifier", "shop-test"),
        ("DBSnapshotIdentifier", "shop-test-run"),
        ("Tags.Tag.1.Key", "liftlock:run"),
        ("Tags.Tag.1.Value", "run"),
    ];
    let (code, made) = http.query("rds", &create).await;
    assert!(code == 200 && made.contains("<Status>creating</Status>"), "{code} {made}");
    let (_, again) = http.query("rds", &create).await;
    assert!(again.contains("<Code>DBSnapshotAlreadyExists</Code>"), "{again}");
    let describe = [("Action", "DescribeDBSnapshots"), ("DBSnapshotIdentifier", "shop-test-run")];
    eventually("an available snapshot", async || {
        http.query("rds", &describe).await.1.contains("<Status>available</Status>")
    })
    .await;
    let (_, described) = http.query("rds", &describe).await;
    assert!(described.contains("<Key>liftlock:run</Key><Value>run</Value>"), "{described}");

    let pid = Pid::from_raw(first.pid.try_into().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    let second = start(directory).await;
    assert_eq!(sql(&programs, directory, "select name from items"), "hat");
    sql(&programs, directory, "drop table items");
    let url = database_url(directory).unwrap();
    let dump = directory.join("snapshots").join("shop-test-run.dump");
    let limit = std::time::Duration::from_secs(60);
    liftlock_postgres::restore(&programs, &url, &dump, limit).await.unwrap();
    assert_eq!(sql(&programs, directory, "select name from items"), "hat");

    let http = Http::new(&second);
    let delete = [("Action", "DeleteDBSnapshot"), ("DBSnapshotIdentifier", "shop-test-run")];
    assert_eq!(http.query("rds", &delete).await.0, 200);
    assert!(!dump.exists(), "a deleted snapshot takes no space");

    let shown = status(directory).await.unwrap().unwrap().database.unwrap();
    assert!(shown.available && shown.instance == "shop-test");
    stop(directory).await.unwrap();
    let port = shown.port.unwrap();
    let gone = std::net::TcpStream::connect(("127.0.0.1", port)).is_err();
    assert!(gone, "the database ends with the stage");
}

/// The secret is in the parameter store, and in no file that others can read.
#[tokio::test(flavor = "multi_thread")]
async fn the_database_url_is_a_secret() {
    use std::os::unix::fs::PermissionsExt as _;
    if programs().is_none() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("stage");
    let stage = start(&directory).await;
    let url = database_url(&directory).unwrap();
    assert!(!format!("{url:?} {stage:?}").contains("postgres://"));
    for (file, mode) in [("", 0o700), ("stage.json", 0o600), ("keys.json", 0o600)] {
        let seen = std::fs::metadata(directory.join(file)).unwrap().permissions().mode();
        assert_eq!(seen & 0o777, mode, "{file}");
    }
    let http = Http::new(&stage);
    let asked = serde_json::json!({ "Name": "/shop/test/database-url" });
    let (_, hidden) = http.json("ssm", "GetParameter", asked).await;
    assert!(!hidden.to_string().contains("postgres://"), "not without decryption");
    stop(&directory).await.unwrap();
}

/// A colour can lose the database while the other keeps it, and everybody can; both come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_colour_or_everybody_can_lose_the_database() {
    let Some(programs) = programs() else { return };
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path();
    let stage = start(directory).await;
    let http = Http::new(&stage);
    let image = echo(directory, &[]);
    for colour in Colour::BOTH {
        http.run_with_database(colour, &image).await;
    }
    let says = async |url: &url::Url, wanted: u16| {
        let url = format!("{url}database");
        eventually(&format!("{wanted} from {url}"), async || {
            http.get(&url).await.is_ok_and(|(status, _)| status == wanted)
        })
        .await;
    };
    let (blue, green) = (&stage.url, &stage.test_url);
    says(blue, 200).await;
    says(green, 200).await;

    let cut = Fault { colour: Some(Colour::Green), ..Fault::new(Kind::DatabaseCut) };
    let scenario = |fault: Fault| Scenario { seed: 0, faults: vec![fault] };
    let names = add_faults(directory, &scenario(cut)).await.unwrap();
    says(green, 503).await;
    says(blue, 200).await;
    assert_eq!(sql(&programs, directory, "select 1"), "1", "the database itself is well");
    assert_eq!(clear_faults(directory, Some(&names[0])).await.unwrap(), names);
    says(green, 200).await;

    add_faults(directory, &scenario(Fault::new(Kind::DatabaseDown))).await.unwrap();
    says(blue, 503).await;
    says(green, 503).await;
    assert!(!status(directory).await.unwrap().unwrap().database.unwrap().available);
    assert_eq!(clear_faults(directory, None).await.unwrap().len(), 1);
    says(blue, 200).await;
    says(green, 200).await;
    assert!(faults(directory).await.unwrap().is_empty());
    stop(directory).await.unwrap();
}
