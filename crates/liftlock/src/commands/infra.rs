//! `infra render`, `plan` and `apply`.

use std::path::PathBuf;

use liftlock_environment::Environment;
use liftlock_environment::config::Engine;
use liftlock_model::Exit;
use liftlock_promote::{
    Infrastructure, InfrastructurePlan, SavedInfrastructure, TerraformInfrastructure,
};
use liftlock_terraform::{check, render};

use crate::cli::Infra;
use crate::commands::Top;
use crate::connect;
use crate::console::Console;
use crate::failure::Failure;

/// Runs an `infra` command.
pub(crate) async fn run(top: &Top, command: Infra, console: &Console) -> Result<Exit, Failure> {
    match command {
        Infra::Render { env, check } => {
            let names = match env {
                Some(name) => vec![name],
                None => Environment::list(&top.root)?,
            };
            let mut exit = Exit::Done;
            for name in names {
                let environment = top.environment(&name)?;
                if environment.config.infrastructure.engine != Engine::Stage
                    && one_render(&environment, check, console)? == Exit::Failed
                {
                    exit = Exit::Failed;
                }
            }
            Ok(exit)
        }
        Infra::Plan { env } => plan(top, &top.environment(&env)?, console).await,
        Infra::Apply { env, allow } => apply(top, &top.environment(&env)?, &allow, console).await,
    }
}

fn one_render(
    environment: &Environment,
    only_check: bool,
    console: &Console,
) -> Result<Exit, Failure> {
    if only_check {
        return match check(environment) {
            Ok(()) => {
                console.say(&format!("{}: in step", environment.name));
                Ok(Exit::Done)
            }
            Err(error) => {
                console.error(&Failure::of(Exit::Failed, &error).message);
                Ok(Exit::Failed)
            }
        };
    }
    for file in render(environment).map_err(|error| Failure::of(Exit::Usage, &error))? {
        let path = environment.root().join(&file.path);
        let failed = |error: std::io::Error| {
            Failure::usage(format!(
                "{} cannot be written: {error}\n  next: make its directory writable for this user, or free space, then repeat the command",
                path.display()
            ))
        };
        if std::fs::read_to_string(&path).is_ok_and(|now| now == file.content) {
            console.say(&format!("{}: unchanged", file.path.display()));
            continue;
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        std::fs::write(&path, &file.content).map_err(failed)?;
        console.say(&format!("{}: written", file.path.display()));
    }
    Ok(Exit::Done)
}

fn maker(top: &Top, environment: &Environment) -> Result<TerraformInfrastructure, Failure> {
    if environment.config.infrastructure.engine == Engine::Stage {
        return Err(Failure::usage(format!(
            "the infrastructure of {} is the stage on this machine, which `promote --env {}` makes: there is nothing to plan",
            environment.name, environment.name
        )));
    }
    Ok(TerraformInfrastructure::new(environment, &connect::work(top, environment).join("infra")))
}

fn saved(top: &Top, environment: &Environment) -> PathBuf {
    connect::work(top, environment).join("infra").join("saved.json")
}

async fn plan(top: &Top, environment: &Environment, console: &Console) -> Result<Exit, Failure> {
    let maker = maker(top, environment)?;
    let files = maker.files(maker.working_tree()?)?;
    let plan = maker.plan(&files, &|text| console.life(text)).await?;
    SavedInfrastructure::write(&saved(top, environment), &files, &plan)?;
    console.result("infrastructure_plan", &plan, || describe(environment, &plan, console));
    Ok(if plan.violations.is_empty() { Exit::Done } else { Exit::Refused })
}

fn describe(environment: &Environment, plan: &InfrastructurePlan, console: &Console) -> String {
    let mut lines = vec![format!("{}: {}", environment.name, plan.headline)];
    lines.extend(plan.details.iter().map(|line| format!("  {line}")));
    lines.extend(plan.violations.iter().map(|line| format!("  REFUSED: {line}")));
    if plan.changes > 0 {
        lines.push(format!("  next: {} infra apply --env {}", console.program(), environment.name));
    }
    lines.join("\n")
}

async fn apply(
    top: &Top,
    environment: &Environment,
    allow: &[String],
    console: &Console,
) -> Result<Exit, Failure> {
    let maker = maker(top, environment)?.allowing(allow);
    let saved = SavedInfrastructure::read(&saved(top, environment)).map_err(|error| {
        Failure::usage(format!("{error}\n  next: liftlock infra plan --env {}", environment.name))
    })?;
    let refused = maker.refused(&saved.plan);
    if !refused.is_empty() {
        return Err(Failure {
            message: format!(
                "the plan would destroy what holds data:\n  {}\n  next: if it is meant, infra apply --env {} --allow ADDRESS",
                refused.join("\n  "),
                environment.name
            ),
            exit: Exit::Refused,
        });
    }
    let site = connect::site(top, environment.clone(), console).await?;
    let cancel = crate::commands::promote::stop_on_signals(console);
    let run = liftlock_promote::InfrastructureRun {
        site: &site,
        report: &console.report(),
        cancel: &cancel,
    };
    let note = run.apply(&maker, &saved, allow).await?;
    console.result("applied", &serde_json::json!({ "note": note }), || note.clone());
    Ok(Exit::Done)
}
