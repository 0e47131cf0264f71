//! AWS's own service models, as botocore carries them: what the stage answers must be what they say.

use std::path::Path;
use std::process::Command;

use liftlock_testkit::Venv;
use liftlock_testkit::requirement::{self, Requirement};

/// Where a test's stage writes its calls, in its directory.
pub(crate) const CALLS: &str = "calls.jsonl";

/// Checks the calls that a stage of this directory wrote down. Skipped, with a note, where there is no botocore.
///
/// # Panics
/// If a request that was taken, or an answer, is not what the models say.
pub(crate) async fn check(directory: &Path) {
    let Some(venv) = requirement::met(Requirement::Moto, Venv::ensure().await) else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/check.py");
    let mut command = Command::new(venv.program("python"));
    command.arg(script).arg(directory.join(CALLS)).env("PYTHONDONTWRITEBYTECODE", "1");
    let said = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "this is not what AWS's service models say:\n{out}{err}");
}

/// The check itself finds what is wrong: a member that is missing, one that there is not, a type, an error that is none.
#[tokio::test]
async fn the_check_finds_what_is_wrong() {
    let Some(venv) = requirement::met(Requirement::Moto, Venv::ensure().await) else { return };
    let directory = tempfile::tempdir().unwrap();
    let call = |operation: &str, status: u16, request: &str, answer: &str| {
        serde_json::json!({
            "service": "ecs", "operation": operation, "protocol": "json", "request": request,
            "status": status, "answer": answer,
        })
    };
    let lines = [
        call("ListTasks", 200, "{}", r#"{"taskArns":["a"],"more":1}"#),
        call("DescribeTasks", 200, "{}", r#"{"tasks":[{"startedAt":"now"}]}"#),
        call("UpdateService", 400, "{}", r#"{"__type":"NoSuchException"}"#),
        call("ListClusters", 200, "{}", r#"{"clusterArns":["a"]}"#),
    ];
    let text: Vec<String> = lines.iter().map(ToString::to_string).collect();
    std::fs::write(directory.path().join(CALLS), text.join("\n")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/check.py");
    let mut command = Command::new(venv.program("python"));
    let said = command.arg(script).arg(directory.path().join(CALLS)).output().unwrap();
    let out = String::from_utf8_lossy(&said.stdout);
    for wanted in [
        "ListTasks: answer: the message: more is no member",
        "DescribeTasks: request: the message: tasks is missing",
        "startedAt: 'now' is no time",
        "UpdateService: NoSuchException is none of its errors",
    ] {
        assert!(out.contains(wanted), "{wanted} is not in\n{out}");
    }
    assert!(!said.status.success() && !out.contains("ListClusters"), "{out}");
}
