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
    /// The endpoint's port on 127.0.0.1; the one of last time, or a free one, if left out.
    #[arg(long)]
    port: Option<u16>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { directory, port } = Arguments::parse();
    match serve(ServeOptions { port, ..ServeOptions::new(directory) }).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("liftlock-stage: {error}");
            ExitCode::FAILURE
        }
    }
}
