//! What of a large schema a copy must have, so that scripts do on it what they would do on all of it. Making a table takes a server longer
//! than telling of it, so what no script can reach is left out. Where that cannot be told, nothing is.
//!
//! A script reaches what it names, in any of its words, and what PostgreSQL's catalogs know to rest on that, all the way; and what functions name
//! that run with it. Of tables that are only looked at by keys, keys that lead on to others are not copied.

mod graph;
mod qualified;
mod walk;
mod words;

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::ops::Range;

use serde::Serialize;
use sqlx::{PgConnection, Row as _};

use crate::files::Script;
use crate::parts::LEXING;
use crate::shadow::reach::beyond_database;
pub(crate) use graph::{Graph, Name};
use graph::{Id, PG_CLASS, PG_CONSTRAINT, PG_STATISTIC_EXT};
use qualified::qualified;
use walk::Walk;
use words::Words;

/// Extensions that look at nothing but what they are given.
const HARMLESS: [&str; 22] = [
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dict_int",
    "dict_xsyn",
    "earthdistance",
    "fuzzystrmatch",
    "hstore",
    "intarray",
    "isn",
    "lo",
    "ltree",
    "pg_buffercache",
    "pg_stat_statements",
    "pg_trgm",
    "pgcrypto",
    "plpgsql",
    "seg",
    "unaccent",
    "uuid-ossp",
    "vector",
];

/// How much of a schema a dry-run was tried on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// How many tables were copied.
    pub tables: usize,
    /// How many there are.
    pub of: usize,
    /// Why all, if the copy could have had fewer.
    pub why_all: Option<String>,
}

impl Copied {
    /// All of it.
    pub(super) fn all(graph: &Graph, why: String) -> Self {
        let of = graph.objects.keys().filter(|id| graph.is_table(**id)).count();
        Self { tables: of, of, why_all: Some(why) }
    }

    /// All of it after all.
    pub(crate) fn all_since(self, why: String) -> Self {
        Self { tables: self.of, of: self.of, why_all: Some(why) }
    }
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tables, of, why_all } = self;
        match why_all {
            Some(why) => write!(f, "the copy has all {of} tables: {why}"),
            None => write!(
                f,
                "the copy has {tables} of {of} tables: those that the migrations can reach, and what these need (--whole-copy copies all)"
            ),
        }
    }
}

/// A part of a schema.
#[derive(Debug)]
pub(crate) struct Part {
    pub(super) copied: Copied,
    /// Relations and statistics that are left out: schema and name.
    left_out: HashSet<(String, String)>,
    /// Names that are taken where they are not copied.
    taken: HashSet<Name>,
    /// What the copy must have.
    expected: BTreeSet<String>,
}

/// The part of the schema that scripts may reach; the reason if that cannot be told.
pub(super) fn part(graph: &Graph, scripts: &[&Script]) -> Result<Part, String> {
    let unknown = graph.extensions.iter().find(|one| !HARMLESS.contains(&one.as_str()));
    if let Some(extension) = unknown {
        return Err(format!("it is not known what the extension {extension} looks at"));
    }
    for script in scripts {
        let says = |what: &str| format!("{} has `{what}`", script.file);
        if let Some(what) = beyond_database(&script.sql) {
            return Err(says(&what));
        }
        let lower = script.sql.to_lowercase();
        if let Some(word) = LEXING.iter().find(|word| lower.contains(**word)) {
            return Err(says(word));
        }
    }
    let included = Walk::of(graph, scripts)?;
    let tables = |of: &dyn Fn(Id) -> bool| {
        graph.objects.keys().filter(|id| graph.is_table(**id) && of(**id)).count()
    };
    let is_left_out = |id: Id| {
        let unit = graph.unit(id);
        graph.can_be_left_out(unit) && !included.contains(&unit)
    };
    let copied = Copied {
        tables: tables(&|id| !is_left_out(graph.unit(id))),
        of: tables(&|_| true),
        why_all: None,
    };
    let taken = graph.names(is_left_out);
    let relations = taken.iter().filter(|name| matches!(name.0, PG_CLASS | PG_STATISTIC_EXT));
    let left_out = relations.map(|(_, schema, name)| (schema.clone(), name.clone())).collect();
    // Keys that lead to what is left out go, too.
    let refers = |id: Id| {
        graph.needs.get(&id).is_some_and(|needs| needs.iter().any(|one| is_left_out(*one)))
    };
    let without = graph
        .objects
        .keys()
        .filter(|id| is_left_out(**id) || id.0 == PG_CONSTRAINT && refers(**id));
    let expected = graph.identities(&without.copied().collect());
    Ok(Part { copied, left_out, taken, expected })
}

/// From how many tables on it is worth the while to count what is in the catalogs of a copy.
const MANY: usize = 200;

impl Part {
    /// Whether it has few tables.
    pub(super) fn is_small(&self) -> bool {
        self.copied.tables < MANY
    }

    /// The statements of `pg_dump`'s that make it; the reason if one of them may look at more than it names.
    pub(super) fn of_dump(
        &self,
        sql: &str,
        statements: &[Range<usize>],
    ) -> Result<Vec<Range<usize>>, String> {
        let mut wanted = Vec::new();
        for range in statements {
            let statement = &sql[range.clone()];
            if qualified(statement).iter().any(|name| self.left_out.contains(name)) {
                continue;
            }
            if has_expressions(statement)
                && let Some(what) = Words::of(statement).reads_catalogs()
            {
                let line = statement.lines().next().unwrap_or_default();
                return Err(format!("`{}` has `{what}`", crate::text::printable(line)));
            }
            wanted.push(range.clone());
        }
        Ok(wanted)
    }

    /// What the copy has too much or too little, if anything.
    pub(super) async fn differs(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<String>, sqlx::Error> {
        let there = Graph::read(connection).await?.identities(&HashSet::new());
        Ok(there.symmetric_difference(&self.expected).next().cloned())
    }

    /// A name that the copy has now and that something has which was left out: PostgreSQL would have found another.
    pub(crate) async fn clash(
        &self,
        connection: &mut PgConnection,
        before: &HashSet<Name>,
    ) -> Result<Option<String>, sqlx::Error> {
        let now = names(connection).await?;
        let clash = now.iter().find(|name| !before.contains(*name) && self.taken.contains(*name));
        Ok(clash.map(|(_, schema, name)| format!("{schema}.{name}")))
    }
}

/// Names of relations, types, constraints and statistics.
pub(crate) async fn names(connection: &mut PgConnection) -> Result<HashSet<Name>, sqlx::Error> {
    const NAMES: &str = "
        select o.class::int8, n.nspname::text, o.name::text from (
            select tableoid, relnamespace, relname from pg_catalog.pg_class where oid >= 16384
            union all select tableoid, typnamespace, typname from pg_catalog.pg_type where oid >= 16384
            union all select tableoid, connamespace, conname from pg_catalog.pg_constraint where oid >= 16384
            union all select tableoid, stxnamespace, stxname from pg_catalog.pg_statistic_ext
        ) o (class, space, name) join pg_catalog.pg_namespace n on n.oid = o.space";
    let mut names = HashSet::new();
    for row in sqlx::raw_sql(NAMES).fetch_all(connection).await? {
        let class = u32::try_from(row.try_get::<i64, _>(0)?).unwrap_or_default();
        names.insert((class, row.try_get(1)?, row.try_get(2)?));
    }
    Ok(names)
}

/// Whether a statement of `pg_dump`'s may hold an expression that runs with what a script does.
fn has_expressions(statement: &str) -> bool {
    let begins = |opening: &str| statement.starts_with(opening);
    let makes = ["TABLE", "UNLOGGED TABLE", "VIEW", "MATERIALIZED VIEW", "OR REPLACE VIEW", "RULE"];
    let more = [
        "POLICY",
        "TRIGGER",
        "CONSTRAINT TRIGGER",
        "DOMAIN",
        "INDEX",
        "UNIQUE INDEX",
        "FOREIGN TABLE",
    ];
    let made = statement.strip_prefix("CREATE ");
    let made =
        made.is_some_and(|rest| makes.iter().chain(&more).any(|kind| rest.starts_with(kind)));
    made || begins("ALTER TABLE") && !statement.contains(" OWNER TO ")
}
