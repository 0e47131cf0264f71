//! terraform or tofu on this machine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use liftlock_environment::config::Engine;
use serde::Deserialize;
use tokio::sync::watch;

use crate::process::{Output, Runner, printable};

/// The variable that names the program, instead of `PATH`.
pub const VARIABLE: &str = "LIFTLOCK_TERRAFORM";
/// The oldest version of both that has write-only values (`value_wo`) and locks in S3 without DynamoDB.
const OLDEST: (u32, u32) = (1, 11);
const VERSION_LIMIT: Duration = Duration::from_secs(30);

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// It is not installed.
    #[error("{program} is not on PATH: install it ({how}), or name it in {VARIABLE}")]
    Missing {
        /// Which program.
        program: &'static str,
        /// Where from.
        how: &'static str,
    },
    /// It does not say which version it is.
    #[error("{} does not answer `version -json`: {reason}", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// It is too old.
    #[error("{} is version {version}; 1.11 or later is needed: install a newer one ({how})", path.display())]
    TooOld {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: String,
        /// Where from.
        how: &'static str,
    },
    /// The environment's infrastructure is not made by a program.
    #[error(
        "engine = \"stage\" needs no terraform: its infrastructure is made by `promote` itself"
    )]
    Stage,
}

/// A program that makes infrastructure.
#[derive(Debug, Clone)]
pub struct Tool {
    pub(crate) path: PathBuf,
    name: &'static str,
    version: String,
}

impl Tool {
    /// Finds it, and asks it for its version once.
    pub async fn find(engine: Engine) -> Result<Self, FindError> {
        let (name, how) = match engine {
            Engine::Terraform => ("terraform", "https://developer.hashicorp.com/terraform/install"),
            Engine::Tofu => ("tofu", "https://opentofu.org/docs/intro/install"),
            Engine::Stage => return Err(FindError::Stage),
        };
        let path = on_path(name).ok_or(FindError::Missing { program: name, how })?;
        let version =
            ask(&path).await.map_err(|reason| FindError::Broken { path: path.clone(), reason })?;
        if numbers(&version).is_none_or(|found| found < OLDEST) {
            return Err(FindError::TooOld { path, version, how });
        }
        Ok(Self { path, name, version })
    }

    /// Its name and version, such as `terraform 1.11.4`.
    pub fn label(&self) -> String {
        format!("{} {}", self.name, self.version)
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut on_path = std::env::split_paths(&path).map(|directory| directory.join(name));
    match named {
        Some(named) => Some(named).filter(|path| path.is_file()),
        None => on_path.find(|path| path.is_file()),
    }
}

async fn ask(path: &std::path::Path) -> Result<String, String> {
    // tofu answers under the same name.
    #[derive(Deserialize)]
    struct Said {
        terraform_version: String,
    }
    let (_ask, interrupt) = watch::channel(false);
    let runner = Runner {
        program: path.to_owned(),
        variables: Vec::new(),
        timeout: VERSION_LIMIT,
        listener: Arc::new(|_| {}),
        interrupt,
    };
    let arguments = ["version".into(), "-json".into()];
    let finished = runner.run(&std::env::temp_dir(), &arguments, Output::Kept).await;
    let finished = finished.map_err(|error| format!("{error:?}"))?;
    let said: Said =
        serde_json::from_slice(&finished.output).map_err(|_| finished.tail.join(" "))?;
    Ok(printable(&said.terraform_version))
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
