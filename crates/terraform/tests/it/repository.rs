//! The repository's own environments.

use std::path::Path;

use liftlock_environment::Environment;
use liftlock_terraform::check;
use liftlock_testkit::TerraformHome;

use crate::sample::iac;

/// Shows W-2, E-IAC-1: what stands in `iac/environments/` is what the environment files say, for each environment.
#[test]
fn the_rendered_files_are_in_step() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for name in Environment::list(&root).unwrap_or_else(|error| panic!("{}", error.render(false))) {
        let environment = Environment::load(&root, &name);
        let environment = environment.unwrap_or_else(|error| panic!("{}", error.render(false)));
        check(&environment).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Shows E-IAC-1: hand-written code and rendered values alike.
#[test]
fn terraform_would_not_lay_out_anything_otherwise() {
    let Some(home) = TerraformHome::new() else { return };
    let mut command = std::process::Command::new(home.program());
    command.args(["fmt", "-check", "-diff", "-recursive"]).arg(iac()).envs(home.variables());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
