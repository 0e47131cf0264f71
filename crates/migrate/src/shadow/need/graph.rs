//! A database's objects, and which of them need which, as its catalogs tell.

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::{PgConnection, Row as _};

/// Numbers of catalogs, the same in every database.
pub(super) const PG_TYPE: u32 = 1247;
pub(super) const PG_PROC: u32 = 1255;
pub(super) const PG_CLASS: u32 = 1259;
pub(super) const PG_CONSTRAINT: u32 = 2606;
pub(super) const PG_TRIGGER: u32 = 2620;
pub(super) const PG_REWRITE: u32 = 2618;
pub(super) const PG_STATISTIC_EXT: u32 = 3381;
pub(super) const PG_EVENT_TRIGGER: u32 = 3466;

/// A catalog, and the number of a row in it.
pub(super) type Id = (u32, u32);

/// Each object: catalog, number; catalog and number of what it is a part of; schema, name, kind, and more: a function's language and body,
/// how others tell it apart from its like, and whether an extension has made it.
const OBJECTS: &str = "
    with made as materialized (select classid, objid from pg_catalog.pg_depend where deptype = 'e'),
    objects (class, id, of_class, of_id, space, name, kind, language, body, apart) as (
        select c.tableoid, c.oid, c.tableoid, i.indrelid, c.relnamespace, c.relname, c.relkind::text, '', '', ''
        from pg_catalog.pg_class c left join pg_catalog.pg_index i on i.indexrelid = c.oid
        where c.oid >= 16384 and c.relkind <> 't' and c.relpersistence <> 't' and (i.indexrelid is null or i.indrelid >= 16384)
        union all select t.tableoid, t.oid, case when e.oid is null then 'pg_catalog.pg_class'::regclass::oid else t.tableoid end,
            coalesce(e.oid, nullif(t.typrelid, 0)), t.typnamespace, t.typname, t.typtype::text, '', '', ''
        from pg_catalog.pg_type t left join pg_catalog.pg_type e on e.typarray = t.oid where t.oid >= 16384
        union all select p.tableoid, p.oid, 0::oid, null::oid, p.pronamespace, p.proname, 'function', l.lanname, p.prosrc,
            pg_catalog.pg_get_function_identity_arguments(p.oid)
        from pg_catalog.pg_proc p join pg_catalog.pg_language l on l.oid = p.prolang where p.oid >= 16384
        union all select o.tableoid, o.oid, case when o.conrelid = 0 then 'pg_catalog.pg_type'::regclass::oid
            else 'pg_catalog.pg_class'::regclass::oid end, coalesce(nullif(o.conrelid, 0), nullif(o.contypid, 0)), o.connamespace, o.conname,
            case when o.contype = 'n' or o.conparentid <> 0 then 'x' when o.contype = 'x' then 'e' else o.contype::text end, '', '', ''
        from pg_catalog.pg_constraint o where o.oid >= 16384
        union all select g.tableoid, g.oid, 'pg_catalog.pg_class'::regclass::oid, g.tgrelid, 0, g.tgname,
            case when g.tgisinternal or g.tgparentid <> 0 then 'x' else 'trigger' end, '', '', ''
        from pg_catalog.pg_trigger g where g.oid >= 16384
        union all select r.tableoid, r.oid, 'pg_catalog.pg_class'::regclass::oid, r.ev_class, 0, r.rulename, 'rule', '', '', ''
        from pg_catalog.pg_rewrite r where r.oid >= 16384
        union all select y.tableoid, y.oid, 'pg_catalog.pg_class'::regclass::oid, y.polrelid, 0, y.polname, 'policy', '', '', ''
        from pg_catalog.pg_policy y where y.oid >= 16384
        union all select d.tableoid, d.oid, 'pg_catalog.pg_class'::regclass::oid, d.adrelid, 0, a.attname, 'default', '', '', ''
        from pg_catalog.pg_attrdef d join pg_catalog.pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum where d.oid >= 16384
        union all select s.tableoid, s.oid, 'pg_catalog.pg_class'::regclass::oid, s.stxrelid, s.stxnamespace, s.stxname, 'statistics', '', '', ''
        from pg_catalog.pg_statistic_ext s where s.oid >= 16384
        union all select tableoid, oid, 0::oid, null::oid, collnamespace, collname, 'other', '', '', '' from pg_catalog.pg_collation where oid >= 16384
        union all select tableoid, oid, 0::oid, null::oid, opcnamespace, opcname, 'other', '', '', '' from pg_catalog.pg_opclass where oid >= 16384
        union all select tableoid, oid, 0::oid, null::oid, opfnamespace, opfname, 'other', '', '', '' from pg_catalog.pg_opfamily where oid >= 16384
        union all select tableoid, oid, 0::oid, null::oid, connamespace, conname, 'other', '', '', '' from pg_catalog.pg_conversion where oid >= 16384
        union all select tableoid, oid, 0::oid, null::oid, cfgnamespace, cfgname, 'other', '', '', '' from pg_catalog.pg_ts_config where oid >= 16384
        union all select tableoid, oid, 0::oid, null::oid, dictnamespace, dictname, 'other', '', '', '' from pg_catalog.pg_ts_dict where oid >= 16384
    )
    select o.class::int8, o.id::int8, o.of_class::int8, coalesce(o.of_id, 0)::int8, coalesce(n.nspname, '')::text, o.name::text, o.kind::text,
        o.language::text, o.body::text, o.apart::text, m.objid is not null
    from objects o left join pg_catalog.pg_namespace n on n.oid = o.space left join made m on m.classid = o.class and m.objid = o.id
    where coalesce(n.nspname, '') not like 'pg\\_%'";

/// Which needs which. What a publication has of its tables goes both ways without harm.
const EDGES: &str = "
    select coalesce(string_agg(pg_catalog.concat_ws(' ', classid, objid, refclassid, refobjid, deptype), ',' order by classid, objid), '')
    from pg_catalog.pg_depend
    where objid >= 16384 and refobjid >= 16384 and deptype <> 'e' and (classid, objid) <> (refclassid, refobjid)
      and refclassid not in ('pg_catalog.pg_namespace'::regclass, 'pg_catalog.pg_extension'::regclass)
      and classid not in ('pg_catalog.pg_publication_rel'::regclass)";
const EXTENSIONS: &str = "select coalesce(string_agg(extname::text, ',' order by extname), '') from pg_catalog.pg_extension";

/// An object.
#[derive(Debug, Clone, Default)]
pub(super) struct Object {
    /// What it is a part of: an index, a trigger, or a column's own sequence of a table, a type of its table.
    of: Option<Id>,
    pub(super) schema: String,
    pub(super) name: String,
    /// PostgreSQL's letter, or a word.
    pub(super) kind: String,
    pub(super) language: String,
    pub(super) body: String,
    apart: String,
    /// Whether an extension made it.
    pub(super) of_extension: bool,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(super) objects: HashMap<Id, Object>,
    pub(super) needs: HashMap<Id, Vec<Id>>,
    pub(super) needed_by: HashMap<Id, Vec<Id>>,
    /// The parts of each, and itself.
    pub(super) parts: HashMap<Id, Vec<Id>>,
    pub(super) extensions: Vec<String>,
}

impl Graph {
    /// Reads it. Writes nothing, waits for nobody.
    pub(crate) async fn read(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let mut graph = Self::default();
        for row in sqlx::raw_sql(OBJECTS).fetch_all(&mut *connection).await? {
            let number = |index: usize| {
                let number = row.try_get::<i64, _>(index)?;
                u32::try_from(number).map_err(|error| sqlx::Error::Decode(Box::new(error)))
            };
            let of = (number(2)?, number(3)?);
            let object = Object {
                of: Some(of).filter(|of| of.1 != 0),
                schema: row.try_get(4)?,
                name: row.try_get(5)?,
                kind: row.try_get(6)?,
                language: row.try_get(7)?,
                body: row.try_get(8)?,
                apart: row.try_get(9)?,
                of_extension: row.try_get(10)?,
            };
            graph.objects.insert((number(0)?, number(1)?), object);
        }
        let edges: String = sqlx::raw_sql(EDGES).fetch_one(&mut *connection).await?.try_get(0)?;
        edges
            .split(',')
            .filter_map(edge)
            .for_each(|(one, other, kind)| graph.add(one, other, kind));
        let extensions = sqlx::raw_sql(EXTENSIONS).fetch_one(connection).await?;
        let extensions: String = extensions.try_get(0)?;
        graph.extensions =
            extensions.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect();
        for id in graph.objects.keys() {
            graph.parts.entry(graph.unit(*id)).or_default().push(*id);
        }
        Ok(graph)
    }

    fn add(&mut self, one: Id, other: Id, kind: &str) {
        // What holds a table's long values comes and goes with it.
        if matches!(one.0, PG_CLASS | PG_TYPE) && !self.objects.contains_key(&one) {
            return;
        }
        // A column's own sequence.
        if one.0 == PG_CLASS
            && other.0 == PG_CLASS
            && matches!(kind, "a" | "i")
            && let Some(object) = self.objects.get_mut(&one).filter(|object| object.kind == "S")
        {
            object.of = Some(other);
        }
        self.needs.entry(one).or_default().push(other);
        self.needed_by.entry(other).or_default().push(one);
    }

    /// What it is a part of in the end, or itself.
    pub(super) fn unit(&self, id: Id) -> Id {
        let mut unit = id;
        // A sequence of a table's column, at most, or the array type of a table's type.
        for _ in 0..4 {
            match self.objects.get(&unit).and_then(|object| object.of) {
                Some(of) => unit = of,
                None => break,
            }
        }
        unit
    }

    pub(super) fn parts(&self, unit: Id) -> &[Id] {
        self.parts.get(&unit).map_or(&[], Vec::as_slice)
    }

    pub(super) fn kind(&self, id: Id) -> &str {
        self.objects.get(&id).map_or("", |object| object.kind.as_str())
    }

    /// Whether it is a relation that a copy may do without: a table, a view, with all that hangs on it.
    pub(super) fn can_be_left_out(&self, id: Id) -> bool {
        id.0 == PG_CLASS
            && self.objects.get(&id).is_some_and(|object| {
                matches!(object.kind.as_str(), "r" | "p" | "v" | "m" | "f") && !object.of_extension
            })
    }

    /// Whether it is a table, or has rows of its own like one.
    pub(super) fn is_table(&self, id: Id) -> bool {
        id.0 == PG_CLASS && matches!(self.kind(id), "r" | "p" | "m" | "f")
    }

    /// What each object is called, but for those whose names are not given by anybody or are an extension's.
    pub(super) fn identities(&self, without: &HashSet<Id>) -> BTreeSet<String> {
        let told = |(id, object): (&Id, &Object)| {
            let of = object.of.and_then(|of| self.objects.get(&of));
            let own_type = id.0 == PG_TYPE && (object.of.is_some() || object.kind == "m");
            let told = !object.of_extension
                && of.is_none_or(|of| !of.of_extension)
                && object.kind != "x"
                && !own_type
                && !without.contains(id);
            let of = of.map(|of| format!("{}.{}", of.schema, of.name)).unwrap_or_default();
            let Object { schema, name, kind, apart, .. } = object;
            told.then(|| format!("{kind} {schema}.{name} {of} {apart}"))
        };
        self.objects.iter().filter_map(told).collect()
    }

    /// Names that nothing else of their kind may have: relations, types and statistics of a schema, and what PostgreSQL avoids
    /// when it finds a name for a constraint.
    pub(super) fn names(&self, of: impl Fn(Id) -> bool) -> HashSet<Name> {
        let named = self.objects.iter().filter(|(id, object)| {
            matches!(id.0, PG_CLASS | PG_TYPE | PG_CONSTRAINT | PG_STATISTIC_EXT)
                && !object.schema.is_empty()
                && of(**id)
        });
        named.map(|(id, object)| (id.0, object.schema.clone(), object.name.clone())).collect()
    }
}

/// Catalog, schema, name.
pub(crate) type Name = (u32, String, String);

fn edge(text: &str) -> Option<(Id, Id, &str)> {
    let mut fields = text.split(' ');
    let mut number = || fields.next()?.parse::<u32>().ok();
    let (one, other) = ((number()?, number()?), (number()?, number()?));
    Some((one, other, fields.next()?))
}
