//! A Python virtual environment with moto's server and the `aws` client, made once under the target directory.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

/// What is installed. Exactly this moto: the gaps that `moto/gaps.py` mends are those of this version.
const PACKAGES: [&str; 3] = ["moto[server]==5.2.1", "awscli>=1.40", "cbor2>=5.7"];
/// How long making it may take: 40 s on a fast line.
const LIMIT: Duration = Duration::from_secs(600);

/// Why there is no virtual environment.
#[derive(Debug, thiserror::Error)]
pub enum VenvError {
    /// No Python.
    #[error("there is no python3 (with its venv module) on PATH: {0}")]
    Python(String),
    /// The packages could not be installed.
    #[error("{packages} could not be installed with pip into {path}: {reason}", packages = PACKAGES.join(" and "))]
    Install {
        /// Where.
        path: PathBuf,
        /// pip's last words.
        reason: String,
    },
    /// A file or directory.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The virtual environment.
#[derive(Debug, Clone)]
pub struct Venv {
    root: PathBuf,
}

impl Venv {
    /// Finds or makes it (once for all tests, under a file lock), with moto's server and the `aws` client.
    pub async fn ensure() -> Result<Self, VenvError> {
        let target = target_directory();
        let root = target.join("venv-moto");
        let failed = |error| VenvError::File { path: root.clone(), error };
        std::fs::create_dir_all(&target).map_err(failed)?;
        let lock = File::create(target.join("venv-moto.lock")).map_err(failed)?;
        // Waiting blocks the thread, not the runtime; the lock goes when the file is closed.
        let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock))
            .await
            .map_err(|error| failed(io::Error::other(error)))?
            .map_err(failed)?;
        let made = Self { root: root.clone() };
        if !made.is_whole() {
            made.make().await?;
        }
        drop(lock);
        Ok(made)
    }

    /// One of its programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.root.join("bin").join(name)
    }

    /// What was installed, written last: a half-made environment is made again.
    fn stamp(&self) -> PathBuf {
        self.root.join("liftlock-packages")
    }

    fn is_whole(&self) -> bool {
        std::fs::read_to_string(self.stamp()).is_ok_and(|text| text == self.content())
            && self.program("python").exists()
    }

    /// What the stamp says: also where, since the programs in it name their interpreter's place, and a directory may be moved.
    fn content(&self) -> String {
        format!("{}\n{}", self.root.display(), PACKAGES.join("\n"))
    }

    async fn make(&self) -> Result<(), VenvError> {
        let mut make = Command::new("python3");
        make.args(["-m", "venv", "--clear"]).arg(&self.root);
        run(make).await.map_err(VenvError::Python)?;
        let install = |reason| VenvError::Install { path: self.root.clone(), reason };
        let mut pip = Command::new(self.program("python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
        run(pip).await.map_err(install)?;
        std::fs::write(self.stamp(), self.content())
            .map_err(|error| VenvError::File { path: self.stamp(), error })
    }
}

async fn run(mut command: Command) -> Result<(), String> {
    let output = tokio::time::timeout(LIMIT, command.kill_on_drop(true).output())
        .await
        .map_err(|_| format!("took more than {} s", LIMIT.as_secs()))?
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().last().unwrap_or("no reason given").to_owned())
}

/// Cargo's target directory, found from the test program's own place in it.
fn target_directory() -> PathBuf {
    if let Some(named) = std::env::var_os("CARGO_TARGET_DIR") {
        return PathBuf::from(named);
    }
    let tagged = |path: &Path| path.join("CACHEDIR.TAG").exists();
    std::env::current_exe()
        .ok()
        .and_then(|program| program.ancestors().find(|path| tagged(path)).map(Path::to_owned))
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"))
}
