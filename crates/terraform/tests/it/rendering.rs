//! What `infra render` writes.

use std::process::{Command, Stdio};

use liftlock_terraform::{OutOfStep, RenderError, check, render};
use liftlock_testkit::TerraformHome;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::sample::{LOCAL_STATE, Repository, S3_STATE};

const RICH: &str = r#"
[aws]
endpoint = "http://127.0.0.1:5000/"

[infrastructure.backend]
kind = "s3"
bucket = "states"
key = "shop/terraform.tfstate"

[infrastructure.variables]
parameters = { log-level = "info", motto = "${not} %{a} \"template\"\n" }
database = { instance_class = "db.r6g.large", allocated_storage = 100, multi_az = true }
test_cidrs = ["10.0.0.0/8", "192.0.2.0/24"]
"#;

/// Shows W-2, E-IAC-1: each environment has values and a state of its own, made from its file.
#[test]
fn an_environment_becomes_tfvars_and_a_backend() {
    let repository = Repository::new(&[("dev", RICH)]);
    let files = render(&repository.load("dev")).unwrap();
    let shown: Vec<_> =
        files.iter().map(|file| format!("--- {}\n{}", file.path.display(), file.content)).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

/// Shows W-2.
#[test]
fn the_same_environment_gives_the_same_bytes() {
    let repository = Repository::new(&[("dev", RICH)]);
    let once = render(&repository.load("dev")).unwrap();
    assert_eq!(once, render(&repository.load("dev")).unwrap());
}

/// Shows W-2: the check that CI runs.
#[test]
fn a_file_that_is_out_of_step_is_shown_with_what_to_do() {
    let repository = Repository::new(&[("dev", S3_STATE)]);
    let environment = repository.load("dev");
    for file in render(&environment).unwrap() {
        repository.write(file.path.to_str().unwrap(), &file.content);
    }
    check(&environment).unwrap();

    let path = "iac/environments/dev.tfvars";
    let text = std::fs::read_to_string(repository.path().join(path)).unwrap();
    repository.write(path, &text.replace("eu-central-1", "us-east-1"));
    let error = check(&environment).unwrap_err();
    assert!(matches!(&error, OutOfStep::Files { differences, .. } if differences.len() == 1));
    insta::assert_snapshot!(error);
}

#[test]
fn a_local_state_needs_no_backend_file_in_the_repository() {
    let files = render(&Repository::new(&[("dev", LOCAL_STATE)]).load("dev")).unwrap();
    assert_eq!(files.len(), 1);
}

#[test]
fn what_is_derived_or_secret_is_not_set_by_hand() {
    let repository = Repository::new(&[("dev", LOCAL_STATE)]);
    for (variable, wrong) in [("region", "derived"), ("database_url", "secret")] {
        let mut environment = repository.load("dev");
        environment
            .config
            .infrastructure
            .variables
            .insert(variable.into(), "postgres://u:p@h/d".into());
        let error = render(&environment).unwrap_err();
        assert!(
            matches!(error, RenderError::Derived { .. } | RenderError::Secret { .. }),
            "{error}"
        );
        assert!(
            error.to_string().contains(wrong)
                && error.to_string().contains("environments/dev.toml")
        );
        assert!(!error.to_string().contains("postgres://"));
    }
}

/// Shows W-2: no value, however odd, comes out as another one.
#[test]
fn terraform_reads_what_was_meant_and_would_not_lay_it_out_otherwise() {
    let Some(home) = TerraformHome::new() else { return };
    let text = "[ -~\\t\\n\u{e9}\u{4e2d}\u{1f600}]{0,12}|[$%]{0,3}[{][a-z]{1,3}[}]";
    let leaf = prop_oneof![
        text.prop_map(toml::Value::String),
        any::<i32>().prop_map(|n| toml::Value::Integer(n.into())),
        any::<bool>().prop_map(toml::Value::Boolean),
    ];
    let value = leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(toml::Value::Array),
            prop::collection::btree_map("[a-z]{1,6}|[a-z ./-]{1,8}", inner, 0..4)
                .prop_map(|map| toml::Value::Table(map.into_iter().collect())),
        ]
    });
    let many = prop::collection::vec(value, 60);
    // Each case starts terraform twice: few cases, many values in each.
    let mut runner =
        TestRunner::new(Config { cases: 4, failure_persistence: None, ..Config::default() });
    let compared = runner.run(&many, |values| {
        compare(&home, values);
        Ok(())
    });
    compared.unwrap();
}

fn compare(home: &TerraformHome, values: Vec<toml::Value>) {
    let meant = serde_json::to_value(&values).unwrap();
    let repository = Repository::new(&[("dev", LOCAL_STATE)]);
    let mut environment = repository.load("dev");
    environment.config.infrastructure.variables.insert("sample".into(), toml::Value::Array(values));
    let rendered = &render(&environment).unwrap()[0].content;

    let directory = tempfile::tempdir().unwrap();
    let declared: String = VARIABLES
        .iter()
        .map(|name| format!("variable \"{name}\" {{\n  type = any\n}}\n"))
        .collect();
    std::fs::write(directory.path().join("main.tf"), declared).unwrap();
    std::fs::write(directory.path().join("dev.auto.tfvars"), rendered).unwrap();
    let run = |arguments: &[&str], input: Stdio| {
        let mut command = Command::new(home.program());
        command.args(arguments).current_dir(directory.path()).envs(home.variables());
        command.stdin(input).output().unwrap()
    };
    let formatted = run(&["fmt", "-check", "-diff"], Stdio::null());
    assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stdout));

    let question = directory.path().join("question");
    std::fs::write(&question, "urlencode(jsonencode(var.sample))\n").unwrap();
    let answer = run(&["console"], std::fs::File::open(question).unwrap().into());
    assert!(answer.status.success(), "{}\n{rendered}", String::from_utf8_lossy(&answer.stderr));
    let said = String::from_utf8(answer.stdout).unwrap();
    let read: serde_json::Value =
        serde_json::from_str(&decoded(said.trim().trim_matches('"'))).unwrap();
    assert_eq!(read, meant);
}

const VARIABLES: [&str; 9] = [
    "account",
    "application",
    "aws_endpoint",
    "database_enabled",
    "environment",
    "region",
    "sample",
    "services",
    "workspace",
];

/// The text that `urlencode` encoded: the console would print any other as HCL, with escapes of its own.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let hex = [rest.next().unwrap(), rest.next().unwrap()];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
            }
            plain => bytes.push(plain),
        }
    }
    String::from_utf8(bytes).unwrap()
}
