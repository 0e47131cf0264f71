//! One script under the rules. Pure.

use std::collections::{BTreeMap, BTreeSet};

use squawk_syntax::ast::AstNode as _;
use squawk_syntax::{Parse, SourceFile, SyntaxNode};

use super::draft::{Draft, statement_of};
use super::facts::{self, Fact};
use super::rules::{About, Level, MIXED, NOT_PARSED, SEVERAL_LOCKS};
use super::running::Running;
use super::settings::LintSettings;
use super::world::World;
use super::{Known, own, squawk};
use crate::files::Script;
use liftlock_model::Phase;

/// Larger scripts are data, and would take long to read.
const LARGEST: usize = 1 << 20;
/// Longer statements are data, too.
const LONGEST: usize = 1 << 16;
/// Statements that nest deeper take the parser long.
const DEEPEST: usize = 300;

/// What the scripts of one migration are looked at with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) known: &'a Known,
    pub(super) settings: &'a LintSettings,
    pub(super) phase: Phase,
}

/// What a look at a script shows.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) drafts: Vec<Draft>,
    pub(super) facts: Vec<Fact>,
}

/// squawk's findings by statement.
type Violations = BTreeMap<usize, Vec<squawk_linter::Violation>>;

/// A script as squawk's parser reads it.
struct Parsed {
    /// The script's text, with blanks for what is too long.
    sql: String,
    parse: Parse<SourceFile>,
    facts: Vec<Fact>,
    /// Statements that it could not read, and where and why.
    unread: Vec<(usize, usize, String)>,
}

fn parse(script: &Script) -> Parsed {
    let mut unread: Vec<(usize, usize, String)> = Vec::new();
    let mut sql = if script.sql.len() > LARGEST { String::new() } else { script.sql.clone() };
    for (index, statement) in script.statements.iter().enumerate() {
        let Some(text) = sql.get(statement.range.clone()) else { continue };
        let why = if text.len() > LONGEST {
            Some(format!("it is longer than {} KiB", LONGEST >> 10))
        } else {
            (depth(text) > DEEPEST).then(|| "it nests too deep".to_owned())
        };
        if let Some(why) = why {
            unread.push((index, statement.range.start, why));
            sql.replace_range(statement.range.clone(), &" ".repeat(statement.range.len()));
        }
    }
    // A parser that fails on a text must not keep the migration from being looked at otherwise.
    let read = std::panic::catch_unwind(|| {
        let parse = SourceFile::parse(&sql);
        let errors = parse.errors();
        let facts = facts::read(&parse.tree());
        (parse, errors, facts)
    });
    let Ok((parse, errors, mut facts)) = read else {
        unread.push((0, 0, "its parser gave up".into()));
        return Parsed { sql: String::new(), parse: SourceFile::parse(""), facts: vec![], unread };
    };
    for error in errors {
        let at = usize::from(error.range().start());
        let statement = statement_of(script, at);
        if unread.last().is_none_or(|(other, ..)| *other != statement) {
            unread.push((statement, at, error.message().to_string()));
        }
    }
    let bad: BTreeSet<usize> = unread.iter().map(|(statement, ..)| *statement).collect();
    facts.retain(|fact| !bad.contains(&statement_of(script, fact.start)));
    Parsed { sql, parse, facts, unread }
}

/// How deep brackets and signs before a value nest at most; those in strings count, too.
fn depth(text: &str) -> usize {
    let (mut deepest, mut brackets, mut signs) = (0, 0_usize, 0);
    for c in text.chars() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            '-' | '+' | '~' | '@' | '!' => signs += 1,
            c if c.is_whitespace() => {}
            _ => signs = 0,
        }
        deepest = deepest.max(brackets + signs);
    }
    deepest
}

impl Parsed {
    fn notes(&self, script: &Script) -> Vec<Draft> {
        if script.sql.len() > LARGEST {
            let message = "the linter does not read scripts of more than 1 MiB";
            return vec![Draft::new(NOT_PARSED, 0, message).at_most(Level::Note)];
        }
        let unread = self.unread.iter();
        unread
            .map(|(_, at, why)| {
                let why = why.trim_end_matches('.');
                let message = format!("the linter cannot read this statement: {why}");
                let help = "if PostgreSQL takes it, nothing is wrong; `migrate --dry-run` asks it";
                Draft::new(NOT_PARSED, *at, message).help(help)
            })
            .collect()
    }
}

impl Reader<'_> {
    /// An up script. What it makes is in the world afterwards; it is told about only if that is `wanted`.
    pub(super) fn up(&self, script: &Script, world: &mut World, wanted: bool) -> Looked {
        let parsed = parse(script);
        let mut drafts = Vec::new();
        if wanted {
            drafts = parsed.notes(script);
            drafts.extend(own::needless(script, &parsed.facts));
            drafts.extend(own::transaction(script));
        }
        let violations = if wanted { self.violations(script, &parsed) } else { Violations::new() };
        let root = parsed.parse.tree().syntax().clone();
        let mut held = own::Held::default();
        for (index, fact) in parsed.facts.iter().enumerate() {
            if wanted {
                let mut found: Vec<Draft> = own::if_not_exists(fact).into_iter().collect();
                let later = &parsed.facts[index + 1..];
                let running = Running { world, later, phase: self.phase, settings: self.settings };
                found.extend(running.look(fact));
                found.extend(self.squawk(script, &parsed, index, &violations, world, &root));
                if !script.directives.no_transaction {
                    found.extend(held.look(script, fact, world));
                }
                drafts.extend(found.into_iter().map(|one| self.sized(one, fact, &held, world)));
            }
            world.apply(&fact.does);
        }
        Looked { drafts, facts: parsed.facts }
    }

    /// A rollback script: it is for the same tables under the same traffic. What it drops is what it is for.
    pub(super) fn rollback(&self, script: &Script, up: &[Fact], world: &World) -> Vec<Draft> {
        let parsed = parse(script);
        let mut drafts = parsed.notes(script);
        drafts.extend(own::needless(script, &parsed.facts));
        drafts.extend(own::transaction(script));
        drafts.extend(own::rollback(script, &parsed.facts, up));
        let violations = self.violations(script, &parsed);
        let root = parsed.parse.tree().syntax().clone();
        for (index, fact) in parsed.facts.iter().enumerate() {
            let mut found: Vec<Draft> = own::if_not_exists(fact).into_iter().collect();
            found.extend(self.squawk(script, &parsed, index, &violations, world, &root));
            drafts.extend(found.into_iter().map(no_more_than_a_note));
        }
        drafts
    }

    /// A verify script.
    pub(super) fn verify(&self, script: &Script, world: &World) -> Vec<Draft> {
        let parsed = parse(script);
        let mut drafts = parsed.notes(script);
        drafts.extend(own::verify(&parsed.facts, world));
        drafts.extend(own::transaction(script));
        drafts
    }

    fn violations(&self, script: &Script, parsed: &Parsed) -> Violations {
        let mut violations = Violations::new();
        for one in squawk::look(script, &parsed.sql, &parsed.parse, self.settings) {
            let statement = statement_of(script, squawk::range(&one).start);
            violations.entry(statement).or_default().push(one);
        }
        violations
    }

    fn squawk(
        &self,
        script: &Script,
        parsed: &Parsed,
        index: usize,
        violations: &Violations,
        world: &World,
        root: &SyntaxNode,
    ) -> Vec<Draft> {
        let fact = &parsed.facts[index];
        let Some(here) = violations.get(&statement_of(script, fact.start)) else { return vec![] };
        let weighed = here.iter().map(|one| squawk::weigh(one, here, fact, world, root));
        weighed.flatten().collect()
    }

    /// Locks, scans and rewrites of small tables are a note.
    fn sized(&self, draft: Draft, fact: &Fact, held: &own::Held, world: &World) -> Draft {
        let Ok(rule) = super::rules::find(draft.rule) else { return draft };
        if rule.about != About::Lock {
            return draft;
        }
        let small = |table: &String| {
            let rows = rows(&self.known.rows, world.table_of(table));
            rows.is_some_and(|rows| rows < self.settings.small_table_rows)
        };
        let all_small = match draft.rule {
            MIXED => fact.about.iter().all(small),
            SEVERAL_LOCKS => held.tables().all(small),
            _ => !fact.about.is_empty() && fact.about.iter().all(small),
        };
        if all_small { draft.at_most(Level::Note) } else { draft }
    }
}

/// What is said of locks in a rollback script. The advice is to do it in several migrations, and a rollback has but one script.
fn no_more_than_a_note(draft: Draft) -> Draft {
    let is_lock = super::rules::find(draft.rule).is_ok_and(|rule| rule.about == About::Lock);
    if is_lock { draft.at_most(Level::Note) } else { draft }
}

fn rows(rows: &BTreeMap<String, u64>, table: &str) -> Option<u64> {
    let schema = || rows.get(&format!("public.{table}"));
    rows.get(table).or_else(schema).copied()
}
