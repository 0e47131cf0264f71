//! What is there before a statement, as far as the files tell, and which of it is new in what is pending. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Column, ColumnState, Does, Kind, What};

/// What is there.
#[derive(Debug, Default)]
pub(super) struct World {
    /// Objects that no running version knows.
    new: BTreeSet<(Kind, String)>,
    /// Columns that no running version knows, of tables that are not new.
    new_columns: BTreeSet<(String, String)>,
    /// Indexes, with their tables.
    indexes: BTreeMap<String, String>,
    columns: BTreeMap<(String, String), ColumnState>,
    /// Objects that files made.
    known: BTreeSet<(Kind, String)>,
    /// Functions that only triggers can call.
    for_triggers: BTreeSet<String>,
}

impl World {
    /// From here on, all that is there is known to the running version.
    pub(super) fn settle(&mut self) {
        self.new.clear();
        self.new_columns.clear();
    }

    pub(super) fn is_new(&self, kind: Kind, name: &str) -> bool {
        let schema = name.split_once('.').map(|(schema, _)| schema.to_owned());
        self.new.contains(&(kind, name.to_owned()))
            || schema.is_some_and(|schema| self.new.contains(&(Kind::Schema, schema)))
    }

    /// Whether the files made it.
    pub(super) fn is_known(&self, kind: Kind, name: &str) -> bool {
        self.known.contains(&(kind, name.to_owned()))
    }

    /// Whether no running version can call a function, since it returns a trigger.
    pub(super) fn is_for_triggers(&self, kind: Kind, name: &str) -> bool {
        kind == Kind::Function && self.for_triggers.contains(name)
    }

    /// Whether a table, or the table of an index, is new. A view counts as a table here.
    pub(super) fn is_new_table(&self, name: &str) -> bool {
        let table = self.table_of(name);
        self.is_new(Kind::Table, table) || self.is_new(Kind::View, table)
    }

    pub(super) fn is_new_column(&self, column: &Column) -> bool {
        self.is_new_table(&column.table)
            || self.is_new(Kind::Type, &column.table)
            || self.new_columns.contains(&(column.table.clone(), column.name.clone()))
    }

    /// The table of an index; any other name as it is.
    pub(super) fn table_of<'a>(&'a self, name: &'a str) -> &'a str {
        self.indexes.get(name).map_or(name, String::as_str)
    }

    pub(super) fn column(&self, column: &Column) -> Option<&ColumnState> {
        self.columns.get(&(column.table.clone(), column.name.clone()))
    }

    /// What a statement does to what is there.
    pub(super) fn apply(&mut self, does: &[Does]) {
        for one in does {
            self.apply_one(&one.what);
        }
    }

    fn apply_one(&mut self, what: &What) {
        match what {
            What::Creates { kind, name, unless_there } => {
                let key = (*kind, name.clone());
                if !(*unless_there && self.known.contains(&key)) {
                    self.new.insert(key.clone());
                }
                self.known.insert(key);
                self.for_triggers.remove(name);
            }
            What::IsForTriggers { function } => {
                self.for_triggers.insert(function.clone());
            }
            What::Drops { kind, name } => {
                self.new.remove(&(*kind, name.clone()));
                self.known.remove(&(*kind, name.clone()));
                if *kind == Kind::Table {
                    self.columns.retain(|(table, _), _| table != name);
                }
            }
            What::Renames { kind, name, to } => self.rename(*kind, name, to),
            What::CreatesIndex { index: Some(index), table } => {
                self.indexes.insert(index.clone(), table.clone());
                self.new.insert((Kind::Index, index.clone()));
            }
            What::HasColumn { column, state } => *self.state(column) = state.clone(),
            What::AddsColumn { column, state } => {
                *self.state(column) = state.clone();
                self.new_columns.insert((column.table.clone(), column.name.clone()));
            }
            What::DropsColumn(column) => {
                self.columns.remove(&(column.table.clone(), column.name.clone()));
                self.new_columns.remove(&(column.table.clone(), column.name.clone()));
            }
            What::RenamesColumn { column, to } => {
                let key = (column.table.clone(), column.name.clone());
                let state = self.columns.remove(&key).unwrap_or_default();
                let to = (column.table.clone(), to.clone());
                self.columns.insert(to.clone(), state);
                if self.new_columns.remove(&key) {
                    self.new_columns.insert(to);
                }
            }
            What::SetsType { column, kind, .. } => self.state(column).kind = Some(kind.clone()),
            What::SetsNotNull(column) => self.state(column).not_null = true,
            What::DropsNotNull(column) => self.state(column).not_null = false,
            What::SetsDefault(column) => self.state(column).filled = true,
            What::DropsDefault(column) => self.state(column).filled = false,
            What::ChecksNotNull { column, .. } => self.state(column).checked = true,
            _ => {}
        }
    }

    fn state(&mut self, column: &Column) -> &mut ColumnState {
        self.columns.entry((column.table.clone(), column.name.clone())).or_default()
    }

    /// A new name says nothing of a schema: it stays in the one it is in.
    fn rename(&mut self, kind: Kind, name: &str, to: &str) {
        let to = match name.rsplit_once('.') {
            Some((schema, _)) => format!("{schema}.{to}"),
            None => to.to_owned(),
        };
        for set in [&mut self.new, &mut self.known] {
            if set.remove(&(kind, name.to_owned())) {
                set.insert((kind, to.clone()));
            }
        }
        if kind == Kind::Table {
            let columns = std::mem::take(&mut self.columns);
            let moved = columns.into_iter().map(|((table, column), state)| {
                let table = if table == name { to.clone() } else { table };
                ((table, column), state)
            });
            self.columns = moved.collect();
        }
    }
}
