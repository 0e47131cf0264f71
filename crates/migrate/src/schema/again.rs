//! Reading a schema again and again while it changes: only what changed is read.
//!
//! PostgreSQL makes the text of an object from its catalogs at a cost that counts on thousands of tables. A row of a catalog tells
//! by its `xmin` whether it is new, and what is gone is told by the numbers of what is there. Whatever may change the text of
//! objects that did not change themselves, above all another name, makes the whole be read.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::query::query_of;
use super::read::{Gathered, fetch};
use super::{Object, Schema};

/// With more changed tables than this, all are read.
const MOST: usize = 100;

/// What the text of an object may follow from and that has no row among the objects: roles, tablespaces, and links whose end
/// leaves no trace. And where the next look begins.
const MARK: &str = "
    select (pg_snapshot_xmax(pg_current_snapshot())::text::numeric % 4294967296)::text as mark,
        concat_ws(' ', (select md5(string_agg(oid || rolname, ' ' order by oid)) from pg_catalog.pg_roles),
            (select md5(string_agg(oid || spcname, ' ' order by oid)) from pg_catalog.pg_tablespace),
            (select count(*) from pg_catalog.pg_inherits),
            (select count(*) from pg_catalog.pg_depend d join pg_catalog.pg_class c on c.oid = d.objid and c.relkind = 'S'
             where d.classid = 'pg_catalog.pg_class'::regclass and d.refclassid = d.classid)) as token";

/// The relations with rows that are newer than `{mark}`. An index belongs to its table.
const CHANGED: &str = "
    with new (rel) as (
        select coalesce(o.oid, c.oid) from pg_catalog.pg_class c
            left join pg_catalog.pg_class o on o.reltoastrelid = c.oid and c.relkind = 't' where {new c}
        union select attrelid from pg_catalog.pg_attribute where {new pg_attribute}
        union select adrelid from pg_catalog.pg_attrdef where {new pg_attrdef}
        union select conrelid from pg_catalog.pg_constraint where {new pg_constraint} and conrelid <> 0
        union select indrelid from pg_catalog.pg_index where {new pg_index}
        union select seqrelid from pg_catalog.pg_sequence where {new pg_sequence}
        union select tgrelid from pg_catalog.pg_trigger where {new pg_trigger}
        union select t.tgrelid from pg_catalog.pg_trigger t join pg_catalog.pg_trigger u on u.oid = t.tgparentid where {new u}
        union select ev_class from pg_catalog.pg_rewrite where {new pg_rewrite}
        union select polrelid from pg_catalog.pg_policy where {new pg_policy}
        union select inhrelid from pg_catalog.pg_inherits where {new pg_inherits}
        union select ftrelid from pg_catalog.pg_foreign_table where {new pg_foreign_table}
        union select stxrelid from pg_catalog.pg_statistic_ext where {new pg_statistic_ext}
        union select objid from pg_catalog.pg_depend where {new pg_depend} and classid = 'pg_catalog.pg_class'::regclass
            and refclassid = classid
    )
    select distinct coalesce(i.indrelid, n.rel)::int8 as rel, coalesce(c.relkind = 'c', false) as composite
    from new n left join pg_catalog.pg_index i on i.indexrelid = n.rel left join pg_catalog.pg_class c on c.oid = n.rel";

/// The number of `pg_class` in every database.
const PG_CLASS: u32 = 1259;

/// What is there of the relations that did not change.
const PRESENT: &str = "
    select 'present', c.tableoid, 0, 0, '', string_agg(c.oid::text, ' ') from pg_class c
    where c.relkind in ('r', 'p', 'f', 'v', 'm', 'S') and c.oid <> all ({changed}) group by 2
    union all select 'present', 'pg_class'::regclass::oid, 0, 0, '', string_agg(indexrelid::text, ' ') from pg_index where indrelid <> all ({changed})
    union all select 'present', 'pg_constraint'::regclass::oid, 0, 0, '', string_agg(oid::text, ' ') from pg_constraint
        where conrelid <> 0 and conrelid <> all ({changed})
    union all select 'present', 'pg_trigger'::regclass::oid, 0, 0, '', string_agg(oid::text, ' ') from pg_trigger
        where tgrelid <> all ({changed}) and (not tgisinternal or tgparentid <> 0)
    union all select 'present', 'pg_rewrite'::regclass::oid, 0, 0, '', string_agg(oid::text, ' ') from pg_rewrite where ev_class <> all ({changed})
    union all select 'present', 'pg_policy'::regclass::oid, 0, 0, '', string_agg(oid::text, ' ') from pg_policy where polrelid <> all ({changed})
    union all select 'present', 'pg_statistic_ext'::regclass::oid, 0, 0, '', string_agg(oid::text, ' ') from pg_statistic_ext
        where stxrelid <> all ({changed});
    ";

/// A schema that is looked at again and again, on a database that nobody else changes.
pub(crate) struct Reader {
    gathered: Gathered,
    mark: String,
    token: String,
}

impl Reader {
    /// Reads all of it.
    pub(crate) async fn open(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let (mark, token) = mark(connection).await?;
        let gathered = fetch(connection, None, Gathered::default()).await?;
        Ok(Self { gathered, mark, token })
    }

    /// The schema as it was at the last look.
    pub(crate) fn schema(&self) -> Schema {
        self.gathered.clone().schema()
    }

    /// Reads what changed since the last look.
    pub(crate) async fn look(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let (mark, token) = mark(connection).await?;
        let changed =
            if token == self.token { changed(connection, &self.mark).await? } else { None };
        self.mark = mark;
        self.token = token;
        if let Some(changed) = changed
            && self.read(connection, &changed).await?
        {
            return Ok(());
        }
        self.gathered = fetch(connection, None, Gathered::default()).await?;
        Ok(())
    }

    /// Reads these alone. Whether that is enough.
    async fn read(
        &mut self,
        connection: &mut PgConnection,
        changed: &BTreeSet<i64>,
    ) -> Result<bool, sqlx::Error> {
        let before = std::mem::take(&mut self.gathered);
        let mut columns = before.columns.clone();
        columns.retain(|(class, id), _| *class != PG_CLASS || !changed.contains(&i64::from(*id)));
        let rest = Gathered { columns, ..Gathered::default() };
        let mut now = fetch(connection, Some(changed), rest).await?;
        for (id, object) in &before.objects {
            let there = now.present.get(&id.0).is_some_and(|ids| ids.contains(&id.1));
            if there && !now.objects.contains_key(id) {
                now.objects.insert(*id, object.clone());
            }
        }
        for (id, other) in &before.aliases {
            now.aliases.entry(*id).or_insert(*other);
        }
        let enough = !reaches_others(&before, &now);
        now.present.clear();
        self.gathered = now;
        Ok(enough)
    }
}

/// Whether what changed shows in the text of objects that did not change: a name, or anything of what is no relation.
fn reaches_others(before: &Gathered, now: &Gathered) -> bool {
    let object = |(id, old): (&(u32, u32), &Object)| {
        now.objects.get(id).is_some_and(|new| {
            let of_relation = now.present.contains_key(&id.0);
            new.name != old.name || !of_relation && new != old
        })
    };
    let columns = |id: &(u32, u32)| {
        let (Some(old), Some(new)) = (before.columns.get(id), now.columns.get(id)) else {
            return false;
        };
        old.iter().any(|(number, old)| new.get(number).is_some_and(|new| new.name != old.name))
    };
    before.objects.iter().any(object) || now.read_anew.iter().any(columns)
}

async fn mark(connection: &mut PgConnection) -> Result<(String, String), sqlx::Error> {
    let row = sqlx::raw_sql(MARK).fetch_one(connection).await?;
    Ok((row.try_get("mark")?, row.try_get("token")?))
}

/// The relations that changed since `mark`; none if all must be read.
async fn changed(
    connection: &mut PgConnection,
    mark: &str,
) -> Result<Option<BTreeSet<i64>>, sqlx::Error> {
    let mut sql = String::new();
    for (index, part) in CHANGED.split("{new ").enumerate() {
        match part.split_once('}').filter(|_| index > 0) {
            Some((of, rest)) => {
                sql += &format!("age({of}.xmin) <= age('{mark}'::xid){rest}");
            }
            None => sql += part,
        }
    }
    let mut relations = BTreeSet::new();
    for row in sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await? {
        if row.try_get("composite")? || relations.len() >= MOST {
            return Ok(None);
        }
        relations.insert(row.try_get("rel")?);
    }
    Ok(Some(relations))
}

/// The query that reads all, or these relations and what is no relation.
pub(super) fn sql(version: u32, changed: Option<&BTreeSet<i64>>) -> String {
    let Some(changed) = changed else { return query_of(version, None, "") };
    let ids: Vec<String> = changed.iter().map(i64::to_string).collect();
    let ids = format!("array[{}]::oid[]", ids.join(","));
    query_of(version, Some(&ids), &PRESENT.replace("{changed}", &ids))
}
