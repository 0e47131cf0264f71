//! The environment files of this repository, which new users copy.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use liftlock_environment::config::{Backend, Engine};
use liftlock_environment::{Environment, Period, diff, file_schema, find_root};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

fn load(name: &str) -> Environment {
    Environment::load(root(), &name.parse().unwrap()).unwrap_or_else(|error| panic!("{error}"))
}

/// Shows W-1 and E-ENV-1: each environment is data, and all of them are valid.
#[test]
fn all_sample_environments_load() {
    let names: Vec<String> =
        Environment::list(root()).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["dev", "local", "prod", "staging"]);
    for name in names {
        let environment = load(&name);
        assert_eq!(environment.prefix(), format!("shop-{name}"));
        assert_eq!(environment.workspace(), name);
        let order: Vec<&str> =
            environment.services_in_order().iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(order, ["backend", "frontend"]);
    }
    assert_eq!(load("local").config.infrastructure.engine, Engine::Stage);
}

#[test]
fn the_root_is_found_from_below() {
    assert_eq!(find_root(&root().join("crates/environment/src")).unwrap(), root());
    let nowhere = tempfile::tempdir().unwrap();
    let error = find_root(nowhere.path()).unwrap_err().to_string();
    assert!(error.contains("environments/base.toml"), "{error}");
}

/// Set `LIFTLOCK_BLESS=1` to write the file.
#[test]
fn the_schema_for_editors_is_in_step() {
    let file = root().join("environments/schema.json");
    let schema = serde_json::to_string_pretty(&file_schema()).unwrap() + "\n";
    if std::env::var_os("LIFTLOCK_BLESS").is_some() {
        std::fs::write(&file, &schema).unwrap();
    }
    assert!(
        std::fs::read_to_string(&file).unwrap_or_default() == schema,
        "environments/schema.json is not what the types say; write it with \
         `LIFTLOCK_BLESS=1 cargo test -p liftlock-environment --test samples`"
    );
}

/// Shows E-IAC-1: each environment keeps its state under a key of its own, and C-OBS-1, C-GATE-5, C-MIG-8 and E-IAC-2 as
/// far as the files go.
#[test]
fn the_samples_hold_the_requirements_numbers() {
    let environments = ["dev", "staging", "prod"].map(load);
    let keys = environments.each_ref().map(|environment| {
        match &environment.config.infrastructure.backend {
            Some(Backend::S3 { key, .. }) => key.clone(),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(keys, ["dev", "staging", "prod"].map(|name| format!("{name}/terraform.tfstate")));
    let [dev, staging, prod] = environments;
    assert_eq!(dev.config.gates.after, None);
    assert_eq!(staging.config.gates.after.as_ref(), Some(&dev.name));
    assert_eq!(prod.config.gates.after.as_ref(), Some(&staging.name));
    for service in prod.config.services.values() {
        let shares: Vec<_> = service.rollout.steps().iter().map(|step| step.share).collect();
        assert_eq!(shares, [10, 50, 100]);
        assert_eq!(service.rollout.step_bake, Period::from_secs(120));
        assert_eq!(service.rollout.bake, Period::from_secs(900));
    }
    let snapshot = prod.config.database.as_ref().and_then(|database| database.snapshot.as_ref());
    assert_eq!(snapshot.map(|snapshot| snapshot.keep_days), Some(7 * 365 + 2));
    let approvals = prod.config.gates.approvals.as_ref().unwrap();
    assert!(approvals.required >= 2 && approvals.from.iter().any(|name| name == "qa-lead"));
    let variables = &prod.config.infrastructure.variables["database"];
    assert_eq!(variables["instance_class"].as_str(), Some("db.r6g.large"));
    assert_eq!(variables["allocated_storage"].as_integer(), Some(100));
}

/// Shows B-ENV-1 (tracked): what differs between two environments.
#[test]
fn differences_are_shown_by_key() {
    let (dev, prod) = (load("dev"), load("prod"));
    let text = diff(&dev, &prod).to_string();
    let row = |key: &str| {
        text.lines()
            .find(|line| line.starts_with(key))
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
    };
    let title: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(title, ["dev", "prod"], "{text}");
    assert_eq!(
        row("services.backend.tasks"),
        Some(vec!["services.backend.tasks", "1", "3"]),
        "{text}"
    );
    assert_eq!(row("gates.after"), Some(vec!["gates.after", "-", "\"staging\""]), "{text}");
    assert!(row("probes.smoke[an item can be created].method").is_some(), "{text}");
    assert_eq!(row("gates.windows "), None, "{text}");
    assert_eq!(row("services.backend.port"), None, "{text}");
    assert_eq!(diff(&dev, &dev).to_string(), "dev and dev say the same");
}

#[test]
fn a_changed_value_changes_the_fingerprint() {
    let mut environment = load("dev");
    let before = environment.fingerprint();
    assert_eq!(load("dev").fingerprint(), before);
    environment.config.budgets.promotion = Period::from_secs(1);
    assert_ne!(environment.fingerprint(), before);
    assert_ne!(load("staging").fingerprint(), before);
}
