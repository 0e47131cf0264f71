//! Running a command, and how it ends.

use std::io::Write as _;
use std::path::Path;

use async_trait::async_trait;
use liftlock_migrate::Settings;
use liftlock_migrate::commands::{Desk, End, Failed};
use liftlock_model::Exit;
use secrecy::SecretString;
use serde_json::json;

use crate::arguments::{Arguments, Command, Options, Output};
use crate::commands;
use crate::secret;

/// Runs what the command line says, and prints it.
pub(crate) fn run(arguments: Arguments) -> Exit {
    let output = arguments.options.output;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(until_stopped(arguments)),
        Err(error) => Err(Failed { text: error.to_string(), exit: Exit::Failed }),
    };
    let end = ended.unwrap_or_else(|Failed { text, exit }| {
        let json = json!({ "error": text });
        End { text: format!("error: {text}"), json, exit }
    });
    let printed = match output {
        Output::Json => writeln!(anstream::stdout(), "{}", end.json),
        Output::Markdown if end.json.get("error").is_none() => {
            writeln!(anstream::stdout(), "{}", end.text)
        }
        _ if end.exit == Exit::Done => writeln!(anstream::stdout(), "{}", end.text),
        _ => writeln!(anstream::stderr(), "{}", end.text),
    };
    // Output that nobody reads any more does not change how the run ended.
    printed.unwrap_or_default();
    end.exit
}

/// A signal drops the work: the connection closes, the server takes the open transaction back, and a dry-run's database is
/// removed.
async fn until_stopped(arguments: Arguments) -> Result<End, Failed> {
    let stopped = Failed {
        text: "stopped by request: the migration that was running is taken back; `migrate status` shows what is applied".into(),
        exit: Exit::Failed,
    };
    tokio::select! {
        ended = Box::pin(dispatch(arguments)) => ended,
        () = signal() => Err(stopped),
    }
}

async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

async fn dispatch(Arguments { command, apply, options }: Arguments) -> Result<End, Failed> {
    if options.output == Output::Markdown && !(command.is_none() && apply.dry_run) {
        return Err(Failed::usage(
            "only a dry-run has Markdown: add --dry-run, or ask for `--output json`",
        ));
    }
    match command {
        None => commands::apply::run(&options, &apply).await,
        Some(Command::Snapshot(ask)) => commands::snapshot::run(&options, &ask).await,
        Some(Command::Restore(ask)) => commands::restore::run(&options, &ask).await,
        Some(Command::Adopt(ask)) => ask.run(&options).await,
        Some(Command::Baseline(ask)) => ask.run(&options).await,
        Some(Command::New(ask)) => ask.run(&options),
        Some(Command::Status(ask)) => ask.run(&options).await,
        Some(Command::Drift(ask)) => ask.run(&options).await,
        Some(Command::Check(ask)) => ask.run(&options).await,
        Some(Command::Rollback(ask)) => ask.run(&options).await,
        Some(Command::Squash(ask)) => ask.run(&options).await,
        Some(Command::Prove(ask)) => ask.run(&options).await,
        Some(Command::Fleet(ask)) => ask.run(&options).await,
        Some(Command::Resolve(ask)) => ask.run(&options).await,
    }
}

#[async_trait]
impl Desk for Options {
    fn directory(&self) -> &Path {
        &self.directory
    }

    fn settings(&self) -> Result<Settings, Failed> {
        Self::settings(self)
    }

    async fn url(&self) -> Result<SecretString, Failed> {
        secret::read(&self.database_url_env, self.env_file.as_deref()).map_err(Failed::usage)
    }

    fn advice(&self, words: &str) -> String {
        format!("migrate {words}")
    }

    fn say(&self, text: &str) {
        say(&text);
    }

    fn annotate(&self, line: &str) {
        say(&line);
    }
}

/// Says something while the work goes on.
pub(crate) fn say(progress: &dyn std::fmt::Display) {
    // Progress that nobody reads does not stop the work.
    writeln!(anstream::stderr(), "{progress}").unwrap_or_default();
}
