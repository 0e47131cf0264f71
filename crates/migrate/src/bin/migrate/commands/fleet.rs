//! `migrate fleet`: many databases, a canary first.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use liftlock_migrate::fleet::{self, FleetOptions, FleetProgress, FleetTarget};
use serde_json::json;

use crate::arguments::{Options, version};
use crate::command::{End, Failed, read};
use crate::secret;

/// Which databases, and how they are gone through.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["list", "query"]))]
pub(crate) struct Fleet {
    /// A file with a database on each line: its name, which is put into the URL, or a name and its own URL; - for standard input
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// A query on the URL's database: its first column is a database's name, a second one, if there is, its own URL
    #[arg(long, value_name = "SQL")]
    query: Option<String>,
    /// The database that is migrated alone and first; left out, the first one
    #[arg(long, value_name = "NAME")]
    canary: Option<String>,
    /// How many databases are migrated at once
    #[arg(long, default_value_t = 8, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: u16,
    /// How many databases may fail before no further one is begun
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    max_failures: usize,
    /// How far each wave after the canary goes, in per cent; the last takes the rest
    #[arg(long, default_value = "10,100", value_delimiter = ',', value_name = "PERCENT")]
    waves: Vec<u8>,
    /// Goes no further than this migration, such as V0041
    #[arg(long, value_name = "VERSION", value_parser = version)]
    to: Option<i32>,
    /// Also what is of the contract phase: no version that needs what it takes away is running any more
    #[arg(long)]
    contract: bool,
}

pub(crate) async fn run(options: &Options, ask: &Fleet) -> Result<End, Failed> {
    let migrations = read(options)?;
    let settings = options.settings()?;
    let targets = targets(options, ask).await?;
    let how = FleetOptions {
        canary: ask.canary.clone(),
        concurrency: ask.concurrency.into(),
        max_failures: ask.max_failures,
        waves: ask.waves.clone(),
        to: ask.to,
        contract: ask.contract,
    };
    let report = fleet::apply(targets, &migrations, &settings, &how, &tell).await;
    let report = report.map_err(Failed::usage)?;
    Ok(End { text: report.to_string(), exit: report.exit(), json: json!(report) })
}

async fn targets(options: &Options, ask: &Fleet) -> Result<Vec<FleetTarget>, Failed> {
    let base = secret::read(&options.database_url_env, options.env_file.as_deref());
    if let Some(sql) = &ask.query {
        let base = base.map_err(Failed::usage)?;
        let targets = FleetTarget::query(&base, sql, &options.settings()?).await;
        return targets.map_err(Failed::usage);
    }
    let path = ask.list.as_deref().unwrap_or(Path::new("-"));
    let mut text = String::new();
    let readable = match path == Path::new("-") {
        true => std::io::stdin().read_to_string(&mut text).map(drop),
        false => std::fs::read_to_string(path).map(|content| text = content),
    };
    let shown = path.display().to_string();
    readable.map_err(|error| Failed::usage(format!("{shown} cannot be read: {error}")))?;
    FleetTarget::list(&text, &shown, base.ok().as_ref()).map_err(Failed::usage)
}

fn tell(progress: &FleetProgress<'_>) {
    let text = match progress {
        FleetProgress::Wave { number: 0, .. } => "the canary".to_owned(),
        FleetProgress::Wave { number, of, databases } => {
            format!("wave {number} of {of}: {databases} databases")
        }
        FleetProgress::Database { name, progress } => format!("{name}: {progress}"),
        FleetProgress::Ended { result, done, of } => {
            format!("[{done}/{of}] {}: {}", result.name, result.outcome)
        }
    };
    // Progress that nobody reads does not stop the work.
    writeln!(anstream::stderr(), "{text}").unwrap_or_default();
}
