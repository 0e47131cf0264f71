//! sqitch: `sqitch.plan` says the order; each change has scripts in `deploy`, `revert` and `verify`.

use std::path::Path;

use sha1::{Digest as _, Sha1};

use super::pairs::hex;
use super::source::{Foreign, Source, Text};
use crate::files::FileProblem;

/// A line of the plan that matters.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Change { name: String, planned_at: String },
    Tag(String),
}

pub(crate) fn read(directory: &Path) -> Result<Source, FileProblem> {
    let plan = "sqitch.plan";
    let told = |problem: String| FileProblem { file: plan.into(), line: None, problem };
    let text = std::fs::read_to_string(directory.join(plan))
        .map_err(|error| told(format!("it cannot be read: {error}")))?;
    let mut source = Source::default();
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(project) = line.trim().strip_prefix("%project=") {
            source.project = project.trim().to_owned();
        }
        match parse(line) {
            Ok(line) => lines.extend(line),
            Err(problem) => {
                source.problems.push(FileProblem {
                    file: plan.into(),
                    line: Some(number + 1),
                    problem,
                });
            }
        }
    }
    for (index, line) in lines.iter().enumerate() {
        let Line::Change { name, planned_at } = line else { continue };
        let file = format!("{}.sql", file_name(name, &lines[index + 1..]));
        let script = |kind: &str| {
            let path = format!("{kind}/{file}");
            std::fs::read(directory.join(&path)).ok().map(|bytes| Text::new(&path, &bytes))
        };
        let Some(up) = script("deploy") else {
            source.problem(
                &format!("deploy/{file}"),
                format!("it cannot be read; {plan} names {name}"),
            );
            continue;
        };
        source.migrations.push(Foreign {
            key: format!("{name}@{planned_at}"),
            title: name.clone(),
            checksum: Some(hex(&Sha1::digest(&up.bytes))),
            up,
            down: script("revert"),
            verify: script("verify"),
        });
    }
    Ok(source)
}

/// `name [requires] 2024-01-01T00:00:00Z Planner <mail> # note`, `@tag 2024…`, `%pragma=…`, `# comment` or nothing.
fn parse(line: &str) -> Result<Option<Line>, String> {
    let line = line.split(" #").next().unwrap_or_default().trim();
    if line.is_empty() || line.starts_with(['#', '%']) {
        return Ok(None);
    }
    if line.starts_with('-') {
        return Err(
            "a change that reverts another has no place in an order: take it and the other out"
                .into(),
        );
    }
    let mut words = line.trim_start_matches('+').split_whitespace();
    let name = words.next().unwrap_or_default();
    if let Some(tag) = name.strip_prefix('@') {
        return Ok(Some(Line::Tag(tag.to_owned())));
    }
    let time = |word: &&str| word.len() == 20 && word.ends_with('Z') && word.as_bytes()[10] == b'T';
    let planned_at = words.find(time).ok_or("it has no time such as 2024-01-01T00:00:00Z")?;
    Ok(Some(Line::Change { name: name.to_owned(), planned_at: planned_at.to_owned() }))
}

/// A change that is reworked later keeps its old scripts under the name of the tag that came between.
fn file_name(name: &str, later: &[Line]) -> String {
    let again = |line: &Line| matches!(line, Line::Change { name: other, .. } if other == name);
    let tag = later.iter().find_map(|line| match line {
        Line::Tag(tag) => Some(tag),
        Line::Change { .. } => None,
    });
    match tag.filter(|_| later.iter().any(again)) {
        Some(tag) => format!("{name}@{tag}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_gives_changes_and_tags() {
        let time = "2024-01-01T00:00:00Z";
        let change = |name: &str| Line::Change { name: name.into(), planned_at: time.into() };
        for (line, expected) in [
            (
                format!("users [a b] {time} A B <a@b> # note 2025-01-01T00:00:00Z"),
                Some(change("users")),
            ),
            (format!("+users {time} A B <a@b>"), Some(change("users"))),
            (format!("@v1 {time} A B <a@b> # tag"), Some(Line::Tag("v1".into()))),
            ("%project=flipr".into(), None),
            ("# comment".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(parse(&line).unwrap(), expected, "{line}");
        }
        assert!(parse("-users 2024-01-01T00:00:00Z A").unwrap_err().contains("no place"));
        assert!(parse("users").unwrap_err().contains("no time"));
        let plan = [change("users"), change("x"), Line::Tag("v1".into()), change("users")];
        assert_eq!(file_name("users", &plan[1..]), "users@v1");
        assert_eq!(file_name("users", &plan[4..]), "users");
        assert_eq!(file_name("x", &plan[2..]), "x");
    }
}
