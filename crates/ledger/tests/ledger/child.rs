//! This test program again, as a child that can be killed or that has fewer rights.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use liftlock_ledger::Ledger;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::place::{Place, location, note, on_both};

const PLACE: &str = "LIFTLOCK_TEST_PLACE";

on_both! { a_killed_writer_leaves_whole_entries_and_no_lost_one }

/// A command that runs the test `name` of this program, and nothing else.
pub(crate) fn command(name: &str, place: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env(PLACE, place);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// The same without root's power to write anywhere; none where this machine cannot do that.
pub(crate) fn powerless(name: &str, place: &str) -> Command {
    let mut command = command(name, place);
    if rustix::process::geteuid().is_root() {
        command.as_std_mut().uid(65534).gid(65534);
    }
    command
}

/// What the parent asked this process to work on, if it is such a child.
pub(crate) fn asked() -> Option<String> {
    std::env::var(PLACE).ok()
}

/// Not a test by itself: the child that appends until it is killed.
#[tokio::test]
async fn child_appends() {
    let Some(place) = asked() else { return };
    let ledger = Ledger::open(&location(&place)).await.unwrap();
    loop {
        let entry = ledger.append(note("from a child")).await.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "appended {}", entry.sequence).unwrap();
    }
}

async fn a_killed_writer_leaves_whole_entries_and_no_lost_one(place: Place) {
    let mut least = 0;
    for round in 1..=5_usize {
        let mut child = command("child::child_appends", &place.text()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        while seen < 3 * round {
            let line = lines.next_line().await.unwrap().expect("the child goes on");
            if let Some((_, number)) = line.split_once("appended ") {
                least = number.parse().unwrap();
                seen += 1;
            }
        }
        child.kill().await.unwrap();
        let ledger = place.ledger().await;
        let entries = ledger.verify().await.unwrap().entries;
        assert!(entries >= least, "{least} was told, and only {entries} are there");
        assert_eq!(ledger.append(note("after the kill")).await.unwrap().sequence, entries + 1);
    }
}
