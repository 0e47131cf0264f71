//! Reading a schema again and again: what is read in parts is what is read whole.

use std::path::Path;

use liftlock_migrate::Migrations;
use liftlock_migrate::schema::{Reader, Schema};
use liftlock_testkit::TestDatabase;
use sqlx::PgConnection;

use crate::oracle::{Dice, change, fits, random_tables};
use crate::schema::{base, cases};
use crate::support::{execute, session};

/// A connection, and a reader that looks after each change.
struct Looker {
    connection: PgConnection,
    reader: Reader,
    /// How often parts were enough, and how often they were not.
    looks: [usize; 2],
    wrong: Vec<String>,
}

impl Looker {
    async fn new(mut connection: PgConnection) -> Self {
        let reader = Reader::open(&mut connection).await.unwrap();
        Self { connection, reader, looks: [0; 2], wrong: Vec::new() }
    }

    /// Runs this, looks, and reads all to compare. Whether it ran.
    async fn runs(&mut self, sql: &str) -> bool {
        let ran = fits(&mut self.connection, sql).await;
        let all = self.reader.look(&mut self.connection).await.unwrap();
        self.looks[usize::from(all)] += 1;
        let (parts, whole) =
            (self.reader.schema(), Schema::read(&mut self.connection).await.unwrap());
        if parts.fingerprint() != whole.fingerprint() || parts != whole {
            self.wrong.push(format!("after {sql}\n{}", Schema::compare(&whole, &parts)));
            self.reader = Reader::open(&mut self.connection).await.unwrap();
        }
        ran
    }

    /// Panics if anything was wrong, or if parts were not enough at least this often.
    fn ends(self, least: usize) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        assert!(self.looks[0] >= least, "{:?}", self.looks);
    }
}

/// Shows C-MIG-4: every kind of object.
#[tokio::test]
async fn every_kind_of_change_is_seen_by_reading_in_parts() {
    let Some((_database, mut connection)) = base().await else { return };
    execute(&mut connection, "set allow_system_table_mods = on").await;
    let mut looker = Looker::new(connection).await;
    for (up, down, _) in cases(&looker.connection) {
        for sql in [up, down] {
            assert!(looker.runs(sql).await, "{sql}");
        }
    }
    looker.ends(90);
}

/// Changes that show elsewhere than where they are made.
#[tokio::test]
async fn what_shows_in_other_objects_is_seen_by_reading_in_parts() {
    let Some(database) = TestDatabase::new().await else { return };
    let mut looker = Looker::new(session(database.url()).await).await;
    let role = format!("app_{}", database.name());
    for sql in [
        "create schema e; create type e.mood as enum ('sad', 'fine'); create function e.f(a int) returns int language sql immutable as 'select 1';
         create collation e.c (locale = 'C'); create operator e.=== (leftarg = int, rightarg = int, function = int4eq); create table e.t (id int primary key, x text)",
        "create table a (id int primary key, m e.mood default 'sad', n int default e.f(1), c text collate e.c, x int);
         create table b (id int primary key, t int references e.t (id)); create table c (x int); create table d (x int);
         create view v as select a.id from a join b using (id) join c using (x); create view w as select * from v;
         create policy p on d using (x in (select a.id from a join b using (id) join c using (x)));
         create rule r as on delete to d do also select a.id from a join b using (id) join c using (x); create view o as select 1 operator(e.===) 2 as o;
         create table nothing (); create table heir () inherits (nothing); create table heiress (); create sequence s",
        // What belongs to an extension is not read, and others name it.
        "alter extension plpgsql add type e.mood; alter extension plpgsql add function e.f(int); alter extension plpgsql add table e.t;
         alter extension plpgsql add collation e.c; alter extension plpgsql add operator e.===(int, int)",
        "alter type e.mood rename value 'sad' to 'low'",
        "alter type e.mood rename to temper",
        "alter function e.f(int) rename to g",
        "alter table e.t rename to u",
        "alter table e.u rename id to key",
        "alter collation e.c rename to k",
        "alter extension plpgsql drop table e.u",
        "alter extension plpgsql drop type e.temper",
        "alter extension plpgsql drop operator e.===(int, int)",
        "alter schema e rename to f",
        // A new column changes how names are told apart.
        "alter table b add x int",
        "alter table b drop x",
        "alter table heir no inherit nothing; alter table heiress inherit nothing",
        "alter table heiress no inherit nothing",
        "alter sequence s owned by a.id",
        "alter sequence s owned by none",
        "create table refinery_schema_history (x int); create view h as select x from refinery_schema_history",
        "alter table refinery_schema_history rename to other",
        "alter table other rename x to y",
        "create temporary table t (x int); alter table t add y int",
        "analyze; alter table a alter x set default 5",
        "create table z as select * from a; drop table c cascade",
        "drop schema f cascade",
    ] {
        assert!(looker.runs(sql).await, "{sql}");
    }
    let roles = [
        format!("create role {role}; grant select on a to {role}; create policy q on a to {role}"),
        format!("alter role {role} rename to {role}_2"),
        format!("drop owned by {role}_2; drop role {role}_2"),
    ];
    for sql in roles {
        assert!(looker.runs(&sql).await, "{sql}");
    }
    // More tables at once than are read one by one.
    let many: String =
        (0..150).map(|n| format!("create table many_{n} (id int primary key);")).collect();
    assert!(looker.runs(&many).await);
    looker.ends(12);
}

/// Shows C-MIG-4: the migrations of the corpus, up, down and up.
#[tokio::test]
async fn the_corpus_is_read_in_parts_as_it_is_read_whole() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let (mut ran, mut seen) = (0, 0);
    for case in std::fs::read_dir(corpus).unwrap() {
        let Ok(migrations) = Migrations::read(&case.unwrap().path()) else { continue };
        let Some(database) = TestDatabase::new().await else { return };
        let mut looker = Looker::new(session(database.url()).await).await;
        for migration in migrations.all() {
            for script in [&migration.up, &migration.rollback, &migration.up] {
                ran += usize::from(looker.runs(&script.sql).await);
            }
        }
        seen += looker.looks[0];
        looker.ends(0);
    }
    assert!(ran > 150 && seen > 100, "{ran} scripts ran, {seen} times parts were enough");
}

/// Random changes on random schemas; `LIFTLOCK_CASES` says how many, `LIFTLOCK_SEED` which.
#[tokio::test]
async fn random_changes_are_read_in_parts_as_they_are_read_whole() {
    let number = |name: &str, other: u64| {
        std::env::var(name).map_or(other, |value| value.parse().expect("a number"))
    };
    let (cases, seed) = (number("LIFTLOCK_CASES", 40), number("LIFTLOCK_SEED", 1));
    let mut dice = Dice(seed);
    let (mut left, mut seen) = (cases, 0);
    while left > 0 {
        let Some((_database, mut connection)) = base().await else { return };
        let (tables, sql) = random_tables(&mut dice);
        execute(&mut connection, &sql).await;
        let mut ready = crate::schema::cases(&connection);
        ready.retain(|case| !case.0.ends_with("-- pg_dump does not tell"));
        let mut looker = Looker::new(connection).await;
        for number in 0..left.min(20) {
            let (up, down) = change(&mut dice, &tables, &ready, usize::try_from(number).unwrap());
            looker.runs(&up).await;
            looker.runs(&down).await;
        }
        seen += looker.looks[0];
        looker.ends(0);
        left -= left.min(20);
    }
    assert!(cases < 20 || seen > 10, "{seen} times parts were enough");
}
