//! What `alter table` does. Pure.

use squawk_syntax::ast::{
    self, AlterColumnOption, AlterTableAction as Action, AstNode as _, Constraint,
};

use super::facts::{Column, ColumnState, Fact, Kind, What, kind_text};
use super::names::{first, normal, only};

pub(super) fn read(fact: &mut Fact, stmt: &ast::AlterTable) {
    let Some(table) = stmt.table_relation_name().and_then(|table| first(table.syntax())) else {
        return;
    };
    fact.about.push(table.clone());
    for action in stmt.actions() {
        if locks_out(&action) {
            fact.push(stmt.syntax(), What::LocksOut { table: table.clone() });
        }
        one(fact, &table, &action);
    }
}

/// Whether the action's lock is one that nobody can read beside.
fn locks_out(action: &Action) -> bool {
    match action {
        Action::AddConstraint(it) => {
            !matches!(it.constraint(), Some(Constraint::ForeignKeyConstraint(_)))
        }
        Action::ValidateConstraint(_)
        | Action::AttachPartition(_)
        | Action::ClusterOn(_)
        | Action::SetWithoutCluster(_)
        | Action::EnableTrigger(_)
        | Action::DisableTrigger(_)
        | Action::EnableAlwaysTrigger(_)
        | Action::EnableReplicaTrigger(_)
        | Action::SetOptions(_)
        | Action::ResetOptions(_) => false,
        Action::DetachPartition(it) => it.detach_partition_option().is_none(),
        Action::AlterColumn(it) => !matches!(
            it.option(),
            Some(AlterColumnOption::SetStatistics(_) | AlterColumnOption::SetOptions(_))
        ),
        _ => true,
    }
}

fn one(fact: &mut Fact, table: &str, action: &Action) {
    let column = |name: String| Column { table: table.to_owned(), name };
    let name = table.to_owned();
    match action {
        Action::AddColumn(it) => {
            let Some(added) = it.column_name() else { return };
            let kind = it.ty().map(|kind| kind_text(kind.syntax()));
            let mut state = ColumnState { kind, ..ColumnState::default() };
            it.constraints().for_each(|constraint| state.add(constraint.syntax()));
            let column = column(normal(&added.syntax().text().to_string()));
            fact.push(it.syntax(), What::AddsColumn { column, state });
        }
        Action::DropColumn(it) => {
            let Some(dropped) = it.column_name_ref() else { return };
            if matches!(it.drop_behavior(), Some(ast::DropBehavior::Cascade(_))) {
                fact.push(it.syntax(), What::Cascades);
            }
            fact.push(it.syntax(), What::DropsColumn(column(only(dropped.syntax()))));
        }
        Action::DropConstraint(it) => {
            if matches!(it.drop_behavior(), Some(ast::DropBehavior::Cascade(_))) {
                fact.push(it.syntax(), What::Cascades);
            }
        }
        Action::RenameColumn(it) => {
            if let (Some(from), Some(to)) = (it.column_name_ref(), it.column_name()) {
                let column = column(only(from.syntax()));
                fact.push(it.syntax(), What::RenamesColumn { column, to: only(to.syntax()) });
            }
        }
        Action::TableRenameTo(it) => {
            let to = it.table_name().and_then(|to| first(to.syntax())).unwrap_or_default();
            fact.push(it.syntax(), What::Renames { kind: Kind::Table, name, to });
        }
        Action::SetSchema(it) => {
            fact.push(it.syntax(), What::MovesToSchema { kind: Kind::Table, name });
        }
        Action::AddConstraint(it) => not_null_check(fact, table, it),
        Action::AlterColumn(it) => {
            let Some(altered) = it.column_name_ref() else { return };
            let column = column(only(altered.syntax()));
            let Some(option) = it.option() else { return };
            if let Some(what) = column_option(column, &option) {
                fact.push(option.syntax(), what);
            }
        }
        _ => {}
    }
}

fn column_option(column: Column, option: &AlterColumnOption) -> Option<What> {
    Some(match option {
        AlterColumnOption::SetType(it) => What::SetsType {
            column,
            kind: kind_text(it.ty()?.syntax()),
            using: it.using_expr().is_some(),
        },
        AlterColumnOption::SetNotNull(_) => What::SetsNotNull(column),
        AlterColumnOption::DropNotNull(_) => What::DropsNotNull(column),
        AlterColumnOption::SetDefault(_) => What::SetsDefault(column),
        AlterColumnOption::DropDefault(_) => What::DropsDefault(column),
        AlterColumnOption::DropIdentity(_) => What::DropsIdentity(column),
        _ => return None,
    })
}

/// `check (column is not null)`, which lets a later `set not null` do without a scan.
fn not_null_check(fact: &mut Fact, table: &str, it: &ast::AddConstraint) {
    let Some(Constraint::CheckConstraint(check)) = it.constraint() else { return };
    let name = check.constraint_name_clause().and_then(|clause| clause.constraint_name());
    let (Some(name), Some(ast::Expr::BinExpr(expr))) = (name, check.expr()) else { return };
    let is_not = matches!(expr.op(), Some(ast::BinOp::IsNot(_)));
    let null =
        expr.rhs().is_some_and(|it| it.syntax().text().to_string().eq_ignore_ascii_case("null"));
    if let (true, true, Some(ast::Expr::NameRef(column))) = (is_not, null, expr.lhs()) {
        let column = Column { table: table.to_owned(), name: only(column.syntax()) };
        fact.push(it.syntax(), What::ChecksNotNull { constraint: only(name.syntax()), column });
    }
}
