//! The private directory that terraform works in: a copy of the code, the values, the backend and the saved plan.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use liftlock_environment::Environment;
use liftlock_environment::config::Backend;

use crate::render::{self, RenderError};
use crate::seal;

/// The name of the provider lock file.
const LOCK: &str = ".terraform.lock.hcl";
/// More code than this is a mistake: somebody's modules are small.
const MOST_FILES: usize = 5_000;

/// Why there is no working directory.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The values or the backend.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// There is no code.
    #[error("{} holds no .tf file: set infrastructure.root in the environment file to the root module's directory", .0.display())]
    NoCode(PathBuf),
    /// A file or directory.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl WorkError {
    fn file(path: &Path, error: io::Error) -> Self {
        Self::File { path: path.to_owned(), error }
    }
}

/// The working directory of one environment.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) source: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) values: PathBuf,
    pub(crate) plan: PathBuf,
    pub(crate) backend_file: Option<PathBuf>,
    pub(crate) backend_key: String,
}

impl Work {
    /// Copies the code from `source` into `directory` and writes the values and the backend beside it.
    pub(crate) fn prepare(
        environment: &Environment,
        source: &Path,
        directory: &Path,
        values: Option<&str>,
    ) -> Result<Self, WorkError> {
        let code = read_code(source)?;
        let values =
            values.map_or_else(|| render::tfvars(environment), |given| Ok(given.to_owned()))?;
        let (backend, backend_text) = render::backend(environment)?;
        let directory =
            std::path::absolute(directory).map_err(|error| WorkError::file(directory, error))?;
        make_private(&directory)?;
        let root = directory.join("root");
        replace_code(&root, &code)?;
        let values_file = directory.join(format!("{}.tfvars", environment.name));
        write_private(&values_file, values.as_bytes())?;
        let backend_file = match backend {
            Backend::Local { path } => {
                let path = environment.path(path);
                let parent = path.parent().unwrap_or(&path);
                std::fs::create_dir_all(parent).map_err(|error| WorkError::file(parent, error))?;
                write_private(&root.join("backend_override.tf"), backend_text.as_bytes())?;
                None
            }
            Backend::S3 { .. } => {
                let file = directory.join(format!("{}.s3.tfbackend", environment.name));
                write_private(&file, backend_text.as_bytes())?;
                Some(file)
            }
        };
        let backend_key = render::backend_key(environment, backend);
        let plan = directory.join("plan.tfplan");
        Ok(Self {
            source: source.to_owned(),
            root,
            values: values_file,
            plan,
            backend_file,
            backend_key,
        })
    }

    /// The hash of the code as it is in the place that it was copied from.
    pub(crate) fn code_hash(&self) -> Result<String, WorkError> {
        Ok(seal::hash_code(&read_code(&self.source)?))
    }

    pub(crate) fn values_hash(&self) -> Result<String, WorkError> {
        seal::hash_file(&self.values).map_err(|error| WorkError::file(&self.values, error))
    }

    pub(crate) fn plan_hash(&self, plan: &Path) -> Result<String, WorkError> {
        seal::hash_file(plan).map_err(|error| WorkError::file(plan, error))
    }

    pub(crate) fn lock_hash(&self) -> Result<String, WorkError> {
        let path = self.root.join(LOCK);
        seal::hash_file(&path).map_err(|error| WorkError::file(&path, error))
    }

    pub(crate) fn has_lock(&self) -> bool {
        self.source.join(LOCK).exists()
    }

    /// An empty file that only this user may read, for terraform to write the plan into: a plan holds secrets.
    pub(crate) fn make_plan_file(&self) -> Result<(), WorkError> {
        write_private(&self.plan, b"")
    }
}

/// What makes the infrastructure: `.tf` and `.tf.json` files, templates and the provider lock file, by path in `source`.
/// `environments/` holds other environments' values, and directories that begin with a dot are terraform's own.
fn read_code(source: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, WorkError> {
    let mut files = BTreeMap::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(relative) = directories.pop() {
        let directory = source.join(&relative);
        let entries =
            std::fs::read_dir(&directory).map_err(|error| WorkError::file(&directory, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| WorkError::file(&directory, error))?;
            let path = relative.join(entry.file_name());
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(|error| WorkError::file(&entry.path(), error))?;
            if kind.is_dir() && !name.starts_with('.') && path != Path::new("environments") {
                directories.push(path);
            } else if kind.is_file() && is_code(&name) && files.len() < MOST_FILES {
                let content = std::fs::read(entry.path())
                    .map_err(|error| WorkError::file(&entry.path(), error))?;
                files.insert(path, content);
            }
        }
    }
    let at_the_top = |path: &PathBuf| {
        path.components().count() == 1 && path.extension().is_some_and(|e| e == "tf")
    };
    if files.keys().any(at_the_top) { Ok(files) } else { Err(WorkError::NoCode(source.to_owned())) }
}

fn is_code(name: &str) -> bool {
    // Local overrides are nobody's reviewed code.
    let overriding = name == "override.tf"
        || name.ends_with("_override.tf")
        || name.ends_with("override.tf.json");
    let known = [".tf", ".tf.json", ".tftpl", ".tpl"].iter().any(|end| name.ends_with(end));
    name == LOCK || (known && !overriding)
}

/// Makes the copy anew, but keeps `.terraform`, which holds the installed providers.
fn replace_code(root: &Path, code: &BTreeMap<PathBuf, Vec<u8>>) -> Result<(), WorkError> {
    make_private(root)?;
    let entries = std::fs::read_dir(root).map_err(|error| WorkError::file(root, error))?;
    for entry in entries {
        let path = entry.map_err(|error| WorkError::file(root, error))?.path();
        if path.file_name().is_some_and(|name| name == ".terraform") {
            continue;
        }
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.map_err(|error| WorkError::file(&path, error))?;
    }
    for (relative, content) in code {
        let path = root.join(relative);
        let parent = path.parent().unwrap_or(root);
        make_private(parent)?;
        std::fs::write(&path, content).map_err(|error| WorkError::file(&path, error))?;
    }
    Ok(())
}

fn make_private(directory: &Path) -> Result<(), WorkError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| WorkError::file(directory, error))
}

fn write_private(path: &Path, content: &[u8]) -> Result<(), WorkError> {
    use std::io::Write as _;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(WorkError::file(path, error));
        }
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(content)).map_err(|error| WorkError::file(path, error))
}
