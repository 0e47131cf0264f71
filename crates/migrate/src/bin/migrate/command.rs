//! The commands.

use std::io::Write as _;

use liftlock_migrate::{ConnectErrorKind, Database, Migrations, Progress, RolledBack, Status};
use liftlock_model::Exit;
use serde_json::{Value, json};

use crate::arguments::{Arguments, Command, Options, Output};
use crate::secret;

/// What a command has to say at its end, for people and for machines, and its exit code.
struct End {
    text: String,
    json: Value,
    exit: Exit,
}

/// What went wrong.
struct Failed {
    text: String,
    exit: Exit,
}

impl Failed {
    fn usage(error: impl ToString) -> Self {
        Self { text: error.to_string(), exit: Exit::Usage }
    }
}

/// Runs what the command line says, and prints it.
pub(crate) fn run(arguments: Arguments) -> Exit {
    let output = arguments.options.output;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
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
        Output::Human if end.exit == Exit::Done => writeln!(anstream::stdout(), "{}", end.text),
        Output::Human => writeln!(anstream::stderr(), "{}", end.text),
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
    if let Some(Command::Rollback { to, accept_data_loss }) = command {
        return rollback(&options, to, accept_data_loss).await;
    }
    let migrations = Migrations::read(&options.directory).map_err(Failed::usage)?;
    match command {
        Some(Command::Check) => {
            let stamps = migrations.stamps();
            let text = format!("{} migrations, complete and in order", stamps.len());
            Ok(End { text, json: json!({ "migrations": stamps }), exit: Exit::Done })
        }
        Some(Command::Status) => status(&options, &migrations).await,
        _ if apply.dry_run => {
            let mut database = connect(&options).await?;
            let tried = database.dry_run(&migrations).await;
            let tried =
                tried.map_err(|error| Failed { text: error.to_string(), exit: error.exit() })?;
            Ok(End { text: tried.to_string(), exit: tried.exit(), json: json!(tried) })
        }
        _ => {
            let mut database = connect(&options).await?;
            let ran = database.apply(&migrations, apply.to, &mut tell).await;
            let ran =
                ran.map_err(|error| Failed { text: error.to_string(), exit: error.exit() })?;
            let text = match ran.len() {
                0 => format!("nothing to apply on {}", database.place()),
                count => format!("applied {count} on {}", database.place()),
            };
            Ok(End { text, json: json!({ "applied": ran }), exit: Exit::Done })
        }
    }
}

async fn connect(options: &Options) -> Result<Database, Failed> {
    let url = secret::read(&options.database_url_env, options.env_file.as_deref())
        .map_err(Failed::usage)?;
    Database::connect(&url, options.settings()).await.map_err(|error| {
        let exit = match error.kind() {
            ConnectErrorKind::Authentication => Exit::Authentication,
            ConnectErrorKind::Configuration => Exit::Usage,
            ConnectErrorKind::Unreachable => Exit::Failed,
        };
        Failed { text: error.to_string(), exit }
    })
}

async fn status(options: &Options, migrations: &Migrations) -> Result<End, Failed> {
    let mut database = connect(options).await?;
    let status = database.status(migrations).await;
    let status = status.map_err(|error| Failed { text: error.to_string(), exit: Exit::Failed })?;
    let exit = if status.problems.is_empty() { Exit::Done } else { Exit::Failed };
    Ok(End { text: status_text(&status), json: json!(status), exit })
}

fn status_text(status: &Status) -> String {
    let mut lines = vec![status.database.clone()];
    for one in &status.applied {
        let by = one.by.as_ref().map_or_else(|| "refinery".to_owned(), ToString::to_string);
        let took = one.milliseconds.map(|took| format!(", {took} ms")).unwrap_or_default();
        lines.push(format!(
            "  applied  {}  {} by {by}{took}",
            one.id(),
            one.at.strftime("%Y-%m-%d %H:%M:%S UTC")
        ));
    }
    lines.extend(status.pending.iter().map(|id| format!("  pending  {id}")));
    lines.extend(status.problems.iter().map(|problem| format!("  PROBLEM  {problem}")));
    lines.join("\n")
}

async fn rollback(options: &Options, to: i32, accept_data_loss: bool) -> Result<End, Failed> {
    let mut database = connect(options).await?;
    let done = database.rollback(to, accept_data_loss, &mut tell).await;
    let done = done.map_err(|error| Failed { text: error.to_string(), exit: error.exit() })?;
    let exit = if done.refused.is_some() { Exit::Failed } else { Exit::Done };
    let text = rollback_text(&done, database.place());
    Ok(End { text, json: json!(done), exit })
}

fn rollback_text(done: &RolledBack, place: &str) -> String {
    let count = match done.ran.len() {
        0 => format!("nothing rolled back on {place}"),
        count => format!("rolled back {count} on {place}"),
    };
    let Some(refused) = &done.refused else { return count };
    let losses: String = refused.losses.iter().map(|loss| format!("\n  {loss}")).collect();
    format!(
        "{count}; {} stays applied, since its rollback would lose:{losses}\nto roll it back all the same: --accept-data-loss",
        refused.id
    )
}

fn tell(progress: &Progress) {
    // Progress that nobody reads does not stop the work.
    writeln!(anstream::stderr(), "{progress}").unwrap_or_default();
}
