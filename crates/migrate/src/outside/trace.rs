//! What a statement leaves behind, by which it can be seen whether it was done. Pure.

use squawk_syntax::SourceFile;
use squawk_syntax::ast::{self, AstNode};

/// By what it can be seen whether a statement was done that runs outside of a transaction. Names are as they are written, with
/// their quotes: the server reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trace {
    /// An index of this table, and whether it is valid. Without a name it is the one that was not there before.
    Index { name: Option<String>, table: String },
    /// That the index is gone.
    NoIndex { name: String },
    /// Indexes whose names end in `_ccnew` or `_ccold`; doing it again does no harm.
    Rebuilt,
    /// That it is no partition any more, or half detached.
    Detached { table: String, partition: String },
    /// Doing it again does no harm.
    Repeatable,
    /// Nothing.
    Nothing,
}

impl Trace {
    /// What the statement leaves.
    pub(crate) fn of(sql: &str) -> Self {
        let tree = SourceFile::parse(sql).tree();
        let mut nodes = tree.syntax().descendants();
        nodes.find_map(|node| from_node(&node)).unwrap_or(Self::Nothing)
    }
}

fn from_node(node: &squawk_syntax::SyntaxNode) -> Option<Trace> {
    if let Some(create) = ast::CreateIndex::cast(node.clone()) {
        let table = create.table_relation_name()?.table_name_ref()?;
        let name = create.index().map(|index| text(index.syntax()));
        return Some(Trace::Index { name, table: text(table.syntax()) });
    }
    if let Some(drop) = ast::DropIndex::cast(node.clone()) {
        let name = drop.index_refs().next()?;
        return Some(Trace::NoIndex { name: text(name.syntax()) });
    }
    if let Some(alter) = ast::AlterTable::cast(node.clone()) {
        let table = text(alter.table_relation_name()?.table_name_ref()?.syntax());
        let detach = alter.actions().find_map(|action| match action {
            ast::AlterTableAction::DetachPartition(detach) => Some(detach),
            _ => None,
        })?;
        return Some(Trace::Detached { table, partition: text(detach.table_name_ref()?.syntax()) });
    }
    if ast::Reindex::can_cast(node.kind()) {
        return Some(Trace::Rebuilt);
    }
    let repeatable = ast::Vacuum::can_cast(node.kind())
        || ast::Cluster::can_cast(node.kind())
        || ast::AlterSystem::can_cast(node.kind());
    repeatable.then_some(Trace::Repeatable)
}

fn text(node: &squawk_syntax::SyntaxNode) -> String {
    node.text().to_string().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let index = |name: Option<&str>, table: &str| Trace::Index {
            name: name.map(str::to_owned),
            table: table.to_owned(),
        };
        for (sql, expected) in [
            ("create index concurrently i on t (a)", index(Some("i"), "t")),
            (
                "create unique index concurrently if not exists \"My I\" on only s.\"T\" using btree (lower(a)) where a > 1",
                index(Some("\"My I\""), "s.\"T\""),
            ),
            ("create index concurrently on t (a)", index(None, "t")),
            ("drop index concurrently if exists s.i", Trace::NoIndex { name: "s.i".into() }),
            ("reindex (verbose) index concurrently i", Trace::Rebuilt),
            ("reindex database concurrently", Trace::Rebuilt),
            (
                "alter table s.t detach partition s.p concurrently",
                Trace::Detached { table: "s.t".into(), partition: "s.p".into() },
            ),
            ("vacuum (analyze) t", Trace::Repeatable),
            ("cluster", Trace::Repeatable),
            ("alter system set work_mem = '1GB'", Trace::Repeatable),
            ("call p()", Trace::Nothing),
            ("do $$ begin commit; end $$", Trace::Nothing),
            ("create database d", Trace::Nothing),
        ] {
            assert_eq!(Trace::of(sql), expected, "{sql}");
        }
    }
}
