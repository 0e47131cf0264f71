//! Terraform's own configuration for tests: providers from a mirror on this machine if it has one, and a plug-in cache.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::requirement::{self, Requirement};

/// The variable that names a directory which holds `registry.terraform.io/…`.
pub const MIRROR: &str = "TF_PLUGIN_MIRROR";

/// Where a filesystem mirror usually is; under `/opt` every directory is looked at.
const USUAL: [&str; 3] = [
    "/usr/share/terraform/plugins",
    "/usr/local/share/terraform/plugins",
    "/usr/share/terraform/providers",
];

/// A directory with a CLI configuration file of its own, so that no test depends on what the user's says.
#[derive(Debug)]
pub struct TerraformHome {
    directory: TempDir,
    mirror: Option<PathBuf>,
    program: PathBuf,
}

impl TerraformHome {
    /// Writes the configuration. None if there is no terraform and the test is to be skipped.
    ///
    /// # Panics
    /// If terraform is missing and `LIFTLOCK_REQUIRE` names `terraform`, or the temporary directory cannot be written.
    pub fn new() -> Option<Self> {
        let program = requirement::met(Requirement::Terraform, find_program())?;
        let directory = tempfile::Builder::new().prefix("liftlock-terraform-").tempdir();
        let directory = directory.expect("a temporary directory");
        let mirror = find_mirror();
        write_configuration(directory.path(), mirror.as_deref()).expect("a CLI configuration file");
        Some(Self { directory, mirror, program })
    }

    /// terraform itself.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The mirror that providers come from; none: the registry.
    pub fn mirror(&self) -> Option<&Path> {
        self.mirror.as_deref()
    }

    /// What terraform needs in its environment.
    pub fn variables(&self) -> Vec<(String, String)> {
        let file = self.directory.path().join("terraform.rc");
        vec![
            ("TF_CLI_CONFIG_FILE".to_owned(), file.display().to_string()),
            ("CHECKPOINT_DISABLE".to_owned(), "1".to_owned()),
        ]
    }
}

fn find_program() -> Result<PathBuf, String> {
    let named = std::env::var_os("LIFTLOCK_TERRAFORM").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    named
        .into_iter()
        .chain(std::env::split_paths(&path).map(|directory| directory.join("terraform")))
        .find(|program| program.is_file())
        .ok_or_else(|| {
            "it is not on PATH: https://developer.hashicorp.com/terraform/install".to_owned()
        })
}

fn find_mirror() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let under_opt =
        std::fs::read_dir("/opt").into_iter().flatten().flatten().map(|entry| entry.path());
    std::env::var_os(MIRROR)
        .map(PathBuf::from)
        .into_iter()
        .chain(home.map(|home| home.join(".terraform.d/plugins")))
        .chain(USUAL.map(PathBuf::from))
        .chain(under_opt)
        .find(|directory| directory.join("registry.terraform.io/hashicorp/aws").is_dir())
}

fn write_configuration(directory: &Path, mirror: Option<&Path>) -> io::Result<()> {
    let cache = directory.join("plugins");
    std::fs::create_dir(&cache)?;
    let installation = match mirror {
        // Used in place, by a link: nothing is copied.
        Some(mirror) => format!(
            "provider_installation {{\n  filesystem_mirror {{\n    path = {mirror:?}\n  }}\n}}\n",
        ),
        None => format!("plugin_cache_dir = {cache:?}\n"),
    };
    std::fs::write(
        directory.join("terraform.rc"),
        format!("disable_checkpoint = true\n{installation}"),
    )
}
