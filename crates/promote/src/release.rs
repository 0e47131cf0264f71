//! Makes releases. A release is made once, from a commit's files and images by digest, and never changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use liftlock_ledger::{AppendError, Draft, Ledger};
use liftlock_migrate::{FileProblem, FilesError, Migrations};
use liftlock_model::{Actor, CommitSha, Event, ImageRef, Release, ReleaseContent, ServiceName};

use crate::archive::{self, ArchiveError};

/// What to make a release of.
#[derive(Debug, Clone)]
pub struct ReleaseDraft {
    /// The version that people know it by.
    pub version: String,
    /// The commit it is made from.
    pub commit: CommitSha,
    /// The branch, where it is known.
    pub branch: Option<String>,
    /// The commit's subject line, where it is known.
    pub subject: Option<String>,
    /// The pull request, where it is known.
    pub pull_request: Option<u64>,
    /// Which image each service runs.
    pub images: BTreeMap<ServiceName, ImageRef>,
    /// The directory of migrations; none for an application without a database.
    pub migrations: Option<PathBuf>,
    /// The newest migration that belongs to it; all of them if left out.
    pub migrations_up_to: Option<i32>,
    /// The root directory of the infrastructure code.
    pub infrastructure: Option<PathBuf>,
}

/// Why a release could not be made. Nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A service has no image.
    #[error("service {service} has no image: add --image {service}={repository}@sha256:…")]
    NoImage {
        /// Which service.
        service: ServiceName,
        /// Its repository.
        repository: String,
    },
    /// An image for a service that is not there.
    #[error(
        "there is no service {service}: the environment files have {known}\n  next: correct --image {service}=…, or add [services.{service}] to environments/base.toml"
    )]
    UnknownService {
        /// What was given.
        service: ServiceName,
        /// What there is.
        known: String,
    },
    /// An image of another repository than the service's.
    #[error(
        "{image} is not an image of service {service}, whose repository is {repository}\n  next: --image {service}={repository}@sha256:…, or change services.{service}.repository in the environment files"
    )]
    OtherRepository {
        /// Which service.
        service: ServiceName,
        /// What was given.
        image: Box<ImageRef>,
        /// Where its images are.
        repository: String,
    },
    /// The migrations are not in order.
    #[error(transparent)]
    Migrations(#[from] FilesError),
    /// A directory could not be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The infrastructure code could not be read.
    #[error("the infrastructure code cannot be read: {source}\n  next: see whether `infrastructure.root` of the environment files, which names {}, is right", root.display())]
    Infrastructure {
        /// Its root module.
        root: PathBuf,
        /// Why.
        source: ArchiveError,
    },
    /// The ledger is not what was written.
    #[error("{0}")]
    Tampered(String),
    /// The ledger could not be read or written.
    #[error("the ledger could not be used: {0}")]
    Ledger(String),
}

impl From<AppendError> for ReleaseError {
    fn from(error: AppendError) -> Self {
        Self::Ledger(error.to_string())
    }
}

/// Checks that every service of the environment has exactly one image, of its own repository.
pub fn check_images(
    images: &BTreeMap<ServiceName, ImageRef>,
    services: &BTreeMap<ServiceName, liftlock_environment::config::Service>,
) -> Result<(), ReleaseError> {
    // First, since a service that is written wrong is missing as well.
    if let Some(name) = images.keys().find(|name| !services.contains_key(*name)) {
        return Err(ReleaseError::UnknownService {
            service: name.clone(),
            known: services.keys().map(ServiceName::as_str).collect::<Vec<_>>().join(", "),
        });
    }
    for (name, service) in services {
        let Some(image) = images.get(name) else {
            return Err(ReleaseError::NoImage {
                service: name.clone(),
                repository: service.repository.clone(),
            });
        };
        if image.repository() != service.repository {
            return Err(ReleaseError::OtherRepository {
                service: name.clone(),
                image: Box::new(image.clone()),
                repository: service.repository.clone(),
            });
        }
    }
    Ok(())
}

/// Makes a release and records it. The same content gives the same release; it is recorded once.
pub async fn create(
    ledger: &Ledger,
    actor: &Actor,
    draft: ReleaseDraft,
) -> Result<Release, ReleaseError> {
    ledger.verify().await.map_err(|error| ReleaseError::Tampered(error.to_string()))?;
    let (stamps, migrations) = match &draft.migrations {
        Some(directory) => migrations(directory, draft.migrations_up_to)?,
        None => (Vec::new(), archive::Files::new()),
    };
    let infrastructure = match &draft.infrastructure {
        Some(root) => archive::read(root, &is_infrastructure_code)
            .map_err(|source| ReleaseError::Infrastructure { root: root.clone(), source })?,
        None => archive::Files::new(),
    };
    let content = ReleaseContent {
        version: draft.version,
        commit: draft.commit,
        branch: draft.branch,
        subject: draft.subject,
        pull_request: draft.pull_request,
        images: draft.images,
        migrations: stamps,
        migrations_archive: ledger.put_artifact(&archive::pack(&migrations)?).await?,
        infrastructure_archive: ledger.put_artifact(&archive::pack(&infrastructure)?).await?,
    };
    let release = Release::new(content);
    let entries =
        crate::history(ledger).await.map_err(|error| ReleaseError::Ledger(error.to_string()))?;
    if liftlock_ledger::projection::release(&entries, &release.id).is_none() {
        let event = Event::ReleaseCreated { release: release.clone() };
        ledger
            .append(Draft {
                environment: None,
                run: None,
                actor: actor.clone(),
                event,
                fence: None,
            })
            .await?;
    }
    Ok(release)
}

fn migrations(
    directory: &Path,
    up_to: Option<i32>,
) -> Result<(Vec<liftlock_model::MigrationStamp>, archive::Files), ReleaseError> {
    let all = Migrations::read(directory)?;
    let belongs = |version: i32| up_to.is_none_or(|newest| version <= newest);
    if let (Some(up_to), Some(first)) = (up_to, all.all().first())
        && up_to > 0
        && up_to < first.id.version
    {
        let problem = format!(
            "it stands for all up to V{:04}, so that no release can end with V{up_to:04}",
            first.id.version
        );
        let problem = FileProblem { file: first.up.file.clone(), line: None, problem };
        return Err(FilesError { directory: directory.to_owned(), problems: vec![problem] }.into());
    }
    let stamps: Vec<_> =
        all.stamps().into_iter().filter(|stamp| belongs(stamp.id.version)).collect();
    let keep = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // The scripts of these migrations, and nothing else that may lie about there.
        name.ends_with(".sql")
            && liftlock_model::MigrationId::parse_version(name).is_ok_and(belongs)
    };
    Ok((stamps, archive::read(directory, &keep)?))
}

/// Terraform's own working files, states and plans, and the values of environments, are no part of a release.
pub(crate) fn is_infrastructure_code(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let generated = name.starts_with(".terraform") && name != ".terraform.lock.hcl"
        || name.contains(".tfstate")
        || name.ends_with(".tfplan")
        || name.ends_with(".tfvars")
        || name.ends_with(".tfbackend");
    !generated && path != Path::new("environments")
}
