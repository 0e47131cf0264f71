//! `stage start`, `status`, `stop` and `fault`: the rehearsal cloud, also where there is no repository.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use liftlock_environment::Environment;
use liftlock_model::Exit;
use liftlock_stage::{Fault, Kind, Scenario, ScenarioError, StageError, Topology};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::local::{describe, describe_fault};
use crate::cli::{Stage, StageFault, StageFaultAdd, StageImage, StageStart, StageWhere};
use crate::commands::Top;
use crate::connect;
use crate::console::Console;
use crate::failure::Failure;

/// Runs a `stage` command.
pub(crate) async fn run(
    root: Option<PathBuf>,
    command: Stage,
    console: &Console,
) -> Result<Exit, Failure> {
    match command {
        Stage::Serve { directory, port } => crate::stage::serve(&directory, port).await,
        Stage::Start(ask) => start(root, &ask, console).await,
        Stage::Status { which } => status(&find(root, &which)?, console).await,
        Stage::Stop { which, reset } => stop(&find(root, &which)?, reset, console).await,
        Stage::Image(ask) => image(root, &ask, console),
        Stage::Fault(command) => fault(root, command, console).await,
    }
}

/// Where a stage lives, and the environment that it is made from, if it is made from one.
struct Place {
    directory: PathBuf,
    environment: Option<Environment>,
    work: Option<PathBuf>,
}

fn find(root: Option<PathBuf>, which: &StageWhere) -> Result<Place, Failure> {
    if let Some(directory) = &which.directory {
        let directory = std::path::absolute(directory)
            .map_err(|error| Failure::usage(format!("{}: {error}", directory.display())))?;
        return Ok(Place { directory, environment: None, work: None });
    }
    let top = Top::find(root)?;
    let environment = top.environment(&which.env)?;
    let directory = connect::stage_directory(&top, &environment);
    let work = Some(connect::work(&top, &environment));
    Ok(Place { directory, environment: Some(environment), work })
}

fn usage(error: &StageError) -> Failure {
    Failure::of(Exit::Usage, error)
}

/// Everything is read before anything is started.
async fn start(
    root: Option<PathBuf>,
    ask: &StageStart,
    console: &Console,
) -> Result<Exit, Failure> {
    let place = find(root, &ask.which)?;
    let scenario = ask.scenario.as_deref().map(read_scenario).transpose()?;
    let topology = match (&ask.topology, &place.environment) {
        (Some(path), _) => Some(read_topology(path)?),
        (None, environment) => environment.as_ref().map(crate::stage::topology),
    };
    if topology.as_ref().is_some_and(|topology| topology.database.is_some()) {
        liftlock_postgres::Programs::find().map_err(|error| Failure::of(Exit::Usage, &error))?;
    }
    let program = std::env::current_exe().map_err(|error| {
        Failure::failed(format!("this program's own path cannot be read: {error}"))
    })?;
    let stage = liftlock_stage::start_only(&place.directory, &program, &arguments(&place, ask))
        .await
        .map_err(|error| usage(&error))?;
    if let Some(wanted) = ask.port.filter(|port| stage.endpoint.port() != Some(*port)) {
        return Err(Failure::usage(format!(
            "the stage runs at {} already, not on port {wanted}\n  next: `{} stage stop`, and start it again",
            stage.endpoint,
            console.program()
        )));
    }
    if let Some(topology) = &topology {
        let applied = liftlock_stage::apply_topology(&place.directory, topology).await;
        applied.map_err(|error| usage(&error))?;
    }
    if let Some(scenario) = &scenario {
        let added = liftlock_stage::add_faults(&place.directory, scenario).await;
        added.map_err(|error| usage(&error))?;
    }
    tell(&place, &stage, console).await
}

fn arguments(place: &Place, ask: &StageStart) -> Vec<OsString> {
    let mut all = ["stage", "serve", "--directory"].map(OsString::from).to_vec();
    all.push(place.directory.as_os_str().to_owned());
    if let Some(port) = ask.port {
        all.extend(["--port".into(), port.to_string().into()]);
    }
    all
}

/// What people see is a comment to a shell: the whole can be evaluated.
async fn tell(
    place: &Place,
    stage: &liftlock_stage::Stage,
    console: &Console,
) -> Result<Exit, Failure> {
    let seen = liftlock_stage::status(&place.directory).await.map_err(|error| usage(&error))?;
    let topology =
        liftlock_stage::topology(&place.directory).await.map_err(|error| usage(&error))?;
    let region = topology.map_or_else(|| "eu-central-1".to_owned(), |topology| topology.region);
    // The stage's own keys: they open nothing else.
    let variables = [
        ("AWS_ENDPOINT_URL", stage.endpoint.as_str().trim_end_matches('/').to_owned()),
        ("AWS_ACCESS_KEY_ID", stage.access_key.clone()),
        ("AWS_SECRET_ACCESS_KEY", stage.secret_key.expose_secret().to_owned()),
        ("AWS_REGION", region.clone()),
        ("AWS_DEFAULT_REGION", region),
    ];
    let exports = variables.iter().map(|(name, value)| format!("export {name}={value}"));
    let comments = seen.as_ref().map(describe).unwrap_or_default();
    let lines: Vec<String> =
        comments.lines().map(|line| format!("# {line}")).chain(exports).collect();
    let export: serde_json::Map<_, _> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let told = json!({ "directory": place.directory, "export": export, "stage": seen });
    console.result("stage", &told, || lines.join("\n"));
    Ok(Exit::Done)
}

fn read_scenario(path: &Path) -> Result<Scenario, Failure> {
    Scenario::read(path).map_err(|error| Failure::of(Exit::Usage, &error))
}

fn read_topology(path: &Path) -> Result<Topology, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    toml::from_str(&text).map_err(|error| failed(&error))
}

async fn status(place: &Place, console: &Console) -> Result<Exit, Failure> {
    let seen = liftlock_stage::status(&place.directory);
    match seen.await.map_err(|error| Failure::of(Exit::Failed, &error))? {
        Some(status) => console.result("stage", &status, || describe(&status)),
        None => console.result("stage", &json!({ "running": false }), || {
            format!("not running; start it with `{} stage start`", console.program())
        }),
    }
    Ok(Exit::Done)
}

async fn stop(place: &Place, reset: bool, console: &Console) -> Result<Exit, Failure> {
    if place.work.as_deref().is_some_and(liftlock_promote::is_at_work) {
        return Err(Failure {
            message: "a run is at work on this stage\n  next: wait for it, or stop it with Ctrl-C where it runs".into(),
            exit: Exit::Held,
        });
    }
    let failed = |error: StageError| Failure::of(Exit::Failed, &error);
    let ran = liftlock_stage::stop(&place.directory).await.map_err(failed)?;
    if reset {
        liftlock_stage::reset(&place.directory).await.map_err(failed)?;
    }
    console.result("stage", &json!({ "stopped": ran, "reset": reset }), || {
        let end = if ran { "stopped" } else { "was not running" };
        let data = if reset { "its data is deleted" } else { "its data is kept" };
        format!("{end}; {data}")
    });
    Ok(Exit::Done)
}

fn image(root: Option<PathBuf>, ask: &StageImage, console: &Console) -> Result<Exit, Failure> {
    let place = find(root, &ask.which)?;
    let mut words = ask.command.iter();
    let program = PathBuf::from(words.next().cloned().unwrap_or_default());
    let arguments: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let variables = ask.variables.iter().cloned().collect();
    std::fs::create_dir_all(&place.directory)
        .map_err(|error| Failure::usage(format!("{}: {error}", place.directory.display())))?;
    let digest = liftlock_stage::build_image(&place.directory, &program, &arguments, &variables)
        .map_err(|error| Failure::of(Exit::Usage, &error))?;
    console.result("image", &json!({ "digest": digest.as_str() }), || digest.to_string());
    Ok(Exit::Done)
}

async fn fault(
    root: Option<PathBuf>,
    command: StageFault,
    console: &Console,
) -> Result<Exit, Failure> {
    match command {
        StageFault::Add(ask) => {
            let scenario = asked_for(&ask)?;
            let place = find(root, &ask.which)?;
            let names = liftlock_stage::add_faults(&place.directory, &scenario).await;
            let names = names.map_err(|error| usage(&error))?;
            console.result("faults-added", &json!({ "names": names }), || {
                format!("added {}", names.join(", "))
            });
        }
        StageFault::List { which } => {
            let place = find(root, &which)?;
            let all = liftlock_stage::faults(&place.directory).await.map_err(|e| usage(&e))?;
            console.result("faults", &json!({ "faults": all }), || {
                let lines: Vec<String> = all.iter().map(describe_fault).collect();
                if lines.is_empty() { "there is no fault".to_owned() } else { lines.join("\n") }
            });
        }
        StageFault::Clear { which, names } => {
            let place = find(root, &which)?;
            let gone = clear(&place.directory, &names).await?;
            console.result("faults-cleared", &json!({ "names": gone }), || {
                if gone.is_empty() {
                    "there was no fault".to_owned()
                } else {
                    format!("cleared {}", gone.join(", "))
                }
            });
        }
    }
    Ok(Exit::Done)
}

fn asked_for(ask: &StageFaultAdd) -> Result<Scenario, Failure> {
    if let Some(path) = &ask.scenario {
        return read_scenario(path);
    }
    let name = ask.kind.as_deref().unwrap_or_default();
    let kind = Kind::ALL.into_iter().find(|kind| kind.to_string() == name).ok_or_else(|| {
        let all = Kind::ALL.map(|kind| kind.to_string()).join(", ");
        Failure::usage(format!("there is no fault of kind `{name}`; there are {all}"))
    })?;
    let fault = Fault::from_words(kind, &ask.settings)
        .map_err(|error: ScenarioError| Failure::of(Exit::Usage, &error))?;
    Ok(Scenario { seed: ask.seed, faults: vec![fault] })
}

/// A name that is not there is an error, before any is taken away.
async fn clear(directory: &Path, names: &[String]) -> Result<Vec<String>, Failure> {
    if names.is_empty() {
        return liftlock_stage::clear_faults(directory, None).await.map_err(|e| usage(&e));
    }
    let all = liftlock_stage::faults(directory).await.map_err(|error| usage(&error))?;
    let there: Vec<&str> = all.iter().filter_map(|seen| seen.fault.name.as_deref()).collect();
    if let Some(strange) = names.iter().find(|name| !there.contains(&name.as_str())) {
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        return Err(Failure::usage(format!(
            "there is no fault called {strange}; there is {there}"
        )));
    }
    let mut gone = Vec::new();
    for name in names {
        let cleared = liftlock_stage::clear_faults(directory, Some(name)).await;
        gone.extend(cleared.map_err(|error| usage(&error))?);
    }
    Ok(gone)
}
