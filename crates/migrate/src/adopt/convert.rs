//! From another tool's scripts to ours. The SQL stays byte for byte; what else is done is asked for and told. Pure.

use std::collections::BTreeSet;
use std::ops::Range;

use liftlock_model::MigrationId;

use super::Asked;
use super::source::{Foreign, Source, Text};
use super::tool::Tool;
use crate::files::{FileProblem, LONGEST_NAME, read_script};
use crate::new::name_of;
use crate::outside::rule::needs_no_transaction;
use crate::script::{Inspection, Statement, inspect};

/// A file of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutFile {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// One of the other tool's migrations, as ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Converted {
    pub(crate) id: MigrationId,
    /// The file's name without `.sql`.
    pub(crate) stem: String,
    pub(crate) up: OutFile,
    /// None where there is one in the target directory already.
    pub(crate) rollback: Option<OutFile>,
    pub(crate) verify: Option<OutFile>,
    /// What was done beside giving it another name.
    pub(crate) told: Vec<String>,
}

/// Converts all of them. `there` are the names of the files in the target directory. All problems at once.
pub(crate) fn convert(
    source: &Source,
    asked: &Asked,
    there: &BTreeSet<String>,
) -> Result<Vec<Converted>, Vec<FileProblem>> {
    let mut problems = source.problems.clone();
    for odd in &source.odd {
        if !asked
            .leave_out
            .iter()
            .any(|name| *name == odd.file || odd.file.ends_with(&format!("/{name}")))
        {
            let problem = format!("{}: `--leave-out {}` goes on without it", odd.why, odd.file);
            problems.push(FileProblem { file: odd.file.clone(), line: None, problem });
        }
    }
    let mut all = Vec::new();
    for (index, foreign) in source.migrations.iter().enumerate() {
        let stem = stem(foreign, index, asked);
        match one(foreign, index, stem, asked, there) {
            Ok(converted) => all.push(converted),
            Err(found) => problems.extend(found),
        }
    }
    problems.sort();
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

/// Our name for it. Files of refinery that stay where they are keep theirs.
fn stem(foreign: &Foreign, index: usize, asked: &Asked) -> String {
    let file = foreign.up.file.strip_suffix(".sql").unwrap_or(&foreign.up.file);
    if asked.in_place && !file.contains('/') && foreign.key == (index + 1).to_string() {
        return file.to_owned();
    }
    let mut name = name_of(&foreign.title);
    name.truncate(LONGEST_NAME);
    if name.is_empty() {
        name = "migration".into();
    }
    format!("V{:04}__{name}", index + 1)
}

fn one(
    foreign: &Foreign,
    index: usize,
    stem: String,
    asked: &Asked,
    there: &BTreeSet<String>,
) -> Result<Converted, Vec<FileProblem>> {
    let mut told = Vec::new();
    let mut problems = Vec::new();
    let mut take = |text: &Text, kind: Kind| match script(text, kind, asked, &mut told) {
        Ok(bytes) => bytes,
        Err(found) => {
            problems.extend(found);
            Vec::new()
        }
    };
    let up = OutFile { name: format!("{stem}.sql"), bytes: take(&foreign.up, Kind::Up) };
    let written = foreign.down.as_ref().filter(|down| !is_empty(down, Kind::Down));
    let name = format!("{stem}.rollback.sql");
    let rollback =
        written.map(|down| OutFile { name: name.clone(), bytes: take(down, Kind::Down) });
    let verify = foreign.verify.as_ref().filter(|verify| !is_empty(verify, Kind::Verify));
    let verify = verify.map(|verify| OutFile {
        name: format!("{stem}.verify.sql"),
        bytes: take(verify, Kind::Verify),
    });
    let id = MigrationId {
        version: i32::try_from(index + 1).unwrap_or(i32::MAX),
        name: stem.split_once("__").map_or_else(String::new, |(_, name)| name.to_owned()),
    };
    let rollback = match rollback {
        _ if there.contains(&name) => None,
        Some(rollback) => Some(rollback),
        None if asked.refuse_missing_rollbacks => {
            told.push("no rollback: one that refuses was written".into());
            Some(OutFile { bytes: refusal(&stem, asked.tool).into_bytes(), name })
        }
        None => {
            problems.push(missing(foreign, &name));
            None
        }
    };
    if problems.is_empty() {
        Ok(Converted { id, stem, up, rollback, verify, told })
    } else {
        Err(problems)
    }
}

fn missing(foreign: &Foreign, name: &str) -> FileProblem {
    let why = match &foreign.down {
        None => "nothing takes it back".to_owned(),
        Some(down) => format!("{} holds no statement", down.file),
    };
    let problem = format!(
        "{why}: write {name} in the target directory and run this again, or let `--missing-rollback refuse` write rollback \
         scripts that refuse"
    );
    FileProblem { file: foreign.up.file.clone(), line: None, problem }
}

/// A rollback script that says that there is none.
pub(crate) fn refusal(stem: &str, tool: Tool) -> String {
    let from = format!("it came from {} without one", tool.as_str());
    refusing(stem, &from)
}

/// A rollback script that fails with the reason.
pub(crate) fn refusing(stem: &str, because: &str) -> String {
    format!(
        "-- No rollback: {because}. Write one in its place, and `migrate` keeps that.\n\
         do $liftlock$ begin\n    raise exception '{stem} has no rollback: {because}';\nend $liftlock$;\n"
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Up,
    Down,
    Verify,
}

/// Whether it does nothing: it has no statement, or none between those that begin and end its own transaction, as what
/// sqitch makes for somebody to fill in.
fn is_empty(text: &Text, kind: Kind) -> bool {
    std::str::from_utf8(&text.bytes).is_ok_and(|sql| {
        let inspection = inspect(sql);
        match inspection.statements.len() {
            0 => inspection.problems.is_empty(),
            2 => Own::find(sql, &inspection, kind).is_some_and(|own| own.is_around),
            _ => false,
        }
    })
}

/// Our text of a script.
fn script(
    text: &Text,
    kind: Kind,
    asked: &Asked,
    told: &mut Vec<String>,
) -> Result<Vec<u8>, Vec<FileProblem>> {
    let problem = |line, problem: String| FileProblem { file: text.file.clone(), line, problem };
    let Ok(sql) = std::str::from_utf8(&text.bytes) else {
        let found = read_script(&text.file, text.bytes.clone()).err();
        return Err(placed(found.unwrap_or_default(), text));
    };
    let mut sql = sql.to_owned();
    if kind == Kind::Up && is_empty(text, kind) {
        if !asked.fill_empty {
            let what = "it holds no statement: `--fill-empty` adds one that does nothing";
            return Err(vec![problem(None, what.into())]);
        }
        told.push(format!("{}: a statement that does nothing was added", text.file));
        sql.push_str(&format!(
            "\nselect 'nothing to do: {} had no statement here';\n",
            asked.tool.as_str()
        ));
    }
    sql = without_transaction(text, sql, kind, asked, told).map_err(|found| vec![found])?;
    sql = marked(text, sql, asked, told).map_err(|found| vec![found])?;
    let script = read_script(&text.file, sql.into_bytes()).map_err(|found| placed(found, text))?;
    Ok(script.sql.into_bytes())
}

/// The text without the statements that begin and end transactions of its own.
fn without_transaction(
    text: &Text,
    sql: String,
    kind: Kind,
    asked: &Asked,
    told: &mut Vec<String>,
) -> Result<String, FileProblem> {
    let Some(own) = Own::find(&sql, &inspect(&sql), kind) else { return Ok(sql) };
    let line = |range: &Range<usize>| text.line + sql[..range.start].matches('\n').count();
    if asked.strip_transaction {
        told.push(format!("{}: left out {}", text.place(), own.named(&sql, " and ", line)));
        return Ok(own.strip(&sql));
    }
    let does = if own.is_around { "begins and ends a transaction" } else { "ends a transaction" };
    let left_out = if own.is_around { "these two statements" } else { "each of them" };
    let named = own.named(&sql, ", ", line);
    let problem = format!(
        "it {does} of its own ({named}), and each migration runs in one that Liftlock begins and ends: `--strip-transaction` \
         leaves {left_out} out"
    );
    Err(FileProblem { file: text.file.clone(), line: own.statements.first().map(line), problem })
}

/// The text with our mark above it, if it is to run outside of a transaction.
fn marked(
    text: &Text,
    sql: String,
    asked: &Asked,
    told: &mut Vec<String>,
) -> Result<String, FileProblem> {
    let unable = inspect(&sql).statements.iter().find_map(needs_no_transaction);
    let why = match unable {
        Some(what) => format!("`{what}` cannot run in a transaction"),
        None if text.outside => format!("{} runs it outside of a transaction", asked.tool.as_str()),
        None => return Ok(sql),
    };
    if !asked.mark_no_transaction {
        let problem =
            format!("{why}: `--mark-no-transaction` writes `-- migrate: no-transaction` above it");
        return Err(FileProblem { file: text.file.clone(), line: None, problem });
    }
    told.push(format!("{}: `-- migrate: no-transaction` was written above it", text.place()));
    Ok(format!("-- migrate: no-transaction\n{sql}"))
}

/// Lines of the section as lines of its file.
fn placed(problems: Vec<FileProblem>, text: &Text) -> Vec<FileProblem> {
    let placed = |found: FileProblem| FileProblem {
        line: found.line.map(|line| line + text.line - 1),
        ..found
    };
    problems.into_iter().map(placed).collect()
}

/// The statements that begin and end a script's own transactions, with their semicolons.
struct Own {
    statements: Vec<Range<usize>>,
    /// The first statement and the last.
    is_around: bool,
}

const BEGINS: [&str; 4] = ["begin", "begin transaction", "begin work", "start transaction"];
const ENDS: [&str; 6] =
    ["commit", "commit transaction", "commit work", "end", "end transaction", "end work"];
const TAKES_BACK: [&str; 3] = ["rollback", "rollback transaction", "rollback work"];

impl Own {
    /// None if there are none, or one is left open, or one is taken back.
    fn find(sql: &str, inspection: &Inspection, kind: Kind) -> Option<Self> {
        let all = &inspection.statements;
        // sqitch's verify scripts take back whatever they did, as ours are.
        let ends = |index: usize, opening: &str| {
            let takes_back = kind == Kind::Verify && index + 1 == all.len();
            ENDS.contains(&opening) || takes_back && TAKES_BACK.contains(&opening)
        };
        let own = |(index, one): &(usize, &Statement)| {
            BEGINS.contains(&&*one.opening) || ends(*index, &one.opening)
        };
        let own: Vec<(usize, &Statement)> = all.iter().enumerate().filter(own).collect();
        let (index, last) = own.last()?;
        let is_around = own.len() == 2 && own[0].0 == 0 && index + 1 == all.len();
        let statements = own.iter().map(|(_, one)| whole(sql, &one.range)).collect();
        ends(*index, &last.opening).then_some(Self { statements, is_around })
    }

    fn named(&self, sql: &str, between: &str, line: impl Fn(&Range<usize>) -> usize) -> String {
        let name = |range: &Range<usize>| match self.is_around {
            true => format!("`{}`", &sql[range.clone()]),
            false => format!("`{}` on line {}", &sql[range.clone()], line(range)),
        };
        self.statements.iter().map(name).collect::<Vec<_>>().join(between)
    }

    fn strip(&self, sql: &str) -> String {
        let mut text = sql.to_owned();
        self.statements.iter().rev().for_each(|range| text.replace_range(range.clone(), ""));
        text
    }
}

/// A statement with its semicolon, if that follows at once.
fn whole(sql: &str, range: &Range<usize>) -> Range<usize> {
    let space = sql[range.end..].len() - sql[range.end..].trim_start().len();
    let end = range.end + space;
    if sql[end..].starts_with(';') { range.start..end + 1 } else { range.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(sql: &str, kind: Kind) -> Option<String> {
        Own::find(sql, &inspect(sql), kind).map(|own| own.strip(sql))
    }

    #[test]
    fn transactions_that_a_script_begins_and_ends_are_stripped() {
        let sql = "-- Deploy x\n\nBEGIN;\n\ncreate table t (a text default 'COMMIT;');\n\nCOMMIT ;\n-- end\n";
        let without = "-- Deploy x\n\n\n\ncreate table t (a text default 'COMMIT;');\n\n\n-- end\n";
        assert_eq!(stripped(sql, Kind::Up).unwrap(), without);
        assert_eq!(stripped("begin; select 1; rollback", Kind::Verify).unwrap(), " select 1; ");
        assert_eq!(
            stripped("select 1;\nCOMMIT;\nselect 2;", Kind::Up).unwrap(),
            "select 1;\n\nselect 2;"
        );
        let twice = "begin; select 1; commit; begin; select 2; commit;";
        assert_eq!(stripped(twice, Kind::Down).unwrap(), " select 1;   select 2; ");
        for other in [
            "begin; select 1; rollback;",
            "begin; select 1; commit; begin; select 2;",
            "begin; select 1;",
            "begin isolation level serializable; select 1",
        ] {
            assert_eq!(stripped(other, Kind::Up), None, "{other}");
        }
    }
}
