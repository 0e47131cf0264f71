//! The commands: thin adapters from the command line to the libraries.

mod audit;
mod doctor;
mod emergency;
mod environment;
mod history;
mod infra;
mod judge;
mod local;
mod migrate;
mod promote;
mod release;
mod rollout;
mod stage;
mod status;
mod steer;
mod watch;

use std::path::PathBuf;

use liftlock_environment::Environment;
use liftlock_model::{Actor, EnvName, Exit};

use crate::cli::{Arguments, Command};
use crate::console::Console;
use crate::failure::Failure;

/// Runs a command, prints why it failed if it did, and says how to exit.
pub(crate) async fn run(arguments: Arguments, console: &Console) -> Exit {
    match Box::pin(dispatch(arguments, console)).await {
        Ok(exit) => exit,
        Err(failure) => {
            console.error(&failure.message);
            failure.exit
        }
    }
}

async fn dispatch(arguments: Arguments, console: &Console) -> Result<Exit, Failure> {
    // The rehearsal cloud may have a directory of its own, and no repository.
    if let Command::Stage(command) = arguments.command {
        return stage::run(arguments.root, command, console).await;
    }
    let top = Top::find(arguments.root)?;
    match arguments.command {
        Command::Promote(ask) => promote::promote(&top, &ask, console).await,
        Command::Rollback(ask) => promote::rollback(&top, &ask, console).await,
        Command::Release(command) => release::run(&top, command, console).await,
        Command::Approve(ask) => judge::run(&top, &ask, true, console).await,
        Command::Reject(ask) => judge::run(&top, &ask, false, console).await,
        Command::Infra(command) => infra::run(&top, command, console).await,
        Command::Migrate(command) => migrate::run(&top, command, console).await,
        Command::Rollout(command) => rollout::run(&top, command, console).await,
        Command::Status(ask) => status::run(&top, &ask, console).await,
        Command::History(ask) => history::run(&top, &ask, console).await,
        Command::Audit(command) => audit::run(&top, &command, console).await,
        Command::Environment(command) => environment::run(&top, command, console),
        Command::Doctor => doctor::run(&top, console).await,
        Command::Local(command) => local::run(&top, &command, console).await,
        Command::Stage(_) => unreachable!("taken above"),
    }
}

/// The repository that a command works in, and who works.
pub(crate) struct Top {
    /// The directory that holds `environments/`.
    pub root: PathBuf,
    pub actor: Actor,
}

impl Top {
    fn find(root: Option<PathBuf>) -> Result<Self, Failure> {
        let start = match root {
            Some(root) => root,
            None => std::env::current_dir().map_err(|error| {
                Failure::usage(format!("the current directory cannot be read: {error}"))
            })?,
        };
        let root = liftlock_environment::find_root(&start)
            .map_err(|error| Failure::usage(error.to_string()))?;
        Ok(Self { root, actor: actor() })
    }

    /// An environment, checked.
    pub(crate) fn environment(&self, name: &EnvName) -> Result<Environment, Failure> {
        Ok(Environment::load(&self.root, name)?)
    }

    /// Where Liftlock keeps its own files in this repository.
    pub(crate) fn state(&self) -> PathBuf {
        self.root.join(".liftlock")
    }
}

/// Who works: what CI says, else who is logged in.
fn actor() -> Actor {
    let name = ["LIFTLOCK_ACTOR", "GITHUB_ACTOR", "GITLAB_USER_LOGIN", "USER", "LOGNAME"]
        .iter()
        .find_map(|variable| std::env::var(variable).ok().filter(|name| !name.is_empty()));
    Actor::new(&name.unwrap_or_else(login_name))
}

/// The name that the system's user database has for this process's user; its number where there is none.
fn login_name() -> String {
    let user = rustix::process::getuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut entries = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = entries.find(|fields| fields.get(2) == Some(&user.as_str()));
    found
        .and_then(|fields| fields.first().map(|name| (*name).to_owned()))
        .unwrap_or_else(|| format!("uid {user}"))
}
