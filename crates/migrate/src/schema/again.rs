//! Reading a schema again and again while it changes: only what changed is read.
//!
//! PostgreSQL makes the text of an object from its catalogs at a cost that counts on thousands of tables. A row of a catalog tells
//! by its `xmin` whether it is new, and what is gone is told by the numbers of what is there. Whatever may change the text of
//! objects that did not change themselves, above all another name, makes the whole be read.

use std::collections::BTreeSet;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::query::{keep, kinds, reading, set_back};
use super::read::{Gathered, fetch, text, version};
use super::repeated::Repeated;
use super::{Object, Schema};

/// With more changed tables than this, all are read.
const MOST: usize = 100;

/// Where the next look begins; roles and tablespaces, whose names stand in the text of objects; and links between relations, which
/// leave no trace when they end, each with the relation that it is told of.
const MARK: &str = "
    select (pg_snapshot_xmax(pg_current_snapshot())::text::numeric % 4294967296)::text as mark,
        concat_ws(' ', (select md5(string_agg(oid || rolname, ' ' order by oid)) from pg_catalog.pg_roles),
            (select md5(string_agg(oid || spcname, ' ' order by oid)) from pg_catalog.pg_tablespace)) as shared,
        (select string_agg(link, ' ') from (
            select format('%s:%s:%s', coalesce(x.indrelid, i.inhrelid), i.inhparent, i.inhseqno) as link
            from pg_catalog.pg_inherits i left join pg_catalog.pg_index x on x.indexrelid = i.inhrelid
            union all
            select format('%s:%s:%s:%s', d.objid, d.refobjid, d.refobjsubid, d.deptype)
            from pg_catalog.pg_depend d join pg_catalog.pg_sequence q on q.seqrelid = d.objid
            where d.classid = 'pg_catalog.pg_class'::regclass and d.refclassid = d.classid
            union all
            select format('%s:%s:e', d.objid, d.refobjid) from pg_catalog.pg_depend d
            where d.refclassid = 'pg_catalog.pg_extension'::regclass and d.classid = 'pg_catalog.pg_class'::regclass and d.deptype = 'e'
        ) links) as links";

/// The relations with rows that are newer than the mark, and those whose rules or policies name them: a column that is added may
/// change how these are told. An index belongs to its table. `old`: it was there before.
const CHANGED: &str = "
    with new (id) as (
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
        union select ftrelid from pg_catalog.pg_foreign_table where {new pg_foreign_table}
        union select stxrelid from pg_catalog.pg_statistic_ext where {new pg_statistic_ext}
    ), relations as (
        select coalesce(i.indrelid, n.id) as id, i.indrelid is null
                and exists (select from pg_catalog.pg_attribute where attrelid = n.id and not {new pg_attribute}) as old
        from new n left join pg_catalog.pg_index i on i.indexrelid = n.id
    ), of_others as (
        select coalesce(r.ev_class, p.polrelid) as id
        from pg_catalog.pg_depend d
            left join pg_catalog.pg_rewrite r on d.classid = 'pg_catalog.pg_rewrite'::regclass and r.oid = d.objid
            left join pg_catalog.pg_policy p on d.classid = 'pg_catalog.pg_policy'::regclass and p.oid = d.objid
        where d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid in (select id from relations)
    )
    select a.id::int8 as id, bool_or(a.old) as old, coalesce(bool_or(c.relkind = 'c'), false) as composite
    from (select * from relations union all select id, false from of_others where id is not null) a
        left join pg_catalog.pg_class c on c.oid = a.id
    group by a.id";

/// Catalogs of what relations name in their text. What is in them is read whole each time, but for what is PostgreSQL's or an
/// extension's: a new name of such a thing shows only in others.
const NAMED: [&str; 10] = [
    "pg_type",
    "pg_proc",
    "pg_operator",
    "pg_namespace",
    "pg_collation",
    "pg_opclass",
    "pg_opfamily",
    "pg_ts_config",
    "pg_ts_dict",
    "pg_foreign_server",
];

/// Whether something of the catalog `{named}` is new that is not read.
const UNREAD: &str = "exists (select from pg_catalog.{named} n where {new n} and (n.oid < 16384 or n.oid in (
    select objid from pg_catalog.pg_depend where refclassid = 'pg_catalog.pg_extension'::regclass and deptype = 'e'
        and classid = 'pg_catalog.{named}'::regclass)))";
const UNREAD_LABELS: &str = "exists (select from pg_catalog.pg_enum n where {new n} and n.enumtypid in (
    select objid from pg_catalog.pg_depend where refclassid = 'pg_catalog.pg_extension'::regclass and deptype = 'e'
        and classid = 'pg_catalog.pg_type'::regclass))";

/// The number of `pg_class` in every database.
pub(crate) const PG_CLASS: u32 = 1259;

/// What is there of the relations that did not change.
const PRESENT: &str = "
    select 'present', c.tableoid, 0, 0, '', string_agg(c.oid::text, ' ') from pg_class c
    where c.relkind in ('r', 'p', 'f', 'v', 'm', 'S') and c.oid <> all ($1) group by 2
    union all select 'present', 'pg_class'::regclass::oid, 0, 0, '', string_agg(indexrelid::text, ' ') from pg_index where indrelid <> all ($1)
    union all select 'present', 'pg_constraint'::regclass::oid, 0, 0, '', string_agg(oid::text, ' ') from pg_constraint
        where conrelid <> 0 and conrelid <> all ($1)
    union all select 'present', 'pg_trigger'::regclass::oid, 0, 0, '', string_agg(oid::text, ' ') from pg_trigger
        where tgrelid <> all ($1) and (not tgisinternal or tgparentid <> 0)
    union all select 'present', 'pg_rewrite'::regclass::oid, 0, 0, '', string_agg(oid::text, ' ') from pg_rewrite where ev_class <> all ($1)
    union all select 'present', 'pg_policy'::regclass::oid, 0, 0, '', string_agg(oid::text, ' ') from pg_policy where polrelid <> all ($1)
    union all select 'present', 'pg_statistic_ext'::regclass::oid, 0, 0, '', string_agg(oid::text, ' ') from pg_statistic_ext
        where stxrelid <> all ($1)";

/// A schema that is looked at again and again, on a database that nobody else changes.
#[derive(Debug)]
pub struct Reader {
    gathered: Gathered,
    mark: Mark,
    repeated: Repeated,
}

/// What a look needs to know of the one before.
#[derive(Debug)]
struct Mark {
    /// The first transaction that the look has not seen, as text.
    transaction: String,
    shared: String,
    links: BTreeSet<String>,
}

/// What a look had to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// All.
    All,
    /// Some relations.
    Some {
        /// Those that may have changed, or are new.
        changed: BTreeSet<i64>,
        /// Catalog and number of what is no longer there.
        gone: BTreeSet<(u32, u32)>,
    },
}

impl Reader {
    /// Reads all of it.
    ///
    /// # Errors
    /// What the connection or the server say.
    pub async fn open(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let mut repeated = Repeated::default();
        let mark = Mark::read(connection, &mut repeated).await?;
        let gathered = fetch(connection).await?;
        Ok(Self { gathered, mark, repeated })
    }

    /// The schema as it was at the last look.
    pub fn schema(&self) -> Schema {
        self.gathered.clone().schema()
    }

    /// Reads what changed since the last look; what it then knows is what [`Schema::read`] would read. Gives whether it had to read
    /// all for that.
    ///
    /// # Errors
    /// What the connection or the server say; what was read is of no use then.
    pub async fn look(&mut self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        Ok(self.see(connection).await? == Seen::All)
    }

    /// The same, and what that took.
    pub(crate) async fn see(&mut self, connection: &mut PgConnection) -> Result<Seen, sqlx::Error> {
        match self.try_see(connection).await {
            Err(error) if self.repeated.forget(&error) => {
                self.mark = Mark::read(connection, &mut self.repeated).await?;
                self.gathered = fetch(connection).await?;
                Ok(Seen::All)
            }
            seen => seen,
        }
    }

    async fn try_see(&mut self, connection: &mut PgConnection) -> Result<Seen, sqlx::Error> {
        let news = News::read(connection, &mut self.repeated, &self.mark.transaction).await?;
        let before = std::mem::replace(&mut self.mark, news.mark);
        let changed = match before.shared == self.mark.shared && !news.unread {
            true => self.changed(&news.changed, &before.links),
            false => None,
        };
        if let Some(changed) = changed
            && let Some(gone) = self.read(connection, &news.kinds, &changed).await?
        {
            return Ok(Seen::Some { changed, gone });
        }
        self.gathered = fetch(connection).await?;
        Ok(Seen::All)
    }

    /// What it has prepared in its session, for whoever looks after it.
    pub(crate) fn repeated(&mut self) -> &mut Repeated {
        &mut self.repeated
    }

    /// The relations that changed since there were these links; none if all must be read.
    fn changed(&self, rows: &[Changed], links: &BTreeSet<String>) -> Option<BTreeSet<i64>> {
        let links = links.symmetric_difference(&self.mark.links);
        let of_link = |link: &String| link.split(':').next().and_then(|id| id.parse::<i64>().ok());
        let mut relations: BTreeSet<i64> = links.filter_map(of_link).collect();
        for Changed { id, old, composite } in rows {
            let known = u32::try_from(*id)
                .is_ok_and(|id| self.gathered.objects.contains_key(&(PG_CLASS, id)));
            // Something of an extension's, or of ours, that others may name.
            if *old && !known || *composite {
                return None;
            }
            relations.insert(*id);
        }
        (relations.len() <= MOST).then_some(relations)
    }

    /// Reads these alone. Gives what is gone; nothing if that is not enough.
    async fn read(
        &mut self,
        connection: &mut PgConnection,
        kinds: &str,
        changed: &BTreeSet<i64>,
    ) -> Result<Option<BTreeSet<(u32, u32)>>, sqlx::Error> {
        let before = std::mem::take(&mut self.gathered);
        let mut columns = before.columns.clone();
        columns.retain(|(class, id), _| *class != PG_CLASS || !changed.contains(&i64::from(*id)));
        let rest = Gathered { columns, ..Gathered::default() };
        let sql = self.sql(version(connection), kinds, changed);
        let mut now = rest.and(connection, sql).await?;
        let mut gone = BTreeSet::new();
        for (id, object) in &before.objects {
            if now.objects.contains_key(id) {
                continue;
            }
            if now.present.get(&id.0).is_some_and(|ids| ids.contains(&id.1)) {
                now.objects.insert(*id, object.clone());
            } else {
                gone.insert(*id);
            }
        }
        for (id, other) in &before.aliases {
            now.aliases.entry(*id).or_insert(*other);
        }
        let enough = !reaches_others(&before, &now);
        now.present.clear();
        now.read_anew.clear();
        self.gathered = now;
        Ok(enough.then_some(gone))
    }

    /// The message that reads these relations, and what is no relation.
    fn sql(&mut self, version: u32, kinds: &str, changed: &BTreeSet<i64>) -> String {
        let ids = array(changed);
        let parts = [keep(), PRESENT.to_owned()].into_iter();
        let parts = parts.chain(reading(version, kinds, Some("$1"))).chain([set_back()]);
        parts.map(|part| self.repeated.run(&part, ("oid[]", &ids))).collect()
    }
}

/// These numbers as SQL.
pub(crate) fn array(ids: &BTreeSet<i64>) -> String {
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    format!("'{{{}}}'", ids.join(","))
}

/// Of a statement without a parameter.
pub(crate) const NONE: (&str, &str) = ("", "");

impl Mark {
    async fn read(
        connection: &mut PgConnection,
        repeated: &mut Repeated,
    ) -> Result<Self, sqlx::Error> {
        let sql = repeated.run(MARK, NONE);
        Self::of(&sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?)
    }

    fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        let links: Option<String> = row.try_get("links")?;
        let links = links.unwrap_or_default();
        Ok(Self {
            transaction: row.try_get("mark")?,
            shared: row.try_get("shared")?,
            links: links.split(' ').filter(|link| !link.is_empty()).map(str::to_owned).collect(),
        })
    }
}

/// A relation with something new about it.
#[derive(Debug)]
struct Changed {
    id: i64,
    /// It was there before.
    old: bool,
    /// It is a composite type.
    composite: bool,
}

/// What is new since a look, and where the next one begins.
#[derive(Debug)]
struct News {
    mark: Mark,
    changed: Vec<Changed>,
    /// Something is new that is not read.
    unread: bool,
    kinds: String,
}

impl News {
    /// Reads all of it in one message.
    async fn read(
        connection: &mut PgConnection,
        repeated: &mut Repeated,
        since: &str,
    ) -> Result<Self, sqlx::Error> {
        let since = format!("'{since}'");
        let since = ("xid", since.as_str());
        let sql = [
            repeated.run(MARK, NONE),
            repeated.run(&newer(CHANGED), since),
            repeated.run(&newer(&unread()), since),
            repeated.run(&kinds(), NONE),
        ];
        let rows = sqlx::raw_sql(AssertSqlSafe(sql.concat())).fetch_all(connection).await?;
        // One row of the first; none or more of the second; one of each of the others.
        let [first, changed @ .., unread, kinds] = &rows[..] else {
            return Err(sqlx::Error::RowNotFound);
        };
        let changed = changed.iter().map(|row| {
            let (id, old) = (row.try_get("id")?, row.try_get("old")?);
            Ok(Changed { id, old, composite: row.try_get("composite")? })
        });
        Ok(Self {
            mark: Mark::of(first)?,
            changed: changed.collect::<Result<_, sqlx::Error>>()?,
            unread: unread.try_get(0)?,
            kinds: text(kinds, 0)?.to_owned(),
        })
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

/// Puts in what `{new catalog}` stands for: that a row is no older than the transaction `$1`, whose age is asked for once.
fn newer(sql: &str) -> String {
    let mut parts = sql.split("{new ");
    let mut newer = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (of, rest) = part.split_once('}').expect("a brace that is opened is closed");
        newer += &format!("pg_catalog.age({of}.xmin) <= (select pg_catalog.age($1)){rest}");
    }
    newer
}

/// Whether anything is new that is not read.
fn unread() -> String {
    let each = NAMED.iter().map(|named| UNREAD.replace("{named}", named));
    let each: Vec<String> = each.chain([UNREAD_LABELS.to_owned()]).collect();
    format!("select {}", each.join(" or "))
}
