//! The command line itself: usage, help, and where its output goes.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use super::scene::{Scene, ended};

#[tokio::test]
async fn usage_errors_exit_2_and_show_the_usage() {
    let scene = Scene::new();
    for (arguments, words) in [
        (
            &["frobnicate"][..],
            ["unrecognized subcommand 'frobnicate'", "liftlock [OPTIONS] <COMMAND>"],
        ),
        (&["promot", "--env", "dev"], ["'promot'", "'promote'"]),
        (&["promote"], ["--env <ENVIRONMENT>", "Usage: liftlock promote"]),
        (&["promote", "--env", "Dev!"], ["\"Dev!\"", "lower-case"]),
        (
            &["promote", "--env", "dev", "--environment", "x"],
            ["'--environment'", "Usage: liftlock promote"],
        ),
        (
            &["promote", "--env", "dev", "--resume", "--release", "rel-000000000000"],
            ["--resume", "--release"],
        ),
        (&["promote", "--env", "dev", "--dry-run", "--resume"], ["--resume", "--dry-run"]),
        (
            &["promote", "--env", "dev", "--run", "run-01kaa000000000000000000000"],
            ["--resume", "Usage: "],
        ),
        (
            &["rollback", "--env", "dev", "--keep-schema", "--accept-data-loss"],
            ["--keep-schema", "--accept-data-loss"],
        ),
        (&["migrate", "rollback"], ["--to <VERSION>|--steps <NUMBER>", "Usage: liftlock migrate"]),
        (&["migrate", "rollback", "--steps", "-1"], ["-1", "Usage: "]),
        (&["release", "create"], ["--image <SERVICE=REPOSITORY@sha256:…>", "Usage: "]),
        (&["history", "--limit", "many"], ["'many'", "--limit"]),
        (&["status", "--output", "xml"], ["'xml'", "json"]),
    ] {
        scene.refused(arguments, &[]).await.exits(2).says(&words).says(&["--help"]);
        assert!(!scene.path(".liftlock").exists());
    }
    let ran = scene.run(&[]).await.exits(2);
    assert!(ran.err.contains("Commands:"), "{}", ran.err);
}

/// The help of a command and of all commands in it.
async fn help(scene: &Scene, path: &[String], reference: &mut String) {
    let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
    let text = scene.run(&arguments).await.exits(0).out;
    assert!(text.contains("Usage: liftlock"), "{text}");
    let title = [&["liftlock".to_owned()], path].concat().join(" ");
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    write!(reference, "\n## `{title}`\n\n```text\n{}\n```\n", lines.join("\n")).unwrap();
    let commands = lines.iter().skip_while(|line| **line != "Commands:").skip(1);
    for line in commands.take_while(|line| line.starts_with("  ")) {
        let name = line.split_whitespace().next().unwrap();
        // A line that goes on is indented further.
        if name != "help" && !line.starts_with("   ") {
            Box::pin(help(scene, &[path, &[name.to_owned()]].concat(), reference)).await;
        }
    }
}

/// `docs/cli.md` is what the program says of itself. `LIFTLOCK_BLESS=1` writes it.
#[tokio::test]
async fn the_reference_is_in_step() {
    let mut text = "# The command line\n\nWhat `--help` says of each command. `cargo xtask X` is `liftlock X`. Made by \
                    `LIFTLOCK_BLESS=1 cargo test -p liftlock-tests the_reference_is_in_step`.\n"
        .to_owned();
    help(&Scene::new(), &[], &mut text).await;
    for command in ["promote", "migrate rollback", "release create", "audit verify", "local reset"]
    {
        assert!(text.contains(&format!("\n## `liftlock {command}`\n")), "{command}");
    }
    let file =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/cli.md");
    if std::env::var_os("LIFTLOCK_BLESS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &text).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == text, "docs/cli.md is out of step: run this test with LIFTLOCK_BLESS=1");
}

/// As in `liftlock … | head -1`.
#[tokio::test]
async fn a_closed_pipe_is_no_error_and_no_panic() {
    let scene = Scene::new();
    scene.release().await;
    for arguments in [
        &["--help"][..],
        &["environment", "schema"],
        &["environment", "list"],
        &["status"],
        &["status", "--output", "json"],
        &["release", "list"],
        &["audit", "export"],
        &["doctor", "--output", "json"],
    ] {
        let mut command = scene.command(arguments);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(Stdio::from(writer));
        let child = command.spawn().unwrap();
        drop(command);
        let output = child.wait_with_output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[tokio::test]
async fn output_that_cannot_be_written_is_no_panic() {
    let scene = Scene::new();
    for arguments in [&["--help"][..], &["environment", "schema"], &["status"]] {
        let mut command = scene.command(arguments);
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        command.stdout(Stdio::from(full));
        let child = command.spawn().unwrap();
        let said = String::from_utf8(child.wait_with_output().await.unwrap().stderr).unwrap();
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    }
}

/// On a terminal there is colour, unless `NO_COLOR` or `TERM=dumb` says that there is to be none. Elsewhere there is none
/// (which every test here sees).
#[tokio::test]
async fn escape_codes_are_for_terminals_that_want_them() {
    let scene = Scene::new();
    let program = env!("CARGO_BIN_EXE_liftlock-under-test");
    let on_terminal = |variables: &[(&str, &str)]| {
        let mut command = Command::new("script");
        command.arg("-qec").arg(format!("{program} status --env nope")).arg("/dev/null");
        command
            .current_dir(scene.root())
            .env_remove("CI")
            .env_remove("NO_COLOR")
            .env("TERM", "xterm");
        command.envs(variables.iter().copied()).stdin(Stdio::null());
        command.output().ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // `script` makes a terminal; where there is none of that name, this cannot be seen.
    let Some(coloured) = on_terminal(&[]) else { return };
    assert!(coloured.contains("\u{1b}[31m") && coloured.contains("`nope`"), "{coloured:?}");
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let plain = on_terminal(&[variable]).unwrap();
        assert!(!plain.contains('\u{1b}') && plain.contains("`nope`"), "{plain:?}");
    }
}

#[tokio::test]
async fn json_is_one_object_on_each_line_errors_too() {
    let scene = Scene::new();
    scene.release().await;
    for (arguments, code) in [
        (&["release", "list"][..], 0),
        (&["status"], 0),
        (&["environment", "list"], 0),
        (&["audit", "verify"], 0),
        (&["history", "--run", "run-01kaa000000000000000000000"], 2),
    ] {
        let mut command = scene.command(arguments);
        command.env("LIFTLOCK_OUTPUT", "json");
        let ran = ended(command).await.exits(code);
        assert!(!ran.out.is_empty());
        for line in ran.out.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(value.is_object(), "{line}");
        }
    }
}
