//! Private clusters on the real server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use liftlock_postgres::{Cluster, ClusterError, ClusterOptions, Presence, Programs};

/// PostgreSQL, or none with a note on standard error. The testkit stands above this crate, so its rule is repeated here.
#[expect(clippy::print_stderr, reason = "a note to the person who runs the test")]
fn postgres() -> Option<Programs> {
    let required = std::env::var("LIFTLOCK_REQUIRE").unwrap_or_default();
    match Programs::find() {
        Ok(programs) => Some(programs),
        Err(error) if required.split(',').any(|word| word.trim() == "postgres") => {
            panic!("{error}")
        }
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

fn fast(directory: &Path) -> ClusterOptions {
    ClusterOptions { durable: false, ..ClusterOptions::new(directory) }
}

fn running(directory: &Path) -> Option<u32> {
    match Cluster::presence(directory).unwrap() {
        Presence::Running { pid, .. } => Some(pid),
        Presence::Absent | Presence::Stopped => None,
    }
}

/// Waits for a fact, at most 30 s.
fn eventually(what: &str, fact: impl Fn() -> bool) {
    let start = Instant::now();
    while !fact() {
        assert!(start.elapsed() < Duration::from_secs(30), "never came true: {what}");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_cluster_lives_through_start_stop_and_start() {
    let Some(programs) = postgres() else { return };
    let top = tempfile::tempdir().unwrap();
    let directory = top.path().join("cluster");
    assert_eq!(Cluster::presence(&directory).unwrap(), Presence::Absent);

    let cluster = Cluster::start(fast(&directory)).await.unwrap();
    cluster.create_database("shop").await.unwrap();
    let log = cluster.log();
    cluster.stop().await.unwrap();
    assert_eq!(Cluster::presence(&directory).unwrap(), Presence::Stopped);
    assert!(std::fs::read_to_string(log).unwrap().contains("database system is shut down"));

    let cluster = Cluster::start(fast(&directory)).await.unwrap();
    let dumped = top.path().join("shop.dump");
    let within = Duration::from_secs(60);
    liftlock_postgres::dump(&programs, &cluster.url("shop"), &dumped, within).await.unwrap();
    cluster.create_database("copy").await.unwrap();
    liftlock_postgres::restore(&programs, &cluster.url("copy"), &dumped, within).await.unwrap();
    let schema =
        liftlock_postgres::schema(&programs, &cluster.url("copy"), &[], within).await.unwrap();
    assert!(schema.contains("PostgreSQL database dump"), "{schema}");
}

#[tokio::test]
async fn the_password_is_kept_from_others_and_from_debug_output() {
    let Some(_) = postgres() else { return };
    let top = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(fast(&top.path().join("cluster"))).await.unwrap();
    let file = cluster.log().with_file_name("password");
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let password = std::fs::read_to_string(file).unwrap();
    assert!(!format!("{cluster:?} {:?}", cluster.url("postgres")).contains(password.trim()));
}

#[tokio::test]
async fn dropping_it_stops_it_and_so_does_a_panic() {
    let Some(_) = postgres() else { return };
    let top = tempfile::tempdir().unwrap();
    let directory = top.path().join("cluster");
    drop(Cluster::start(fast(&directory)).await.unwrap());
    assert_eq!(running(&directory), None);

    let inner = directory.clone();
    let panicked = tokio::spawn(async move {
        let _cluster = Cluster::start(fast(&inner)).await.unwrap();
        panic!("on purpose");
    });
    assert!(panicked.await.unwrap_err().is_panic());
    assert_eq!(running(&directory), None);
}

#[tokio::test]
async fn a_detached_cluster_goes_on_and_is_found_again() {
    let Some(_) = postgres() else { return };
    let top = tempfile::tempdir().unwrap();
    let directory = top.path().join("cluster");
    let first = Cluster::start(fast(&directory)).await.unwrap();
    let port = first.port();
    first.detach();
    let error = Cluster::start(fast(&directory)).await.unwrap_err();
    assert!(
        matches!(error, ClusterError::AlreadyRunning { port: said, .. } if said == port),
        "{error}"
    );

    let again = Cluster::attach(&directory).unwrap();
    again.create_database("still_here").await.unwrap();
    drop(again);
    assert!(running(&directory).is_some(), "dropping what was attached to leaves it running");
    Cluster::attach(&directory).unwrap().stop().await.unwrap();
    assert_eq!(running(&directory), None);
    let error = Cluster::attach(&directory).unwrap_err();
    assert!(matches!(error, ClusterError::NotRunning { .. }), "{error}");
}

#[tokio::test]
async fn a_port_that_is_asked_for_and_taken_is_told() {
    let Some(_) = postgres() else { return };
    let top = tempfile::tempdir().unwrap();
    let other = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    let options = ClusterOptions { port: Some(port), ..fast(&top.path().join("cluster")) };
    let error = Cluster::start(options.clone()).await.unwrap_err();
    assert!(error.to_string().contains(&format!("port {port} on 127.0.0.1 is in use")), "{error}");
    drop(other);
    assert_eq!(Cluster::start(options).await.unwrap().port(), port);
}

#[tokio::test]
async fn a_server_that_does_not_start_shows_its_log() {
    let Some(_) = postgres() else { return };
    let top = tempfile::tempdir().unwrap();
    let directory = top.path().join("cluster");
    let cluster = Cluster::start(fast(&directory)).await.unwrap();
    let configuration = cluster.log().with_file_name("data").join("postgresql.conf");
    cluster.stop().await.unwrap();
    std::fs::write(configuration, "shared_buffers = 'nonsense'\n").unwrap();
    let text = Cluster::start(fast(&directory)).await.unwrap_err().to_string();
    assert!(text.contains("did not start") && text.contains("shared_buffers"), "{text}");
    assert!(text.contains("server.log"), "{text}");
    assert_eq!(running(&directory), None);
}

#[tokio::test]
async fn another_major_version_is_told() {
    let Some(_) = postgres() else { return };
    let top = tempfile::tempdir().unwrap();
    let directory = top.path().join("cluster");
    let cluster = Cluster::start(fast(&directory)).await.unwrap();
    let version = cluster.log().with_file_name("data").join("PG_VERSION");
    cluster.stop().await.unwrap();
    std::fs::write(version, "9\n").unwrap();
    let text = Cluster::start(fast(&directory)).await.unwrap_err().to_string();
    assert!(text.contains("made by version 9") && text.contains("PG_BIN"), "{text}");
}

#[tokio::test]
async fn what_a_killed_initdb_left_is_no_cluster() {
    let Some(_) = postgres() else { return };
    let top = tempfile::tempdir().unwrap();
    let directory = top.path().join("cluster");
    std::fs::create_dir_all(directory.join("data.new")).unwrap();
    std::fs::write(directory.join("data.new/PG_VERSION"), "15\n").unwrap();
    std::fs::write(directory.join("password"), "old\n").unwrap();
    let cluster = Cluster::start(fast(&directory)).await.unwrap();
    cluster.create_database("fine").await.unwrap();
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_told() {
    let Some(_) = postgres() else { return };
    let top = tempfile::tempdir().unwrap();
    let file = top.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let error = Cluster::start(fast(&file.join("cluster"))).await.unwrap_err();
    assert!(matches!(error, ClusterError::Directory { .. }), "{error}");
    assert!(error.to_string().contains("a-file/cluster"), "{error}");
}

#[tokio::test]
async fn names_that_would_need_quoting_are_refused() {
    let Some(_) = postgres() else { return };
    let top = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(fast(&top.path().join("cluster"))).await.unwrap();
    for bad in ["", "Shop", "a;drop", "1st", &"x".repeat(64)] {
        let error = cluster.create_database(bad).await.unwrap_err();
        assert!(matches!(error, ClusterError::Name { .. }), "{bad}: {error}");
    }
    cluster.create_database("shop").await.unwrap();
    let error = cluster.create_database("shop").await.unwrap_err();
    assert!(error.to_string().contains("already exists"), "{error}");
}

/// A directory under one of mode 0700 that the server's account cannot enter.
#[tokio::test]
async fn a_directory_that_the_servers_account_cannot_reach_is_moved() {
    let Some(_) = postgres() else { return };
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root hands the server to another account");
        return;
    }
    let top = tempfile::tempdir().unwrap();
    std::fs::set_permissions(top.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let hidden = top.path().join("hidden");
    std::fs::DirBuilder::new().mode(0o700).create(&hidden).unwrap();
    let directory = hidden.join("cluster");
    let cluster = Cluster::start(fast(&directory)).await.unwrap();
    let elsewhere = std::fs::read_link(directory.join("elsewhere")).unwrap();
    assert!(cluster.log().starts_with(&elsewhere));
    cluster.create_database("shop").await.unwrap();
    cluster.stop().await.unwrap();
    assert_eq!(Cluster::presence(&directory).unwrap(), Presence::Stopped);
    Cluster::remove(&directory).unwrap();
    assert!(!elsewhere.exists() && !directory.exists());

    let options = ClusterOptions { remove_at_end: true, ..fast(&directory) };
    let cluster = Cluster::start(options).await.unwrap();
    let error = Cluster::remove(&directory).unwrap_err();
    assert!(matches!(error, ClusterError::AlreadyRunning { .. }), "{error}");
    let elsewhere = std::fs::read_link(directory.join("elsewhere")).unwrap();
    drop(cluster);
    assert!(!elsewhere.exists() && !directory.exists());
}

/// Twenty times two tasks start the same cluster at once: one gets it, the other is told that it runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_starts_at_once_one_gets_the_cluster() {
    let Some(_) = postgres() else { return };
    let top = tempfile::tempdir().unwrap();
    let directory = top.path().join("cluster");
    for _ in 0..20 {
        let (one, two) =
            tokio::join!(Cluster::start(fast(&directory)), Cluster::start(fast(&directory)));
        let (won, lost) = match (one, two) {
            (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won, lost),
            (one, two) => panic!("{one:?}\n{two:?}"),
        };
        assert!(matches!(lost, ClusterError::AlreadyRunning { .. }), "{lost}");
        drop(won);
    }
}

/// This test runs itself again as a process that starts a cluster and is then killed with SIGKILL.
#[tokio::test]
async fn the_server_ends_when_its_process_is_killed() {
    let Some(_) = postgres() else { return };
    const DIRECTORY: &str = "LIFTLOCK_TEST_CLUSTER_DIRECTORY";
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let options = ClusterOptions { remove_at_end: true, ..fast(Path::new(&directory)) };
        let _cluster = Cluster::start(options).await.unwrap();
        std::future::pending::<()>().await;
    }
    let top = tempfile::tempdir().unwrap();
    std::fs::set_permissions(top.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let directory = top.path().join("cluster");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_server_ends_when_its_process_is_killed"])
        .env(DIRECTORY, &directory)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    eventually("the server runs", || running(&directory).is_some());
    let pid = running(&directory).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    eventually("the server is gone", || rustix::process::test_kill_process(pid).is_err());
    eventually("its directory is gone", || !directory.exists());
}
