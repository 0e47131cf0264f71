//! Rules that squawk does not have: transactions, rollback and verify scripts. Pure.

use std::collections::BTreeMap;

use super::draft::Draft;
use super::facts::{Fact, Kind, Weight, What};
use super::rules::{
    IF_NOT_EXISTS, Level, MIXED, NEEDLESS, NEEDS_NO_TRANSACTION, ROLLBACK_CASCADE,
    ROLLBACK_NOTHING, SEVERAL_LOCKS, VERIFY_CHANGES,
};
use super::world::World;
use crate::files::Script;
use crate::outside::rule::needs_no_transaction;
use crate::script::Statement;

/// Statements that cannot run where they stand.
pub(super) fn transaction(script: &Script) -> Vec<Draft> {
    if script.directives.no_transaction {
        return vec![];
    }
    let alone = |statement: &Statement| {
        let what = needs_no_transaction(statement)?;
        let message =
            format!("{what} cannot run inside a transaction, and this script runs in one");
        let help = "put it in a migration of its own, with `-- migrate: no-transaction` above the first statement";
        let draft = Draft::new(NEEDS_NO_TRANSACTION, statement.range.start, message).help(help);
        Some(draft.part("ban-concurrent-index-creation-in-transaction"))
    };
    script.statements.iter().filter_map(alone).collect()
}

/// An index that may be taken for good.
pub(super) fn if_not_exists(fact: &Fact) -> Option<Draft> {
    let message =
        "IF NOT EXISTS is content with an index of this name that an earlier attempt left invalid";
    let help = "leave IF NOT EXISTS out: what an attempt left behind is found and cleaned up on the next run";
    let draft = Draft::new(IF_NOT_EXISTS, fact.start, message).help(help);
    fact.concurrently_if_not_exists.then_some(draft)
}

/// A script that runs without a transaction for no reason.
pub(super) fn needless(script: &Script, facts: &[Fact]) -> Option<Draft> {
    let reason = |fact: &Fact| fact.apart || matches!(fact.weight, Weight::Data | Weight::Code);
    let alone = |statement: &Statement| needs_no_transaction(statement).is_some();
    let unread = facts.len() < script.statements.len();
    let has_reason = facts.iter().any(reason) || script.statements.iter().any(alone);
    if !script.directives.no_transaction || has_reason || unread {
        return None;
    }
    let message = "every statement here could run in one transaction: without it, a failure leaves the script half done";
    let help = "take `-- migrate: no-transaction` away";
    Some(Draft::new(NEEDLESS, facts.first()?.start, message).help(help))
}

/// The locks that a script's transaction has taken so far, on tables that were there before it.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// With the line that each was taken on.
    locks: BTreeMap<String, usize>,
    several: bool,
}

impl Held {
    /// What a statement adds to them, and what it does while they are held.
    pub(super) fn look(&mut self, script: &Script, fact: &Fact, world: &World) -> Vec<Draft> {
        let mut drafts = Vec::new();
        for one in &fact.does {
            match &one.what {
                What::ChangesRows { table, many: true } if !world.is_new_table(table) => {
                    if let Some((locked, since)) = self.locks.iter().next() {
                        let message = format!(
                            "rows of {table} are changed while the lock on {locked}, taken on line {since}, keeps everybody \
                             out until the end of the transaction"
                        );
                        let help = "change the rows in a migration of their own";
                        drafts.push(Draft::new(MIXED, fact.start, message).help(help));
                    }
                }
                What::LocksOut { table } if !world.is_new_table(table) => {
                    let other = self.locks.keys().find(|held| *held != table).cloned();
                    let line = || 1 + script.sql[..fact.start].matches('\n').count();
                    self.locks.entry(table.clone()).or_insert_with(line);
                    if let Some(other) = other.filter(|_| !self.several) {
                        self.several = true;
                        let message = format!(
                            "everybody is kept out of {other} while this waits for its lock on {table}, until the end of the \
                             transaction"
                        );
                        let help = "change each table in a migration of its own";
                        drafts.push(Draft::new(SEVERAL_LOCKS, fact.start, message).help(help));
                    }
                }
                _ => {}
            }
        }
        drafts
    }

    /// The tables whose locks are held, for the sizes.
    pub(super) fn tables(&self) -> impl Iterator<Item = &String> {
        self.locks.keys()
    }
}

/// What is wrong with a rollback script as a whole.
pub(super) fn rollback(script: &Script, facts: &[Fact], up: &[Fact]) -> Vec<Draft> {
    let mut drafts = Vec::new();
    let does_nothing = !facts.is_empty() && facts.iter().all(|fact| fact.weight == Weight::Nothing);
    let changes_schema = up.iter().any(|fact| fact.weight == Weight::Schema);
    let changes_rows = up.iter().any(|fact| matches!(fact.weight, Weight::Data | Weight::Code));
    // The form that files are asked for where there is truly nothing to do. It can be so for rows, for what was only
    // validated, and for a value that an enum cannot lose.
    let says_so = script.sql.contains("nothing to do");
    let can_be_so = up.iter().all(|fact| fact.weight != Weight::Schema || fact.apart);
    if does_nothing && (changes_schema || changes_rows) && !(says_so && can_be_so) {
        let level = if changes_schema && !says_so { Level::Error } else { Level::Warning };
        let text = script.sql.to_lowercase();
        let refuses = text.contains("raise exception");
        let message = if refuses {
            "this refuses, and takes nothing back of what the migration does"
        } else {
            "this takes nothing back of what the migration does"
        };
        let help = if changes_schema {
            "undo each statement, last one first; `migrate --dry-run` shows what is left"
        } else {
            "undo it, or say why there is nothing to undo: `select 'nothing to do: …';`"
        };
        let draft = Draft::new(ROLLBACK_NOTHING, facts[0].start, message);
        drafts.push(draft.help(help).at_most(level));
    }
    for one in facts.iter().flat_map(|fact| &fact.does) {
        if one.what == What::Cascades {
            let message = "CASCADE also drops what others have built on it since, without a word";
            let help = "name what is to go; without CASCADE, PostgreSQL refuses where something else is in the way";
            drafts.push(Draft::new(ROLLBACK_CASCADE, one.at, message).help(help));
        }
    }
    drafts
}

/// A verify script that changes something.
pub(super) fn verify(facts: &[Fact], world: &World) -> Vec<Draft> {
    let new = |fact: &Fact| {
        fact.does.iter().all(|one| match &one.what {
            What::Creates { kind: Kind::Table, .. } | What::HasColumn { .. } => true,
            What::ChangesRows { table, .. } => world.is_new_table(table),
            _ => false,
        }) && !fact.does.is_empty()
    };
    let changes = |fact: &&Fact| matches!(fact.weight, Weight::Data | Weight::Schema) && !new(fact);
    let message = "a verify script looks at what the migration did: what it changes is kept, and no rollback takes it back";
    let help = "move it to the migration";
    facts
        .iter()
        .filter(changes)
        .map(|fact| Draft::new(VERIFY_CHANGES, fact.start, message).help(help))
        .collect()
}
