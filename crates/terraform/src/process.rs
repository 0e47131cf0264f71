//! One command of terraform: in a process group of its own, with a deadline, heard line by line.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};

/// How long an interrupted terraform gets to end what it does and to release its lock. A CI system that cancels gives
/// about 10 s in all.
pub(crate) const GRACE: Duration = Duration::from_secs(8);
/// How long the pipes of a program that has ended may still hold something to read.
const DRAIN: Duration = Duration::from_secs(2);
/// How many of the last lines an error shows.
const TAIL: usize = 60;

/// Hears each line that terraform prints, without control characters.
pub(crate) type Listener = Arc<dyn Fn(&str) + Send + Sync>;

/// Why a command did not end by itself.
#[derive(Debug)]
pub(crate) enum Unfinished {
    Start(io::Error),
    Timeout(Duration),
    Interrupted,
}

/// A command that ended.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    /// The last lines of both streams.
    pub(crate) tail: Vec<String>,
    /// All of standard output, if it was asked for.
    pub(crate) output: Vec<u8>,
}

/// What every command has in common.
#[derive(Clone)]
pub(crate) struct Runner {
    pub(crate) program: std::path::PathBuf,
    pub(crate) variables: Vec<(String, SecretString)>,
    pub(crate) timeout: Duration,
    pub(crate) listener: Listener,
    pub(crate) interrupt: watch::Receiver<bool>,
}

/// What becomes of standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Heard line by line.
    Heard,
    /// Kept whole, and not heard: it may hold secrets.
    Kept,
}

impl Runner {
    /// Runs it in `directory` until it ends, the deadline passes or it is interrupted. Dropping this interrupts it too.
    pub(crate) async fn run(
        &self,
        directory: &Path,
        arguments: &[OsString],
        output: Output,
    ) -> Result<Finished, Unfinished> {
        let group = Group::start(self.command(directory, arguments))?;
        // A task of its own: it goes on listening while an interrupted terraform ends, which would otherwise die of its
        // closed pipe before it releases its lock. Dropping `_held` tells it that nobody waits any longer.
        let (_held, dropped) = oneshot::channel();
        let attended = tokio::spawn(self.clone().attend(group, output, dropped));
        attended.await.unwrap_or_else(|error| Err(Unfinished::Start(io::Error::other(error))))
    }

    async fn attend(
        self,
        mut group: Group,
        output: Output,
        dropped: oneshot::Receiver<()>,
    ) -> Result<Finished, Unfinished> {
        let (id, mut interrupt) = (group.id, self.interrupt.clone());
        let mut hearing = std::pin::pin!(self.hear(&mut group.child, output));
        let why = tokio::select! {
            finished = &mut hearing => {
                group.done = true;
                return finished.map_err(Unfinished::Start);
            }
            () = tokio::time::sleep(self.timeout) => Unfinished::Timeout(self.timeout),
            () = requested(&mut interrupt) => Unfinished::Interrupted,
            _ = dropped => Unfinished::Interrupted,
        };
        signal(id, Signal::INT);
        let ended = tokio::time::timeout(GRACE, &mut hearing).await;
        signal(id, Signal::KILL);
        if ended.is_err() {
            drop(hearing.await);
        }
        group.done = true;
        Err(why)
    }

    fn command(&self, directory: &Path, arguments: &[OsString]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(directory).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // What was reviewed is what runs: the user's own switches are not part of the plan, and logs would print secrets.
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            let refused =
                ["TF_CLI_ARGS", "TF_VAR_", "TF_LOG", "TF_WORKSPACE", "TF_DATA_DIR", "TF_INPUT"];
            if refused.iter().any(|prefix| name_text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        command.envs([("TF_IN_AUTOMATION", "1"), ("TF_INPUT", "0"), ("CHECKPOINT_DISABLE", "1")]);
        command.envs(self.variables.iter().map(|(name, value)| (name, value.expose_secret())));
        command
    }

    async fn hear(&self, child: &mut Child, output: Output) -> io::Result<Finished> {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let listener = Arc::clone(&self.listener);
        let out = async {
            match (stdout, output) {
                (Some(stdout), Output::Heard) => Ok((Vec::new(), lines(stdout, &listener).await?)),
                (Some(mut stdout), Output::Kept) => {
                    let mut kept = Vec::new();
                    tokio::io::AsyncReadExt::read_to_end(&mut stdout, &mut kept).await?;
                    Ok((kept, VecDeque::new()))
                }
                (None, _) => Ok((Vec::new(), VecDeque::new())),
            }
        };
        let err = async {
            match stderr {
                Some(stderr) => lines(stderr, &self.listener).await,
                None => Ok(VecDeque::new()),
            }
        };
        let id = group_of(child);
        let mut reading = std::pin::pin!(async { tokio::join!(out, err) });
        let (read, status) = tokio::select! {
            read = &mut reading => (read, child.wait().await?),
            status = child.wait() => match tokio::time::timeout(DRAIN, &mut reading).await {
                Ok(read) => (read, status?),
                // Something that it started and left behind holds the pipes open.
                Err(_) => {
                    signal(id, Signal::KILL);
                    (reading.await, status?)
                }
            },
        };
        let (out, err): (io::Result<_>, io::Result<_>) = read;
        let (output, mut tail) = out?;
        tail.extend(err?);
        Ok(Finished { status, tail: tail.into(), output })
    }
}

async fn requested(interrupt: &mut watch::Receiver<bool>) {
    if interrupt.wait_for(|asked| *asked).await.is_err() {
        // Nobody is left who could ask.
        std::future::pending::<()>().await;
    }
}

async fn lines(
    stream: impl AsyncRead + Unpin,
    listener: &Listener,
) -> io::Result<VecDeque<String>> {
    let mut reader = BufReader::new(stream);
    let mut tail = VecDeque::new();
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await? > 0 {
        let text = printable(&String::from_utf8_lossy(&line));
        line.clear();
        if text.trim().is_empty() {
            continue;
        }
        listener(&text);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(text);
    }
    Ok(tail)
}

/// Text without terminal sequences and control characters.
pub(crate) fn printable(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.trim_end().chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' if rest.peek() == Some(&'[') => {
                rest.next();
                // A terminal sequence ends with its first letter (ECMA-48: 0x40 to 0x7e).
                while rest.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {}
            }
            '\t' => kept.push(' '),
            c if c.is_control() => {}
            c => kept.push(c),
        }
    }
    kept
}

/// A child and everything that it starts. Dropped before its end, the group is interrupted, and killed after a grace.
struct Group {
    child: Child,
    id: Option<Pid>,
    done: bool,
}

impl Group {
    fn start(mut command: Command) -> Result<Self, Unfinished> {
        let child = command.spawn().map_err(Unfinished::Start)?;
        let id = group_of(&child);
        Ok(Self { child, id, done: false })
    }
}

/// Its group has its own number, since it was started as the first of a new one.
fn group_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // An error means that the group is gone, which is what was wanted.
        kill_process_group(group, signal).unwrap_or_default();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let Some(id) = self.id else { return };
        signal(self.id, Signal::INT);
        // A thread, not a task: the runtime may be about to end, and the group must end all the same.
        let waited = std::thread::Builder::new().name("terraform-end".into()).spawn(move || {
            let (_keep, never) = std::sync::mpsc::channel::<()>();
            never.recv_timeout(GRACE).unwrap_or_default();
            signal(Some(id), Signal::KILL);
        });
        if waited.is_err() {
            signal(self.id, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::time::Instant;

    fn runner(timeout: Duration) -> (Runner, watch::Sender<bool>, Arc<Mutex<Vec<String>>>) {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (ask, interrupt) = watch::channel(false);
        let sink = Arc::clone(&heard);
        let listener: Listener = Arc::new(move |line| sink.lock().unwrap().push(line.to_owned()));
        let program = "/bin/sh".into();
        // Tests that run in the background of a shell begin with SIGINT ignored, and so would what they start. A handler of
        // ours, such as the command line has, ends that.
        let kind = tokio::signal::unix::SignalKind::interrupt();
        drop(tokio::signal::unix::signal(kind).unwrap());
        (Runner { program, variables: Vec::new(), timeout, listener, interrupt }, ask, heard)
    }

    async fn sh(runner: &Runner, script: &str) -> Result<Finished, Unfinished> {
        let arguments = ["-c".into(), script.into()];
        runner.run(Path::new("/"), &arguments, Output::Heard).await
    }

    #[tokio::test]
    async fn lines_are_heard_without_control_characters() {
        let (runner, _ask, heard) = runner(Duration::from_secs(20));
        let script = r"printf '\033[31mred\033[0m\n'; printf 'be\all\n' >&2; exit 2";
        let finished = sh(&runner, script).await.ok().unwrap();
        assert_eq!(finished.status.code(), Some(2));
        let mut heard = heard.lock().unwrap().clone();
        heard.sort();
        assert_eq!(heard, ["bell", "red"]);
    }

    #[tokio::test]
    async fn a_deadline_interrupts_first_so_that_the_lock_is_released() {
        let (runner, _ask, heard) = runner(Duration::from_millis(300));
        let script = "trap 'echo released; exit 1' INT; echo locked; while :; do sleep 0.05; done";
        let started = Instant::now();
        assert!(matches!(sh(&runner, script).await, Err(Unfinished::Timeout(_))));
        assert!(started.elapsed() < GRACE, "it was killed instead of asked");
        assert_eq!(*heard.lock().unwrap(), ["locked", "released"]);
    }

    #[tokio::test]
    async fn an_interrupt_ends_the_whole_group() {
        let (runner, ask, heard) = runner(Duration::from_secs(60));
        let running =
            tokio::spawn(async move { sh(&runner, "sleep 600 & echo $!; wait").await.map(|_| ()) });
        let child = loop {
            if let Some(line) = heard.lock().unwrap().first() {
                break line.clone();
            }
            tokio::task::yield_now().await;
        };
        ask.send(true).unwrap();
        assert!(matches!(running.await.unwrap(), Err(Unfinished::Interrupted)));
        // Killed with its group; what may be left for a moment is a zombie that nobody has reaped yet.
        let gone = async {
            let stat = format!("/proc/{child}/stat");
            while std::fs::read_to_string(&stat).is_ok_and(|state| !state.contains(") Z")) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), gone).await.expect("the child is gone");
    }

    #[tokio::test]
    async fn what_it_leaves_behind_does_not_hold_it_up() {
        let (runner, _ask, _heard) = runner(Duration::from_secs(60));
        let started = Instant::now();
        let finished = sh(&runner, "sleep 600 & exit 0").await.ok().unwrap();
        assert!(finished.status.success() && started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn terminal_sequences_are_removed() {
        assert_eq!(printable("\u{1b}[1;31m╷\u{1b}[0m\ta\u{7}\u{9b}b\n"), "╷ ab");
    }
}
