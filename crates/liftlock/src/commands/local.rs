//! `local status`, `stop` and `reset`.

use liftlock_environment::Environment;
use liftlock_environment::config::Engine;
use liftlock_model::Exit;
use liftlock_stage::{FaultState, FaultStatus, Status};

use crate::cli::Local;
use crate::commands::Top;
use crate::connect;
use crate::console::Console;
use crate::failure::Failure;

/// Runs a `local` command on every environment of this machine.
pub(crate) async fn run(top: &Top, command: &Local, console: &Console) -> Result<Exit, Failure> {
    let mut any = false;
    for name in Environment::list(&top.root)? {
        let environment = top.environment(&name)?;
        if environment.config.infrastructure.engine != Engine::Stage {
            continue;
        }
        any = true;
        let directory = connect::stage_directory(top, &environment);
        let work = connect::work(top, &environment);
        if !matches!(command, Local::Status) && liftlock_promote::is_at_work(&work) {
            return Err(Failure {
                message: format!(
                    "a run is at work in {name}\n  next: wait for it, or stop it with Ctrl-C where it runs; `liftlock status --env {name}` shows how far it is"
                ),
                exit: Exit::Held,
            });
        }
        let broken = |error: liftlock_stage::StageError| Failure::of(Exit::Failed, &error);
        match command {
            Local::Status => match liftlock_stage::status(&directory).await.map_err(broken)? {
                Some(status) => console.result("local", &status, || describe(&status)),
                None => console.say(&format!(
                    "{name}: not running; start it with `{} promote --env {name}`",
                    console.program()
                )),
            },
            Local::Stop => {
                let ran = liftlock_stage::stop(&directory).await.map_err(broken)?;
                console.say(&format!(
                    "{name}: {}",
                    if ran { "stopped; its data is kept" } else { "was not running" }
                ));
            }
            Local::Reset => {
                liftlock_stage::reset(&directory).await.map_err(broken)?;
                match std::fs::remove_dir_all(&work) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(Failure::failed(format!("{}: {error}", work.display())));
                    }
                    _ => console.say(&format!("{name}: stopped, and its data and history deleted")),
                }
            }
        }
    }
    if !any {
        console.say("no environment here is a local one: none has `engine = \"stage\"` under [infrastructure]");
    }
    Ok(Exit::Done)
}

/// What runs, for people.
pub(crate) fn describe(status: &Status) -> String {
    let mut lines = vec![
        format!("url        {}", status.url),
        format!("test url   {}", status.test_url),
        format!("endpoint   {}  (AWS clients; process {})", status.endpoint, status.pid),
    ];
    if let Some(database) = &status.database {
        let state = if database.available { "available" } else { "not available" };
        let port = database.port.map(|port| format!(" on port {port}")).unwrap_or_default();
        lines.push(format!("database   {} {state}{port}", database.instance));
    }
    for service in &status.services {
        for colour in &service.colours {
            lines.push(format!(
                "{:<10} {:<6} {:<14} {:>3} % of traffic, {} of {} tasks running, {} healthy",
                service.name,
                colour.colour.as_str(),
                colour.version.as_deref().unwrap_or("-"),
                colour.weight,
                colour.running,
                colour.desired,
                colour.healthy
            ));
        }
    }
    for schedule in &status.schedules {
        let state = match (&schedule.outcome, schedule.enabled) {
            (Some(outcome), _) => outcome.as_str(),
            (None, true) => "waits",
            (None, false) => "disabled",
        };
        lines.push(format!("schedule   {} {} ({state})", schedule.name, schedule.expression));
    }
    lines.extend(status.faults.iter().map(describe_fault));
    lines.join("\n")
}

/// A fault, for people.
pub(crate) fn describe_fault(seen: &FaultStatus) -> String {
    let said = serde_json::to_value(&seen.fault).unwrap_or_default();
    let mut settings = String::new();
    for (key, value) in said.as_object().into_iter().flatten() {
        if key != "name" && key != "kind" {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            settings.push_str(&format!(" {key}={text}"));
        }
    }
    let state = match seen.state {
        FaultState::Waiting => "waits",
        FaultState::On => "on",
        FaultState::Over => "over",
    };
    let name = seen.fault.name.as_deref().unwrap_or("-");
    format!("fault      {name}: {}{settings} ({state}, {} hit)", seen.fault.kind, seen.hits)
}
