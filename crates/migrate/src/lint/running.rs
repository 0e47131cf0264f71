//! What the version that is running cannot live with: it goes on until the rollout is through. Pure.

use super::draft::Draft;
use super::facts::{Column, Does, Fact, Kind, What};
use super::rules::{BREAKS, DROP_DEFAULT, Level};
use super::settings::LintSettings;
use super::world::World;
use liftlock_model::Phase;

/// What is asked of each statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running<'a> {
    pub(super) world: &'a World,
    /// The statements that follow it in its script.
    pub(super) later: &'a [Fact],
    pub(super) phase: Phase,
    pub(super) settings: &'a LintSettings,
}

const LATER: &str = "first let a release do without it, then do this in a migration with `-- migrate: phase contract`, which runs \
                     after the rollout";

impl Running<'_> {
    /// What of a statement breaks it.
    pub(super) fn look(self, fact: &Fact) -> Vec<Draft> {
        fact.does.iter().filter_map(|one| self.one(one)).collect()
    }

    fn one(self, does: &Does) -> Option<Draft> {
        let at = does.at;
        match &does.what {
            What::Drops { kind, name } => self.drops(at, *kind, name),
            What::Renames { kind, name, .. } if *kind != Kind::Index => {
                let part = if *kind == Kind::Table { "renaming-table" } else { "renaming-object" };
                let draft =
                    self.draft(at, part, format!("{} {name} gets another name", kind.word()));
                let draft = draft.help(
                    "leave the name, or make a view of the old name in the same migration: `create view old as select * from new`",
                );
                (!self.is_replaced(name)).then(|| self.unless_new(*kind, name, draft))
            }
            What::MovesToSchema { kind, name } => {
                let draft = format!("{} {name} moves to another schema", kind.word());
                let draft = self.draft(at, "ban-set-schema", draft);
                (!self.is_replaced(name)).then(|| self.unless_new(*kind, name, draft))
            }
            What::DropsColumn(column) => {
                let message = format!("column {}.{} is dropped", column.table, column.name);
                Some(self.unless_new_column(column, self.draft(at, "ban-drop-column", message)))
            }
            What::RenamesColumn { column, .. } => {
                let message = format!("column {}.{} gets another name", column.table, column.name);
                let draft = self.draft(at, "renaming-column", message).help(
                    "add a column of the new name, keep both in step with a trigger, and drop the old one in a migration with \
                     `-- migrate: phase contract`",
                );
                Some(self.unless_new_column(column, draft))
            }
            What::RenamesValue { kind } => {
                let message = format!("a value of the enum {kind} gets another name");
                let draft = self.draft(at, "renaming-object", message);
                Some(self.unless_new(Kind::Type, kind, draft))
            }
            What::DropsIdentity(column) => {
                let message =
                    format!("column {}.{} no longer fills itself", column.table, column.name);
                Some(self.unless_new_column(column, self.draft(at, "ban-alter-identity", message)))
            }
            What::SetsNotNull(column) => self.must_be_given(at, column, "adding-required-field"),
            What::DropsDefault(column) => self.drops_default(at, column),
            _ => None,
        }
    }

    fn draft(self, at: usize, part: &'static str, what: String) -> Draft {
        let message =
            format!("{what}, and the running version may use it until the rollout is through");
        // A contract migration may; a project that forbids it all the same has said so.
        let (rule, at_most) = match (self.phase, self.settings.said(part)) {
            (Phase::Expand, _) => (BREAKS, Level::Error),
            (Phase::Contract, Some(level)) => (part, level),
            (Phase::Contract, None) => (BREAKS, Level::Off),
        };
        Draft::new(rule, at, message).part(part).help(LATER).at_most(at_most)
    }

    fn unless_new(self, kind: Kind, name: &str, draft: Draft) -> Draft {
        let new = match kind {
            kind if self.world.is_for_triggers(kind, name) => true,
            Kind::Table | Kind::View => self.world.is_new_table(name),
            kind => self.world.is_new(kind, name),
        };
        if new { draft.at_most(Level::Off) } else { draft }
    }

    fn unless_new_column(self, column: &Column, draft: Draft) -> Draft {
        if self.world.is_new_column(column) { draft.at_most(Level::Off) } else { draft }
    }

    /// Whether a later statement of the script makes something of this name again.
    fn is_replaced(self, name: &str) -> bool {
        self.later.iter().flat_map(|fact| &fact.does).any(|one| match &one.what {
            What::Creates { kind, name: made, .. } => *kind != Kind::Index && made == name,
            What::Renames { to, .. } => to == name,
            _ => false,
        })
    }

    fn drops(self, at: usize, kind: Kind, name: &str) -> Option<Draft> {
        let part = match kind {
            Kind::Index => return None,
            Kind::Table => "ban-drop-table",
            Kind::View => "ban-drop-view",
            Kind::Function => "ban-drop-function",
            Kind::Type => "ban-drop-type",
            Kind::Domain => "ban-drop-domain",
            Kind::Sequence => "ban-drop-sequence",
            Kind::Schema => "ban-drop-schema",
            Kind::Extension => "ban-drop-extension",
        };
        // A table that is made again is empty; other things are as good as before.
        let replaced =
            self.is_replaced(name) && (kind != Kind::Table || !self.world.is_known(kind, name));
        let draft = self.draft(at, part, format!("{} {name} is dropped", kind.word()));
        (!replaced).then(|| self.unless_new(kind, name, draft))
    }

    /// A column that the running version does not know, in a table that it does: its inserts leave the column out.
    fn must_be_given(self, at: usize, column: &Column, part: &'static str) -> Option<Draft> {
        let state = self.world.column(column)?;
        let unknown = self.world.is_new_column(column) && !self.world.is_new_table(&column.table);
        if !unknown || state.filled {
            return None;
        }
        let Column { table, name } = column;
        let message = format!(
            "column {table}.{name} must be given by every insert, and the running version does not know it: its inserts fail"
        );
        let draft = self.draft(at, part, String::new());
        Some(
            Draft { message, ..draft }
                .help("give it a default, or let it be null until all versions that run fill it"),
        )
    }

    fn drops_default(self, at: usize, column: &Column) -> Option<Draft> {
        let state = self.world.column(column);
        if self.world.is_new_table(&column.table) || state.is_some_and(|state| !state.not_null) {
            return None;
        }
        if self.world.is_new_column(column) {
            let part = DROP_DEFAULT;
            let draft = self.draft(at, part, String::new());
            let Column { table, name } = column;
            let message = format!(
                "column {table}.{name} must be given by every insert then, and the running version does not know it: its \
                 inserts fail"
            );
            return Some(
                Draft { message, ..draft }
                    .help("keep the default until all versions that run fill the column"),
            );
        }
        let Column { table, name } = column;
        let message = format!(
            "column {table}.{name} loses its default: inserts of the running version may leave it out"
        );
        let at_most = if self.phase == Phase::Contract { Level::Off } else { Level::Error };
        Some(Draft::new(DROP_DEFAULT, at, message).help(LATER).at_most(at_most))
    }
}
