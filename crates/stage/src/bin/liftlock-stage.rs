//! The stage as a program of its own: what Liftlock's tests start, and a way to use the stage without Liftlock.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use liftlock_stage::{ServeOptions, serve};

/// An AWS endpoint on loopback whose ECS tasks are real processes.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where everything is that the stage keeps.
    #[arg(long)]
    directory: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { directory } = Arguments::parse();
    match serve(ServeOptions::new(directory)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("liftlock-stage: {error}");
            ExitCode::FAILURE
        }
    }
}
