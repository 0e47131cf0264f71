//! A repository with environment files of the test's own.

use std::fs;
use std::path::{Path, PathBuf};

use liftlock_environment::{Environment, LoadError};

/// What most tests start from: complete and right.
pub(crate) const BASE: &str = r#"
[application]
name = "shop"
[aws]
region = "eu-central-1"
account = "123456789012"
[infrastructure]
engine = "terraform"
[infrastructure.backend]
kind = "s3"
bucket = "state"
key = "state"
[database]
url = { from = "env", variable = "DATABASE_URL" }
[services.backend]
repository = "registry.example/shop/backend"
port = 8080
paths = ["/api/*"]
[services.frontend]
repository = "registry.example/shop/frontend"
port = 8080
"#;

/// The repository; removed at its end.
pub(crate) struct Project {
    directory: tempfile::TempDir,
}

impl Project {
    /// With `environments/base.toml` as given.
    pub(crate) fn new(base: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("environments")).unwrap();
        Self { directory }.with("base", base)
    }

    /// And with another file, `environments/<stem>.toml`.
    pub(crate) fn with(self, stem: &str, text: impl AsRef<[u8]>) -> Self {
        fs::write(self.file(stem), text).unwrap();
        self
    }

    pub(crate) fn file(&self, stem: &str) -> PathBuf {
        self.root().join(format!("environments/{stem}.toml"))
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn load(&self, name: &str) -> Result<Environment, LoadError> {
        Environment::load(self.root(), &name.parse().unwrap())
    }
}
