//! Running a command, and how it ends.

use std::io::Write as _;

use liftlock_migrate::{ConnectErrorKind, Database, Migrations, Progress, Settings};
use liftlock_model::Exit;
use serde_json::{Value, json};

use crate::arguments::{Arguments, Command, Options, Output};
use crate::commands;
use crate::secret;

/// What a command has to say at its end, for people and for machines, and its exit code.
pub(crate) struct End {
    pub(crate) text: String,
    pub(crate) json: Value,
    pub(crate) exit: Exit,
}

/// What went wrong.
pub(crate) struct Failed {
    pub(crate) text: String,
    pub(crate) exit: Exit,
}

impl Failed {
    pub(crate) fn usage(error: impl ToString) -> Self {
        Self { text: error.to_string(), exit: Exit::Usage }
    }

    pub(crate) fn ended(error: impl ToString, exit: Exit) -> Self {
        Self { text: error.to_string(), exit }
    }
}

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
        Some(Command::Adopt(ask)) => commands::adopt::run(&options, &ask).await,
        Some(Command::Baseline(ask)) => commands::baseline::run(&options, &ask).await,
        Some(Command::New(ask)) => commands::new::run(&options, &ask),
        Some(Command::Status(ask)) => commands::status::run(&options, &ask).await,
        Some(Command::Drift(ask)) => commands::drift::run(&options, &ask).await,
        Some(Command::Check(ask)) => commands::check::run(&options, &ask).await,
        Some(Command::Rollback(ask)) => commands::rollback::run(&options, &ask).await,
        Some(Command::Snapshot(ask)) => commands::snapshot::run(&options, &ask).await,
        Some(Command::Restore(ask)) => commands::restore::run(&options, &ask).await,
        Some(Command::Prove(ask)) => commands::prove::run(&options, &ask).await,
        Some(Command::Fleet(ask)) => commands::fleet::run(&options, &ask).await,
        Some(Command::Resolve(ask)) => commands::resolve::run(&options, &ask).await,
    }
}

/// The migrations' files.
pub(crate) fn read(options: &Options) -> Result<Migrations, Failed> {
    Migrations::read(&options.directory).map_err(Failed::usage)
}

/// The database that the options name.
pub(crate) async fn connect(options: &Options) -> Result<Database, Failed> {
    connect_with(options, options.settings()?).await
}

/// The database that the options name, with settings of one command.
pub(crate) async fn connect_with(
    options: &Options,
    settings: Settings,
) -> Result<Database, Failed> {
    let url = secret::read(&options.database_url_env, options.env_file.as_deref())
        .map_err(Failed::usage)?;
    Database::connect(&url, settings).await.map_err(|error| {
        let exit = match error.kind() {
            ConnectErrorKind::Authentication => Exit::Authentication,
            ConnectErrorKind::Configuration => Exit::Usage,
            ConnectErrorKind::Unreachable => Exit::Failed,
        };
        Failed::ended(error, exit)
    })
}

/// Shows progress.
pub(crate) fn tell(progress: &Progress) {
    say(progress);
}

/// Says something while the work goes on.
pub(crate) fn say(progress: &dyn std::fmt::Display) {
    // Progress that nobody reads does not stop the work.
    writeln!(anstream::stderr(), "{progress}").unwrap_or_default();
}
