//! Starting, ending, coming back.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use liftlock_stage::{Colour, ServeOptions, Stage, StageError, ensure, reset, status, stop};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::client::{Http, echo, eventually, of_colour, topology};

fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_liftlock-stage").into()
}

fn arguments(directory: &Path) -> Vec<OsString> {
    vec!["--directory".into(), directory.into()]
}

async fn start(directory: &Path) -> Result<Stage, StageError> {
    ensure(directory, &program(), &arguments(directory), &topology()).await
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(number.try_into().unwrap()).unwrap()
}

async fn wait_for(directory: &Path, colour: Colour, healthy: u32) {
    eventually("healthy tasks", async || {
        let status = status(directory).await.unwrap().unwrap();
        of_colour(&status, colour).healthy == healthy
    })
    .await;
}

/// A stage that is killed leaves nothing behind, and the next one is as it was: same port, weights, tasks.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_stage_comes_back_as_it_was() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path();
    let first = start(directory).await.unwrap();
    let http = Http::new(&first);
    let image = echo(directory, &[]);
    http.run(Colour::Green, &image, "7", 2).await;
    assert_eq!(http.shift("30", "70").await.0, 200);
    wait_for(directory, Colour::Green, 2).await;
    let listed = http.ecs("ListTasks", serde_json::json!({})).await["taskArns"].clone();
    let described = http.ecs("DescribeTasks", serde_json::json!({ "tasks": listed })).await;
    let tasks: Vec<u32> = described["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["containers"][0]["runtimeId"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(tasks.len(), 2);

    kill_process(pid(first.pid), Signal::KILL).unwrap();
    eventually("the tasks are gone", async || {
        tasks.iter().all(|task| test_kill_process(pid(*task)).is_err())
    })
    .await;
    assert!(status(directory).await.unwrap().is_none());

    let second = start(directory).await.unwrap();
    assert_ne!(second.pid, first.pid);
    assert_eq!((&second.url, &second.access_key), (&first.url, &first.access_key));
    wait_for(directory, Colour::Green, 2).await;
    let seen = status(directory).await.unwrap().unwrap();
    let green = of_colour(&seen, Colour::Green);
    assert_eq!((green.weight, green.desired, green.version.as_deref()), (70, 2, Some("7")));
    assert!(stop(directory).await.unwrap());
    assert!(!stop(directory).await.unwrap(), "there is nothing to stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_start_one_stage() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path();
    let (a, b, c) = tokio::join!(start(directory), start(directory), start(directory));
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    assert_eq!((a.pid, a.pid), (b.pid, c.pid));
    assert_eq!(a.access_key, b.access_key);
    let error = Stage::spawn(ServeOptions::new(directory), &topology()).await.unwrap_err();
    assert!(matches!(error, StageError::AlreadyRunning { .. }), "{error}");
    reset(directory).await.unwrap();
    assert!(!directory.exists(), "a reset leaves nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_given_up() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path();
    let first = start(directory).await.unwrap();
    stop(directory).await.unwrap();
    let port = first.url.port().unwrap();
    let _taken = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let second = start(directory).await.unwrap();
    assert_ne!(second.url.port().unwrap(), port);
    assert_eq!(second.endpoint, first.endpoint, "the others stay");
    stop(directory).await.unwrap();
}

/// A program that does not come up is shown with what it said.
#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_does_not_start_says_why() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path();
    let arguments: Vec<OsString> = vec!["-c".into(), "echo it has no wish to >&2; exit 3".into()];
    let error = ensure(directory, Path::new("/bin/sh"), &arguments, &topology()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("exit status: 3") && text.contains("it has no wish to"), "{text}");

    let error =
        ensure(directory, Path::new("/no/such/program"), &[], &topology()).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/program"), "{error}");

    std::fs::write(directory.join("stage.json"), "{ torn").unwrap();
    let text = start(directory).await.unwrap_err().to_string();
    assert!(text.contains("stage.json") && text.contains("local reset"), "{text}");
}

/// A directory that cannot be made or written is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_used_is_named() {
    // A file in the place of a directory stops root, too, whom permissions do not.
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = start(&file.join("stage")).await.unwrap_err();
    assert!(error.to_string().contains("file/stage"), "{error}");
    assert!(status(&temporary.path().join("nothing")).await.unwrap().is_none());
    assert!(!temporary.path().join("nothing").exists(), "looking makes nothing");
}
