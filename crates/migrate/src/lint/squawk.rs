//! squawk's rules, and what we know better. Pure.

use std::ops::Range;

use squawk_linter::{Linter, Violation};
use squawk_syntax::ast::{self, AstNode as _};
use squawk_syntax::{Parse, SyntaxNode};

use super::draft::Draft;
use super::facts::{Fact, Kind, What};
use super::rules::{self, About, Level};
use super::settings::LintSettings;
use super::world::World;
use crate::files::Script;

/// What squawk finds in a script, by place.
pub(super) fn look(
    script: &Script,
    sql: &str,
    parse: &Parse<ast::SourceFile>,
    settings: &LintSettings,
) -> Vec<Violation> {
    let wanted = rules::run_by_squawk().filter(|rule| settings.level(rule, None) != Level::Off);
    let mut linter = Linter::from(wanted.filter_map(|rule| rule.name.parse().ok()));
    linter.settings.assume_in_transaction = !script.directives.no_transaction;
    let parse = std::panic::AssertUnwindSafe(parse);
    // A rule that fails on a text must not keep the others from being looked at.
    let found = std::panic::catch_unwind(move || linter.lint(&parse, sql));
    found.unwrap_or_default()
}

pub(super) fn range(violation: &Violation) -> Range<usize> {
    usize::from(violation.text_range.start())..usize::from(violation.text_range.end())
}

/// What a violation comes to, with what is known before its statement; none if it is none.
pub(super) fn weigh(
    violation: &Violation,
    others: &[Violation],
    fact: &Fact,
    world: &World,
    root: &SyntaxNode,
) -> Option<Draft> {
    let rule = rules::find(&violation.code.to_string()).ok()?;
    let node = root.covering_element(violation.text_range);
    let node = node.as_node().cloned().or_else(|| node.parent())?;
    let harmless = match rule.name {
        "constraint-missing-not-valid" => told_better(violation, others),
        "adding-serial-primary-key-field" => told_as_constraint(violation, others),
        "identifier-too-long" => only_drops(fact),
        "adding-foreign-key-constraint" => added_with_nulls(&node),
        "adding-field-with-default" => !is_volatile(&node),
        "changing-column-type" => is_wider(fact, range(violation).start, world),
        "adding-not-nullable-field" => is_checked(fact, range(violation).start, world),
        _ => false,
    };
    if harmless {
        return None;
    }
    let (message, help) = words(rule.name, violation, &node);
    let draft = Draft::new(rule.name, range(violation).start, message);
    let draft = Draft { help, ..draft };
    let settled = match rule.about {
        About::Lock | About::Running => is_about_new(fact, world),
        About::Any | About::Style | About::Trial => false,
    };
    Some(if settled { draft.at_most(Level::Off) } else { draft })
}

/// Whether all that the statement is about is new.
fn is_about_new(fact: &Fact, world: &World) -> bool {
    !fact.about.is_empty()
        && fact.about.iter().all(|name| {
            world.is_new_table(name)
                || world.is_new(Kind::Index, name)
                || world.is_new(Kind::Type, name)
                || world.is_new(Kind::Domain, name)
        })
}

/// A rule for this kind of constraint says more.
fn told_better(violation: &Violation, others: &[Violation]) -> bool {
    others.iter().any(|other| {
        let better = matches!(
            other.code,
            squawk_linter::Rule::AddingForeignKeyConstraint
                | squawk_linter::Rule::DisallowedUniqueConstraint
        );
        better && violation.text_range.contains_range(other.text_range)
    })
}

/// A primary key is a constraint, too: one of the rules is enough.
fn told_as_constraint(violation: &Violation, others: &[Violation]) -> bool {
    others.iter().any(|other| {
        other.code == squawk_linter::Rule::ConstraintMissingNotValid
            && other.text_range.intersect(violation.text_range).is_some()
    })
}

/// A name that is too long is told where it is given.
fn only_drops(fact: &Fact) -> bool {
    !fact.does.is_empty()
        && fact.does.iter().all(|one| matches!(one.what, What::Drops { .. } | What::Cascades))
}

/// A foreign key of a column that is added without a default: it is null in all rows, so PostgreSQL looks at none.
fn added_with_nulls(node: &SyntaxNode) -> bool {
    node.ancestors().find_map(ast::AddColumn::cast).is_some_and(|added| {
        let alter = added.syntax().ancestors().find_map(ast::AlterTable::cast);
        let constrained = alter.is_some_and(|alter| {
            alter.actions().any(|action| matches!(action, ast::AlterTableAction::AddConstraint(_)))
        });
        !constrained
            && !added.constraints().any(|constraint| {
                matches!(
                    constraint,
                    ast::Constraint::DefaultConstraint(_) | ast::Constraint::GeneratedConstraint(_)
                )
            })
    })
}

/// Functions beyond squawk's list whose result is the same within a statement, whatever they are given.
const STEADY: &[&str] = &[
    "now",
    "timezone",
    "lower",
    "upper",
    "concat",
    "concat_ws",
    "date_trunc",
    "date_part",
    "to_char",
    "to_date",
    "to_timestamp",
    "to_jsonb",
    "to_json",
    "make_interval",
    "make_date",
    "jsonb_build_object",
    "jsonb_build_array",
    "json_build_object",
    "json_build_array",
    "current_setting",
    "md5",
    "encode",
    "decode",
    "length",
    "abs",
    "round",
    "array_fill",
    "string_to_array",
    "array_append",
    "transaction_timestamp",
    "statement_timestamp",
    "coalesce",
    "nullif",
    "greatest",
    "least",
    "trim",
    "btrim",
    "replace",
    "substring",
    "left",
    "right",
    "repeat",
    "extract",
    "age",
    "int4range",
    "int8range",
    "numrange",
    "tsrange",
    "tstzrange",
    "daterange",
    "current_schema",
    "current_database",
];

/// Whether the value may differ from row to row, so that the table is written anew: a call of a function that is not known
/// to be steady, or a generated column that is stored.
fn is_volatile(node: &SyntaxNode) -> bool {
    let text = node.text().to_string().to_lowercase();
    if ast::GeneratedConstraint::can_cast(node.kind()) {
        return !text.trim_end().ends_with("virtual");
    }
    node.descendants().filter_map(ast::CallExpr::cast).any(|call| {
        let name = call.expr().map(|name| name.syntax().text().to_string().to_lowercase());
        // Calls with a grammar of their own (`extract(… from …)`, `trim(both …)`) have no name here, and are steady.
        let Some(name) = name else { return false };
        let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
        !STEADY.contains(&name)
    })
}

/// Whether a column's new type holds all that the old one holds, in the same form: nothing is rewritten.
fn is_wider(fact: &Fact, at: usize, world: &World) -> bool {
    fact.does.iter().filter(|one| one.at == at).any(|one| match &one.what {
        What::SetsType { column, kind, using: false } => {
            let old = world.column(column).and_then(|state| state.kind.as_deref());
            old.is_some_and(|old| holds(old, kind))
        }
        _ => false,
    })
}

fn holds(old: &str, new: &str) -> bool {
    let limit = |kind: &str| {
        let inner = kind.strip_prefix("varchar")?;
        if inner.is_empty() {
            return Some(u32::MAX);
        }
        inner.strip_prefix('(')?.strip_suffix(')')?.parse::<u32>().ok()
    };
    let text = |kind: &str| if kind == "text" { Some(u32::MAX) } else { limit(kind) };
    match (text(old), text(new)) {
        (Some(old), Some(new)) => old <= new,
        _ => {
            old == new
                || numeric(old).zip(numeric(new)).is_some_and(|(old, new)| {
                    new == (u32::MAX, 0) || (old.1 == new.1 && old.0 <= new.0)
                })
        }
    }
}

/// Digits and digits after the point of `numeric(10,2)`; `numeric` alone has no limits.
fn numeric(kind: &str) -> Option<(u32, u32)> {
    let inner = kind.strip_prefix("numeric").or_else(|| kind.strip_prefix("decimal"))?;
    if inner.is_empty() {
        return Some((u32::MAX, 0));
    }
    let inner = inner.strip_prefix('(')?.strip_suffix(')')?;
    let (digits, scale) = inner.split_once(',').unwrap_or((inner, "0"));
    Some((digits.parse().ok()?, scale.parse().ok()?))
}

/// Whether a check sees to it already that the column is not null.
fn is_checked(fact: &Fact, at: usize, world: &World) -> bool {
    fact.does.iter().filter(|one| one.at == at).any(|one| match &one.what {
        What::SetsNotNull(column) => world.column(column).is_some_and(|state| state.checked),
        _ => false,
    })
}

/// The message and what to do instead: squawk's, or ours where that leaves questions.
fn words(rule: &str, violation: &Violation, node: &SyntaxNode) -> (String, Option<String>) {
    let theirs = violation.message.trim_end_matches('.').to_owned();
    let text = node.text().to_string().to_lowercase();
    let (message, help) = match rule {
        "require-concurrent-index-creation" => (
            "nobody can write to the table while this index is built",
            "`create index concurrently`, in a migration of its own with `-- migrate: no-transaction` above it",
        ),
        "disallowed-unique-constraint" => (
            "nobody can read or write the table while this constraint's index is built",
            "`create unique index concurrently` in a migration with `-- migrate: no-transaction`, then `add constraint … \
             unique using index …`, which takes no time",
        ),
        "constraint-missing-not-valid" if theirs.starts_with("Using") => (
            "the constraint is added and validated in one transaction: its lock is held while all rows are looked at",
            "`validate constraint` in a later migration of its own",
        ),
        "constraint-missing-not-valid" if text.contains("primary key") => (
            "nobody can read or write the table while the primary key's index is built",
            "`create unique index concurrently` in a migration with `-- migrate: no-transaction`, then `add primary key \
             using index …`",
        ),
        "constraint-missing-not-valid" if text.contains("exclude") => (
            "nobody can read or write the table while the exclusion constraint's index is built",
            "there is no way to build it beside the traffic: do it at a quiet time, and allow it with the reason",
        ),
        "constraint-missing-not-valid" => (
            "nobody can read or write the table while all its rows are looked at for this constraint",
            "add it `not valid`, and `validate constraint` in a later migration of its own",
        ),
        "adding-foreign-key-constraint" => (
            "nobody can write to either table while all rows are looked at for this foreign key",
            "add it `not valid`, and `validate constraint` in a later migration of its own",
        ),
        "adding-field-with-default" if ast::GeneratedConstraint::can_cast(node.kind()) => (
            "a generated column makes PostgreSQL write the whole table anew, while nobody can read or write it",
            "add a plain column, fill it in pieces, and keep it up to date with a trigger",
        ),
        "adding-field-with-default" => (
            "a default that differs from row to row makes PostgreSQL write the whole table anew, while nobody can read or \
             write it",
            "add the column without it, `alter column … set default …` for new rows, and fill the old ones in pieces",
        ),
        "adding-not-nullable-field" => (
            "nobody can read or write the table while all its rows are looked at for nulls",
            "add `check (… is not null) not valid`, `validate constraint` in a later migration, and then `set not null`, which \
             trusts it; drop the check last",
        ),
        "adding-serial-primary-key-field" => (
            "nobody can read or write the table while it is written anew with numbers, and their index is built",
            "add a plain column, fill it in pieces, `create unique index concurrently` in a migration with `-- migrate: \
             no-transaction`, then `add primary key using index …`",
        ),
        "changing-column-type" => (
            "a change of type makes PostgreSQL write the whole table anew, while nobody can read or write it, and the running \
             version may not expect it",
            "add a new column, fill it in pieces, let the code move over, and drop the old one in a later release",
        ),
        "adding-required-field" => (
            "a column that must not be null and has no default cannot be added to a table that has rows, and the running \
             version's inserts, which do not know it, fail",
            "give it a default, or let it be null until all versions that run fill it",
        ),
        "require-concurrent-reindex" => (
            "nobody can write to the table, or read it by this index, while the index is built",
            "`reindex … concurrently`, in a migration of its own with `-- migrate: no-transaction` above it",
        ),
        "require-concurrent-partition-detach" => (
            "nobody can read or write the table while the partition is detached",
            "`detach partition … concurrently`, in a migration of its own with `-- migrate: no-transaction` above it",
        ),
        _ => return (theirs, violation.help.clone()),
    };
    (message.to_owned(), Some(help.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::holds;

    #[test]
    fn types_that_hold_the_same_in_the_same_form_are_wider() {
        for (old, new, expected) in [
            ("varchar(10)", "varchar(20)", true),
            ("varchar(20)", "varchar(10)", false),
            ("varchar(20)", "text", true),
            ("text", "varchar", true),
            ("text", "varchar(9)", false),
            ("int", "bigint", false),
            ("numeric(10,2)", "numeric(12,2)", true),
            ("numeric(10,2)", "numeric(12,4)", false),
            ("numeric(10,2)", "numeric", true),
        ] {
            assert_eq!(holds(old, new), expected, "{old} -> {new}");
        }
    }
}
