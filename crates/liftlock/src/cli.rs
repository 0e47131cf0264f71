//! The command line.

mod migrate;

use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) use self::migrate::{
    Migrate, MigrateCommand, MigrateFleet, MigrateRestore, MigrateSnapshot, Where,
};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use liftlock_model::{CommitSha, EnvName, ImageRef, ReleaseId, RunId, ServiceName};

/// Raises a release from one environment to the next: infrastructure, database and application together, with gates before,
/// proof after, and a way back at every step.
///
/// Exit codes: 0 done; 1 failed and rolled back; 2 configuration or usage error, nothing touched; 3 authentication failed, nothing
/// touched; 4 refused by a gate, nothing touched; 5 waiting for approval; 6 failed and not fully rolled back; 7 another run holds
/// the environment.
#[derive(Debug, Parser)]
#[command(name = "liftlock", version, max_term_width = 110, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// The repository's top: the directory that holds `environments/`. Found upward from here if left out.
    #[arg(long, global = true, value_name = "DIRECTORY", env = "LIFTLOCK_ROOT")]
    pub root: Option<PathBuf>,
    /// How to print: `auto` is a live list on a terminal and plain lines elsewhere.
    #[arg(long, global = true, value_enum, default_value_t = Output::Auto, env = "LIFTLOCK_OUTPUT")]
    pub output: Output,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Auto,
    Plain,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Raise a release into an environment.
    Promote(Promote),
    /// Bring an earlier release back.
    Rollback(Rollback),
    /// Make and list releases.
    #[command(subcommand)]
    Release(Release),
    /// Approve a release for an environment.
    Approve(Judge),
    /// Reject a release for an environment.
    Reject(Judge),
    /// The infrastructure alone.
    #[command(subcommand)]
    Infra(Infra),
    /// The database's migrations alone.
    Migrate(Migrate),
    /// The services' traffic and tasks.
    #[command(subcommand)]
    Rollout(Rollout),
    /// What serves where, and what is going on.
    Status(Status),
    /// What was deployed, when, by whom, and how it ended.
    History(History),
    /// The ledger's own integrity.
    #[command(subcommand)]
    Audit(Audit),
    /// The environment files.
    #[command(subcommand)]
    Environment(EnvironmentCommand),
    /// What is missing on this machine, and how to get it.
    Doctor,
    /// The local environment: PostgreSQL and a rehearsal cloud on this machine.
    #[command(subcommand)]
    Local(Local),
    /// The rehearsal cloud: an AWS endpoint on this machine whose tasks are real processes, with faults on demand.
    #[command(subcommand)]
    Stage(Stage),
}

#[derive(Debug, Args)]
pub(crate) struct Promote {
    /// The environment.
    #[arg(long, value_name = "ENVIRONMENT")]
    pub env: EnvName,
    /// The release; left out, the one that the environment before has proven. In `local` also a version of the
    /// example application, such as `1.1.0`.
    #[arg(long, value_name = "RELEASE")]
    pub release: Option<String>,
    /// Say what would be done, try what can be tried without effect, and touch nothing.
    #[arg(long, conflicts_with = "resume")]
    pub dry_run: bool,
    /// Go on with a run that was interrupted.
    #[arg(long, conflicts_with_all = ["release", "reason"])]
    pub resume: bool,
    /// Which interrupted run; the last one if left out.
    #[arg(long, requires = "resume", value_name = "RUN")]
    pub run: Option<RunId>,
    /// Move all traffic at once, without the shares below, as for an emergency hotfix. Needs `--reason`, and is recorded.
    #[arg(long, requires = "reason", conflicts_with = "resume")]
    pub skip_canary: bool,
    /// Why, for the record.
    #[arg(long)]
    pub reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The environment.
    #[arg(long, value_name = "ENVIRONMENT")]
    pub env: EnvName,
    /// The release to bring back; the one before if left out.
    #[arg(long, value_name = "RELEASE")]
    pub to: Option<ReleaseId>,
    /// Leave the database's schema as it is: the older release then runs on the newer schema.
    #[arg(long, conflicts_with = "accept_data_loss")]
    pub keep_schema: bool,
    /// Roll migrations back also where that loses data.
    #[arg(long)]
    pub accept_data_loss: bool,
    /// For when the ledger cannot be reached: go by what the cloud says alone. Without `--to`, says which releases it remembers.
    /// Traffic goes back; the schema and the infrastructure stay.
    #[arg(long, conflicts_with_all = ["keep_schema", "accept_data_loss", "dry_run"])]
    pub emergency: bool,
    /// Say what would be done, and touch nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Why, for the record.
    #[arg(long)]
    pub reason: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Release {
    /// Make a release of images by digest, the migrations and the infrastructure code of a commit.
    Create(ReleaseCreate),
    /// List the releases, newest first.
    List,
    /// Show one release whole.
    Show {
        /// Which.
        release: ReleaseId,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ReleaseCreate {
    /// A service's image by digest; once for each service.
    #[arg(long = "image", required = true, value_name = "SERVICE=REPOSITORY@sha256:…", value_parser = image)]
    pub images: Vec<(ServiceName, ImageRef)>,
    /// The commit; `git rev-parse HEAD` if left out.
    #[arg(long, value_name = "SHA")]
    pub commit: Option<CommitSha>,
    /// The version that people know it by; the short commit if left out.
    #[arg(long)]
    pub version: Option<String>,
    /// The pull request.
    #[arg(long, value_name = "NUMBER")]
    pub pull_request: Option<u64>,
}

fn image(text: &str) -> Result<(ServiceName, ImageRef), String> {
    let (service, image) = text.split_once('=').ok_or("expected SERVICE=REPOSITORY@sha256:…")?;
    let service = service.parse::<ServiceName>().map_err(|error| error.to_string())?;
    let image = image.parse::<ImageRef>().map_err(|error| error.to_string())?;
    Ok((service, image))
}

#[derive(Debug, Args)]
pub(crate) struct Judge {
    /// The environment.
    #[arg(long, value_name = "ENVIRONMENT")]
    pub env: EnvName,
    /// The release.
    #[arg(long, value_name = "RELEASE")]
    pub release: ReleaseId,
    /// What to say about it, for the record.
    #[arg(long)]
    pub comment: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Infra {
    /// Write Terraform's inputs for an environment (all environments if none is named).
    Render {
        /// The environment.
        #[arg(long, value_name = "ENVIRONMENT")]
        env: Option<EnvName>,
        /// Only check that the files are in step; exit 1 if not.
        #[arg(long)]
        check: bool,
    },
    /// Plan, summarise, and save the plan.
    Plan {
        /// The environment.
        #[arg(long, value_name = "ENVIRONMENT")]
        env: EnvName,
    },
    /// Apply exactly the saved plan, or refuse.
    Apply {
        /// The environment.
        #[arg(long, value_name = "ENVIRONMENT")]
        env: EnvName,
        /// Let this address be destroyed although it holds data; once for each.
        #[arg(long, value_name = "ADDRESS")]
        allow: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Rollout {
    /// What runs on which colour, and where traffic goes.
    Status {
        /// The environment.
        #[arg(long, value_name = "ENVIRONMENT")]
        env: EnvName,
    },
    /// What is going on: the run, its services, tasks, weights, verdicts and last errors, until it ends. From any machine.
    Watch {
        /// The environment.
        #[arg(long, value_name = "ENVIRONMENT")]
        env: EnvName,
        /// Show it once.
        #[arg(long)]
        once: bool,
    },
    /// Let a rollout that has paused go on. From any machine that reaches the ledger.
    Resume {
        /// The environment.
        #[arg(long, value_name = "ENVIRONMENT")]
        env: EnvName,
        /// Why, for the record.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Have the run that is at work turn back to the old version, wherever it is. From any machine that reaches the ledger.
    Abort {
        /// The environment.
        #[arg(long, value_name = "ENVIRONMENT")]
        env: EnvName,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The environment; all if left out.
    #[arg(long, value_name = "ENVIRONMENT")]
    pub env: Option<EnvName>,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// The environment; all if left out.
    #[arg(long, value_name = "ENVIRONMENT")]
    pub env: Option<EnvName>,
    /// At most so many, newest first.
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    pub limit: usize,
    /// Everything that one run wrote.
    #[arg(long, value_name = "RUN", conflicts_with = "env")]
    pub run: Option<RunId>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Check the whole chain; name the first broken record.
    Verify,
    /// Print every entry as one line of canonical JSON.
    Export,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EnvironmentCommand {
    /// List the environments in the order of their chain.
    List,
    /// Check the environment files (all if none is named).
    Check {
        /// The environment.
        env: Option<EnvName>,
    },
    /// Show what differs between two environments.
    Diff {
        /// One.
        one: EnvName,
        /// The other.
        other: EnvName,
    },
    /// Print the JSON Schema of environment files.
    Schema,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Local {
    /// Show what runs.
    Status,
    /// Stop everything; keep the data.
    Stop,
    /// Stop everything and delete the data, history included.
    Reset,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Stage {
    /// Start it in the background, or find the one that runs, and print what to export. `eval "$(liftlock stage start)"` exports it.
    Start(StageStart),
    /// Show services, tasks, weights and faults.
    Status {
        #[command(flatten)]
        which: StageWhere,
    },
    /// End it with everything that runs on it; keep its data.
    Stop {
        #[command(flatten)]
        which: StageWhere,
        /// Delete its data, too: database, images, task definitions, weights.
        #[arg(long)]
        reset: bool,
    },
    /// Make an image of a program, and print its digest: what a task definition's `REPOSITORY@sha256:…` names.
    Image(StageImage),
    /// What goes wrong on it.
    #[command(subcommand)]
    Fault(StageFault),
    /// Serve from a directory until told to stop.
    #[command(hide = true)]
    Serve {
        /// Where everything is kept.
        #[arg(long)]
        directory: PathBuf,
        /// The endpoint's port; a free one if left out.
        #[arg(long)]
        port: Option<u16>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct StageWhere {
    /// The environment whose services it has.
    #[arg(long, value_name = "ENVIRONMENT", default_value = "local")]
    pub env: EnvName,
    /// A stage of a directory of its own instead, which needs no repository.
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "env")]
    pub directory: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StageStart {
    #[command(flatten)]
    pub which: StageWhere,
    /// The endpoint's port on 127.0.0.1; the last one or a free one if left out.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// What is to go wrong: a TOML file with `[[fault]]` tables and a `seed`.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// What there is on it: a TOML file with application, environment, services and database.
    #[arg(long, value_name = "FILE", requires = "directory")]
    pub topology: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StageImage {
    #[command(flatten)]
    pub which: StageWhere,
    /// An environment variable of the image; once for each. `PORT` comes from the stage.
    #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = variable)]
    pub variables: Vec<(String, String)>,
    /// The program and its arguments.
    #[arg(value_name = "PROGRAM", required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[derive(Debug, Subcommand)]
pub(crate) enum StageFault {
    /// Add a fault, or all of a scenario file. One of the same name is replaced.
    Add(StageFaultAdd),
    /// List the faults, and how many each has hit.
    List {
        #[command(flatten)]
        which: StageWhere,
    },
    /// Take faults away; all if none is named.
    Clear {
        #[command(flatten)]
        which: StageWhere,
        /// Which.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("fault").required(true).args(["kind", "scenario"]))]
pub(crate) struct StageFaultAdd {
    #[command(flatten)]
    pub which: StageWhere,
    /// What goes wrong: crash, slow-start, memory, image-missing, no-capacity, placement-delay, errors, latency, hang, reset,
    /// database-cut, database-down, throttle, api-error, api-hang, api-latency, lost-answer, lag or clock-skew.
    #[arg(value_name = "KIND")]
    pub kind: Option<String>,
    /// Where, how often, when and how, such as `service=backend colour=green share=0.3 for=10s status=503`.
    #[arg(value_name = "SETTING=VALUE", requires = "kind", conflicts_with = "scenario")]
    pub settings: Vec<String>,
    /// The seed of what is random about it.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, conflicts_with = "scenario")]
    pub seed: u64,
    /// A scenario file instead.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    /// What clap finds only when it meets the command.
    #[test]
    fn every_command_is_sound() {
        super::Arguments::command().debug_assert();
    }
}
