//! Our comparison of schemas against `pg_dump -s`: random changes and what takes them back, right or wrong, on random schemas.

use std::process::Command;

use liftlock_migrate::schema::{Difference, Schema};
use liftlock_postgres::Programs;
use liftlock_testkit::TestDatabase;
use secrecy::ExposeSecret as _;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::schema::{base, cases};
use crate::support::execute;

const CHANGES: &str = include_str!("oracle_changes.sql");
/// How many changes one database sees.
const CHAIN: usize = 12;

/// What two schemas are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Equal,
    ColumnOrder,
    Different,
}

impl Verdict {
    fn ours(difference: &Difference) -> Self {
        match difference {
            difference if difference.is_empty() => Self::Equal,
            difference if difference.only_column_order() => Self::ColumnOrder,
            _ => Self::Different,
        }
    }

    fn of_dumps(before: &str, after: &str) -> Self {
        if entries(before, false) == entries(after, false) {
            Self::Equal
        } else if entries(before, true) == entries(after, true) {
            Self::ColumnOrder
        } else {
            Self::Different
        }
    }
}

/// The dump's entries, sorted: their order tells of names and dependencies only. In any order: the columns too.
fn entries(dump: &str, any_order: bool) -> Vec<String> {
    let mut entries: Vec<String> = dump
        .split("\n-- Name: ")
        .skip(1)
        .map(|entry| {
            let (title, body) = entry.split_once('\n').unwrap();
            let noise = ["--", "SET default_", "\\", "SELECT pg_catalog.set_config"];
            let mut lines: Vec<&str> = body
                .lines()
                .filter(|line| {
                    !line.is_empty() && !noise.iter().any(|noise| line.starts_with(noise))
                })
                .collect();
            let columns =
                ["CREATE TABLE ", "CREATE UNLOGGED TABLE ", "CREATE TYPE ", "CREATE FOREIGN "];
            let has_columns = columns.iter().any(|begin| lines[0].starts_with(begin));
            // An enumeration's values and the parts of a range are no columns.
            let has_columns = has_columns
                && !lines[0].ends_with("AS ENUM (")
                && !lines[0].ends_with("AS RANGE (");
            if title.contains("Type: ACL")
                || title.contains("Type: DEFAULT ACL")
                || any_order && has_columns
            {
                lines.sort_by_key(|line| line.trim_end_matches(','));
            }
            lines.iter().map(|line| line.trim_end_matches(',')).collect::<Vec<_>>().join("\n")
        })
        .collect();
    entries.sort();
    entries
}

/// Numbers that look random, the same for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.roll(items.len())]
    }
}

/// A table of random columns. Each column is its name, and its type with what comes after that.
pub(crate) struct Table {
    name: String,
    columns: Vec<(String, String)>,
}

pub(crate) fn random_tables(dice: &mut Dice) -> (Vec<Table>, String) {
    let names = ["r.plain", "r.\"Odd Name\"", "r.\"order\"", "public.r"];
    let types = [
        "integer default 5",
        "text default 'it''s'",
        "varchar(9) not null",
        "timestamptz default now()",
        "numeric(8, 2)",
        "jsonb default '{}'",
        "uuid not null",
        "text[]",
        "shop.mood default 'sad'",
        "shop.email",
        "bytea",
        "boolean not null default false",
        "text collate \"C\"",
        "interval default '1 day'",
    ];
    let mut sql = String::from("create schema r;");
    let mut tables = Vec::new();
    for name in names {
        let mut columns = Vec::new();
        for column in ["a", "\"B\"", "\"c d\"", "\"select\"", "e"] {
            if dice.roll(3) > 0 {
                columns.push((column.to_owned(), (*dice.pick(&types)).to_owned()));
            }
        }
        columns.push(("f".to_owned(), "integer".to_owned()));
        let listed: String =
            columns.iter().map(|(name, kind)| format!(", {name} {kind}")).collect();
        sql += &format!("create table {name} (id bigint primary key{listed});");
        let (column, _) = dice.pick(&columns);
        let extra = [
            format!("create index on {name} (({column} is null));"),
            format!("comment on column {name}.{column} is 'about it';"),
            format!("grant select on {name} to schema_owner;"),
            format!(
                "create view {}_v as select id from {name};",
                name.replace('"', "").replace(' ', "_")
            ),
            format!("alter table {name} enable row level security;"),
        ];
        extra.iter().for_each(|extra| {
            if dice.roll(2) == 0 {
                sql += extra
            }
        });
        tables.push(Table { name: name.to_owned(), columns });
    }
    (tables, sql)
}

/// A change and one of the ways to take it back.
pub(crate) fn change(
    dice: &mut Dice,
    tables: &[Table],
    ready: &[(&str, &str, String)],
    number: usize,
) -> (String, String) {
    if dice.roll(3) == 0 {
        let (up, down, _) = dice.pick(ready);
        let down = if dice.roll(3) == 0 { "" } else { down };
        return ((*up).to_owned(), down.to_owned());
    }
    let blocks: Vec<Vec<&str>> = CHANGES
        .split("\n\n")
        .map(|block| block.trim().lines().collect())
        .filter(|block: &Vec<&str>| !block[0].starts_with("--"))
        .collect();
    let block = dice.pick(&blocks);
    let down = if dice.roll(6) == 0 { "" } else { *dice.pick(&block[1..]) };
    let table = dice.pick(tables);
    let (column, kind) = dice.pick(&table.columns);
    let fill = |text: &str| {
        let text = text.replace("TABLE", &table.name).replace("COLUMN", column);
        text.replace("ITS TYPE", kind).replace("NEW", &format!("new_{number}"))
    };
    (fill(block[0]), fill(down))
}

/// Runs it as one transaction. Some changes do not fit what is there: false.
pub(crate) async fn fits(connection: &mut PgConnection, sql: &str) -> bool {
    let sql = format!("begin; {sql}\n; commit");
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await;
    if done.is_err() {
        execute(connection, "rollback").await;
    }
    done.is_ok()
}

fn dump(programs: &Programs, database: &TestDatabase) -> String {
    let mut command = Command::new(programs.path("pg_dump"));
    let output = command.arg("--schema-only").arg(database.url().expose_secret()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Shows C-MIG-5 and C-MIG-3: whether a rollback restores the schema is told as `pg_dump` tells it. `LIFTLOCK_CASES` says how many
/// random changes are tried, `LIFTLOCK_SEED` which.
#[tokio::test]
async fn our_verdict_is_the_one_of_pg_dump() {
    let number =
        |name, default| std::env::var(name).map_or(default, |text: String| text.parse().unwrap());
    let (wanted, seed) = (number("LIFTLOCK_CASES", 24), number("LIFTLOCK_SEED", 1));
    let mut dice = Dice(u64::try_from(seed).unwrap());
    let (mut tried, mut misfits, mut seen) = (0, 0, [0; 3]);
    let mut wrong = Vec::new();
    while tried < wanted {
        let Some((database, mut connection)) = base().await else { return };
        let programs = Programs::find().unwrap();
        execute(&mut connection, "set allow_system_table_mods = on; drop event trigger watch")
            .await;
        let mut ready = cases(&connection);
        ready.retain(|case| !case.0.ends_with("-- pg_dump does not tell"));
        let (tables, sql) = random_tables(&mut dice);
        execute(&mut connection, &sql).await;
        let mut before = (Schema::read(&mut connection).await.unwrap(), dump(&programs, &database));
        for number in 0..CHAIN.min(wanted - tried) {
            let changes: Vec<_> = (0..=dice.roll(3))
                .map(|part| change(&mut dice, &tables, &ready, number * 10 + part))
                .collect();
            let ups: Vec<&str> = changes.iter().map(|(up, _)| up.as_str()).collect();
            let downs: Vec<&str> = changes.iter().rev().map(|(_, down)| down.as_str()).collect();
            let script = format!("{}\n{}", ups.join("\n"), downs.join("\n"));
            if !fits(&mut connection, &script).await {
                misfits += 1;
                continue;
            }
            tried += 1;
            let after = (Schema::read(&mut connection).await.unwrap(), dump(&programs, &database));
            let difference = Schema::compare(&before.0, &after.0);
            let (ours, theirs) =
                (Verdict::ours(&difference), Verdict::of_dumps(&before.1, &after.1));
            let same = before.0.fingerprint() == after.0.fingerprint();
            seen[ours as usize] += 1;
            if ours != theirs || same != (ours == Verdict::Equal) {
                let dumps =
                    similar::TextDiff::from_lines(&before.1, &after.1).unified_diff().to_string();
                wrong.push(format!(
                    "we say {ours:?}, pg_dump says {theirs:?}\n{script}\n{difference}\n{dumps}"
                ));
            }
            before = after;
        }
    }
    let told =
        format!("seed {seed}: {tried} tried, {misfits} do not fit, equal/order/different {seen:?}");
    assert!(wrong.is_empty(), "{told}\n{}", wrong.join("\n\n"));
    assert!(misfits < 2 * tried && seen[0] > 0 && seen[2] > 0, "{told}");
    assert!(tried < 200 || seen[1] > 0, "{told}");
}
