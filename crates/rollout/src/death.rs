//! Tasks that stopped though they should have run, and what they said last.

use serde::Serialize;

use crate::error::printable;

/// How many tasks' ends are asked for: the newest.
pub const DEATHS_TOLD: usize = 3;
/// How many of a task's last lines are kept.
pub const LAST_LINES: usize = 10;

/// A task that stopped though it should have run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Death {
    /// Which, as the target names it.
    pub task: String,
    /// How it was stopped, why, and how its containers ended, in one line.
    pub why: String,
    /// The last lines that it wrote, oldest first, without secrets.
    pub log: Vec<String>,
    /// Why there are no lines, where something kept them from being read.
    pub no_log: Option<String>,
}

/// The ends of tasks for people, several lines for each that differs.
pub fn obituaries(deaths: &[Death]) -> String {
    let mut lines = Vec::new();
    for (at, death) in deaths.iter().enumerate() {
        let same = |other: &&Death| {
            (&other.why, &other.log, &other.no_log) == (&death.why, &death.log, &death.no_log)
        };
        if deaths[..at].iter().any(|other| same(&other)) {
            continue;
        }
        let more = deaths[at + 1..].iter().filter(same).count();
        let others = match more {
            0 => String::new(),
            1 => " (and another like it)".to_owned(),
            more => format!(" (and {more} others like it)"),
        };
        lines.push(format!("task {}: {}{others}", short(&death.task), death.why));
        lines.extend(death.log.iter().map(|line| format!("  | {line}")));
        lines.extend(death.no_log.as_ref().map(|why| format!("  no log: {why}")));
    }
    printable(&lines.join("\n"))
}

/// Tasks have long names; their first letters tell a few of them apart.
fn short(task: &str) -> &str {
    task.char_indices().nth(8).map_or(task, |(end, _)| &task[..end])
}

/// What follows an error on lines of its own.
pub(crate) fn below(deaths: &[Death]) -> String {
    let text = obituaries(deaths);
    text.lines().map(|line| format!("\n  {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death(task: &str, log: &[&str], no_log: Option<&str>) -> Death {
        Death {
            task: task.to_owned(),
            why: "container web exited with 1".to_owned(),
            log: log.iter().map(|line| (*line).to_owned()).collect(),
            no_log: no_log.map(str::to_owned),
        }
    }

    #[test]
    fn each_end_is_told_once() {
        let deaths = [
            death("0a1b2c3d4e5f", &["no\u{1b}[2J port"], None),
            death("b", &[], Some("throttled")),
            death("c", &["no\u{1b}[2J port"], None),
        ];
        let expected = "\
task 0a1b2c3d: container web exited with 1 (and another like it)
  | no\u{fffd}[2J port
task b: container web exited with 1
  no log: throttled";
        assert_eq!(obituaries(&deaths), expected);
        assert_eq!(below(&[]), "");
    }
}
