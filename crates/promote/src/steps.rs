//! The steps of promotions and rollbacks: thin adapters from the peers to the saga.

pub(crate) mod bake;
pub(crate) mod checks;
pub(crate) mod compare;
pub(crate) mod database;
pub(crate) mod fleet;
pub(crate) mod infrastructure;
pub(crate) mod look;
pub(crate) mod pause;
pub(crate) mod performance;
pub(crate) mod replace;
pub(crate) mod rollout;
pub(crate) mod switch;
pub(crate) mod synthetic;
pub(crate) mod traffic;

use std::collections::BTreeMap;
use std::path::PathBuf;

use liftlock_environment::config;
use liftlock_model::{
    ArtifactHash, ImageDigest, ImageRef, Release, Reversal, ServiceName, StepName, StepPlan,
};
use liftlock_rollout::{Target, Urls, Wait};
use liftlock_saga::{Context, StepError, StepErrorKind};

use crate::archive::{self, Files};
use crate::failure;
use crate::scribe::Scribe;
use crate::site::Site;

/// What every step of a run can reach.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub site: &'a Site,
    pub scribe: &'a Scribe,
    /// The release that the run raises or brings back.
    pub release: &'a Release,
    /// The release that serves when the run begins.
    pub previous: Option<&'a Release>,
    /// The infrastructure that the last good run left.
    pub previous_bundle: Option<&'a ArtifactHash>,
    /// Why the run is, where whoever started it said so.
    pub reason: Option<&'a str>,
}

impl<'a> Frame<'a> {
    pub(crate) fn service(&self, name: &ServiceName) -> Result<&'a config::Service, StepError> {
        self.site.environment.config.services.get(name).ok_or_else(|| {
            StepError::new(
                StepErrorKind::Configuration,
                format!("the environment has no service {name}"),
            )
        })
    }

    pub(crate) fn target(&self, service: &ServiceName) -> Result<&'a dyn Target, StepError> {
        self.site.target(service)
    }

    /// The image that the release has for a service.
    pub(crate) fn image(&self, service: &ServiceName) -> Result<&'a ImageRef, StepError> {
        self.release.content.images.get(service).ok_or_else(|| {
            StepError::new(
                StepErrorKind::Configuration,
                format!("release {} has no image for service {service}", self.release.id),
            )
            .hint(format!("make a release with --image {service}=REPOSITORY@sha256:…"))
        })
    }

    pub(crate) fn digest(&self, service: &ServiceName) -> Result<&'a ImageDigest, StepError> {
        self.image(service).map(ImageRef::digest)
    }

    /// What tells a task which release it is.
    pub(crate) fn task_environment(&self) -> BTreeMap<String, String> {
        [
            ("RELEASE_VERSION", self.release.content.version.clone()),
            ("RELEASE_ID", self.release.id.to_string()),
            ("ENVIRONMENT", self.site.environment.name.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// How a service's rollout waits.
    pub(crate) fn wait<'w>(
        &self,
        service: &ServiceName,
        cx: &'w Context<'_>,
        on: &'w (dyn Fn(String) + Send + Sync),
    ) -> Result<Wait<'w>, StepError> {
        let rollout = &self.service(service)?.rollout;
        Ok(Wait {
            poll: rollout.poll.duration(),
            timeout: rollout.start_timeout.duration(),
            cancel: cx.cancelled(),
            on,
        })
    }

    /// Where users and tests reach the application: as the environment file says, else as the load balancer says.
    pub(crate) async fn urls(&self) -> Result<Urls, StepError> {
        urls(self.site).await
    }

    /// The files of an archive that a release or an earlier run keeps in the ledger.
    pub(crate) async fn files(&self, hash: &ArtifactHash) -> Result<Files, StepError> {
        stored_files(self.site, hash).await
    }

    /// The release's migrations as files in a private directory.
    pub(crate) async fn migrations_directory(
        &self,
        release: &Release,
    ) -> Result<PathBuf, StepError> {
        migrations_directory(self.site, release).await
    }
}

/// See [`Frame::urls`].
pub(crate) async fn urls(site: &Site) -> Result<Urls, StepError> {
    let probes = &site.environment.config.probes;
    if let (Some(production), Some(test)) = (&probes.url, &probes.test_url) {
        return Ok(Urls { production: production.clone(), test: test.clone() });
    }
    let Some(target) = site.targets.values().next() else {
        return Err(StepError::new(StepErrorKind::Configuration, "the environment has no service"));
    };
    let mut urls = target.urls().await.map_err(failure::target)?;
    if let Some(production) = &probes.url {
        urls.production = production.clone();
    }
    if let Some(test) = &probes.test_url {
        urls.test = test.clone();
    }
    Ok(urls)
}

/// See [`Frame::files`].
pub(crate) async fn stored_files(site: &Site, hash: &ArtifactHash) -> Result<Files, StepError> {
    let content =
        site.ledger.artifact(hash).await.map_err(|error| StepError::from_error(&error))?;
    let content = content.ok_or_else(|| {
        StepError::new(
            StepErrorKind::Failed,
            format!("the ledger does not hold the archive {hash}"),
        )
        .hint("liftlock audit verify")
    })?;
    archive::unpack(&content).map_err(|error| StepError::from_error(&error))
}

/// See [`Frame::migrations_directory`].
pub(crate) async fn migrations_directory(
    site: &Site,
    release: &Release,
) -> Result<PathBuf, StepError> {
    let hash = &release.content.migrations_archive;
    let files = stored_files(site, hash).await?;
    let directory = site.work.join("migrations").join(&hash.as_str()[..16]);
    // Left by an earlier run, perhaps in part: what the ledger holds is what counts.
    match std::fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StepError::new(
                StepErrorKind::Failed,
                format!("{}: {error}", directory.display()),
            ));
        }
        _ => {}
    }
    std::fs::create_dir_all(&directory).map_err(|error| {
        StepError::new(StepErrorKind::Failed, format!("{}: {error}", directory.display()))
    })?;
    archive::write(&files, &directory).map_err(|error| StepError::from_error(&error))?;
    Ok(directory)
}

pub(crate) fn step_plan(
    step: impl Into<String>,
    does: impl Into<String>,
    reversal: Reversal,
) -> StepPlan {
    StepPlan { step: StepName::new(step), does: does.into(), details: Vec::new(), reversal }
}

/// Where a step's signs of life go.
pub(crate) fn life<'c>(cx: &'c Context<'_>) -> impl Fn(&str) + Send + Sync + 'c {
    |text| cx.life(text)
}
