//! What a running version can name in a database: tables, views and their columns, functions, enum types.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::schema::again::{NONE, PG_CLASS, Seen, array};
use crate::schema::repeated::Repeated;

/// What a running version can name, by full name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Surface {
    pub(crate) relations: BTreeMap<String, Relation>,
    /// By name and argument types: number and result type.
    pub(crate) functions: BTreeMap<String, (i64, String)>,
    /// Enum types: number and labels.
    pub(crate) enums: BTreeMap<String, (i64, Vec<String>)>,
}

/// A table, view, or sequence of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Relation {
    pub(crate) oid: i64,
    /// For people: `table`, `view`, `sequence`.
    pub(crate) kind: &'static str,
    /// Reached through its parent.
    pub(crate) partition: bool,
    pub(crate) columns: BTreeMap<String, Column>,
    /// Names of constraints, with their kind: `check`, `unique`, `foreign key`, `exclusion`.
    pub(crate) constraints: BTreeMap<String, &'static str>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Column {
    pub(crate) number: i16,
    pub(crate) kind: String,
    pub(crate) not_null: bool,
    /// Whether it gets a value when an insert leaves it out.
    pub(crate) filled: bool,
}

/// Sequences of columns are reached through these.
const RELATIONS: &str = "
    select c.oid::int8 as oid, pg_catalog.format('%I.%I', n.nspname, c.relname) as name, c.relkind::text as kind,
           c.relispartition as partition
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.oid >= 16384 and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and c.relpersistence <> 't'
      and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg_toast%'
      and c.relname <> 'refinery_schema_history' and c.relname not like 'liftlock\\_schema\\_%'
      and c.oid not in (select objid from pg_catalog.pg_depend where classid = 'pg_catalog.pg_class'::regclass and deptype = 'e')
      and not (c.relkind = 'S' and c.oid in (
          select objid from pg_catalog.pg_depend where classid = 'pg_catalog.pg_class'::regclass and deptype in ('a', 'i')))";
const COLUMNS: &str = "
    select a.attrelid::int8 as oid, a.attnum as number, pg_catalog.quote_ident(a.attname) as name,
           pg_catalog.format_type(a.atttypid, a.atttypmod) as kind, a.attnotnull,
           (a.atthasdef or a.attidentity <> '' or t.typdefault is not null) as filled
    from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid join pg_catalog.pg_type t on t.oid = a.atttypid
    where a.attrelid >= 16384 and a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v', 'm', 'f')";
const CONSTRAINTS: &str = "
    select conrelid::int8 as oid, pg_catalog.quote_ident(conname) as name, contype::text as kind
    from pg_catalog.pg_constraint where conrelid >= 16384 and contype in ('c', 'u', 'x', 'f')";
const FUNCTIONS: &str = "
    select p.oid::int8 as oid, pg_catalog.format('%I.%I(%s)', n.nspname, p.proname,
               pg_catalog.pg_get_function_identity_arguments(p.oid)) as name,
           coalesce(pg_catalog.pg_get_function_result(p.oid), '') as result
    from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where p.oid >= 16384 and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype) and n.nspname not like 'pg_temp%'
      and p.oid not in (select objid from pg_catalog.pg_depend where classid = 'pg_catalog.pg_proc'::regclass and deptype = 'e')";
const ENUMS: &str = "
    select t.oid::int8 as oid, pg_catalog.format('%I.%I', n.nspname, t.typname) as name, e.enumlabel::text as label
    from pg_catalog.pg_enum e join pg_catalog.pg_type t on t.oid = e.enumtypid
        join pg_catalog.pg_namespace n on n.oid = t.typnamespace
    where t.oid >= 16384 order by t.oid, e.enumsortorder";

/// The catalog of constraints in every database.
const PG_CONSTRAINT: u32 = 2606;

impl Surface {
    /// Reads it as this session sees it.
    pub(crate) async fn read(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let mut relations = BTreeMap::new();
        let of_relations = [RELATIONS, COLUMNS, CONSTRAINTS].map(str::to_owned);
        read_relations(connection, of_relations, &mut relations).await?;
        Self::with(relations, connection, [FUNCTIONS, ENUMS].map(str::to_owned)).await
    }

    /// Reads it again, of the relations only what was seen to change, with what is `repeated` in this session.
    pub(crate) async fn again(
        self,
        connection: &mut PgConnection,
        seen: &Seen,
        repeated: &mut Repeated,
    ) -> Result<Self, sqlx::Error> {
        let Seen::Some { changed, gone } = seen else { return Self::read(connection).await };
        let by_oid = |(name, relation): (String, Relation)| (relation.oid, (name, relation));
        let mut relations: ByOid = self.relations.into_iter().map(by_oid).collect();
        relations.retain(|oid, _| {
            let is_gone = u32::try_from(*oid).is_ok_and(|oid| gone.contains(&(PG_CLASS, oid)));
            !is_gone && !changed.contains(oid)
        });
        let changed = array(changed);
        let mut limited = |sql: &str, of: &str| {
            repeated.run(&format!("{sql} and {of} = any ($1)"), ("oid[]", &changed))
        };
        let (of_changed, columns) = (limited(RELATIONS, "c.oid"), limited(COLUMNS, "a.attrelid"));
        // A constraint that is gone leaves no trace on its table.
        let constraints = if gone.iter().any(|(class, _)| *class == PG_CONSTRAINT) {
            relations.values_mut().for_each(|(_, relation)| relation.constraints.clear());
            repeated.run(CONSTRAINTS, NONE)
        } else {
            limited(CONSTRAINTS, "conrelid")
        };
        let of_relations = [of_changed, columns, constraints];
        read_relations(connection, of_relations, &mut relations).await?;
        let others = [FUNCTIONS, ENUMS].map(|sql| repeated.run(sql, NONE));
        Self::with(relations, connection, others).await
    }

    async fn with(
        relations: ByOid,
        connection: &mut PgConnection,
        [functions, enums]: [String; 2],
    ) -> Result<Self, sqlx::Error> {
        let mut surface = Self { relations: relations.into_values().collect(), ..Self::default() };
        for row in sqlx::raw_sql(AssertSqlSafe(functions)).fetch_all(&mut *connection).await? {
            let function = (row.try_get("oid")?, row.try_get("result")?);
            surface.functions.insert(row.try_get("name")?, function);
        }
        for row in sqlx::raw_sql(AssertSqlSafe(enums)).fetch_all(connection).await? {
            let of_type = surface.enums.entry(row.try_get("name")?);
            let (oid, labels) = of_type.or_default();
            *oid = row.try_get("oid")?;
            labels.push(row.try_get("label")?);
        }
        Ok(surface)
    }
}

type ByOid = BTreeMap<i64, (String, Relation)>;

/// Reads relations, their columns and their constraints, each with its statement, into `relations`.
async fn read_relations(
    connection: &mut PgConnection,
    [of_relations, of_columns, of_constraints]: [String; 3],
    relations: &mut ByOid,
) -> Result<(), sqlx::Error> {
    for row in sqlx::raw_sql(AssertSqlSafe(of_relations)).fetch_all(&mut *connection).await? {
        let oid = row.try_get("oid")?;
        let kind = kind(row.try_get("kind")?);
        let partition = row.try_get("partition")?;
        let relation = Relation { oid, kind, partition, ..Relation::default() };
        relations.insert(oid, (row.try_get("name")?, relation));
    }
    for row in sqlx::raw_sql(AssertSqlSafe(of_columns)).fetch_all(&mut *connection).await? {
        let Some((_, relation)) = relations.get_mut(&row.try_get("oid")?) else { continue };
        let column = Column {
            number: row.try_get("number")?,
            kind: row.try_get("kind")?,
            not_null: row.try_get("attnotnull")?,
            filled: row.try_get("filled")?,
        };
        relation.columns.insert(row.try_get("name")?, column);
    }
    for row in sqlx::raw_sql(AssertSqlSafe(of_constraints)).fetch_all(&mut *connection).await? {
        let Some((_, relation)) = relations.get_mut(&row.try_get("oid")?) else { continue };
        let kind = constraint(row.try_get("kind")?);
        relation.constraints.insert(row.try_get("name")?, kind);
    }
    Ok(())
}

fn kind(kind: &str) -> &'static str {
    match kind {
        "v" => "view",
        "m" => "materialized view",
        "S" => "sequence",
        "f" => "foreign table",
        _ => "table",
    }
}

fn constraint(kind: &str) -> &'static str {
    match kind {
        "c" => "check",
        "u" => "unique",
        "x" => "exclusion",
        _ => "foreign key",
    }
}
