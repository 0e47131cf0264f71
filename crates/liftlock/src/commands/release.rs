//! `release create`, `list` and `show`.

use std::collections::BTreeMap;

use liftlock_environment::Environment;
use liftlock_ledger::projection;
use liftlock_model::{CommitSha, Exit, Release as Made};
use liftlock_promote::{ReleaseDraft, ReleaseError, check_images};

use crate::cli::{Release, ReleaseCreate};
use crate::commands::Top;
use crate::connect;
use crate::console::Console;
use crate::failure::Failure;
use crate::git;

/// Runs a `release` command.
pub(crate) async fn run(top: &Top, command: Release, console: &Console) -> Result<Exit, Failure> {
    match command {
        Release::Create(ask) => create(top, ask, console).await,
        Release::List => list(top, console).await,
        Release::Show { release } => {
            let ledger = connect::shared_ledger(top).await?;
            let entries = liftlock_promote::history(&ledger)
                .await
                .map_err(|error| Failure::of(Exit::Usage, &error))?;
            let found = projection::release(&entries, &release).ok_or_else(|| {
                Failure::usage(format!(
                    "there is no release {release}; `liftlock release list` shows what there is"
                ))
            })?;
            console.result("release", &found, || describe(&found));
            Ok(Exit::Done)
        }
    }
}

async fn create(top: &Top, ask: ReleaseCreate, console: &Console) -> Result<Exit, Failure> {
    let head = git::head(&top.root);
    let is_head = |commit: &_| head.as_ref().is_some_and(|head| head.commit == *commit);
    let commit = match ask.commit.or_else(|| head.as_ref().map(|head| head.commit.clone())) {
        Some(commit) => commit,
        None => {
            return Err(Failure::usage(format!(
                "{} is no git repository with a commit: name the commit with --commit SHA",
                top.root.display()
            )));
        }
    };
    let mut images = BTreeMap::new();
    for (service, image) in ask.images {
        if images.insert(service.clone(), image).is_some() {
            return Err(Failure::usage(format!("--image {service}=… is given twice")));
        }
    }
    let sample = reference(top, &images)?;
    if let Some(head) = &head {
        files_are_of(&commit, &head.commit, top, &sample)?;
    }
    let database = sample.config.database.as_ref();
    let (branch, subject) = match &head {
        Some(head) if is_head(&commit) => (head.branch.clone(), head.subject.clone()),
        _ => (None, None),
    };
    let draft = ReleaseDraft {
        version: ask.version.unwrap_or_else(|| commit.as_str()[..12].to_owned()),
        commit,
        branch,
        subject,
        pull_request: ask.pull_request,
        images,
        migrations: database.map(|database| sample.path(&database.migrations.directory)),
        migrations_up_to: None,
        infrastructure: Some(sample.path(&sample.config.infrastructure.root)),
    };
    let ledger = connect::shared_ledger(top).await?;
    let release = liftlock_promote::create(&ledger, &top.actor, draft).await.map_err(not_made)?;
    console.result("release", &release, || {
        format!("{}\n\n  next: liftlock promote --env {}", describe(&release), sample.name)
    });
    Ok(Exit::Done)
}

/// A release is made of the files that lie here: they must be the commit's.
fn files_are_of(
    commit: &CommitSha,
    head: &CommitSha,
    top: &Top,
    environment: &Environment,
) -> Result<(), Failure> {
    if commit != head {
        return Err(Failure::usage(format!(
            "the files here are of commit {head}, and the release is to be of {commit}\n  next: git checkout {commit}"
        )));
    }
    let config = &environment.config;
    let migrations =
        config.database.as_ref().map(|database| database.migrations.directory.as_path());
    let paths: Vec<_> =
        migrations.into_iter().chain([config.infrastructure.root.as_path()]).collect();
    let changed = git::changed(&top.root, &paths);
    if changed.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "these files are not as commit {head} has them: {}\n  next: commit them, or take them back",
        changed.join(", ")
    )))
}

fn not_made(error: ReleaseError) -> Failure {
    Failure::of(Exit::Usage, &error)
}

/// The first environment of a chain that is not the stage: its services are what a release must have images for.
fn reference(
    top: &Top,
    images: &BTreeMap<liftlock_model::ServiceName, liftlock_model::ImageRef>,
) -> Result<Environment, Failure> {
    let mut first = None;
    for name in Environment::list(&top.root)? {
        let environment = top.environment(&name)?;
        let is_stage =
            environment.config.infrastructure.engine == liftlock_environment::config::Engine::Stage;
        if !is_stage && environment.config.gates.after.is_none() {
            first = Some(environment);
            break;
        }
    }
    let environment = first.ok_or_else(|| {
        Failure::usage("no environment is the first of a chain (one without `gates.after`): there is nowhere to promote to")
    })?;
    check_images(images, &environment.config.services).map_err(not_made)?;
    Ok(environment)
}

async fn list(top: &Top, console: &Console) -> Result<Exit, Failure> {
    let ledger = connect::shared_ledger(top).await?;
    let entries = liftlock_promote::history(&ledger)
        .await
        .map_err(|error| Failure::of(Exit::Usage, &error))?;
    let mut releases = projection::releases(&entries);
    releases.reverse();
    for released in &releases {
        console.result("release", &released.release, || {
            let content = &released.release.content;
            format!(
                "{}  {:<16} {}  {}  by {}",
                released.release.id,
                content.version,
                &content.commit.as_str()[..12],
                released.at.strftime("%Y-%m-%d %H:%M:%S UTC"),
                released.actor
            )
        });
    }
    if releases.is_empty() {
        console
            .say("there is no release yet; `liftlock release create --help` says how to make one");
    }
    Ok(Exit::Done)
}

fn describe(release: &Made) -> String {
    let content = &release.content;
    let mut lines =
        vec![format!("{}  version {}  commit {}", release.id, content.version, content.commit)];
    lines.extend(content.images.iter().map(|(service, image)| format!("  {service:<12} {image}")));
    let migrations = match (content.migrations.first(), content.migrations.last()) {
        (Some(first), Some(last)) => format!("{} to {}", first.id, last.id),
        _ => "none".into(),
    };
    lines.push(format!("  migrations   {migrations}"));
    lines.push(format!("  iac          {}", &content.infrastructure_archive.as_str()[..12]));
    lines.join("\n")
}
