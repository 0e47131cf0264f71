//! What a statement that ran outside of a transaction left: looked for in the catalogs.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::half::Before;
use super::trace::Trace;

/// What a look shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// The statement is done.
    Done,
    /// Nothing of it is there: it is to run.
    Nothing,
    /// Half of it is there; what it is, and the statement that mends it.
    Half(Vec<Remnant>),
    /// It cannot be seen.
    Unknown,
}

/// Something half done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remnant {
    pub(crate) what: String,
    pub(crate) cure: String,
}

impl Remnant {
    fn index(index: &Index) -> Self {
        let name = &index.name;
        Self {
            what: format!("the invalid index {name}"),
            cure: format!("drop index concurrently if exists {name}"),
        }
    }
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Index {
    oid: i64,
    /// With its schema, quoted where needed.
    name: String,
    valid: bool,
    /// Somebody else is at work on the indexes of its table.
    building: bool,
}

impl Index {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            oid: row.try_get("oid")?,
            name: row.try_get("name")?,
            valid: row.try_get("valid")?,
            building: row.try_get("building")?,
        })
    }

    fn is_left(&self) -> bool {
        !self.valid && !self.building
    }
}

/// Columns that make an [`Index`]. Somebody else's work shows its table only to those who may see it: then any counts.
const COLUMNS: &str = "
    select c.oid::int8 as oid, format('%I.%I', n.nspname, c.relname) as name,
           i.indisvalid and i.indisready and i.indislive as valid,
           exists (select from pg_stat_progress_create_index p
                   where p.pid <> pg_backend_pid() and p.datname = current_database()
                     and coalesce(p.relid in (0, i.indrelid), true)) as building
    from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'i' and ";

async fn indexes(
    connection: &mut PgConnection,
    condition: &str,
    values: &[&str],
) -> Result<Vec<Index>, sqlx::Error> {
    let mut query = sqlx::query(sqlx::AssertSqlSafe(format!("{COLUMNS}{condition}")));
    for value in values {
        query = query.bind(*value);
    }
    query.fetch_all(connection).await?.iter().map(Index::read).collect()
}

/// The indexes that a name as it is written stands for: it gives no schema, since an index goes where its table is.
async fn named(
    connection: &mut PgConnection,
    name: &str,
    table: &str,
) -> Result<Vec<Index>, sqlx::Error> {
    let condition = "c.relname = (parse_ident($1))[array_upper(parse_ident($1), 1)]::name
        and c.relnamespace = (select relnamespace from pg_class where oid = to_regclass($2))";
    indexes(connection, condition, &[name, table]).await
}

async fn of_table(connection: &mut PgConnection, table: &str) -> Result<Vec<Index>, sqlx::Error> {
    indexes(connection, "i.indrelid = to_regclass($1)", &[table]).await
}

async fn invalid(connection: &mut PgConnection) -> Result<Vec<Index>, sqlx::Error> {
    indexes(connection, "not i.indisvalid", &[]).await
}

/// Which indexes there are before a statement runs.
pub(crate) async fn before(
    connection: &mut PgConnection,
    trace: &Trace,
) -> Result<Before, sqlx::Error> {
    let numbers = |indexes: Vec<Index>| indexes.into_iter().map(|index| index.oid).collect();
    Ok(match trace {
        Trace::Index { table, .. } => {
            Before { table: numbers(of_table(connection, table).await?), invalid: vec![] }
        }
        Trace::Rebuilt => Before { invalid: numbers(invalid(connection).await?), table: vec![] },
        _ => Before::default(),
    })
}

/// Looks what is there of a statement that had begun when this was `before`.
pub(crate) async fn look(
    connection: &mut PgConnection,
    trace: &Trace,
    before: &Before,
) -> Result<Found, sqlx::Error> {
    Ok(match trace {
        Trace::Index { name, table } => {
            let all = match name {
                Some(name) => named(connection, name, table).await?,
                None => of_table(connection, table).await?,
            };
            made(&all, name.is_some(), before)
        }
        Trace::NoIndex { name } => {
            let there: bool = sqlx::query_scalar("select to_regclass($1) is not null")
                .bind(name)
                .fetch_one(connection)
                .await?;
            if there { Found::Nothing } else { Found::Done }
        }
        Trace::Rebuilt => {
            let all = indexes(connection, "c.relname ~ '_cc(new|old)[0-9]*$'", &[]).await?;
            let new = |index: &&Index| index.is_left() && !before.invalid.contains(&index.oid);
            half(all.iter().filter(new))
        }
        Trace::Detached { table, partition } => detached(connection, table, partition).await?,
        Trace::Repeatable => Found::Nothing,
        Trace::Nothing => Found::Unknown,
    })
}

fn half<'a>(indexes: impl Iterator<Item = &'a Index>) -> Found {
    let remnants: Vec<Remnant> = indexes.map(Remnant::index).collect();
    if remnants.is_empty() { Found::Nothing } else { Found::Half(remnants) }
}

/// Whether a new index is there, from all that have its name, or, if it has none, that its table has.
fn made(all: &[Index], named: bool, before: &Before) -> Found {
    let new = |index: &&Index| !before.table.contains(&index.oid);
    let (valid, other): (Vec<&Index>, Vec<&Index>) =
        all.iter().filter(new).partition(|index| index.valid);
    // An invalid one of this very name is in the way, whoever left it.
    let left = if named { all.iter().filter(|i| i.is_left()).collect() } else { other };
    match (valid.len(), left.iter().any(|index| index.is_left())) {
        (_, true) => half(left.into_iter().filter(|index| index.is_left())),
        (0, false) => Found::Nothing,
        (1, false) => Found::Done,
        _ => Found::Unknown,
    }
}

async fn detached(
    connection: &mut PgConnection,
    table: &str,
    partition: &str,
) -> Result<Found, sqlx::Error> {
    let query = "select inhdetachpending from pg_inherits where inhparent = to_regclass($1) and inhrelid = to_regclass($2)";
    let row: Option<bool> = sqlx::query_scalar(query)
        .bind(table)
        .bind(partition)
        .fetch_optional(&mut *connection)
        .await?;
    Ok(match row {
        None => Found::Done,
        Some(false) => Found::Nothing,
        Some(true) => Found::Half(vec![Remnant {
            what: format!("the partition {partition}, half detached"),
            cure: format!("alter table {table} detach partition {partition} finalize"),
        }]),
    })
}

/// The invalid indexes of the statement's name; none if all is well, or if it is gone again.
pub(crate) async fn invalid_of(
    connection: &mut PgConnection,
    trace: &Trace,
    before: &Before,
) -> Result<Option<String>, sqlx::Error> {
    let Trace::Index { name, table } = trace else { return Ok(None) };
    let all = match name {
        Some(name) => named(connection, name, table).await?,
        None => of_table(connection, table).await?,
    };
    let ours = |index: &Index| name.is_some() || !before.table.contains(&index.oid);
    Ok(all.into_iter().find(|index| !index.valid && ours(index)).map(|index| index.name))
}
