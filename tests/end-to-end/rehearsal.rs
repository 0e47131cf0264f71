//! `liftlock stage`: the rehearsal cloud in anybody's hands, without a repository.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::project::until;

const TOPOLOGY: &str = r#"
application = "shop"
environment = "prod"
region = "eu-central-1"
account = "123456789012"

[[services]]
name = "web"
repository = "shop/web"
port = 8080
priority = 1
tasks = 1
health_path = "/health"
cpu = 256
memory = 512
"#;

const SCENARIO: &str = r#"
seed = 7

[[fault]]
name = "busy"
kind = "throttle"
operation = "ecs:*"
per_second = 1
"#;

/// A directory with a stage in it, which ends with the test.
struct Desk(tempfile::TempDir);

impl Desk {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, command: &str) -> Output {
        let mut words = command.split_whitespace();
        let mut liftlock = Command::new(env!("CARGO_BIN_EXE_liftlock-under-test"));
        liftlock.current_dir(self.0.path()).arg("stage");
        // The directory stands behind the command's own name, and behind that of a fault's command.
        let nested = command.starts_with("fault");
        liftlock.args(words.by_ref().take(if nested { 2 } else { 1 }));
        liftlock.args(["--directory", "cloud"]).args(words).output().unwrap()
    }

    fn json(&self, command: &str) -> Value {
        let said = self.run(&format!("{command} --output json"));
        let (out, err) =
            (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.status.success(), "{command}: {out}{err}");
        serde_json::from_str(out.lines().last().unwrap()).unwrap()
    }

    fn refused(&self, command: &str, says: &str) {
        let said = self.run(command);
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(2), "{command}: {text}");
        assert!(text.contains(says), "{command}: {text}");
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.run("stop");
    }
}

/// One that has ended and was not waited for by anybody has no command line any more.
fn is_alive(pid: &Value) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline"));
    line.is_ok_and(|line| !line.is_empty())
}

/// Started with a topology and a scenario, watched, spoiled, mended and stopped, by text and by JSON.
#[tokio::test(flavor = "multi_thread")]
async fn a_stage_is_started_spoiled_and_stopped_from_a_shell() {
    let desk = Desk(tempfile::tempdir().unwrap());
    std::fs::write(desk.path("topology.toml"), TOPOLOGY).unwrap();
    std::fs::write(desk.path("day.toml"), SCENARIO).unwrap();
    let running = desk.json("status");
    assert_eq!(running["running"], false);
    assert!(!desk.path("cloud").exists(), "looking makes nothing");

    let started = desk.json("start --topology topology.toml --scenario day.toml");
    let (export, stage) = (&started["export"], &started["stage"]);
    assert!(
        export["AWS_ENDPOINT_URL"].as_str().unwrap().starts_with("http://127.0.0.1:"),
        "{export}"
    );
    assert_eq!(stage["services"][0]["name"], "web");
    assert_eq!(stage["faults"][0]["fault"]["name"], "busy");

    // A shell that evaluates what it prints is at the stage.
    let text = desk.run("start");
    let script = format!(
        "{}\necho \"$AWS_ENDPOINT_URL $AWS_REGION\"",
        String::from_utf8_lossy(&text.stdout)
    );
    let shell = Command::new("sh").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&shell.stdout).trim().to_owned();
    assert_eq!(said, format!("{} eu-central-1", export["AWS_ENDPOINT_URL"].as_str().unwrap()));

    let added = desk.json("fault add errors service=web colour=green share=0.5 for=1h");
    let name = added["names"][0].as_str().unwrap();
    let listed = desk.json("fault list");
    assert_eq!(listed["faults"][1]["fault"]["share"], 0.5);
    let shown = String::from_utf8_lossy(&desk.run("status").stdout).into_owned();
    assert!(shown.contains("busy: throttle operation=ecs:* per_second=1"), "{shown}");
    assert_eq!(desk.json(&format!("fault clear {name}"))["names"][0], name);
    assert_eq!(desk.json("fault clear")["names"][0], "busy");

    let pid = stage["pid"].clone();
    assert!(is_alive(&pid));
    assert_eq!(desk.json("stop")["stopped"], true);
    // Its lock is free a moment before the process is gone.
    until("the process of the stage ends", async || !is_alive(&pid)).await;
    assert_eq!(desk.json("stop --reset")["stopped"], false);
    assert!(!desk.path("cloud").exists());
}

/// What makes no sense is refused before anything is started or changed.
#[test]
fn what_makes_no_sense_is_refused() {
    let desk = Desk(tempfile::tempdir().unwrap());
    std::fs::write(desk.path("bad.toml"), "[[fault]]\nkind = \"crash\"\nstatus = 500\n").unwrap();
    desk.refused(
        "start --scenario bad.toml",
        "bad.toml:1: a fault of kind crash takes no `status`",
    );
    desk.refused("start --scenario none.toml", "none.toml");
    desk.refused("fault add errors share=0.5", "stage start");
    assert!(!desk.path("cloud").exists(), "nothing was started");
    desk.json("start");
    desk.refused("fault add explode", "there is no fault of kind `explode`; there are crash,");
    desk.refused("fault add errors share=50", "`share` is a part of 1");
    desk.refused("fault add errors delay=3s", "takes no `delay`");
    desk.refused("fault clear nobody", "there is no fault called nobody");
    let other = tempfile::tempdir().unwrap();
    let taken = desk.json("status")["endpoint"].as_str().unwrap().to_owned();
    let port = taken.trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
    let mut liftlock = Command::new(env!("CARGO_BIN_EXE_liftlock-under-test"));
    let second = liftlock.current_dir(other.path()).args([
        "stage",
        "start",
        "--directory",
        "b",
        "--port",
        &port,
    ]);
    let second = second.output().unwrap();
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.code() == Some(2) && text.contains(&format!("port {port}")), "{text}");
    assert_eq!(desk.json("fault list")["faults"], serde_json::json!([]));
}
