//! What the statements of a script do, as far as rules ask for it. Pure.

use squawk_syntax::ast::{self, AstNode, Stmt};
use squawk_syntax::{SyntaxKind, SyntaxNode};

use super::alter_table;
use super::names::{first, normal, only};

/// What one statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    /// The byte that it begins with.
    pub(super) start: usize,
    /// What it does, in order.
    pub(super) does: Vec<Does>,
    /// The tables that it is about, or the indexes.
    pub(super) about: Vec<String>,
    pub(super) weight: Weight,
    /// It is a `create index concurrently if not exists`.
    pub(super) concurrently_if_not_exists: bool,
    /// What it does must be committed before the next statement is of use: `alter type … add value`, `validate constraint`.
    pub(super) apart: bool,
}

/// What kind of statement it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// It says something and touches no table: `select 1`.
    Nothing,
    /// It reads, or sets something for the session.
    Reads,
    /// It changes rows.
    Data,
    /// It runs code that may do anything.
    Code,
    /// It changes the schema.
    Schema,
}

/// One thing that a statement does, and where that is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Does {
    pub(super) at: usize,
    pub(super) what: What,
}

/// What kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Table,
    View,
    Index,
    Function,
    Type,
    Domain,
    Sequence,
    Schema,
    Extension,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::View => "view",
            Self::Index => "index",
            Self::Function => "function",
            Self::Type => "type",
            Self::Domain => "domain",
            Self::Sequence => "sequence",
            Self::Schema => "schema",
            Self::Extension => "extension",
        }
    }
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) table: String,
    pub(super) name: String,
}

/// What is known of a column.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ColumnState {
    /// Its type, as one word.
    pub(super) kind: Option<String>,
    pub(super) not_null: bool,
    /// It gets a value where an insert leaves it out.
    pub(super) filled: bool,
    /// A check sees to it that it is not null.
    pub(super) checked: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Creates {
        kind: Kind,
        name: String,
        unless_there: bool,
    },
    Drops {
        kind: Kind,
        name: String,
    },
    Renames {
        kind: Kind,
        name: String,
        to: String,
    },
    MovesToSchema {
        kind: Kind,
        name: String,
    },
    Cascades,
    /// The function that is made returns a trigger: only triggers can call it.
    IsForTriggers {
        function: String,
    },
    CreatesIndex {
        index: Option<String>,
        table: String,
    },
    HasColumn {
        column: Column,
        state: ColumnState,
    },
    AddsColumn {
        column: Column,
        state: ColumnState,
    },
    DropsColumn(Column),
    RenamesColumn {
        column: Column,
        to: String,
    },
    RenamesValue {
        kind: String,
    },
    SetsType {
        column: Column,
        kind: String,
        using: bool,
    },
    SetsNotNull(Column),
    DropsNotNull(Column),
    SetsDefault(Column),
    DropsDefault(Column),
    DropsIdentity(Column),
    /// A check that a column is not null, whether or not the rows that are there were looked at.
    ChecksNotNull {
        constraint: String,
        column: Column,
    },
    /// Takes a lock that nobody can read beside.
    LocksOut {
        table: String,
    },
    /// `many`: not plainly a few rows.
    ChangesRows {
        table: String,
        many: bool,
    },
}

/// Reads what each statement does.
pub(super) fn read(file: &ast::SourceFile) -> Vec<Fact> {
    file.stmts().filter(|stmt| !matches!(stmt, Stmt::EmptyStmt(_))).map(|stmt| one(&stmt)).collect()
}

pub(super) fn start(node: &SyntaxNode) -> usize {
    let first = node.children_with_tokens().find(|child| !child.kind().is_trivia());
    let range = first.map_or_else(|| node.text_range(), |child| child.text_range());
    usize::from(range.start())
}

fn one(stmt: &Stmt) -> Fact {
    let mut fact = Fact {
        start: start(stmt.syntax()),
        does: vec![],
        about: vec![],
        weight: weight(stmt),
        concurrently_if_not_exists: false,
        apart: apart(stmt),
    };
    fact.created(stmt);
    fact.dropped(stmt);
    fact.changed(stmt);
    fact.locked(stmt);
    fact.rows(stmt);
    fact
}

fn weight(stmt: &Stmt) -> Weight {
    match stmt {
        Stmt::Select(select) if select.from_clause().is_none() => {
            let calls =
                stmt.syntax().descendants().any(|node| ast::CallExpr::can_cast(node.kind()));
            if calls { Weight::Code } else { Weight::Nothing }
        }
        Stmt::Values(_) | Stmt::Show(_) | Stmt::SetConstraints(_) => Weight::Nothing,
        Stmt::Select(_) | Stmt::CompoundSelect(_) | Stmt::ParenSelect(_) | Stmt::Table(_) => {
            let changes = stmt.syntax().descendants().any(|node| {
                matches!(node.kind(), SyntaxKind::UPDATE | SyntaxKind::DELETE | SyntaxKind::INSERT)
            });
            if changes { Weight::Data } else { Weight::Reads }
        }
        Stmt::Set(_) | Stmt::SetRole(_) | Stmt::Reset(_) | Stmt::ResetRole(_) => Weight::Reads,
        Stmt::Explain(_) | Stmt::Analyze(_) | Stmt::Lock(_) => Weight::Reads,
        Stmt::SavepointCreate(_) | Stmt::ReleaseSavepoint(_) | Stmt::Rollback(_) => Weight::Reads,
        Stmt::Insert(_) | Stmt::Update(_) | Stmt::Delete(_) | Stmt::Merge(_) => Weight::Data,
        Stmt::Truncate(_) | Stmt::Copy(_) => Weight::Data,
        Stmt::Do(it) if does_nothing(it) => Weight::Nothing,
        Stmt::Do(_) | Stmt::Call(_) | Stmt::Execute(_) => Weight::Code,
        _ => Weight::Schema,
    }
}

/// `do $$ begin end $$`, `do $$ begin null; end $$`, and one that only raises an error.
fn does_nothing(stmt: &ast::Do) -> bool {
    let body = stmt.body().map(|body| body.syntax().text().to_string()).unwrap_or_default();
    let words = body.split('$').nth(2).unwrap_or_default().to_lowercase();
    let words: Vec<&str> = words
        .split(|c: char| c.is_whitespace() || c == ';')
        .filter(|word| !word.is_empty())
        .collect();
    match words[..] {
        ["begin", "end"] | ["begin", "null", "end"] => true,
        ["begin", "raise", "exception" | "notice", .., "end"] => !words[3..].contains(&"raise"),
        _ => false,
    }
}

fn apart(stmt: &Stmt) -> bool {
    match stmt {
        Stmt::AlterType(it) => matches!(it.action(), Some(ast::AlterTypeAction::AddValue(_))),
        Stmt::AlterTable(it) => it
            .actions()
            .any(|action| matches!(action, ast::AlterTableAction::ValidateConstraint(_))),
        _ => false,
    }
}

impl Fact {
    pub(super) fn push(&mut self, node: &SyntaxNode, what: What) {
        self.does.push(Does { at: start(node), what });
    }

    fn creates(&mut self, stmt: &Stmt, kind: Kind, name: Option<String>, unless_there: bool) {
        if let Some(name) = name {
            self.push(stmt.syntax(), What::Creates { kind, name, unless_there });
        }
    }

    fn created(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::CreateTable(table) => {
                let Some(name) = table.table_name().and_then(|name| first(name.syntax())) else {
                    return;
                };
                let unless = table.if_not_exists().is_some();
                self.creates(stmt, Kind::Table, Some(name.clone()), unless);
                for arg in table.table_arg_list().into_iter().flat_map(|list| list.args()) {
                    if let ast::TableArg::Column(column) = arg {
                        self.has_column(&name, &column);
                    }
                }
            }
            Stmt::CreateTableAs(table) => {
                let name = table.table_name().and_then(|name| first(name.syntax()));
                self.creates(stmt, Kind::Table, name, table.if_not_exists().is_some());
            }
            Stmt::SelectInto(select) => {
                let name = select.into_clause().and_then(|into| first(into.syntax()));
                self.creates(stmt, Kind::Table, name, false);
            }
            Stmt::CreateForeignTable(table) => {
                let name = table.table_name().and_then(|name| first(name.syntax()));
                self.creates(stmt, Kind::Table, name, table.if_not_exists().is_some());
            }
            Stmt::CreateView(view) => {
                let unless = view.or_replace().is_some();
                self.creates(stmt, Kind::View, first(view.syntax()), unless);
            }
            Stmt::CreateMaterializedView(view) => {
                let unless = view.if_not_exists().is_some();
                self.creates(stmt, Kind::View, first(view.syntax()), unless);
            }
            Stmt::CreateFunction(function) => {
                let name = function.name().and_then(|name| first(name.syntax()));
                let unless = function.or_replace().is_some();
                self.creates(stmt, Kind::Function, name.clone(), unless);
                let returns = function.ret_type().map(|returns| kind_text(returns.syntax()));
                let triggers = ["returnstrigger", "returnsevent_trigger"];
                let is_for_triggers = returns.is_some_and(|it| triggers.contains(&it.as_str()));
                if let Some(function) = name.filter(|_| is_for_triggers) {
                    self.push(stmt.syntax(), What::IsForTriggers { function });
                }
            }
            Stmt::CreateProcedure(it) => {
                self.creates(stmt, Kind::Function, first(it.syntax()), it.or_replace().is_some());
            }
            Stmt::CreateAggregate(it) => {
                self.creates(stmt, Kind::Function, first(it.syntax()), it.or_replace().is_some());
            }
            Stmt::CreateType(it) => self.creates(stmt, Kind::Type, first(it.syntax()), false),
            Stmt::CreateDomain(it) => self.creates(stmt, Kind::Domain, first(it.syntax()), false),
            Stmt::CreateSequence(it) => {
                let unless = it.if_not_exists().is_some();
                self.creates(stmt, Kind::Sequence, first(it.syntax()), unless);
            }
            Stmt::CreateSchema(it) => {
                let name = it.create_schema_target().map(|target| only(target.syntax()));
                self.creates(stmt, Kind::Schema, name, it.if_not_exists().is_some());
            }
            Stmt::CreateExtension(it) => {
                let extension = it
                    .syntax()
                    .children()
                    .find_map(ast::Extension::cast)
                    .map(|it| only(it.syntax()));
                self.creates(stmt, Kind::Extension, extension, it.if_not_exists().is_some());
            }
            Stmt::CreateIndex(it) => {
                let table = it.table_relation_name().and_then(|table| first(table.syntax()));
                let index = it.index().and_then(|index| first(index.syntax()));
                let concurrently = it.concurrently_token().is_some();
                self.concurrently_if_not_exists = concurrently && it.if_not_exists().is_some();
                if let Some(table) = table {
                    self.about.push(table.clone());
                    self.push(it.syntax(), What::CreatesIndex { index, table });
                }
            }
            _ => {}
        }
    }

    fn has_column(&mut self, table: &str, column: &ast::Column) {
        let Some(name) = column.name().map(|name| normal(&name.syntax().text().to_string())) else {
            return;
        };
        let kind = column.ty().map(|kind| kind_text(kind.syntax()));
        let mut state = ColumnState { kind, ..ColumnState::default() };
        for clause in column.clauses() {
            let ast::ColumnClause::ColumnConstraint(constraint) = clause else { continue };
            state.add(constraint.syntax());
        }
        let column = Column { table: table.to_owned(), name };
        self.does.push(Does { at: self.start, what: What::HasColumn { column, state } });
    }

    fn dropped(&mut self, stmt: &Stmt) {
        let kind = match stmt {
            Stmt::DropTable(_) | Stmt::DropForeignTable(_) => Kind::Table,
            Stmt::DropView(_) | Stmt::DropMaterializedView(_) => Kind::View,
            Stmt::DropIndex(_) => Kind::Index,
            Stmt::DropFunction(_) | Stmt::DropProcedure(_) => Kind::Function,
            Stmt::DropRoutine(_) | Stmt::DropAggregate(_) => Kind::Function,
            Stmt::DropType(_) => Kind::Type,
            Stmt::DropDomain(_) => Kind::Domain,
            Stmt::DropSequence(_) => Kind::Sequence,
            Stmt::DropSchema(_) => Kind::Schema,
            Stmt::DropExtension(_) => Kind::Extension,
            _ => return,
        };
        let is_list = |kind: SyntaxKind| {
            ast::FunctionSigList::can_cast(kind)
                || ast::ProcedureSigList::can_cast(kind)
                || ast::RoutineSigList::can_cast(kind)
        };
        let mut named: Vec<SyntaxNode> = Vec::new();
        for child in stmt.syntax().children() {
            if is_list(child.kind()) {
                named.extend(child.children());
            } else if ast::DropBehavior::can_cast(child.kind()) {
                if child.kind() == SyntaxKind::CASCADE {
                    self.push(&child, What::Cascades);
                }
            } else if !ast::IfExists::can_cast(child.kind()) {
                named.push(child);
            }
        }
        for node in named {
            let name = only(&node);
            if matches!(kind, Kind::Table | Kind::Index) {
                self.about.push(name.clone());
            }
            self.push(&node, What::Drops { kind, name });
        }
    }

    fn changed(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::AlterTable(table) => alter_table::read(self, table),
            Stmt::AlterView(it) => {
                let name = it.view_ref().and_then(|name| first(name.syntax()));
                let action = it.action().map(|action| action.syntax().clone());
                self.renamed(Kind::View, name, action);
            }
            Stmt::AlterMaterializedView(it) => {
                let name = it.view_ref().and_then(|name| first(name.syntax()));
                let action = it.action().next().map(|action| action.syntax().clone());
                self.renamed(Kind::View, name, action);
            }
            Stmt::AlterType(it) => {
                let name = it.type_name_ref().and_then(|name| first(name.syntax()));
                self.type_changed(it, name.as_deref());
                let action = it.action().map(|action| action.syntax().clone());
                self.renamed(Kind::Type, name, action);
            }
            Stmt::AlterFunction(it) => {
                let name = it.function_sig().and_then(|name| first(name.syntax()));
                let action = it.action().map(|action| action.syntax().clone());
                self.renamed(Kind::Function, name, action);
            }
            Stmt::AlterProcedure(it) => {
                let action = it.action().map(|action| action.syntax().clone());
                self.renamed(Kind::Function, first(it.syntax()), action);
            }
            Stmt::AlterSequence(it) => {
                let action = it.actions().next().map(|action| action.syntax().clone());
                self.renamed(Kind::Sequence, first(it.syntax()), action);
            }
            Stmt::AlterSchema(it) => {
                let name = it.schema_ref().map(|name| only(name.syntax()));
                let action = it.action().map(|action| action.syntax().clone());
                self.renamed(Kind::Schema, name, action);
            }
            Stmt::AlterDomain(it) => {
                let action = it.action().map(|action| action.syntax().clone());
                self.renamed(Kind::Domain, first(it.syntax()), action);
            }
            _ => {}
        }
    }

    fn type_changed(&mut self, stmt: &ast::AlterType, name: Option<&str>) {
        let Some(name) = name else { return };
        match stmt.action() {
            Some(ast::AlterTypeAction::RenameValue(value)) => {
                self.push(value.syntax(), What::RenamesValue { kind: name.to_owned() });
            }
            Some(ast::AlterTypeAction::RenameAttribute(it)) => {
                if let (Some(from), Some(to)) = (it.composite_field_ref(), it.composite_field()) {
                    let column = Column { table: name.to_owned(), name: only(from.syntax()) };
                    self.push(it.syntax(), What::RenamesColumn { column, to: only(to.syntax()) });
                }
            }
            Some(ast::AlterTypeAction::AlterTypeAttributeActionList(list)) => {
                for action in list.actions() {
                    if let ast::AlterTypeAttributeAction::DropAttribute(it) = action {
                        let field = it.syntax().children().find_map(ast::CompositeFieldRef::cast);
                        let Some(field) = field else { continue };
                        let column = Column { table: name.to_owned(), name: only(field.syntax()) };
                        self.push(it.syntax(), What::DropsColumn(column));
                    }
                }
            }
            _ => {}
        }
    }

    /// `rename to` and `set schema` of anything but a table.
    fn renamed(&mut self, kind: Kind, name: Option<String>, action: Option<SyntaxNode>) {
        let (Some(name), Some(action)) = (name, action) else { return };
        let renames = [
            ast::ViewRenameTo::can_cast(action.kind()),
            ast::TypeRenameTo::can_cast(action.kind()),
            ast::FunctionRenameTo::can_cast(action.kind()),
            ast::ProcedureRenameTo::can_cast(action.kind()),
            ast::SequenceRenameTo::can_cast(action.kind()),
            ast::SchemaRenameTo::can_cast(action.kind()),
            ast::DomainRenameTo::can_cast(action.kind()),
        ];
        if renames.contains(&true) {
            let to = action.children().last().map(|node| only(&node)).unwrap_or_default();
            self.push(&action, What::Renames { kind, name, to });
        } else if ast::SetSchema::can_cast(action.kind()) {
            self.push(&action, What::MovesToSchema { kind, name });
        } else if let Some(it) = ast::RenameColumn::cast(action)
            && let (Some(from), Some(to)) = (it.column_name_ref(), it.column_name())
        {
            let column = Column { table: name, name: only(from.syntax()) };
            self.push(it.syntax(), What::RenamesColumn { column, to: only(to.syntax()) });
        }
    }

    /// Locks that nobody can read beside, of other statements than `alter table`.
    fn locked(&mut self, stmt: &Stmt) {
        let tables: Vec<String> = match stmt {
            Stmt::Truncate(it) => {
                let list = it.table_list().into_iter();
                let tables = list.flat_map(|list| list.table_relation_names());
                tables.filter_map(|table| first(table.syntax())).collect()
            }
            Stmt::Reindex(it) => match it.reindex_target() {
                Some(ast::ReindexTarget::ReindexTargetTable(table)) => {
                    self.about.extend(first(table.syntax()));
                    return;
                }
                Some(ast::ReindexTarget::ReindexTargetIndex(index)) => {
                    self.about.extend(first(index.syntax()));
                    return;
                }
                _ => return,
            },
            Stmt::Lock(it) => {
                let mode = it.lock_mode_clause().and_then(|clause| clause.lock_mode());
                let mode = mode.map(|mode| mode.syntax().text().to_string().to_lowercase());
                if mode.is_some_and(|mode| !mode.contains("access exclusive")) {
                    return;
                }
                let list = it.relation_list().into_iter();
                let tables = list.flat_map(|list| list.relation_names());
                tables.filter_map(|table| first(table.syntax())).collect()
            }
            Stmt::Cluster(it) => first(it.syntax()).into_iter().collect(),
            _ => return,
        };
        for table in tables {
            self.push(stmt.syntax(), What::LocksOut { table });
        }
    }

    fn rows(&mut self, stmt: &Stmt) {
        let found = match stmt {
            Stmt::Update(it) => {
                let table = it.relation_name().and_then(|table| first(table.syntax()));
                table.map(|table| (table, !picks_few(it.where_clause_or_current_of())))
            }
            Stmt::Delete(it) => {
                let table = it.relation_name().and_then(|table| first(table.syntax()));
                table.map(|table| (table, !picks_few(it.where_clause_or_current_of())))
            }
            Stmt::Insert(it) => {
                let table = it.relation_name_ref().and_then(|table| first(table.syntax()));
                let from = it.syntax().descendants().any(|it| ast::FromClause::can_cast(it.kind()));
                table.map(|table| (table, from))
            }
            Stmt::Merge(it) => {
                let table = it.table_relation_name().and_then(|table| first(table.syntax()));
                table.map(|table| (table, true))
            }
            _ => None,
        };
        if let Some((table, many)) = found {
            self.about.push(table.clone());
            self.push(stmt.syntax(), What::ChangesRows { table, many });
        }
    }
}

impl ColumnState {
    /// What a constraint says of its column.
    pub(super) fn add(&mut self, constraint: &SyntaxNode) {
        let kind = constraint.kind();
        self.not_null |= ast::NotNullConstraint::can_cast(kind);
        self.not_null |= ast::PrimaryKeyConstraint::can_cast(kind);
        self.filled |= ast::DefaultConstraint::can_cast(kind);
        self.filled |= ast::GeneratedConstraint::can_cast(kind);
        self.filled |= self.kind.as_deref().is_some_and(|kind| kind.ends_with("serial"));
    }
}

/// Whether a condition compares a column with a constant for equality, as those for a few known rows do.
fn picks_few(condition: Option<ast::WhereClauseOrCurrentOf>) -> bool {
    let Some(ast::WhereClauseOrCurrentOf::WhereClause(condition)) = condition else { return false };
    let constant = |expr: Option<ast::Expr>| matches!(expr, Some(ast::Expr::Literal(_)));
    condition.syntax().descendants().filter_map(ast::BinExpr::cast).any(|it| match it.op() {
        Some(ast::BinOp::Eq(_)) => constant(it.lhs()) || constant(it.rhs()),
        Some(ast::BinOp::In(_)) => {
            !it.syntax().descendants().any(|it| ast::FromClause::can_cast(it.kind()))
        }
        _ => false,
    })
}

/// A type as one word: `character varying(20)` is `varchar(20)`.
pub(super) fn kind_text(node: &SyntaxNode) -> String {
    let text: String = normal(&node.text().to_string());
    match text.strip_prefix("charactervarying") {
        Some(rest) => format!("varchar{rest}"),
        None => text,
    }
}
