//! Dry-runs on a copy of what the migrations can reach: they tell what one on a copy of all tells.

use liftlock_migrate::{Database, DryRun, Settings};
use liftlock_testkit::TestDatabase;
use sqlx::PgConnection;

use crate::oracle::{Dice, fits};
use crate::support::{Files, apply, execute, session, settings};

const TABLES: usize = 14;

/// From a part on, or whole.
async fn tried(database: &TestDatabase, files: &Files, whole_copy_below: usize) -> DryRun {
    let settings = Settings { whole_copy_below, ..settings() };
    let mut liftlock = Database::connect(database.url(), settings).await.unwrap();
    liftlock.dry_run(&files.read()).await.unwrap()
}

/// What is told, but for times and places.
fn told(run: &DryRun) -> String {
    let mut json = serde_json::to_value(run).unwrap();
    let report = json.as_object_mut().unwrap();
    for key in ["tried_on", "copied", "notes"] {
        report.remove(key);
    }
    let text = serde_json::to_string_pretty(&json).unwrap();
    let lines = text.lines().filter(|line| !line.contains("seconds\":"));
    let same_place = |line: &str| match line.split_once("liftlock_dry_run_") {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
            format!("{before}COPY{rest}")
        }
        None => line.to_owned(),
    };
    lines.map(same_place).collect::<Vec<_>>().join("\n")
}

/// Whether it was tried on less than all.
fn in_part(run: &DryRun) -> bool {
    run.copied.as_ref().is_some_and(|copied| copied.tables < copied.of)
}

/// A base schema of a few tables, and a pending migration.
async fn both(base: &str, up: &str, rollback: &str) -> Option<(DryRun, DryRun)> {
    let database = TestDatabase::new().await?;
    execute(&mut session(database.url()).await, base).await;
    let files = Files::new(&[("V0001__a", up, rollback)]);
    Some((tried(&database, &files, 0).await, tried(&database, &files, usize::MAX).await))
}

/// Shows C-MIG-5: what a copy leaves out is what no script can reach, and the report says so.
#[tokio::test]
async fn only_what_the_migrations_can_reach_is_copied() {
    let base = "create type mood as enum ('sad'); create table a (id int primary key, m mood);
        create table b (id int primary key, a int references a); create table c (id int primary key, b int references b);
        create table d (id int primary key, m mood); create table e (id int primary key); create table f (id int primary key, e int references e);
        create view v as select id from a; create view w as select id from d;
        create table p (id int) partition by range (id); create table p1 partition of p for values from (0) to (9);
        create function touch() returns trigger language plpgsql as $$ begin insert into e values (1) on conflict do nothing; return new; end $$;
        create trigger t before insert on a for each row execute function touch()";
    let up = "alter table a add x int; insert into a values (1, 'sad', 2)";
    let Some((part, whole)) = both(base, up, "delete from a; alter table a drop x").await else {
        return;
    };
    assert_eq!(told(&part), told(&whole));
    // a; b, which refers to it; e, which its trigger writes; f, which refers to that. Not c, d, p and p1.
    let copied = part.copied.as_ref().unwrap();
    assert_eq!((copied.tables, copied.of, &copied.why_all), (4, 8, &None), "{part}");
    assert!(part.to_string().contains("note: the copy has 4 of 8 tables"), "{part}");
    assert_eq!(whole.copied, None);
    let locked: Vec<&str> =
        part.migrations[0].locks.iter().map(|lock| lock.table.as_str()).collect();
    assert!(locked.contains(&"a") && locked.contains(&"e"), "{locked:?}");
}

/// Where names do not tell what is reached, all is copied.
#[tokio::test]
async fn what_cannot_be_told_from_names_is_tried_on_a_whole_copy() {
    let base = "create table a (id int); create table b (id int); create table c (id int)";
    let up = "do $$ declare t text; begin for t in select relname from pg_class where relname in ('b', 'c')
        loop execute format('alter table %I add x int', t); end loop; end $$";
    let Some((part, whole)) = both(base, up, "alter table b drop x; alter table c drop x").await
    else {
        return;
    };
    assert_eq!(told(&part), told(&whole));
    let why = part.copied.as_ref().unwrap().why_all.as_ref().unwrap();
    assert!(why.contains("V0001__a.sql:1 has `execute format`") && !in_part(&part), "{part}");
    assert!(part.is_clean(), "{part}");
}

/// What fails on a part is told as it is on a whole copy.
#[tokio::test]
async fn what_fails_on_a_part_is_tried_again_on_a_whole_copy() {
    let base = "create table a (id int); create table b (id int); create table c (id int)";
    let Some((part, whole)) = both(base, "alter table a add id int", "select 1").await else {
        return;
    };
    assert_eq!(told(&part), told(&whole));
    let why = part.copied.as_ref().unwrap().why_all.as_ref().unwrap();
    assert!(why.contains("the first run of V0001__a.sql failed"), "{part}");
    // An operator by signs alone reaches what no word names.
    let base = "create table a (id int); create table b (id int); create table c (id int);
        create function f(int, int) returns bigint language sql as 'select count(*) from b';
        create operator ### (leftarg = int, rightarg = int, function = f)";
    let up = "insert into a select 1 where 1 ### 2 = 0";
    let Some((part, whole)) = both(base, up, "delete from a").await else { return };
    assert_eq!(told(&part), told(&whole));
    assert!(part.is_clean(), "{part}");
}

/// A name that PostgreSQL finds itself is another where something has it that was left out.
#[tokio::test]
async fn a_name_that_is_taken_by_what_is_left_out_is_seen() {
    let base = "create table a (b int); create table x (c int); create table y (d int); create index a_b_idx on x (c)";
    let Some((part, whole)) = both(base, "create index on a (b)", "drop index a_b_idx1").await
    else {
        return;
    };
    assert_eq!(told(&part), told(&whole));
    assert!(part.is_clean(), "{part}");
    let Some((part, whole)) = both(base, "create index on a (b)", "select 1").await else { return };
    assert_eq!(told(&part), told(&whole));
    assert!(part.migrations[0].schema_change.contains("a_b_idx1"), "{part}");
    let why = part.copied.as_ref().unwrap().why_all.as_ref().unwrap();
    assert!(why.contains("public.a_b_idx"), "{part}");
}

/// What a random schema is made of; T is a table, U another, N a number that nothing else has.
const MADE: [&str; 33] = [
    "alter table T add rN int references U (id)",
    "alter table T add rN int references U (id) on delete cascade",
    "alter table T add rN int references U (id) on update set null",
    "alter table T add rN int references T (id)",
    "create view vN as select T.id, U.id as other from T join U using (id)",
    "create view vN as select T.* from T",
    "create view vN as select * from vM",
    "create materialized view mN as select id from T",
    "create rule ruN as on insert to T do also delete from U where id = 0",
    "create function fN() returns setof T language sql as 'select * from T'",
    "create function fN(int) returns bigint language sql as 'select count(*) from T'",
    "create function fN() returns bigint language sql begin atomic select count(*) from T; end",
    "create function fN() returns int language plpgsql as $$ begin delete from T; return 1; end $$",
    "create function fN() returns int language plpgsql as $$ begin execute 'delete from T'; return fM(); end $$",
    "create function fN() returns int language plpgsql as $$ begin execute format('delete from %I', 'T'); return 1; end $$",
    "create function gN() returns trigger language plpgsql as $$ begin insert into U (id) values (0) on conflict do nothing; return new; end $$;
     create trigger trN after insert on T for each row execute function gN()",
    "create function gN() returns trigger language plpgsql as $$ begin perform 1 from U; return null; end $$;
     create trigger trN after delete on T for each statement execute function gN()",
    "create trigger trN after update on T for each row execute function gM()",
    "create table pN (id int primary key, x int) partition by range (id); create table pN_a partition of pN for values from (0) to (9);
     create table pN_b partition of pN default",
    "create table pN (id int primary key, x int references U (id)) partition by range (id); create table pN_a partition of pN for values from (0) to (9)",
    "create table cN (more int) inherits (T)",
    "create sequence sN; alter table T add dN bigint default nextval('sN')",
    "create sequence sN; create table kN (id bigint default nextval('sN'))",
    "create type eN as enum ('a', 'b'); alter table T add eN eN default 'a', add xN eN[]",
    "create type tyN as (a int, b text); alter table T add tN tyN",
    "create domain doN as int check (value > 0); alter table T add doN doN; alter table U add doN doN",
    "alter table T enable row level security; create policy yN on T using (exists (select from U where U.id = T.id))",
    "create statistics stN on id, a from T",
    "create index T_b_idxN on T (b); create index U_a_idx on T (a)",
    "alter table T add constraint U_a_check check (a > 0)",
    "comment on table T is 'about it'; comment on column T.a is 'x'; grant select on T to public",
    "create table hN (whole T); create table \"Odd N\" (id int, T int)",
    "create function fN(T) returns int language sql as 'select 1'; create table U_T (id int)",
];

/// What random migrations do, and what takes it back.
const DONE: [(&str, &str); 46] = [
    ("alter table T add zN int", "alter table T drop zN"),
    (
        "alter table T add zN int default 5 not null; create index on T (zN)",
        "alter table T drop zN",
    ),
    ("create index on T (a)", "drop index T_a_idx"),
    ("create index on T (b)", "select 1"),
    ("create table nN (id int primary key, o int references T (id))", "drop table nN"),
    ("create table nN (like T including all)", "drop table nN"),
    ("create table nN () inherits (T)", "drop table nN"),
    ("create table nN as select * from T", "drop table nN"),
    ("drop table T cascade", "select 1"),
    ("drop table T", "create table T (id int)"),
    ("insert into T (id) values (1); delete from T where id = 1", "select 1"),
    ("insert into T (id) values (1)", "delete from T"),
    ("insert into T (id) values (1)", "truncate T cascade"),
    ("truncate T cascade", "select 1"),
    ("truncate T", "select 1"),
    ("update T set a = 1", "update T set a = null"),
    ("alter table T rename to nN", "alter table nN rename to T"),
    ("alter table T rename a to nN", "alter table T rename nN to a"),
    ("alter table T drop a", "alter table T add a int"),
    ("alter table T drop a cascade", "alter table T add a int"),
    ("alter table T alter a type bigint", "alter table T alter a type int"),
    ("alter table T alter b set not null", "alter table T alter b drop not null"),
    ("alter table T add check (b <> '')", "alter table T drop constraint T_b_check"),
    ("alter table T add check (a > 0)", "alter table T drop constraint T_a_check"),
    ("alter table T add unique (b)", "alter table T drop constraint T_b_key"),
    ("alter table T drop constraint T_pkey cascade", "alter table T add primary key (id)"),
    ("alter table T set schema s", "alter table s.T set schema public"),
    ("create view nN as select * from T", "drop view nN"),
    ("drop view vM", "select 1"),
    ("drop view vM cascade", "select 1"),
    ("create or replace view vM as select 1 as id", "select 1"),
    ("select fM()", "select 1"),
    ("drop function fM", "select 1"),
    ("drop function gM cascade", "select 1"),
    ("alter type eM add value 'c'", "select 1"),
    ("alter type eM rename to nN", "alter type nN rename to eM"),
    ("drop type eM cascade", "select 1"),
    ("drop domain doM cascade", "select 1"),
    ("alter domain doM rename to nN", "alter domain nN rename to doM"),
    ("alter type tyM add attribute c int cascade", "alter type tyM drop attribute c cascade"),
    ("drop sequence sM cascade", "select 1"),
    ("create table nN partition of pM for values from (20) to (30)", "drop table nN"),
    ("alter table pM add zN int", "alter table pM drop zN"),
    ("alter table pM_a add zN int", "select 1"),
    ("do $$ begin execute 'alter table ' || 'T add zN int'; end $$", "alter table T drop zN"),
    (
        "refresh materialized view mM; comment on table T is 'new'; analyze T",
        "comment on table T is null",
    ),
];

struct Random {
    dice: Dice,
    number: usize,
    made: usize,
}

impl Random {
    fn fill(&mut self, texts: &[&str]) -> Vec<String> {
        let (one, other) = (self.dice.roll(TABLES), self.dice.roll(TABLES));
        let past = if self.made == 0 { 0 } else { self.dice.roll(self.made) };
        self.number += 1;
        let number = self.number;
        let fill = |text: &&str| {
            let mut filled = String::new();
            let mut before = ' ';
            let mut chars = text.chars().peekable();
            while let Some(c) = chars.next() {
                let alone = !before.is_ascii_alphanumeric()
                    && chars.peek().is_none_or(|next| !next.is_ascii_alphanumeric());
                match c {
                    'T' if alone => filled += &format!("t{one}"),
                    'U' if alone => filled += &format!("t{other}"),
                    'N' => filled += &number.to_string(),
                    'M' => filled += &past.to_string(),
                    c => filled.push(c),
                }
                before = c;
            }
            filled
        };
        texts.iter().map(fill).collect()
    }

    async fn schema(&mut self, connection: &mut PgConnection) -> String {
        let mut all = "create schema s".to_owned();
        for table in 0..TABLES {
            all += &format!("; create table t{table} (id int primary key, a int, b text)");
        }
        execute(connection, &all).await;
        for _ in 0..self.dice.roll(TABLES * 2) {
            let text = MADE[self.dice.roll(MADE.len())];
            let sql = self.fill(&[text]).remove(0);
            if fits(connection, &sql).await {
                all += &format!(";\n{sql}");
            }
        }
        self.made = self.number;
        all
    }

    /// Something that is there, if it names a thing by its number.
    async fn change(&mut self, connection: &mut PgConnection) -> (String, String) {
        for _ in 0..12 {
            let (up, down) = DONE[self.dice.roll(DONE.len())];
            let [up, down] = &self.fill(&[up, down])[..] else { unreachable!() };
            let mistaken = self.dice.roll(12) == 0;
            if mistaken || runs(connection, up).await {
                return (up.clone(), down.clone());
            }
        }
        ("select 1".into(), "select 1".into())
    }
}

/// Whether it runs, and nothing of it stays.
async fn runs(connection: &mut PgConnection, sql: &str) -> bool {
    let sql = format!("begin; {sql}");
    let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *connection).await;
    execute(connection, "rollback").await;
    done.is_ok()
}

/// Shows C-MIG-5: random migrations on random schemas, tried on a part and on the whole, are told alike. `LIFTLOCK_CASES` says how many,
/// `LIFTLOCK_SEED` which.
#[tokio::test]
async fn a_part_tells_what_the_whole_tells() {
    let number =
        |name, default| std::env::var(name).map_or(default, |text: String| text.parse().unwrap());
    let (cases, seed) = (number("LIFTLOCK_CASES", 5), number("LIFTLOCK_SEED", 1));
    let mut random = Random { dice: Dice(seed), number: 0, made: 0 };
    let (mut parts, mut wrong, mut copied) = (0, Vec::new(), Vec::new());
    for case in 0..cases {
        let Some(database) = TestDatabase::new().await else { return };
        let mut connection = session(database.url()).await;
        random.number = 0;
        let schema = random.schema(&mut connection).await;
        let files = Files::new(&[("V0001__a", "select 1", "select 1")]);
        apply(&database, &files).await;
        let mut scripts = String::new();
        for version in 2..3 + random.dice.roll(2) {
            let (up, down) = random.change(&mut connection).await;
            files.write(&format!("V000{version}__b.sql"), &up);
            files.write(&format!("V000{version}__b.rollback.sql"), &down);
            scripts += &format!("\n{up}\n   and back: {down}");
        }
        let (part, whole) =
            (tried(&database, &files, 0).await, tried(&database, &files, usize::MAX).await);
        parts += u64::from(in_part(&part));
        copied.extend(part.copied.iter().map(ToString::to_string));
        let (ours, theirs) = (told(&part), told(&whole));
        if ours != theirs {
            let difference =
                similar::TextDiff::from_lines(&theirs, &ours).unified_diff().to_string();
            wrong
                .push(format!("case {case}: {:?}\n{schema}\n{scripts}\n{difference}", part.copied));
        }
    }
    assert!(
        wrong.is_empty(),
        "seed {seed}: {} of {cases} differ, {parts} in part\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
    assert!(
        cases < 20 || parts * 4 > cases,
        "only {parts} of {cases} were tried on a part: {copied:#?}"
    );
}
