//! A repository with environment files, and the sample's own infrastructure code.

use std::path::{Path, PathBuf};

use liftlock_environment::Environment;
use tempfile::TempDir;

/// The repository's own root module.
pub(crate) fn iac() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../iac")
}

const BASE: &str = r#"
[application]
name = "shop"

[aws]
region = "eu-central-1"
account = "123456789012"

[infrastructure]
engine = "terraform"

[database]
url = { from = "env", variable = "DATABASE_URL" }

[services.backend]
repository = "registry.example/shop-backend"
port = 8080
paths = ["/api/*"]

[services.frontend]
repository = "registry.example/shop-frontend"
port = 8080
"#;

/// A temporary repository with these environments.
pub(crate) struct Repository(TempDir);

impl Repository {
    pub(crate) fn new(environments: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().unwrap();
        std::fs::create_dir(directory.path().join("environments")).unwrap();
        let repository = Self(directory);
        repository.write("environments/base.toml", BASE);
        for (name, text) in environments {
            repository.write(&format!("environments/{name}.toml"), text);
        }
        repository
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn load(&self, name: &str) -> Environment {
        match Environment::load(self.path(), &name.parse().unwrap()) {
            Ok(environment) => environment,
            Err(error) => panic!("{}", error.render(false)),
        }
    }
}

/// An environment whose state is a file.
pub(crate) const LOCAL_STATE: &str = r#"
[infrastructure.backend]
kind = "local"
path = ".liftlock/terraform.tfstate"
"#;

/// An environment whose state is in S3.
pub(crate) const S3_STATE: &str = r#"
[infrastructure.backend]
kind = "s3"
bucket = "states"
key = "shop/terraform.tfstate"
"#;
