//! The house itself: arrows go down only, peers never import each other, and no test file is forgotten.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The floors, from the ground up. A crate may use crates of lower floors, and of its own floor only where `BESIDE` says so.
const FLOORS: [&[&str]; 6] = [
    &["liftlock-model"],
    &["liftlock-environment", "liftlock-saga", "liftlock-ledger", "liftlock-postgres"],
    &[
        "liftlock-terraform",
        "liftlock-migrate",
        "liftlock-rollout",
        "liftlock-gate",
        "liftlock-probe",
        "liftlock-notify",
        "liftlock-stage",
    ],
    &["liftlock-aws"],
    &["liftlock-promote"],
    &["liftlock"],
];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Each package of the workspace, and the packages that it uses outside of its tests.
fn packages() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(top())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let uses = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|dependency| dependency["kind"].is_null()).map(name).collect()
    };
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (name(package), uses(package)))
        .collect()
}

fn floor(package: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&package))
}

/// Shows W-1: arrows go down only, and peers never import each other.
#[test]
fn arrows_go_down_only() {
    for (package, uses) in packages() {
        let Some(own) = floor(&package) else { continue };
        for used in uses {
            if let Some(other) = floor(&used) {
                assert!(other < own, "{package} uses {used}, which is not below it");
            }
        }
    }
}

/// Every crate of the house has its floor, so that the test above cannot pass by not knowing one.
#[test]
fn every_crate_has_its_floor() {
    for entry in std::fs::read_dir(top().join("crates")).unwrap() {
        let directory = entry.unwrap().file_name().into_string().unwrap();
        let package =
            if directory == "liftlock" { directory } else { format!("liftlock-{directory}") };
        assert!(
            package == "liftlock-testkit" || floor(&package).is_some(),
            "{package} has no floor"
        );
    }
}

#[test]
fn only_aws_names_the_sdk() {
    for (package, uses) in packages() {
        let sdk = uses.iter().find(|used| used.starts_with("aws-sdk-"));
        assert!(sdk.is_none() || package == "liftlock-aws", "{package} uses {sdk:?}");
    }
}

#[test]
fn the_saga_is_pure() {
    let uses = &packages()["liftlock-saga"];
    assert!(
        !uses.iter().any(|used| used.starts_with("aws-") || used == "sqlx" || used == "reqwest"),
        "{uses:?}"
    );
}

/// Shows W-1: everything stands where a reader expects it.
#[test]
fn the_workspace_has_its_rooms() {
    for room in [
        "Cargo.toml",
        "crates",
        "iac",
        "migrations",
        "environments",
        "xtask",
        "tests",
        "README.md",
        "ARCHITECTURE.md",
    ] {
        assert!(top().join(room).exists(), "{room} is missing");
    }
}

#[test]
fn no_test_file_is_forgotten() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("end-to-end");
    let main = std::fs::read_to_string(directory.join("main.rs")).unwrap();
    for entry in std::fs::read_dir(&directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(stem) = name.strip_suffix(".rs").filter(|stem| *stem != "main") {
            assert!(main.contains(&format!("mod {stem};")), "main.rs does not name {name}");
        }
    }
}
