//! Findings for people: with the line and the place in it, and as GitHub's annotations. Pure.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::Lint;
use crate::files::{Migrations, Script};
use crate::finding::{Finding, Severity};

/// How many annotations GitHub shows of one step.
const ANNOTATIONS: usize = 10;

impl Lint {
    /// The text for people: each finding with its line, what is allowed, and a sum. `directory` is the way to the files as
    /// readers know it; `colour` is for terminals.
    pub fn render(&self, migrations: &Migrations, directory: &Path, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for finding in &self.findings {
            let line = script(migrations, &finding.file)
                .and_then(|it| it.sql.lines().nth(finding.line - 1));
            let path = directory.join(&finding.file).display().to_string();
            text.push_str(&renderer.render(&[group(finding, line, path)]));
            text.push_str("\n\n");
        }
        for allowed in &self.allowed {
            let Finding { rule, file, line, .. } = &allowed.finding;
            let file = directory.join(file);
            writeln!(text, "allowed: {rule} at {}:{line}: {}", file.display(), allowed.reason)
                .unwrap_or_default();
        }
        text.push_str(&self.sum());
        text
    }

    /// `3 migrations looked at: 1 error, 2 warnings`.
    pub fn sum(&self) -> String {
        let counted = [Severity::Error, Severity::Warning, Severity::Note].map(|severity| {
            let count = self.count(severity);
            (count > 0).then(|| format!("{count} {severity}{}", if count == 1 { "" } else { "s" }))
        });
        let mut counted: Vec<String> = counted.into_iter().flatten().collect();
        if counted.is_empty() {
            counted.push("nothing to mend".into());
        }
        if !self.allowed.is_empty() {
            counted.push(format!("{} allowed", self.allowed.len()));
        }
        let plural = if self.migrations == 1 { "" } else { "s" };
        format!("{} migration{plural} looked at: {}", self.migrations, counted.join(", "))
    }

    /// GitHub's annotations, one for each line, the worst first. GitHub shows ten: more are counted in a last line.
    pub fn annotations(&self, directory: &Path) -> Vec<String> {
        let mut findings: Vec<&Finding> = self.findings.iter().collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let mut lines: Vec<String> = findings
            .iter()
            .take(ANNOTATIONS)
            .map(|finding| annotation(finding, directory))
            .collect();
        if let Some(more) = findings.len().checked_sub(ANNOTATIONS).filter(|more| *more > 0) {
            lines.push(format!(
                "{more} more findings have no annotation: GitHub shows {ANNOTATIONS} of a step"
            ));
        }
        lines
    }
}

fn script<'a>(migrations: &'a Migrations, file: &str) -> Option<&'a Script> {
    let all = migrations.all().iter();
    all.flat_map(|one| [Some(&one.up), Some(&one.rollback), one.verify.as_ref()])
        .flatten()
        .find(|script| script.file == file)
}

fn group<'a>(finding: &'a Finding, line: Option<&'a str>, path: String) -> Group<'a> {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(finding.message.as_str()).id(finding.rule.as_str());
    let group = match line {
        Some(line) => title.element(
            Snippet::source(line)
                .path(path)
                .line_start(finding.line)
                .annotation(AnnotationKind::Primary.span(marked(line, finding.column))),
        ),
        None => title.element(Origin::path(path).line(finding.line)),
    };
    match &finding.help {
        Some(help) => group.element(Level::HELP.message(help.as_str())),
        None => group,
    }
}

/// From the column to the end of what the line says: before its semicolon and its comment.
fn marked(line: &str, column: usize) -> Range<usize> {
    let start = line.char_indices().nth(column - 1).map_or(line.len(), |(byte, _)| byte);
    let rest = line.get(start..).unwrap_or_default();
    let said = if rest.starts_with("--") { rest } else { rest.split("--").next().unwrap_or(rest) };
    let said = said.trim_end().trim_end_matches([';', ',']);
    start..start + said.len()
}

fn annotation(finding: &Finding, directory: &Path) -> String {
    let kind = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "notice",
    };
    let path = directory.join(&finding.file).display().to_string();
    let Finding { line, column, rule, message, help, .. } = finding;
    let help = help.iter().map(|help| format!("\n{help}")).collect::<String>();
    format!(
        "::{kind} file={},line={line},col={column},title={}::{}",
        property(&path),
        property(rule),
        data(&format!("{message}{help}"))
    )
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, message: &str) -> Finding {
        Finding {
            rule: "some-rule".into(),
            severity,
            file: "V0001__a.sql".into(),
            line: 3,
            column: 2,
            message: message.into(),
            help: Some("do this".into()),
        }
    }

    #[test]
    fn annotations_are_escaped_and_ten_at_most_the_worst_first() {
        let findings = vec![finding(Severity::Note, "note"); 12];
        let mut lint = Lint { findings, ..Lint::default() };
        lint.findings.push(finding(Severity::Error, "100 %\r\nbad"));
        let lines = lint.annotations(Path::new("a,b:c"));
        assert_eq!(
            lines[0],
            "::error file=a%2Cb%3Ac/V0001__a.sql,line=3,col=2,title=some-rule::100 %25%0D%0Abad%0Ado this"
        );
        assert_eq!(lines.len(), 11);
        assert_eq!(lines[10], "3 more findings have no annotation: GitHub shows 10 of a step");
    }

    #[test]
    fn what_is_marked_ends_before_the_semicolon_and_the_comment() {
        assert_eq!(marked("  drop table ü; -- gone", 3), 2..15);
        assert_eq!(marked("-- migrate: x", 1), 0..13);
        assert_eq!(marked("", 1), 0..0);
        assert_eq!(marked("a", 9), 1..1);
    }
}
