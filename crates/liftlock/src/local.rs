//! The local environment: a stage on this machine, and releases of the application made from its own build.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use liftlock_environment::Environment;
use liftlock_environment::config::{Service, StageService};
use liftlock_ledger::projection;
use liftlock_model::{CommitSha, Exit, ImageRef, MigrationId, Outcome, ReleaseId, ServiceName};
use liftlock_postgres::Programs;
use liftlock_promote::{Ask, ReleaseDraft, Site};
use liftlock_stage::Stage;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::cli::Promote;
use crate::commands::Top;
use crate::connect;
use crate::console::Console;
use crate::failure::Failure;
use crate::{git, stage};

/// Starts the environment's stage if it does not run. What there is on it is a promotion's to make.
pub(crate) async fn start(
    environment: &Environment,
    directory: &Path,
    console: &Console,
) -> Result<Stage, Failure> {
    // Looked for before anything is started: the stage itself would miss it only in the middle of a run.
    if environment.config.database.is_some() {
        Programs::find().map_err(|error| Failure::of(Exit::Usage, &error))?;
    }
    let program = std::env::current_exe().map_err(|error| {
        Failure::failed(format!("this program's own path cannot be read: {error}"))
    })?;
    let arguments = ["stage", "serve", "--directory"].map(OsString::from);
    let arguments: Vec<_> =
        arguments.into_iter().chain([directory.as_os_str().to_owned()]).collect();
    console.life(&format!("starting the rehearsal cloud of {}", environment.name));
    liftlock_stage::start_only(directory, &program, &arguments)
        .await
        .map_err(|error| Failure::of(Exit::Usage, &error))
}

/// Starts the stage, and makes what the environment file says is on it if nothing was ever made there.
pub(crate) async fn ensure(
    environment: &Environment,
    directory: &Path,
    console: &Console,
) -> Result<(), Failure> {
    start(environment, directory, console).await?;
    let broken = |error: liftlock_stage::StageError| Failure::of(Exit::Usage, &error);
    if liftlock_stage::topology(directory).await.map_err(broken)?.is_none() {
        console.life("starting PostgreSQL");
        liftlock_stage::apply_topology(directory, &stage::topology(environment))
            .await
            .map_err(broken)?;
    }
    Ok(())
}

/// A version file: what makes this version of the application.
#[derive(Debug, Default, Deserialize)]
struct Version {
    description: Option<String>,
    /// The newest migration that belongs to it; all if left out.
    migrations: Option<String>,
    /// Environment variables by service.
    #[serde(flatten)]
    services: BTreeMap<ServiceName, BTreeMap<String, String>>,
}

/// The release to promote: the named one, or one made here and now. In an empty environment the version before it is brought up
/// first, so that there is something to go from.
pub(crate) async fn release(
    top: &Top,
    site: &Site,
    ask: &Promote,
    console: &Console,
    cancel: &CancellationToken,
) -> Result<ReleaseId, Failure> {
    if let Some(text) = &ask.release
        && let Ok(id) = text.parse::<ReleaseId>()
    {
        return Ok(id);
    }
    let versions = versions(&site.environment)?;
    let version = match &ask.release {
        Some(name) if versions.contains(name) => name.clone(),
        Some(name) => {
            return Err(Failure::usage(format!(
                "there is no version {name} of the example application; there are {}",
                versions.iter().cloned().collect::<Vec<_>>().join(", ")
            )));
        }
        None => newest(&versions, None)?,
    };
    build(&site.environment, console)?;
    if !ask.dry_run {
        bring_up_baseline(top, site, &version, &versions, console, cancel).await?;
    }
    make(top, site, &version, console).await
}

/// Promotes the version before `version` into an environment where nothing has ever served.
async fn bring_up_baseline(
    top: &Top,
    site: &Site,
    version: &str,
    versions: &BTreeSet<String>,
    console: &Console,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let entries = liftlock_promote::history(&site.ledger)
        .await
        .map_err(|error| Failure::of(Exit::Usage, &error))?;
    let name = &site.environment.name;
    let is_new = projection::current(&entries, name).is_none()
        && projection::unfinished(&entries, name).is_none();
    let Ok(baseline) = newest(versions, Some(version)) else { return Ok(()) };
    if !is_new {
        return Ok(());
    }
    console.say(&format!(
        "{name} is new: bringing up {baseline} first, so that there is a version to go from"
    ));
    let id = make(top, site, &baseline, console).await?;
    let conclusion = Box::pin(liftlock_promote::start(
        site,
        &Ask::promotion(Some(id)),
        &console.report(),
        cancel,
    ))
    .await?;
    let exit = conclusion.exit();
    match (conclusion.outcome, conclusion.failure) {
        (Outcome::Succeeded, _) => {
            console.say("");
            Ok(())
        }
        (_, failure) => Err(Failure {
            message: format!(
                "{baseline} could not be brought up: {}",
                failure.map_or_else(|| "it failed".into(), |failure| failure.error)
            ),
            exit,
        }),
    }
}

/// The newest good version, below another one if that is given. Versions with a suffix (`1.2.0-errors`) are for rehearsals
/// of failure, and are taken by name only.
fn newest(versions: &BTreeSet<String>, below: Option<&str>) -> Result<String, Failure> {
    let number = |version: &str| -> Option<Vec<u64>> {
        version.split('.').map(|part| part.parse().ok()).collect()
    };
    let base = |version: &str| number(version.split('-').next().unwrap_or(version));
    let limit = below.map(|version| base(version).unwrap_or_default());
    versions
        .iter()
        .filter_map(|version| Some((number(version)?, version)))
        .filter(|(number, _)| limit.as_ref().is_none_or(|limit| number < limit))
        .max()
        .map(|(_, version)| version.clone())
        .ok_or_else(|| Failure::usage("there is no version of the example application to promote"))
}

fn staged(
    environment: &Environment,
) -> Result<Vec<(&ServiceName, &Service, &StageService)>, Failure> {
    environment
        .services_in_order()
        .into_iter()
        .map(|(name, service)| {
            let stage = service.stage.as_ref().ok_or_else(|| {
                Failure::usage(format!(
                    "service {name} of {} has no [services.{name}.stage]",
                    environment.name
                ))
            })?;
            Ok((name, service, stage))
        })
        .collect()
}

/// The names of the version files.
fn versions(environment: &Environment) -> Result<BTreeSet<String>, Failure> {
    let mut versions = BTreeSet::new();
    for (_, _, stage) in staged(environment)? {
        let directory = environment.path(&stage.versions);
        let failed =
            |error: std::io::Error| Failure::usage(format!("{}: {error}", directory.display()));
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "toml")
                && let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
            {
                versions.insert(name.to_owned());
            }
        }
    }
    Ok(versions)
}

/// Runs each service's build command once; it prints its own progress.
fn build(environment: &Environment, console: &Console) -> Result<(), Failure> {
    let mut done = BTreeSet::new();
    for (_, _, stage) in staged(environment)? {
        let Some(command) = &stage.build else { continue };
        let Some((program, arguments)) = command.split_first() else { continue };
        if !done.insert(command.clone()) {
            continue;
        }
        let shown = command.join(" ");
        console.say(&format!("building the application: {shown}"));
        // Its progress goes to standard error; standard output is ours.
        let mut command = Command::new(program);
        for (variable, _) in std::env::vars_os() {
            if variable.to_str().is_some_and(is_of_outer_cargo) {
                command.env_remove(variable);
            }
        }
        let status = command
            .args(arguments)
            .current_dir(environment.root())
            .stdout(std::process::Stdio::null())
            .status()
            .map_err(|error| Failure::usage(format!("`{shown}` could not be run: {error}")))?;
        if !status.success() {
            return Err(Failure::usage(format!(
                "`{shown}` failed ({status}); nothing was promoted"
            )));
        }
    }
    Ok(())
}

/// What `cargo run` tells the program that it runs about its package. A cargo within must not see it: crates whose build scripts look at
/// it (ring's does) would be built again each time, and everything above them.
fn is_of_outer_cargo(variable: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| variable.starts_with(prefix))
        || ["CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"].contains(&variable)
}

/// Makes images and a release of a version.
async fn make(
    top: &Top,
    site: &Site,
    version: &str,
    console: &Console,
) -> Result<ReleaseId, Failure> {
    let environment = &site.environment;
    let directory = connect::stage_directory(top, environment);
    let mut images = BTreeMap::new();
    let mut up_to = None;
    let mut description = None;
    for (name, service, stage) in staged(environment)? {
        let path = environment.path(&stage.versions).join(format!("{version}.toml"));
        let read = read_version(&path)?;
        if let Some(migration) = &read.migrations {
            let number = MigrationId::parse_version(migration)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            up_to = Some(number);
        }
        description = read.description.or(description);
        let mut variables = read.services.get(name).cloned().unwrap_or_default();
        variables.insert("SERVICE".into(), name.to_string());
        // Two versions are two images, also where they are built from the same code.
        variables.insert("IMAGE_VERSION".into(), version.to_owned());
        let (program, arguments) = stage.command.split_first().ok_or_else(|| {
            Failure::usage(format!(
                "services.{name}.stage.command of {} is empty",
                environment.name
            ))
        })?;
        let program = built(environment, program);
        let digest = liftlock_stage::build_image(&directory, &program, arguments, &variables)
            .map_err(|error| Failure::of(Exit::Usage, &error))?;
        let image: ImageRef = format!("{}@{digest}", service.repository)
            .parse()
            .map_err(|error| Failure::of(Exit::Usage, &error))?;
        images.insert(name.clone(), image);
    }
    let head = git::head(&top.root);
    let database = environment.config.database.as_ref();
    let draft = ReleaseDraft {
        version: version.to_owned(),
        commit: head.as_ref().map_or_else(no_commit, |head| head.commit.clone()),
        branch: head.as_ref().and_then(|head| head.branch.clone()),
        subject: head.and_then(|head| head.subject),
        pull_request: None,
        images,
        migrations: database.map(|database| environment.path(&database.migrations.directory)),
        migrations_up_to: up_to,
        infrastructure: None,
    };
    let release = liftlock_promote::create(&site.ledger, &top.actor, draft)
        .await
        .map_err(|error| Failure::of(Exit::Usage, &error))?;
    if let Some(description) = description {
        console.say(&format!("{version} is {}: {description}", release.id));
    }
    Ok(release.id)
}

/// What a release made outside of git says of its commit: 40 zeros, as git itself writes "none".
fn no_commit() -> CommitSha {
    "0".repeat(40).parse().expect("40 hexadecimal digits are a commit")
}

/// Where cargo puts what it builds, if that was said elsewhere.
fn built(environment: &Environment, program: &str) -> PathBuf {
    match (program.strip_prefix("target/"), std::env::var_os("CARGO_TARGET_DIR")) {
        (Some(rest), Some(target)) => environment.root().join(target).join(rest),
        _ => environment.root().join(program),
    }
}

fn read_version(path: &Path) -> Result<Version, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    toml::from_str(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_good_version_is_taken_and_the_one_before_is_the_baseline() {
        let versions = ["1.0.0", "1.1.0", "1.10.0", "1.2.0-errors"].map(str::to_owned).into();
        assert_eq!(newest(&versions, None).unwrap(), "1.10.0");
        assert_eq!(newest(&versions, Some("1.10.0")).unwrap(), "1.1.0");
        assert_eq!(newest(&versions, Some("1.2.0-errors")).unwrap(), "1.1.0");
        assert!(newest(&versions, Some("1.0.0")).is_err());
    }
}
