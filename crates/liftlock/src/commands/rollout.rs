//! `rollout`.

use liftlock_environment::config::Engine;
use liftlock_model::{EnvName, Exit};
use liftlock_promote::Site;
use liftlock_rollout::Colour;

use crate::cli::Rollout;
use crate::commands::{Top, steer, watch};
use crate::connect;
use crate::console::Console;
use crate::failure::Failure;

/// Runs a `rollout` command.
pub(crate) async fn run(top: &Top, command: Rollout, console: &Console) -> Result<Exit, Failure> {
    match command {
        Rollout::Status { env } => status(top, &env, console).await,
        Rollout::Watch { env, once } => watch::watch(top, &env, once, console).await,
        Rollout::Resume { env, reason } => {
            steer::resume(top, &env, reason.as_deref(), console).await
        }
        Rollout::Abort { env, reason } => steer::abort(top, &env, &reason, console).await,
    }
}

/// The environment with its real parts; a local one that does not run is not started by looking at it.
pub(crate) async fn running_site(
    top: &Top,
    env: &EnvName,
    console: &Console,
) -> Result<Site, Failure> {
    let environment = top.environment(env)?;
    if environment.config.infrastructure.engine == Engine::Stage {
        let directory = connect::stage_directory(top, &environment);
        let status = liftlock_stage::status(&directory)
            .await
            .map_err(|error| Failure::of(Exit::Failed, &error))?;
        if status.is_none() {
            return Err(Failure::usage(format!(
                "{env} does not run\n  next: liftlock promote --env {env}"
            )));
        }
    }
    connect::site(top, environment, console).await
}

/// Prints what runs on which colour, and where traffic goes.
async fn status(top: &Top, env: &EnvName, console: &Console) -> Result<Exit, Failure> {
    let site = running_site(top, env, console).await?;
    // One that cannot be looked at must not hide where traffic is.
    let switches = site.switches.look().await.unwrap_or_default();
    for (service, target) in &site.targets {
        let switch = switches.get(service).and_then(Option::as_ref);
        let set = site.environment.config.services.get(service);
        let in_place = set.is_some_and(|service| service.rollout.strategy.is_in_place());
        let live = target
            .live()
            .await
            .map_err(|error| Failure::of(connect::target_exit(&error), &error))?;
        let value = serde_json::json!({
            "environment": env, "service": service, "live": live,
            "switch": switch.map(|switch| serde_json::json!({ "name": switch.name, "at": switch.at })),
        });
        console.result("service", &value, || {
            let mut lines =
                vec![format!("{service}: {}; test listener: {}", live.weights, live.test)];
            for colour in Colour::BOTH {
                let state = live.colour(colour);
                let revision = state
                    .task_definition
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), ToString::to_string);
                lines.push(format!("  {:<6} {revision:<28} {}", colour.as_str(), state.summary()));
                lines.extend(
                    state.stopped.iter().take(2).map(|why| format!("         stopped: {why}")),
                );
            }
            lines.extend(switch.map(|switch| {
                let does = if in_place {
                    "has the old version brought back"
                } else {
                    "gives all traffic back"
                };
                format!("  dead-man's switch {}: {does} at {:.0}", switch.name, switch.at)
            }));
            lines.join("\n")
        });
    }
    Ok(Exit::Done)
}
