//! What is wrong with environment files, and how it is shown.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use crate::redact;
use crate::source::{At, Sources};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, from the repository's top.
    pub file: PathBuf,
    /// The line, from 1; none when it is about the file as a whole.
    pub line: Option<usize>,
    /// The column, in characters from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What is allowed, or what to do.
    pub help: Option<String>,
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

/// The line as it may be shown, and the part of it that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    line: String,
    marked: Range<usize>,
}

/// Environment files that cannot be used, with everything that is wrong with them. It displays as text for people without
/// colour; [`LoadError::render`] has the choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    problems: Vec<Problem>,
}

impl LoadError {
    /// Everything that is wrong, in the order of files and lines.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The text for people: each problem with its line, and what to do. `colour` is for terminals; callers decide it by
    /// the terminal and `NO_COLOR`.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for problem in &self.problems {
            text.push_str(&renderer.render(&[problem.group()]));
            text.push_str("\n\n");
        }
        text.push_str(&match self.problems.len() {
            1 => "1 problem in the environment files; nothing was touched".to_owned(),
            many => format!("{many} problems in the environment files; nothing was touched"),
        });
        text
    }

    /// From what was found; at least one finding.
    pub(crate) fn new(sources: &Sources, findings: Vec<Finding>, hidden: &[At]) -> Self {
        let mut hidden = hidden.to_vec();
        hidden.extend(findings.iter().filter(|found| found.secret).filter_map(|found| found.at));
        let mut problems: Vec<Problem> =
            findings.into_iter().map(|found| found.problem(sources, &hidden)).collect();
        problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        problems.dedup();
        Self { problems }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for LoadError {}

impl Problem {
    fn group(&self) -> Group<'_> {
        let title = Level::ERROR.primary_title(self.message.as_str());
        let file = self.file.display().to_string();
        let group = match (&self.excerpt, self.line) {
            (Some(excerpt), Some(line)) => title.element(
                Snippet::source(excerpt.line.as_str())
                    .path(file)
                    .line_start(line)
                    .annotation(AnnotationKind::Primary.span(excerpt.marked.clone())),
            ),
            _ => title.element(Origin::path(file)),
        };
        match &self.help {
            Some(help) => group.element(Level::HELP.message(help.as_str())),
            None => group,
        }
    }
}

/// A problem while the files are still being read: it has a place, not yet a line.
#[derive(Debug)]
pub(crate) struct Finding {
    source: usize,
    at: Option<At>,
    message: String,
    help: Option<String>,
    /// The place holds a secret and is not shown.
    secret: bool,
}

impl Finding {
    /// At a place.
    pub(crate) fn at(at: At, message: impl Into<String>) -> Self {
        Self { source: at.source, at: Some(at), message: message.into(), help: None, secret: false }
    }

    /// About a file as a whole.
    pub(crate) fn in_file(source: usize, message: impl Into<String>) -> Self {
        Self { source, at: None, message: message.into(), help: None, secret: false }
    }

    /// With what is allowed, or what to do.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The place holds a secret and is not shown.
    pub(crate) fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    fn problem(self, sources: &Sources, hidden: &[At]) -> Problem {
        let source = sources.get(self.source);
        let place = self.at.map(|at| place(&source.text, at, hidden));
        let (line, column, excerpt) = match place {
            Some((line, column, excerpt)) => (Some(line), Some(column), Some(excerpt)),
            None => (None, None, None),
        };
        Problem {
            file: source.file.clone(),
            line,
            column,
            message: redact::clean(&self.message),
            help: self.help.map(|help| redact::clean(&help)),
            excerpt,
        }
    }
}

/// Line and column of a place, and the line as it may be shown. A place of several lines is shown by its first.
fn place(text: &str, at: At, hidden: &[At]) -> (usize, usize, Excerpt) {
    let floor = |index: usize| {
        (0..=index.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
    };
    let start = floor(at.start);
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    let line_end = if text[line_start..line_end].ends_with('\r') { line_end - 1 } else { line_end };
    let within = |index: usize| floor(index).clamp(line_start, line_end) - line_start;
    let number = 1 + text[..line_start].matches('\n').count();
    let marked = within(start)..within(at.end.max(start));
    let column = 1 + text[line_start..line_start + marked.start].chars().count();
    let hidden: Vec<Range<usize>> = hidden
        .iter()
        .filter(|secret| secret.source == at.source)
        .map(|secret| within(secret.start)..within(secret.end))
        .collect();
    let (line, marked) = redact::line(&text[line_start..line_end], marked, &hidden);
    (number, column, Excerpt { line, marked })
}
