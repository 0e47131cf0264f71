//! An environment file → what Terraform reads: values for the root module's variables, and where the state is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hcl::Value;
use liftlock_environment::Environment;
use liftlock_environment::config::{Backend, Engine, Service};
use liftlock_model::EnvName;

use crate::hcl_text::{self, HclError};

/// A file that is made from an environment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Its path from the repository's top.
    pub path: PathBuf,
    /// Its content: `terraform fmt` leaves it as it is, and the same environment always gives the same bytes.
    pub content: String,
}

/// Why an environment cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// Terraform needs a place for its state.
    #[error(
        "environment {0} does not say where its Terraform state is kept: add [infrastructure.backend] to environments/{0}.toml"
    )]
    NoBackend(EnvName),
    /// A variable that Liftlock derives is set by hand too.
    #[error(
        "environment {environment} sets infrastructure.variables.{name}, which is derived from the rest of the file: remove it from environments/{environment}.toml"
    )]
    Derived {
        /// Which environment.
        environment: EnvName,
        /// Which variable.
        name: String,
    },
    /// A value that would be a secret in a file.
    #[error(
        "environment {environment} sets infrastructure.variables.{name}, which is a secret and must not stand in a file: remove it from environments/{environment}.toml, and write it with `aws ssm put-parameter`"
    )]
    Secret {
        /// Which environment.
        environment: EnvName,
        /// Which variable.
        name: String,
    },
    /// A value that HCL cannot hold.
    #[error("environment {environment}: {reason}")]
    Value {
        /// Which environment.
        environment: EnvName,
        /// What.
        reason: String,
    },
}

/// Variables of the root module that are ephemeral: they are handed over in memory only.
const SECRET: [&str; 1] = ["database_url"];

/// The files of the repository that are made from the environment file: none for an environment on the stage.
pub fn render(environment: &Environment) -> Result<Vec<Rendered>, RenderError> {
    if environment.config.infrastructure.engine == Engine::Stage {
        return Ok(Vec::new());
    }
    let directory = environment.config.infrastructure.root.join("environments");
    let name = &environment.name;
    let mut files = vec![Rendered {
        path: directory.join(format!("{name}.tfvars")),
        content: tfvars(environment)?,
    }];
    let (backend, content) = backend(environment)?;
    if let Backend::S3 { .. } = backend {
        files.push(Rendered { path: directory.join(format!("{name}.s3.tfbackend")), content });
    }
    Ok(files)
}

/// The backend and its file's content: a partial configuration (S3), or the override that replaces the root module's
/// own backend (local), which stands in the working directory only since it holds an absolute path.
pub(crate) fn backend(environment: &Environment) -> Result<(&Backend, String), RenderError> {
    let none = || RenderError::NoBackend(environment.name.clone());
    let backend = environment.config.infrastructure.backend.as_ref().ok_or_else(none)?;
    let content = match backend {
        Backend::Local { path } => {
            let path = hcl_text::quoted(&environment.path(path).display().to_string())
                .map_err(|error| value_error(environment, &error))?;
            format!("terraform {{\n  backend \"local\" {{\n    path = {path}\n  }}\n}}\n")
        }
        Backend::S3 { bucket, key, region, endpoint } => {
            let aws = &environment.config.aws;
            let endpoint = endpoint.as_ref().or(aws.endpoint.as_ref()).map(endpoint_text);
            let region = region.as_ref().unwrap_or(&aws.region);
            file(environment, &s3_values(bucket, key, region, endpoint))?
        }
    };
    Ok((backend, content))
}

/// Where the state is, in words that name one state and no other.
pub(crate) fn backend_key(environment: &Environment, backend: &Backend) -> String {
    let workspace = environment.workspace();
    match backend {
        Backend::Local { path } => format!("{} ({workspace})", environment.path(path).display()),
        Backend::S3 { bucket, key, .. } => format!("s3://{bucket}/env:/{workspace}/{key}"),
    }
}

fn s3_values(
    bucket: &str,
    key: &str,
    region: &str,
    endpoint: Option<String>,
) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::from([
        ("bucket".to_owned(), Value::from(bucket)),
        ("encrypt".to_owned(), Value::from(true)),
        ("key".to_owned(), Value::from(key)),
        ("region".to_owned(), Value::from(region)),
        ("use_lockfile".to_owned(), Value::from(true)),
    ]);
    if let Some(endpoint) = endpoint {
        let endpoints =
            ["iam", "s3", "sts"].map(|name| (name.to_owned(), Value::from(endpoint.clone())));
        values.insert("endpoints".to_owned(), Value::from_iter(endpoints));
        for skipped in [
            "skip_credentials_validation",
            "skip_metadata_api_check",
            "skip_region_validation",
            "skip_requesting_account_id",
            "use_path_style",
        ] {
            values.insert(skipped.to_owned(), Value::from(true));
        }
    }
    values
}

/// The values of the root module's variables.
pub(crate) fn tfvars(environment: &Environment) -> Result<String, RenderError> {
    let mut values = derived(environment);
    for (name, value) in &environment.config.infrastructure.variables {
        let (environment, name) = (environment.name.clone(), name.clone());
        if SECRET.contains(&name.as_str()) {
            return Err(RenderError::Secret { environment, name });
        }
        if values.contains_key(&name) {
            return Err(RenderError::Derived { environment, name });
        }
        values.insert(name, from_toml(value));
    }
    file(environment, &values)
}

fn derived(environment: &Environment) -> BTreeMap<String, Value> {
    let config = &environment.config;
    let services =
        config.services.iter().map(|(name, service)| (name.to_string(), service_value(service)));
    let endpoint = config.aws.endpoint.as_ref().map(endpoint_text);
    let pairs = [
        ("account", Value::from(config.aws.account.as_str())),
        ("application", Value::from(config.application.name.as_str())),
        ("aws_endpoint", endpoint.map_or(Value::Null, Value::from)),
        ("database_enabled", Value::from(config.database.is_some())),
        ("environment", Value::from(environment.name.as_str())),
        ("region", Value::from(config.aws.region.as_str())),
        ("services", Value::from_iter(services)),
        ("workspace", Value::from(environment.workspace())),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn service_value(service: &Service) -> Value {
    let paths =
        service.paths.as_ref().map(|paths| Value::from_iter(paths.iter().map(String::as_str)));
    Value::from_iter([
        ("cpu".to_owned(), Value::from(service.cpu)),
        ("health_path".to_owned(), Value::from(service.health_path.as_str())),
        ("memory".to_owned(), Value::from(service.memory)),
        ("paths".to_owned(), paths.unwrap_or(Value::Null)),
        ("port".to_owned(), Value::from(service.port)),
        ("repository".to_owned(), Value::from(service.repository.as_str())),
    ])
}

fn endpoint_text(endpoint: impl ToString) -> String {
    endpoint.to_string().trim_end_matches('/').to_owned()
}

fn from_toml(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(truth) => Value::from(*truth),
        toml::Value::Datetime(when) => Value::from(when.to_string()),
        toml::Value::Array(items) => Value::from_iter(items.iter().map(from_toml)),
        toml::Value::Table(table) => {
            Value::from_iter(table.iter().map(|(key, value)| (key.clone(), from_toml(value))))
        }
    }
}

fn file(
    environment: &Environment,
    values: &BTreeMap<String, Value>,
) -> Result<String, RenderError> {
    let text = hcl_text::attributes(values).map_err(|error| value_error(environment, &error))?;
    let name = &environment.name;
    Ok(format!(
        "# Made by `liftlock infra render --env {name}` from environments/base.toml and environments/{name}.toml:\n\
         # change those, not this file.\n\n{text}"
    ))
}

fn value_error(environment: &Environment, error: &HclError) -> RenderError {
    RenderError::Value { environment: environment.name.clone(), reason: error.to_string() }
}

/// What is out of step.
#[derive(Debug, thiserror::Error)]
pub enum OutOfStep {
    /// It cannot be rendered at all.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Files that say something else than the environment file.
    #[error("{} out of step with environments/{environment}.toml: run `liftlock infra render --env {environment}` and commit what it writes\n{}", files(.differences), diffs(.differences))]
    Files {
        /// Which environment.
        environment: EnvName,
        /// Each file's path and its unified diff, from what it says to what it should say.
        differences: Vec<(PathBuf, String)>,
    },
}

fn files(differences: &[(PathBuf, String)]) -> String {
    let names: Vec<_> = differences.iter().map(|(path, _)| path.display().to_string()).collect();
    format!("{} {}", names.join(" and "), if names.len() == 1 { "is" } else { "are" })
}

fn diffs(differences: &[(PathBuf, String)]) -> String {
    differences.iter().map(|(_, diff)| diff.as_str()).collect()
}

/// Whether the files of the repository say what the environment file says.
pub fn check(environment: &Environment) -> Result<(), OutOfStep> {
    let differences: Vec<_> = render(environment)?
        .into_iter()
        .filter_map(|rendered| difference(environment.root(), rendered))
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    Err(OutOfStep::Files { environment: environment.name.clone(), differences })
}

fn difference(root: &Path, rendered: Rendered) -> Option<(PathBuf, String)> {
    let found = std::fs::read(root.join(&rendered.path)).unwrap_or_default();
    let found = String::from_utf8_lossy(&found);
    if found == rendered.content {
        return None;
    }
    let name = rendered.path.display().to_string();
    let diff = similar::TextDiff::from_lines(found.as_ref(), rendered.content.as_str())
        .unified_diff()
        .header(&name, &format!("{name} (as it should be)"))
        .to_string();
    Some((rendered.path, diff))
}
