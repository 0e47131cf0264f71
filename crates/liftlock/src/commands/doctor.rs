//! `doctor`: what is missing on this machine, and how to get it.

use std::process::Command;

use liftlock_environment::Environment;
use liftlock_environment::config::Engine;
use liftlock_model::Exit;
use liftlock_postgres::Programs;
use serde::Serialize;

use crate::commands::Top;
use crate::console::Console;
use crate::failure::Failure;

#[derive(Serialize)]
struct Finding {
    what: &'static str,
    found: Option<String>,
    needed_for: String,
    get_it: String,
    required: bool,
}

/// Looks for everything that the environments of this repository need. Exit 1 when something that is needed is missing.
pub(crate) async fn run(top: &Top, console: &Console) -> Result<Exit, Failure> {
    let mut engines = Vec::new();
    for name in Environment::list(&top.root)? {
        engines.push((name.clone(), top.environment(&name)?.config.infrastructure.engine));
    }
    let names = |engine: Engine| -> Vec<String> {
        engines
            .iter()
            .filter(|(_, other)| *other == engine)
            .map(|(name, _)| name.to_string())
            .collect()
    };
    let mut findings = vec![postgres(&names(Engine::Stage))];
    for (engine, what) in [(Engine::Terraform, "terraform"), (Engine::Tofu, "tofu")] {
        let users = names(engine);
        if !users.is_empty() {
            findings.push(tool(engine, what, &users).await);
        }
    }
    findings.push(git(top));
    findings.push(writable(top));
    let mut exit = Exit::Done;
    for finding in &findings {
        if finding.found.is_none() && finding.required {
            exit = Exit::Failed;
        }
        console.result("finding", finding, || match &finding.found {
            Some(found) => format!("✓ {:<12} {found}", finding.what),
            None => format!(
                "✗ {:<12} missing; needed for {}\n               next: {}",
                finding.what, finding.needed_for, finding.get_it
            ),
        });
    }
    Ok(exit)
}

fn postgres(users: &[String]) -> Finding {
    let (found, get_it) = match Programs::find() {
        Ok(programs) => {
            let (major, minor) = programs.version();
            (
                Some(format!("PostgreSQL {major}.{minor}, {}", programs.path("initdb").display())),
                String::new(),
            )
        }
        Err(error) => {
            let how = error.install_command();
            (None, format!("{how}\n               or name the directory of its programs in PG_BIN"))
        }
    };
    let elsewhere = "`migrate --dry-run` everywhere".to_owned();
    let needed_for = [users, &[elsewhere]].concat().join(", ");
    Finding { what: "postgresql", found, needed_for, get_it, required: true }
}

async fn tool(engine: Engine, what: &'static str, users: &[String]) -> Finding {
    let (found, get_it) = match liftlock_terraform::Tool::find(engine).await {
        Ok(tool) => (Some(tool.label()), String::new()),
        Err(error) => (None, error.to_string()),
    };
    Finding { what, found, needed_for: users.join(", "), get_it, required: true }
}

fn git(top: &Top) -> Finding {
    let version = Command::new("git").arg("--version").output().ok();
    let found = version.and_then(|output| String::from_utf8(output.stdout).ok()).map(|text| {
        match crate::git::head(&top.root) {
            Some(head) => format!("{}, at {}", text.trim(), &head.commit.as_str()[..12]),
            None => format!("{}; this directory is no repository", text.trim()),
        }
    });
    Finding {
        what: "git",
        found,
        needed_for: "`release create` without --commit".into(),
        get_it: "install git from your system's packages".into(),
        required: false,
    }
}

fn writable(top: &Top) -> Finding {
    let state = top.state();
    let probe = state.join(".doctor");
    let result = std::fs::create_dir_all(&state)
        .and_then(|()| std::fs::write(&probe, b""))
        .and_then(|()| std::fs::remove_file(&probe));
    Finding {
        what: "directory",
        found: result.as_ref().ok().map(|()| format!("{} can be written", state.display())),
        needed_for: "the ledger and everything that runs".into(),
        get_it: result
            .err()
            .map(|error| {
                format!(
                    "make {} writable for this user (`ls -ld` shows for whom it is): {error}",
                    state.display()
                )
            })
            .unwrap_or_default(),
        required: true,
    }
}
