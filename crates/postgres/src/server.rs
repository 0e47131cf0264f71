//! The server process: started, watched until it takes connections, ended.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::account::Account;
use crate::cluster::ClusterOptions;
use crate::error::{ClusterError, says_disk_full, says_port_taken};
use crate::home::Home;
use crate::lockfile::LockFile;
use crate::programs::Programs;
use crate::run;

/// How often the lock file is looked at while the server starts.
const LOOK: Duration = Duration::from_millis(15);
/// How many lines of the log an error shows.
const TAIL_LINES: usize = 12;
/// The length of a socket's path, with its name of up to 17 characters, is limited to 104 bytes or so.
const LONGEST_SOCKET_DIRECTORY: usize = 80;

/// A server that this process started, with the pipe that keeps it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Server {
    /// Starts the server on `port` and waits until it takes connections.
    pub(crate) async fn start(
        home: &Home,
        programs: &Programs,
        options: &ClusterOptions,
        port: u16,
    ) -> Result<Self, ClusterError> {
        let failed = |error: std::io::Error| ClusterError::directory(home.log(), &error);
        let log_before = std::fs::metadata(home.log()).map_or(0, |seen| seen.len());
        let mut open = OpenOptions::new();
        let log = open.create(true).append(true).mode(0o600).open(home.log()).map_err(failed)?;
        let mut command = server_command(home, programs, options, port);
        command.stdout(log.try_clone().map_err(failed)?).stderr(log);
        let mut child =
            command.spawn().map_err(|error| ClusterError::directory("/bin/sh", &error))?;
        let pipe = child.stdin.take();
        let mut server = Self { child, pipe };
        let started = server.wait_until_ready(home, options.start_within).await;
        started.map_err(|reason| {
            server.end(home, programs);
            explain(home, port, log_before, reason)
        })?;
        Ok(server)
    }

    async fn wait_until_ready(&mut self, home: &Home, within: Duration) -> Result<(), String> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("it ended with {status}"));
            }
            let ready = LockFile::read(&home.data())
                .is_some_and(|lock| lock.pid == self.child.id() && lock.ready);
            if ready {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!("it took no connections within {} s", within.as_secs()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Ends the server at once (`immediate`), and waits for its end. For `Drop`, hence not asynchronous.
    pub(crate) fn end(&mut self, home: &Home, programs: &Programs) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let stopped = stop_command(home, programs, "immediate", 30).status();
            if !stopped.is_ok_and(|status| status.success()) {
                // Before the lock file is written, pg_ctl finds nothing to stop.
                self.child.kill().unwrap_or_default();
            }
        }
        // An error here means that there is nothing left to wait for.
        self.child.wait().map(drop).unwrap_or_default();
    }

    /// Takes note of the end of a server that was stopped in good order.
    pub(crate) fn ended(mut self) {
        self.tell_watcher();
        self.child.wait().map(drop).unwrap_or_default();
    }

    /// Lets the server outlive this process.
    pub(crate) fn detach(mut self) {
        self.tell_watcher();
    }

    /// Tells the watcher to leave. If the watcher is gone already, there is nobody to tell.
    fn tell_watcher(&mut self) {
        use std::io::Write as _;
        if let Some(mut pipe) = self.pipe.take() {
            pipe.write_all(b"leave\n").unwrap_or_default();
        }
    }
}

/// `pg_ctl stop`, as the account that owns the server.
pub(crate) fn stop_command(home: &Home, programs: &Programs, mode: &str, seconds: u64) -> Command {
    let mut command = run::command(&programs.path("pg_ctl"), home.account.as_ref()).into_std();
    command.args(["stop", "--wait", "--silent", "--mode", mode]);
    command.arg(format!("--timeout={seconds}")).arg("--pgdata").arg(home.data());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn server_command(
    home: &Home,
    programs: &Programs,
    options: &ClusterOptions,
    port: u16,
) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", include_str!("watch.sh"), "liftlock-postgres"]).arg(home.data());
    if options.remove_at_end {
        command.arg(home.root());
    } else {
        command.arg("keep");
    }
    command.arg(programs.path("postgres")).arg("-D").arg(home.data());
    for setting in settings(home.root(), options, port) {
        command.args(["-c", &setting]);
    }
    command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::piped());
    // A group of its own: an interrupt typed at the terminal reaches the command, which still needs its database to
    // unwind, and not the server.
    command.process_group(0);
    if let Some(Account { uid, gid, .. }) = home.account {
        command.uid(uid).gid(gid);
    }
    command
}

fn settings(root: &Path, options: &ClusterOptions, port: u16) -> Vec<String> {
    let short = root.as_os_str().len() <= LONGEST_SOCKET_DIRECTORY;
    let sockets = if short { root.to_string_lossy() } else { "".into() };
    let mut settings = vec![
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        format!("unix_socket_directories={sockets}"),
        format!("max_connections={}", options.max_connections),
        "timezone=UTC".to_owned(),
        "log_timezone=UTC".to_owned(),
    ];
    if !options.durable {
        settings.extend(
            ["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(str::to_owned),
        );
    }
    settings
}

/// What went wrong, from what the server wrote to its log since it was started.
fn explain(home: &Home, port: u16, log_before: u64, reason: String) -> ClusterError {
    let path = home.asked.clone();
    let log = std::fs::read(home.log()).unwrap_or_default();
    let new =
        usize::try_from(log_before).ok().and_then(|start| log.get(start..)).unwrap_or_default();
    let text = run::printable(&String::from_utf8_lossy(new));
    if says_disk_full(&text) {
        return ClusterError::DiskFull { path };
    }
    if says_port_taken(&text) {
        return ClusterError::PortTaken { port };
    }
    let lines: Vec<&str> = text.lines().collect();
    let tail: Vec<String> = lines[lines.len().saturating_sub(TAIL_LINES)..]
        .iter()
        .map(|line| format!("    {line}"))
        .collect();
    ClusterError::Start { path, reason, log: home.log(), tail: tail.join("\n") }
}
