//! The environment files of this repository, which new users copy.

use std::path::Path;

use liftlock_environment::config::Engine;
use liftlock_environment::{Environment, file_schema, find_root};

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
